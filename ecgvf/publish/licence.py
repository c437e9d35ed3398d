"""Licence and terms of a dataset: they follow from who wrote its prompts and which model rendered its images."""

import re
from collections.abc import Iterable

from ecgvf.pairs.writer import IMPORT
from ecgvf.publish.catalogue import ConceptFacts
from ecgvf.world.domain import NANO

TERMS = {
    "openai": "OpenAI wrote prompts of this dataset: its [terms of use](https://openai.com/policies/) apply, which "
    "among other things forbid training models that compete with OpenAI on the output.",
    "anthropic": "Anthropic's Claude wrote prompts of this dataset: Anthropic's "
    "[commercial terms](https://www.anthropic.com/legal/commercial-terms) and "
    "[usage policy](https://www.anthropic.com/legal/aup) apply, which among other things forbid training models that "
    "compete with Anthropic on the output.",
    "google": "Google's Gemini wrote prompts of this dataset: the "
    "[Gemini API additional terms](https://ai.google.dev/gemini-api/terms) apply, which among other things forbid "
    "training models that compete with Google on the output.",
    "deepseek": "DeepSeek wrote prompts of this dataset: its "
    "[terms of use](https://cdn.deepseek.com/policies/en-US/deepseek-terms-of-use.html) apply.",
    "moonshot": "Moonshot AI's Kimi wrote prompts of this dataset: the terms of its open platform apply.",
    "doubao": "ByteDance's Doubao wrote prompts of this dataset: the terms of Volcano Engine apply.",
}
"""Provider → its terms for what its models wrote."""

_FAMILIES = {
    "openai": r"openai|gpt|(?<![\w-])o\d",  # o1, o3, o4-mini
    "anthropic": "anthropic|claude",
    "google": "google|gemini",
    "deepseek": "deepseek",
    "moonshot": "moonshot|kimi",
    "doubao": "doubao",
}
"""Provider → pattern of the names of its writers and models."""


def licence(concepts: Iterable[ConceptFacts]) -> tuple[str, str]:
    """The licence's name on the Hub, and the paragraph about it in the card."""
    concepts = list(concepts)
    offline = all(writer.writer == "offline" for facts in concepts for writer in facts.writers)
    if offline and all(is_nano(facts) for facts in concepts):
        return "cc-by-4.0", (
            "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The prompts come from a grammar under "
            "Apache-2.0. The images are by Janus-nano, which learnt from emoji by Google (Noto Emoji, "
            "Apache-2.0), Microsoft (Fluent Emoji, MIT), Twitter and other contributors (Twemoji, CC BY 4.0) and "
            "Emoji One (EmojiOne 1 to 2, CC BY 4.0): keep crediting them."
        )
    return "other", (
        "The terms of the models that wrote the prompts and rendered the images apply to them; the publisher of this "
        "dataset may state a licence for the rest as `license:` at the top of this card, which later pushes keep."
        + ("" if offline or not providers(concepts) else " Terms of those who wrote prompts:")
    )


def providers(concepts: Iterable[ConceptFacts]) -> list[str]:
    """The providers in ``TERMS`` whose models wrote prompts."""
    names = " ".join(
        f"{writer.writer} {writer.model_asked} {writer.model_answered}".lower()
        for facts in concepts
        for writer in facts.writers
        if writer.writer != IMPORT
    )
    return [family for family, pattern in _FAMILIES.items() if re.search(pattern, names)]


def is_nano(facts: ConceptFacts) -> bool:
    """Whether the embedded Janus-nano rendered the images; a local folder has a name that begins with ``local:``."""
    return facts.model == NANO
