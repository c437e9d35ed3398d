"""A *set*: one stage's output under one fingerprint of its settings, in ``STORE/<concept>/<stage>/<fingerprint>/``.

A new stage is a settings dict and a function: ``run.stage_set(STAGE, settings).fill(shards, work, ...)``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ecgvf.core import console
from ecgvf.core.changes import changes
from ecgvf.core.errors import StageMissing, StoreCorrupt
from ecgvf.core.files import JSON, read_json, write_atomic
from ecgvf.core.records import SPLITS
from ecgvf.core.shard_set import ShardSet, Summary, fingerprint

if TYPE_CHECKING:
    from ecgvf.core.run import ConceptRun


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the pipeline."""

    name: str
    """Its folder, and its key in the settings of later stages."""
    command: str
    """The command that fills it, for messages."""
    options: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Dotted key of a setting → the option that sets it, for messages; "" for a setting of no interest to users."""


_OPTIONS = {"seed": "--seed", "surrogates": "--surrogates", "writer.surrogates": "--surrogates", "kept": ""}

PAIRS = Stage(
    "pairs",
    "ecgvf generate",
    {
        "train.pairs": "--pairs",
        "validation.validation": "--validation",
        "test.tests": "--tests",
        "retain.retained": "--split retain --count",
        **{f"{split}.{setting}": option for split in SPLITS for setting, option in _OPTIONS.items()},
    },
)
IMAGES = Stage("pictures", "ecgvf render", {"sampling.guidance": "--guidance", "sampling.temperature": "--temperature"})
VERDICTS = Stage("verdicts", "ecgvf filter")
ACCEPTANCE = Stage("acceptance", "ecgvf filter")

MAX_CHANGES = 8
"""Most lines about what is new in a set."""

STAGES = (PAIRS, IMAGES, VERDICTS, ACCEPTANCE)


class StageSet(ShardSet):
    """One stage's output under one fingerprint. ``ConceptRun`` opens it."""

    def __init__(self, run: "ConceptRun", stage: Stage, settings: Mapping[str, Any]) -> None:
        self.run, self.stage = run, stage
        origin = {"concept": run.concept.name, "stage": stage.name}
        super().__init__(run.folder(stage) / fingerprint(settings), settings, stage.command, origin)

    @classmethod
    def at(cls, run: "ConceptRun", stage: Stage, folder: Path) -> Self:
        """The set that ``folder`` holds. Raises ``StoreCorrupt`` if its settings were changed by hand."""
        settings = read_json(folder / "settings.json").get("settings", {})
        if fingerprint(settings) != folder.name:
            raise StoreCorrupt(f"{folder / 'settings.json'} was changed by hand: restore it, or delete {folder}")
        return cls(run, stage, settings)

    @property
    def changed_settings(self) -> list[str]:
        """What differs from the current set's settings, as "setting: old → new"; empty if there is no current set.

        A setting goes by its option, if ``Stage.options`` has it. Settings that only one of the two sets has, such as
        those of a split, are not taken apart.
        """
        try:
            before = self.run.current(self.stage).settings
        except StageMissing:
            return []
        keys = before.keys() | self.settings.keys()
        parted = {key for key in keys if _nested(before.get(key)) == _nested(self.settings.get(key))}
        found = [(key, before.get(key), self.settings.get(key)) for key in keys - parted]
        old, new = ({key: each[key] for key in parted & each.keys()} for each in (before, self.settings))
        found += changes(old, new)
        named = [(self.stage.options.get(key, key), was, is_now) for key, was, is_now in sorted(found)]
        lines = [f"{name}: {_short(was)} → {_short(is_now)}" for name, was, is_now in named if name]
        return list(dict.fromkeys(lines))  # the splits share --seed and --surrogates

    def source(self, stage: Stage) -> "StageSet":
        """The set of the earlier ``stage`` from which this one was made."""
        return self.run.open(stage, self.settings[stage.name])

    def finish(self, summary: Summary, *, current: bool = True) -> None:
        """Check every shard, write the manifest and make this the current set. A finished set only becomes current.

        ``current`` False leaves the current set as it is.
        """
        super().finish(summary)
        if current:
            self.make_current()

    def make_current(self) -> None:
        """Make this finished set the one that the next stage reads. Raises ``StageMissing`` before it is finished."""
        self.require_finished()
        write_atomic(self.path.parent / "current", f"{self.fingerprint}\n".encode())

    def announce(self) -> None:
        """Print a note of the settings that differ from the current set's, up to ``MAX_CHANGES`` of them."""
        which = "an earlier set" if self.finished else "a new set"
        lines = self.changed_settings
        if len(lines) > MAX_CHANGES:
            lines[MAX_CHANGES - 1 :] = [f"… and {len(lines) - MAX_CHANGES + 1} other settings"]
        for line in lines:
            console.note(f"{which} of {self.stage.name}, {self.fingerprint}: {line}")

    def _write_header(self, circumstances: JSON) -> None:
        self.run.store.create()
        super()._write_header(circumstances)


def _nested(value: object) -> bool:
    return isinstance(value, Mapping)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
