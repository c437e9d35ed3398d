"""What pydantic finds wrong with a file or an answer, in a few words."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_FAULTS = {
    "missing": "the field is missing",
    "extra_forbidden": "unknown field",
    "string_type": "write text; numbers, dates, yes and no need quotes",
    "int": "write a whole number",
    "float": "write a number",
    "decimal": "write a number",
    "finite_number": "write a number",
    "bool": "write true or false",
    "date": "write a date such as 2026-01-31",
    "path_type": "write a path",
    "tuple_type": "write a list",
    "list_type": "write a list",
    "dict_type": "write a mapping",
    "model_type": "write a mapping",
    "literal_error": "write {expected}",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
    "too_short": "list at least {min_length}",
    "string_too_short": "write something",
    "string_too_long": "write at most {max_length} characters",
    "string_pattern_mismatch": "write text that matches {pattern}",
}
"""Type of an error of pydantic, or the part before its first underscore → what to write instead."""


def first_error(error: ValidationError, whole: str = "", model: type[BaseModel] | None = None) -> str:
    """An invalid field and its fault, without its value, which may be a key; an unknown field comes before others.

    ``whole`` stands for the field if the fault is of no single field. The fields of ``model`` that are spelt like an
    unknown one are named with it.
    """
    errors: Sequence[Any] = error.errors(include_input=False)
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    field = ".".join(map(str, first["loc"])) or whole
    fault = _FAULTS.get(first["type"]) or _FAULTS.get(first["type"].split("_")[0])
    fault = fault.format(**first.get("ctx", {})) if fault else first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and model is not None:
        fault += did_you_mean(str(first["loc"][-1]), list(_fields(model, first["loc"][:-1])))
    return f"{field}: {fault}".removeprefix(": ")


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
