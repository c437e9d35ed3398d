"""Language detection: an LLM sometimes answers in another language than the one requested."""

from functools import lru_cache

MIN_WORDS = 4
"""Shorter prompts are not judged: "a chapel" could be many languages."""

MIN_MARGIN = 20.0
"""How much likelier the other language must be, as a difference of log-probabilities (nats)."""


def foreign_language(text: str, expected: str) -> str | None:
    """The language (ISO 639-1) of ``text`` if it clearly is not ``expected``, else None.

    Detected by py3langid (https://github.com/adbar/py3langid), a naive Bayes classifier over byte n-grams. In text
    without spaces (Chinese, Japanese), two letters count as a word.
    """
    words = len(text.split())
    if max(words, sum(ord(letter) > 0x2E7F for letter in text) // 2) < MIN_WORDS:
        return None
    ranking = _ranking(text)
    best, score = ranking[0]
    expected_score = dict(ranking).get(expected)
    if best == expected or expected_score is None or score - expected_score < MIN_MARGIN:
        return None
    return best


@lru_cache(maxsize=50_000)
def _ranking(text: str) -> list[tuple[str, float]]:
    import py3langid

    return [(str(language), float(score)) for language, score in py3langid.rank(text)]
