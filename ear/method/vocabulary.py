"""Words to rehearse: target prompts with a word of the model's vocabulary where the concept's term was.

They keep what such sentences ask for, whatever it is, without naming it: the concept's words turn into its surrogate,
and other words stay what they are, those of neighbours among them. A word under which the frozen model draws the
concept is one of the concept's own; its image is left out (``rehearsal_set``).
"""

import random
import re
from collections.abc import Sequence

from ecgvf.core import seeds
from ecgvf.core.records import PromptPair
from ecgvf.janus import JanusModel

_WORD = re.compile(r"[^\W\d_]{3,}")


def vocabulary(model: JanusModel) -> list[str]:
    """The words that are a single token of ``model``: at least three letters and nothing else; sorted."""
    tokenizer = model.processor.tokenizer
    tokens = (tokenizer.convert_tokens_to_string([token]) for token in tokenizer.get_vocab())
    return sorted({text[1:] for text in tokens if text.startswith(" ") and _WORD.fullmatch(text[1:])})


def word_prompts(words: Sequence[str], pairs: Sequence[PromptPair], count: int, seed: int) -> list[str]:
    """``count`` prompts: the targets of ``pairs`` by turns, each with one of ``words`` in place of its term.

    ``seed`` draws the words. Pairs whose target prompt does not contain their term are left out; empty if all are.
    """
    generator = random.Random(seeds.derive(seed, "vocabulary", "rehearse"))
    sentences = [(pair.target, re.compile(re.escape(pair.target_term), re.IGNORECASE)) for pair in pairs]
    sentences = [(target, term) for target, term in sentences if term.search(target)]
    if not sentences or not words:
        return []
    return [
        term.sub(generator.choice(words), target)
        for target, term in (sentences[index % len(sentences)] for index in range(count))
    ]
