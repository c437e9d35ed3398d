"""A writer's answer, which is text, becomes drafts of prompts, or rejects that keep what could not be read.

An answer is a JSON list of objects, perhaps with prose or a code fence around it, perhaps cut off: the objects before
the cut are kept.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ecgvf.records import Split

VERSION = 2
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
    return [item if isinstance(item, Unreadable) else _draft(item, split) for item in _items(text)]


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("holds a line break or another control character")
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


def _items(text: str) -> Iterator[object]:
    opening = re.search(r"\[\s*(?=[{\]])", text)
    if opening is None:
        yield Unreadable("no JSON list of objects", text)
        return
    decoder = json.JSONDecoder()
    at = opening.end()
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1
        if text.startswith("]", at):
            return
        try:
            item, after = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield Unreadable("not valid JSON, or cut off", text[at:] or text)
            return
        yield item
        at = after


def _draft(item: object, split: Split) -> Draft | Unreadable:
    raw = json.dumps(item, ensure_ascii=False)
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
