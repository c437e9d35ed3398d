"""Parse a writer's answer, which is text, into drafts of prompts and pairs.

An answer is a JSON list of objects with a ``target``. Prose, thinking or a code fence may surround it, and it may be
cut off: the objects before the cut are kept. If there are several such lists, all of them count; lists of anything else
are read only if there is none.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ecgvf.core.records import WORDINGS, Split, Wording
from ecgvf.core.text import encodable, strip_thinking

VERSION = 11
"""Version of the parser and the checks, part of a set's settings. ``--reparse`` reads old answers with a newer one."""

OFFLINE_VERSION = 6
"""The same for the offline writer's sets and the captions: what changed since then rejects none of their prompts."""

MAX_PROMPT_CHARACTERS = 1000

MAX_ITEMS = 10_000
"""Maximum number of objects to read from an answer; an empty list counts as one."""

_MAX_BROKEN_LISTS = 5
"""Stop after this many lists that break off: each may cost a scan of the rest of the text."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One prompt or pair of an answer. If it cannot be parsed, ``target`` is empty; ``raw`` and ``fault`` remain."""

    target: str
    target_term: str
    surrogate: str | None = None
    surrogate_term: str | None = None
    """The words that replace ``target_term``; "" if it was removed."""
    raw: str = ""
    """This part of the answer as it came."""
    fault: str | None = None
    """Why it is malformed; None if it is not, or before ``read_answer`` has checked it."""
    wording: Wording | None = None
    """The class of the target as the writer states it."""
    retained_concept: str | None = None
    """What a prompt of the retain split is about."""

    @property
    def parsed(self) -> bool:
        """Whether it could be parsed as a prompt or a pair."""
        return bool(self.target)


def unparsed(fault: str, raw: str) -> Draft:
    """The draft of a part of an answer that is neither a prompt nor a pair."""
    return Draft("", "", raw=raw, fault=fault)


def parse(text: str, split: Split) -> list[Draft]:
    """All drafts of an answer, in order, not yet checked. Never raises, and drops nothing."""
    return [item if isinstance(item, Draft) else _draft(item, split) for item in _items(encodable(text))]


# The schema that an LLM is asked to follow, names and docstrings included. It has no constraint that a provider could
# not enforce.


class Pair(BaseModel):
    """One pair."""

    target: str
    target_term: str
    surrogate: str
    surrogate_term: str


class Prompt(Pair):
    """One evaluation prompt, with its surrogate and its class."""

    wording: Wording


class Prompts(BaseModel):
    """The answer to a request for evaluation prompts."""

    prompts: list[Prompt]


class Pairs(BaseModel):
    """The answer to a request for pairs."""

    pairs: list[Pair]


class RetainedPrompt(BaseModel):
    """One prompt of a concept that must stay."""

    target: str
    retained_concept: str


class RetainedPrompts(BaseModel):
    """The answer to a request for prompts of concepts that must stay."""

    prompts: list[RetainedPrompt]


def answer_schema(split: Split) -> type[Pairs] | type[Prompts] | type[RetainedPrompts]:
    """The pydantic model of an answer, for an SDK's structured output."""
    if split == "retain":
        return RetainedPrompts
    return Pairs if split == "train" else Prompts


# The schema that an answer is validated against. Its names are in the details of stored rejects.

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0]"
    r"|(?<=[^\W\d_])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Invisible letters, and variation selectors behind a letter (behind an emoji they are visible): they split a word that
a person reads as a whole, as format characters (Cf) do."""

_ALPHABETS = {"LATIN", "GREEK", "COPTIC", "CYRILLIC", "ARMENIAN", "CHEROKEE"}
"""Alphabets with letters that look the same; no word mixes two of them."""


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", encodable(text))
    if _INVISIBLE.search(text) or any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") for letter in text):
        raise ValueError("holds a line break, an invisible letter or another control character")
    for word in re.findall(r"[^\W\d_]+", text):
        if len(_ALPHABETS.intersection(part for letter in word for part in unicodedata.name(letter, "").split())) > 1:
            raise ValueError(f"mixes two alphabets in {word!r}")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS), AfterValidator(_clean)]
_OptionalText = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS), AfterValidator(_clean)]


def _known_wording(value: Any) -> Any:
    return value if value in WORDINGS else None


class _Pair(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", str_strip_whitespace=True)

    target: _Text
    target_term: _Text
    surrogate: _Text
    surrogate_term: _OptionalText
    wording: Annotated[Wording | None, BeforeValidator(_known_wording)] = None


class _Prompt(_Pair):
    """Older answers have evaluation prompts without surrogates. A surrogate counts only if its term is stated."""

    surrogate: _Text | None = None  # type: ignore[assignment]
    surrogate_term: _OptionalText | None = None  # type: ignore[assignment]


class _Retained(BaseModel):
    model_config = _Pair.model_config

    target: _Text
    retained_concept: _Text


def _draft(item: object, split: Split) -> Draft:
    try:
        raw = encodable(json.dumps(item, ensure_ascii=False))
        item = json.loads(raw)
    except RecursionError:
        return unparsed("nested too deeply", "")  # it cannot be written again; the ledger has the answer
    schema = _Pair if split == "train" else _Prompt
    try:
        if split == "retain":
            retained = _Retained.model_validate(item)
            name = retained.retained_concept
            return Draft(retained.target, name, raw=raw, retained_concept=name)
        fields = schema.model_validate(item).model_dump()
        if fields["surrogate_term"] is None:
            fields["surrogate"] = None
        return Draft(raw=raw, **fields)
    except ValidationError as error:
        # In pydantic's words: faults are rows of a set, and must stay as long as ``VERSION`` does.
        first = error.errors(include_input=False)[0]
        return unparsed(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "), raw)


def _items(text: str) -> list[object]:
    """The JSON objects of an answer; what cannot be read is a draft with its fault."""
    items: list[object] = []
    fallback: list[object] | None = None
    for found in _lists(strip_thinking(text)):
        if any(isinstance(item, dict) and "target" in item for item in found):
            items += found
        elif not fallback:
            fallback = found
    return items or fallback or [unparsed("no JSON list of objects" if fallback is None else "the list is empty", text)]


_OPENING = re.compile(r"\[\s*(?=[{\]])")
_BETWEEN = re.compile(r"[\s,]*")


def _lists(text: str) -> Iterator[list[object]]:
    """The outermost lists of objects in a text, in order."""
    position, broken, left = 0, 0, MAX_ITEMS
    while left > 0 and broken < _MAX_BROKEN_LISTS and (opening := _OPENING.search(text, position)):
        items, position = _list(text, opening.end(), left)
        left -= max(1, len(items))
        broken += bool(items) and isinstance(items[-1], Draft)
        yield items


def _list(text: str, position: int, limit: int) -> tuple[list[object], int]:
    """At most ``limit`` objects of the list that begins at ``position``, and where it ends.

    If the list breaks off, the last item is an unparsed draft that holds the rest.
    """
    decoder = json.JSONDecoder()
    items: list[object] = []
    while True:
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]  # it matches the empty string, too
        if text.startswith("]", position):
            return items, position + 1
        if len(items) == limit:
            return [*items, unparsed(f"more than {MAX_ITEMS} objects", text[position:])], len(text)
        try:
            item, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            broken = unparsed("not valid JSON, or cut off", text[position:] or text)
            return [*items, broken], len(text) if items else position  # a bracket in prose: go on behind it
        items.append(item)
