"""Whether a prompt is in the language that was asked for. A writer from elsewhere sometimes answers in its own."""

from functools import lru_cache

FEWEST_WORDS = 4
"""Shorter prompts are not judged: "a chapel" could be many languages."""

MARGIN = 20.0
"""Another language has to be likelier by this much, as a difference of log-probabilities (nats)."""


def foreign(text: str, language: str) -> str | None:
    """The language (ISO 639-1) that ``text`` is in rather than ``language``, where that is beyond doubt; else None.

    By py3langid, which counts letter sequences. Text without spaces (Chinese, Japanese) counts a word per two letters.
    """
    words = len(text.split())
    if max(words, sum(ord(letter) > 0x2E7F for letter in text) // 2) < FEWEST_WORDS:
        return None
    ranked = _rank(text)
    best, score = ranked[0]
    asked = next((other for name, other in ranked if name == language), None)
    if best == language or asked is None or score - asked < MARGIN:
        return None
    return best


@lru_cache(maxsize=50_000)
def _rank(text: str) -> list[tuple[str, float]]:
    import py3langid

    return [(str(name), float(score)) for name, score in py3langid.rank(text)]
