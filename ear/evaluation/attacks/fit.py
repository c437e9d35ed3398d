"""Take an attack's steps and keep them in the store: an interrupted attack resumes, and ends with the same bytes.

STORE/<concept>/attacks/<fingerprint>/shard-*.parquet      a row per step; a shard's last row has the state after it
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from ear.evaluation.attacks.attack import Attack, Example, Kind, OptimisedAttack
from ear.evaluation.attacks.kinds import KINDS
from ear.method.open_adapter import AnyAdapter
from ecgvf.core.files import JSON
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import Stage, StageSet
from ecgvf.janus import JanusModel, num_threads
from ecgvf.render.batches import ImageTask

STAGE = Stage("attacks", "ear attack")
SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("loss", pa.float32(), nullable=False),
        pa.field("state", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class FittedAttack:
    """An attack whose budget is spent."""

    attack: Attack
    budget: int
    fingerprint: str
    """Of its settings: kind, budget, model and adapter, concept, examples, seed and constants."""

    @property
    def name(self) -> Kind:
        """Its kind."""
        return self.attack.kind

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        """Context with the tuned ``model`` under attack."""
        return self.attack.active(model)

    def prefix(self, tasks: Sequence[ImageTask]) -> Tensor | None:
        """The first tokens that the attacker forces on the images of ``tasks``, if any."""
        return self.attack.prefix([task.seed for task in tasks], self.budget)


def fit(
    run: ConceptRun,
    model: JanusModel,
    adapter: AnyAdapter,
    kind: Kind,
    budget: int,
    examples: Sequence[Example],
    seed: int,
    *,
    adapter_hash: str,
    concept: str,
) -> FittedAttack:
    """Attack ``model`` with its ``adapter`` until ``budget`` is spent, to bring back ``concept``.

    ``examples`` show the concept, and ``adapter_hash`` identifies the adapter's weights. Steps that the store has are
    not taken again. Raises ``SettingsError`` for a budget that is too large.
    """
    KINDS[kind].check(model, budget)
    chosen = list(examples[: KINDS[kind].examples_used])
    settings = {
        "kind": kind,
        "budget": budget,
        "attacked": concept,
        "model": model.fingerprint,
        "dtype": model.dtype_name,
        "adapter": adapter_hash,
        "examples": _digest(chosen),
        "seed": seed,
        **KINDS[kind].settings,
    }
    stage_set = run.stage_set(STAGE, settings)
    with adapter.active(model) as tuned:
        attack = KINDS[kind](tuned, chosen, seed)
        if isinstance(attack, OptimisedAttack):
            _take_steps(stage_set, attack, budget, f"{kind} on {concept}")
    return FittedAttack(attack, budget, stage_set.fingerprint)


def _take_steps(stage_set: StageSet, attack: OptimisedAttack, steps: int, description: str) -> None:
    size = -(-steps // attack.shards)
    if done := len(stage_set.shards()):
        _restore(attack, stage_set.read_shard(done - 1)["state"][-1].as_py())
    first = _saved(attack.state())

    def work(numbers: Sequence[int], recorded: JSON, advance: Callable[[int], None]) -> pa.Table:
        rows = []
        if numbers[0] == 0:  # the first shard may be made again
            _restore(attack, first)
        with num_threads(recorded["threads"]):
            for number in numbers:
                rows.append({"step": number, "loss": attack.step(number), "state": b""})
                advance(1)
        rows[-1]["state"] = _saved(attack.state())
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    stage_set.fill(
        [range(start, min(start + size, steps)) for start in range(0, steps, size)],
        work,
        description=description,
        circumstances={"threads": torch.get_num_threads(), "device": attack.model.device.type},
    )
    stage_set.finish({"steps": steps, "found": attack.found()}, current=False)


def _saved(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _restore(attack: OptimisedAttack, state: bytes) -> None:
    attack.restore(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))


def _digest(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.prompt, example.vq_ids.tolist())).encode())
    return digest.hexdigest()[:16]
