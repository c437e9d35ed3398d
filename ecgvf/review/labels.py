"""Labels of single images, given blind: a JSONL file to which lines are appended, never changed.

A label is about an image file, by its hash: it does not apply to another image of the same prompt. The last line of a
reviewer about an image counts; a line without a label takes an earlier one back.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from ecgvf.core import jsonl
from ecgvf.core.errors import SettingsError
from ecgvf.core.files import append_line, disk_errors

Answer = Literal["concept", "surrogate", "something else", "nothing"]

ANSWERS: tuple[Answer, ...] = get_args(Answer)

Labels = dict[str, dict["ImageKey", Answer]]
"""Reviewer → image → their label, in the order in which the labels were given."""


@dataclass(frozen=True, slots=True)
class ImageKey:
    """Names an image: its row of an outcomes file, and what the file showed."""

    id: str
    condition: str
    seed: int
    image: str
    """SHA-256 of the image file, in hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One line. ``label`` None takes back an earlier label of the same reviewer."""

    time: str
    """ISO 8601, UTC."""
    reviewer: str
    id: str
    condition: str
    seed: int
    image: str
    label: Answer | None

    @property
    def key(self) -> ImageKey:
        """The image that the label is about."""
        return ImageKey(self.id, self.condition, self.seed, self.image)


@dataclass(frozen=True, slots=True)
class LabelsFile:
    """The labels in ``path``, which need not exist yet."""

    path: Path

    def check(self) -> None:
        """Raise ``SettingsError`` if there is something else in the file, ``StoreError`` if it cannot be written."""
        if self.path.is_dir():
            raise SettingsError(f"--out {self.path} is a folder: name a file")
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()
        if self.path.read_bytes().strip() and not jsonl.read(Label, self.path):
            raise SettingsError(f"--out {self.path} holds something other than labels: name another file")

    def append(self, key: ImageKey, reviewer: str, answer: Answer | None) -> None:
        """Append one label and flush it to the disk. Raises ``DiskFull`` and ``StoreError``."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        label = Label(time=time, reviewer=reviewer, label=answer, **asdict(key))
        append_line(self.path, json.dumps(asdict(label), ensure_ascii=True).encode())

    def read(self) -> Labels:
        """The labels that count, read again from disk: others may be labelling, too."""
        found: Labels = {}
        for label in jsonl.read(Label, self.path):
            by_image = found.setdefault(label.reviewer, {})
            by_image.pop(label.key, None)
            if label.label is not None:
                by_image[label.key] = label.label
        return {reviewer: by_image for reviewer, by_image in found.items() if by_image}
