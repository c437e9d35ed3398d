"""A writer's answer, which is text, becomes drafts of prompts, or rejects that keep what could not be read.

An answer is a JSON list of objects that have a target, perhaps with prose, thoughts or a code fence around it, perhaps
cut off: the objects before the cut are kept. Lists of anything else are passed over where there is such a list; where
there are several, all count.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ecgvf.core.records import Split

VERSION = 5
"""Of the reading and the checks together; part of a set's settings. ``--reparse`` reads old answers by a newer one."""

LONGEST = 1000
"""Characters of a prompt; more is no prompt."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt or pair that could be read and is not yet checked; "" as ``surrogate_term``: words were removed."""

    target: str
    target_term: str
    surrogate: str | None
    surrogate_term: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of an answer that is no prompt: why, and the text as it came."""

    detail: str
    raw: str


def parse(text: str, split: Split) -> list[Draft | Unreadable]:
    """Everything in an answer, in its order; never raises, never drops."""
    return [item if isinstance(item, Unreadable) else _draft(item, split) for item in _items(utf8(text))]


def utf8(text: str) -> str:
    """``text`` with a question mark for what no file can hold: half of a character, as JSON can write it."""
    return text.encode("utf-8", "replace").decode("utf-8")


_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0]"
    r"|(?<=[^\W\d_])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""What splits a word that a person reads whole, beside format characters (Cf): letters that show nothing, and variation
selectors behind a letter (behind an emoji they are seen)."""

_ALPHABETS = {"LATIN", "GREEK", "COPTIC", "CYRILLIC", "ARMENIAN", "CHEROKEE"}
"""They have letters that look the same; no word is of two of them."""


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", utf8(text))
    if _UNSEEN.search(text) or any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") for letter in text):
        raise ValueError("holds a line break, an invisible letter or another control character")
    for word in re.findall(r"[^\W\d_]+", text):
        if len(_ALPHABETS.intersection(part for letter in word for part in unicodedata.name(letter, "").split())) > 1:
            raise ValueError(f"mixes two alphabets in {word!r}")
    return text


Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_clean)]
Words = Annotated[str, Field(max_length=LONGEST), AfterValidator(_clean)]


class Single(BaseModel):
    """One test prompt, as an LLM is asked for it: a schema that says nothing a provider cannot hold to."""

    target: str
    target_term: str


class Pair(Single):
    """One pair, as an LLM is asked for it."""

    surrogate: str
    surrogate_term: str


class Prompts(BaseModel):
    """The answer to a request for test prompts."""

    prompts: list[Single]


class Pairs(BaseModel):
    """The answer to a request for pairs."""

    pairs: list[Pair]


def answer_model(split: Split) -> type[Pairs] | type[Prompts]:
    """What an SDK is given as the shape of the answer."""
    return Pairs if split == "train" else Prompts


class _Test(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", str_strip_whitespace=True)

    target: Prompt
    target_term: Prompt


class _Pair(_Test):
    surrogate: Prompt
    surrogate_term: Words


def _items(text: str) -> list[object]:
    found: list[list[object]] = []
    other: list[object] | None = None
    for items in _lists(without_thoughts(text)):
        if any(isinstance(item, dict) and "target" in item for item in items):
            found.append(items)
        elif not other:
            other = items
    if not (found or other):
        return [Unreadable("no JSON list of objects" if other is None else "the list is empty", text)]
    return [item for items in found or [other or []] for item in items]


def without_thoughts(text: str) -> str:
    """``text`` without what a model thinks aloud; thoughts that never end are text like any other."""
    said, at = [], 0
    while (begin := text.find("<think>", at)) >= 0 and (end := text.find("</think>", begin)) >= 0:
        said.append(text[at:begin])
        at = end + len("</think>")
    return "".join([*said, text[at:]])


def _lists(text: str) -> Iterator[list[object]]:
    """The lists of objects in a text, the outermost, one after the other; one that breaks off ends with why."""
    at, broken, left = 0, 0, MOST_ITEMS
    while left > 0 and broken < _MOST_BROKEN and (opening := _OPENING.search(text, at)):
        items, at = _list(text, opening.end(), left)
        left -= max(1, len(items))
        broken += bool(items) and isinstance(items[-1], Unreadable)
        yield items


MOST_ITEMS = 10_000
"""Objects of an answer that are read, an empty list counting as one; an answer with more is none."""

_MOST_BROKEN = 5
"""Each list that breaks off may cost a look at all that follows it."""

_OPENING = re.compile(r"\[\s*(?=[{\]])")
_BETWEEN = re.compile(r"[\s,]*")


def _list(text: str, at: int, most: int) -> tuple[list[object], int]:
    """The objects, at most ``most``, of the list that begins at ``at``, and where it ends."""
    decoder = json.JSONDecoder()
    items: list[object] = []
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if text.startswith("]", at):
            return items, at + 1
        if len(items) == most:
            return [*items, Unreadable(f"more than {MOST_ITEMS} objects", text[at:])], len(text)
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            broken = Unreadable("not valid JSON, or cut off", text[at:] or text)
            return [*items, broken], len(text) if items else at  # a bracket in prose: look behind it
        items.append(item)


def _draft(item: object, split: Split) -> Draft | Unreadable:
    try:
        raw = utf8(json.dumps(item, ensure_ascii=False))
        item = json.loads(raw)
    except RecursionError:
        return Unreadable("nested too deeply", "")  # nothing can write it down again; the ledger has the answer
    try:
        if split == "test":
            test = _Test.model_validate(item)
            return Draft(test.target, test.target_term, None, None, raw)
        pair = _Pair.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Unreadable(f"{field}: {first['msg']}".removeprefix(": "), raw)
    return Draft(pair.target, pair.target_term, pair.surrogate, pair.surrogate_term, raw)
