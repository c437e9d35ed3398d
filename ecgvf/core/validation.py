"""What pydantic finds wrong with a file or an answer, in a few words."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_FAULTS = {
    "missing": "the field is missing",
    "extra_forbidden": "unknown field",
    "string_type": "it must be text (in quotes if it looks like a number, a date, yes or no)",
    "int": "it must be a whole number",
    "float": "it must be a number",
    "decimal": "it must be a number",
    "finite_number": "it must be a finite number",
    "bool": "it must be true or false",
    "date": "it must be a date such as 2026-01-31",
    "path_type": "it must be a path",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be a mapping",
    "model_type": "it must be a mapping",
    "invalid_key": "its keys must be text",
    "literal_error": "it must be {expected}",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
    "too_short": "it must not be empty",
    "string_too_short": "it must not be empty",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must match {pattern}",
}
"""Type of an error of pydantic, or the part before its first underscore → what is wrong."""


def first_error(error: ValidationError, whole: str = "", model: type[BaseModel] | None = None) -> str:
    """An invalid field and its fault, without its value, which may be a key; an unknown field comes before others.

    ``whole`` stands for the field if the fault is of no single field. The fields of ``model`` that are spelt like an
    unknown one are named with it.
    """
    errors: Sequence[Any] = error.errors(include_input=False)
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    field = _place(first["loc"]) or whole
    fault = _fault(first)
    if first["type"] == "extra_forbidden" and model is not None:
        fault += did_you_mean(str(first["loc"][-1]), list(_fields(model, first["loc"][:-1])))
    return f"{field}: {fault}".removeprefix(": ")


def faults(error: ValidationError) -> str:
    """What is wrong with a single value, for each type that it could have."""
    return " or ".join(dict.fromkeys(map(_fault, error.errors(include_input=False))))


def _fault(error: Any) -> str:
    fault = _FAULTS.get(error["type"]) or _FAULTS.get(error["type"].split("_")[0])
    return fault.format(**error.get("ctx", {})) if fault else str(error["msg"]).removeprefix("Value error, ")


def _place(path: Sequence[int | str]) -> str:
    """``path`` in words: "judge_labels.nano, entry 1"; entries of lists count from 1."""
    words = (f", entry {part + 1}" if isinstance(part, int) else f".{part}" for part in path)
    return re.sub(r"(entry \d+)\.", r"\1, ", "".join(words)).lstrip(".,").strip()


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """In parentheses, what is spelt like ``word``; empty if nothing is."""
    similar = get_close_matches(word, known)
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> Iterator[str]:
    """The fields that ``model`` has at ``path``."""
    models = [model]
    for part in path:  # the index of a list and the key of a mapping lead to what these hold
        found = [each.model_fields[part].annotation for each in models if part in each.model_fields]
        models = [inner for annotation in found for inner in _models(annotation)] or models
    for each in models:
        yield from each.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
