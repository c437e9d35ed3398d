"""What pydantic finds wrong with a file or an answer, in a few words."""

from pydantic import ValidationError


def first_error(error: ValidationError, whole: str = "") -> str:
    """The first invalid field and its fault, without its value, which may be a key.

    ``whole`` stands for the field if the fault is of no single field.
    """
    first = error.errors(include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    return f"{field}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
