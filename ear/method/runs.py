"""An erasing run on disk: ``STORE/<concept>/ear/<recipe>-<hash8>-s<seed>/``.

adapter.safetensors   the tuned weights; there when the run is finished, and the same bytes for the same run
run.json              what it was made from, its losses, versions and times
checkpoint.pt         where an interrupted run goes on; gone when it is finished
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecgvf.core.errors import AdapterError
from ecgvf.core.files import write_atomic
from ecgvf.core.stage_set import fingerprint
from ecgvf.core.store import Store

STAGE = "ear"
FACTS = {"steps", "windows", "loss_first", "loss_last", "kept_last", "seconds", "ended"}
"""What run.json says at least."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its folder, and what is in it."""

    path: Path

    @property
    def adapter(self) -> Path:
        return self.path / "adapter.safetensors"

    @property
    def finished(self) -> bool:
        return self.adapter.is_file() and (self.path / "run.json").is_file()

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says. Raises ``AdapterError`` where it cannot be read."""
        try:
            facts = json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict) or not facts.keys() >= FACTS:
            raise AdapterError(f"{self.path / 'run.json'} is not what was written: restore it, or delete {self.path}")
        return facts

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_atomic(self._checkpoint, buffer.getvalue())

    def checkpoint(self) -> dict[str, Any] | None:
        """Where the run was interrupted. Raises ``AdapterError`` for a file that is damaged."""
        if not self._checkpoint.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            return state
        except Exception as error:  # torch raises whatever a damaged archive leads it to
            raise AdapterError(f"{self._checkpoint} is damaged: delete it, and the run starts anew") from error

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Say what the run was; its adapter is there already."""
        text = json.dumps(dict(facts), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(self.path / "run.json", text.encode() + b"\n")
        for left_over in (self._checkpoint, *self.path.glob("*.tmp")):
            left_over.unlink(missing_ok=True)

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"


def open_run(store: Store, concept: str, recipe: str, settings: Mapping[str, Any], seed: int) -> Run:
    """The run of these settings and this seed, begun or not."""
    store.create()
    return Run(store.folder(concept, STAGE) / f"{recipe}-{fingerprint(settings)[:8]}-s{seed}")


def finished(store: Store, concept: str) -> list[Run]:
    """The finished runs for a concept, oldest first."""
    runs = [Run(file.parent) for file in store.folder(concept, STAGE).glob("*/adapter.safetensors")]
    return sorted((run for run in runs if run.finished), key=lambda run: (run.facts["ended"], run.path.name))


def named(store: Store, name: str) -> Path:
    """The adapter that ``name`` means: a file, a run's folder, or the name of a finished run of this store.

    Raises ``AdapterError`` where it is none of these.
    """
    runs = {file.parent.name: file for file in sorted(store.root.glob(f"*/{STAGE}/*/adapter.safetensors"))}
    found = [
        file for file in (Path(name), Path(name) / "adapter.safetensors", runs.get(name)) if file and file.is_file()
    ]
    if not found:
        raise AdapterError(
            f"no adapter at {name}, and no run of that name in {store.root} (there: {', '.join(runs) or 'none'}): "
            "`ear train` makes one, and prints its path"
        )
    return found[0]


def newest(store: Store, concept: str) -> Run:
    """The run finished last. Raises ``AdapterError`` where there is none."""
    runs = finished(store, concept)
    if not runs:
        raise AdapterError(
            f"no adapter for {concept!r} in {store.root}: run `ear train --dataset ecgvf/{concept}` first, "
            "or name a file with --adapter"
        )
    return runs[-1]
