"""What a provider's answer contains: the text, how it ended, and the tokens it used."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["complete", "length", "refusal", "filter", "empty", "unreadable"]
"""How an answer ended. Only a ``complete`` one can be bad JSON; ``unreadable``: not in the provider's own format."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a provider charges for, including thinking."""

    input_tokens: int
    output_tokens: int

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Reply:
    """The content of an answer; ``usage`` is None if the answer does not state it."""

    text: str
    outcome: Outcome
    usage: Usage | None
    why: str = ""
    """The provider's own word for the outcome, unless it is ``complete``."""
    model: str = ""
    """The model that answered, according to the provider."""


def usage(input_tokens: object, output_tokens: object) -> Usage | None:
    """The usage that a provider states; None unless both numbers are token counts."""
    counts = [
        count
        for count in (input_tokens, output_tokens)
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0
    ]
    return Usage(*counts) if len(counts) == 2 else None
