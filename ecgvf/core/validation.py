"""What pydantic finds wrong with a file or an answer, in a few words."""

from pydantic import ValidationError

_FAULTS = {
    "missing": "the field is missing",
    "extra_forbidden": "unknown field",
    "tuple_type": "write a list",
    "list_type": "write a list",
    "dict_type": "write a mapping",
    "model_type": "write a mapping",
}
"""Type of an error of pydantic → what is wrong, where pydantic speaks of Python."""


def first_error(error: ValidationError, whole: str = "") -> str:
    """The first invalid field and its fault, without its value, which may be a key.

    ``whole`` stands for the field if the fault is of no single field.
    """
    first = error.errors(include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    fault = _FAULTS.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"{field}: {fault}".removeprefix(": ")
