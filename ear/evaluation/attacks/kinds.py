"""The attacks by name."""

from ear.evaluation.attacks.attack import Attack, Kind
from ear.evaluation.attacks.prefix import Prefix
from ear.evaluation.attacks.relearning import Relearning
from ear.evaluation.attacks.soft_prompt import SoftPrompt
from ear.evaluation.attacks.token_search import TokenSearch

KINDS: dict[Kind, type[Attack]] = {each.kind: each for each in (TokenSearch, SoftPrompt, Prefix, Relearning)}
