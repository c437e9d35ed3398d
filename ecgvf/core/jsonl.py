"""Records as lines of JSON, appended by one or several processes (``files.append_line``), and read back."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ecgvf.core.files import JSON

T = TypeVar("T")


def read(kind: type[T], file: Path) -> list[T]:
    """The records of the dataclass ``kind`` in ``file``, in order; none if there is no file.

    A line that a kill cut short, or that is no such record, is skipped. Fields that a newer version added are ignored.
    """
    return parse(kind, file.read_bytes().splitlines()) if file.is_file() else []


def parse(kind: type[T], lines: Iterable[bytes]) -> list[T]:
    """The records in ``lines`` as ``read`` reads them."""
    adapter, found = TypeAdapter(kind), []
    for line in lines:
        try:
            found.append(adapter.validate_json(line, strict=True))
        except ValidationError:
            continue
    return found


def objects(content: bytes) -> Iterator[JSON]:
    """The JSON objects in ``content``, a file's; a line that a kill cut short, or that is none, is skipped."""
    for line in content.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
