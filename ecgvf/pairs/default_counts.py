"""How many prompts are written by default, and at most. The commands and the API share these numbers."""

from ecgvf.core.errors import SettingsError

OFFLINE_PAIRS = 60
"""Training pairs of the offline writer."""

PROMPTS_PER_CALL = 10
"""Pairs or prompts that a call requests, as in the paper (section 5.1)."""

ITERATIONS = 3
"""Calls to each LLM for training pairs, as in the paper (section 5.1)."""

VALIDATION_PROMPTS = 100
TEST_PROMPTS = 100

RETAINED_PROMPTS = 5
"""Prompts of each retained concept, which has as many captions."""

ACCEPTED_PAIRS = 50
"""Training pairs that a build accepts."""

ROUNDS = 10
"""Rounds of a build, at most."""

MAX_PROMPTS = 100_000
"""Of a split, in one command: a list of all of them is in memory, and each is compared with the others."""


def check_count(name: str, number: int, least: int = 1) -> None:
    """Raise ``SettingsError`` for a ``number`` of prompts that is below ``least``, 0 or 1, or above ``MAX_PROMPTS``.

    ``name`` is what the caller's user knows the number by: an option's name, or a parameter's.
    """
    if number < least:
        raise SettingsError(f"{name} {number}: it must be {'at least 1' if least else '0 or more'}")
    if number > MAX_PROMPTS:
        raise SettingsError(f"{name} {number}: it must be at most {MAX_PROMPTS}")


def check_captions(name: str, number: int) -> None:
    """Raise ``SettingsError`` unless ``number`` captions of each retained concept ship; ``name``: ``check_count``."""
    check_count(name, number)
    if number > RETAINED_PROMPTS:
        raise SettingsError(
            f"{name} {number}: {RETAINED_PROMPTS} captions of each retained concept ship; LLMs write more (see "
            "`ecgvf writers`)"
        )
