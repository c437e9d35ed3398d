"""Keep API keys out of files and off the screen: a provider may repeat the key that it was sent."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from ecgvf.llm.registry import LLMWriter

SHORTEST_SECRET = 16
"""Characters."""

LEAST_ENTROPY = 2.5
"""Bits per character. 99% of random strings of 16 hexadecimal digits have more; repeated ``EMPTY`` or ``xxxx`` less."""


def secret_keys(writers: Iterable[LLMWriter]) -> dict[str, str]:
    """Key → its replacement in text from providers."""
    return {key: f"[{variable}]" for variable, key in _keys(writers) if is_secret(key)}


def unscrubbed_keys(writers: Iterable[LLMWriter]) -> list[str]:
    """The variables whose key is too simple to be scrubbed."""
    return list(dict.fromkeys(variable for variable, key in _keys(writers) if not is_secret(key)))


def _keys(writers: Iterable[LLMWriter]) -> list[tuple[str, str]]:
    keys = [(writer.config.key, writer.secret()) for writer in writers]
    return [(variable, key) for variable, key in keys if variable and key]


def is_secret(key: str) -> bool:
    """Whether a key is long and varied enough to be scrubbed; ``a``, ``EMPTY`` or ``test`` may be words of a prompt."""
    shares = (count / len(key) for count in Counter(key).values())
    return len(key) >= SHORTEST_SECRET and -sum(share * math.log2(share) for share in shares) >= LEAST_ENTROPY


def scrub(text: str, secrets: Mapping[str, str]) -> str:
    """``text`` with each key replaced, however it is escaped."""
    for key, replacement in secrets.items():
        pattern = "".join(map(_spellings, key))
        text = re.sub(pattern, lambda _, replacement=replacement: replacement, text)  # type: ignore[misc]
    return text


def _spellings(character: str) -> str:
    """A pattern for a character as it is, or as JSON, JSON within JSON (backslashes double) or a URL escapes it."""
    digits = re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", f"{ord(character):02x}")
    spellings = [re.escape(character), rf"\\{{1,8}}u00{digits}", f"%{digits}"]
    if character in '"\\/':
        spellings.append(rf"\\{{1,8}}{re.escape(character)}")
    return f"(?:{'|'.join(spellings)})"
