"""A training run on disk: ``STORE/<concept>/ear/<recipe>-<hash8>-s<seed>/``.

adapter.safetensors   the tuned weights; equal runs write equal bytes
adapter_model.safetensors, adapter_config.json   instead, for LoRA, in PEFT's format
recipe.json           instead, if the recipe trains nothing
loss.svg              a plot of the losses
run.json              settings, losses, versions and times; written last, when the run is finished
checkpoint.pt         the state from which an interrupted run resumes; deleted when the run is finished
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ear.method.lora import CONFIG as LORA_CONFIG
from ear.method.lora import LORA_FILE
from ear.method.oracle import MODEL_FILE
from ecgvf.core import console
from ecgvf.core.errors import AdapterError
from ecgvf.core.files import pretty_json, require_local, stream_atomic, write_atomic
from ecgvf.core.hub import REPO, hub_errors
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint, versions
from ecgvf.core.stage_set import Stage
from ecgvf.core.store import Store

STAGE = Stage("ear", "ear train")
ADAPTER_FILE, PROMPT_RECIPE = "adapter.safetensors", "recipe.json"
FILES = (ADAPTER_FILE, LORA_FILE, PROMPT_RECIPE)
"""The names that an adapter's file may have."""
_VARIANT = "-ablation"
RUN_FACTS = {"seed", "steps", "windows", "loss_first", "loss_last", "retention_loss_last", "seconds", "ended"}
"""What run.json says, besides the facts of the adapter."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training on disk, by its folder."""

    path: Path
    new: bool = field(default=False, compare=False)
    """Whether the call that returned it trained it; False if it was finished before."""

    @property
    def adapter(self) -> Path:
        """The file of the tuned weights, or of the recipe if nothing is trained."""
        files = [self.path / name for name in FILES]
        return next((file for file in files if file.is_file()), files[0])

    @property
    def finished(self) -> bool:
        """Whether the adapter and run.json exist."""
        return self.adapter.is_file() and (self.path / "run.json").is_file()

    @property
    def facts(self) -> dict[str, Any]:
        """The content of run.json. Raises ``AdapterError`` if it cannot be read."""
        try:
            facts = json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict) or not facts.keys() >= RUN_FACTS:
            raise AdapterError(f"{self.path / 'run.json'} is damaged: restore it, or delete {self.path}")
        return facts

    def json(self) -> dict[str, Any]:
        """As ``ear train --json`` prints it. ``retention_loss_last``, of rehearsal, is in nats: lower is better."""
        facts = self.facts
        keys = ("seed", "steps", "windows", "loss_first", "loss_last", "retention_loss_last", "seconds")
        return {"adapter": str(self.adapter), **{key: facts[key] for key in keys}}

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the state from which an interrupted run resumes, whole or not at all; ``checkpoint`` reads it."""
        stream_atomic(self.checkpoint_file, partial(_save, dict(state)))

    def checkpoint(self) -> dict[str, Any] | None:
        """The last saved state of an interrupted run, or None. Raises ``AdapterError`` for a damaged file."""
        return self._load_checkpoint(mmap=False)

    def _load_checkpoint(self, *, mmap: bool) -> dict[str, Any] | None:
        """As ``checkpoint``; with ``mmap``, no tensor is read before it is used."""
        if not self.checkpoint_file.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint_file, map_location="cpu", weights_only=True, mmap=mmap)
            return state
        except Exception as error:  # torch raises many kinds for a damaged archive
            raise AdapterError(f"{self.checkpoint_file} is damaged: delete it, and the run starts anew") from error

    @property
    def threads(self) -> int | None:
        """The number of CPU threads of an interrupted run; None without a checkpoint."""
        state = self._load_checkpoint(mmap=True)
        return None if state is None else state.get("threads")

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write run.json, after the adapter was written, and delete the checkpoint."""
        write_atomic(self.path / "run.json", pretty_json(facts))
        for leftover in (self.checkpoint_file, *self.path.glob("*.tmp")):
            leftover.unlink(missing_ok=True)

    def finish_untrained(self, facts: Mapping[str, Any]) -> None:
        """``finish`` for an adapter that was not trained: no steps, no losses."""
        nothing = dict.fromkeys(("loss_first", "loss_last", "retention_loss_last"))
        nothing |= {"steps": 0, "windows": 0, "seconds": 0.0}
        ended = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.finish({**facts, **nothing, "seed": 0, "ended": ended, "versions": versions(), "circumstances": {}})

    @property
    def checkpoint_file(self) -> Path:
        """Where ``save_checkpoint`` writes."""
        return self.path / "checkpoint.pt"


def _save(state: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:
        # Of the archive, closed before it is whole: what kept it from being written, a full disk or Ctrl-C, came first.
        cause = error.__context__
        raise (error if cause is None or isinstance(cause, RuntimeError) else cause) from None


def open_run(run: ConceptRun, recipe: str, settings: Mapping[str, Any], seed: int) -> TrainingRun:
    """The training run of ``settings`` and ``seed``, started or not. Raises ``StoreError`` on object storage."""
    require_local(run.store.root, "checkpoints and adapters")
    run.store.create()
    return TrainingRun(run.folder(STAGE) / f"{recipe}-{fingerprint(settings)[:8]}-s{seed}")


def variant_name(recipe: str) -> str:
    """The name of a recipe that ``ear ablate`` varies: ``newest`` leaves its runs out."""
    return f"{recipe}{_VARIANT}"


def is_variant(name: str) -> bool:
    """Whether the recipe or run with this name is an ablation's (``variant_name``)."""
    return f"{_VARIANT}-" in f"{name}-"


def finished(store: Store, concept: str) -> list[TrainingRun]:
    """The finished runs that erase ``concept``, oldest first."""
    runs = [TrainingRun(file.parent) for file in store.folder(concept, STAGE.name).glob("*/run.json")]
    return sorted((run for run in runs if run.finished), key=lambda run: (run.facts["ended"], run.path.name))


def newest(store: Store, concept: str, dataset: str | None = None) -> TrainingRun:
    """The run that finished last, other than an ablation's. Raises ``AdapterError`` if there is none.

    ``dataset`` is a fingerprint: runs on it come first; without any, a note says what the run was trained on.
    """
    # An ablation's variants are there to be compared, not to be used.
    runs = [run for run in finished(store, concept) if not is_variant(run.path.name)]
    if not runs:
        raise AdapterError(
            f"no adapter for {concept!r} in {store.root}: run `ear train --dataset ecgvf/{concept}` first, "
            "or pass a file as --adapter"
        )
    if dataset is None:
        return runs[-1]
    fitting = [run for run in runs if run.facts.get("dataset") == dataset]
    if not fitting:
        other = runs[-1].facts.get("dataset") or "another, unknown here"
        console.note(
            f"no adapter for {concept!r} was trained on this dataset ({dataset}); "
            f"the newest, {runs[-1].path.name}, was trained on {other}"
        )
    return (fitting or runs)[-1]


def find_adapter(store: Store, name: str) -> Path:
    """The adapter file that ``name`` names: a file, the folder of a run or of an oracle, the name of a run in
    this store, or hub:OWNER/NAME, a repository on the Hub, which is downloaded.

    Raises ``AdapterError`` if there is none, ``HubError``.
    """
    if name.startswith("hub:"):
        return _download(name.removeprefix("hub:"))
    runs = {file.parent.name: file for each in FILES for file in sorted(store.root.glob(f"*/{STAGE.name}/*/{each}"))}
    for file in (Path(name), *(Path(name) / each for each in (*FILES, MODEL_FILE)), runs.get(name)):
        if file is not None and file.is_file():
            return file
    raise AdapterError(
        f"no adapter at {name}, and no run of that name in {store.root} (its runs: {', '.join(runs) or 'none'}): "
        "`ear train` makes one and prints its path"
    )


def adapter_name(file: Path) -> str:
    """How ``find_adapter`` finds ``file`` again: by the name of its run in a store or of its repository on the Hub,
    else by its path."""
    folder = file.parent
    if folder.parent.name == STAGE.name:
        return folder.name
    repository = folder.parent.parent.name  # in the Hub's cache: models--OWNER--NAME/snapshots/COMMIT
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return f"hub:{repository.removeprefix('models--').replace('--', '/')}"
    return str(file)


def _download(repo: str) -> Path:
    """Download the adapter in ``repo``, and return its file."""
    from huggingface_hub import snapshot_download

    if not re.fullmatch(REPO, repo):
        raise AdapterError(f"hub:{repo} is not a name on the Hub: write hub:OWNER/NAME")
    with hub_errors(repo, repo_type="adapter"):
        folder = Path(snapshot_download(repo, allow_patterns=[*FILES, LORA_CONFIG]))
    for file in (folder / each for each in FILES):
        if file.is_file():
            return file
    raise AdapterError(f"{repo} on the Hub holds no adapter (none of {', '.join(FILES)})")
