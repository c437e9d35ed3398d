"""What is to be kept: the frozen model's own pictures of other prompts, and what it said while drawing them.

The paper has no such term; without one, what resembles the concept is lost with it. A rehearsal set is drawn once by
the frozen model and kept in the store, so that every recipe and seed rehearses the same pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from ear.method.objective import divergence
from ear.retained_concepts import in_nanos_world, rehearsed
from ecgvf.core import console, seeds
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import Stage, StageSet
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, hidden_states, logits, num_threads, render_images

STAGE = Stage("rehearsal", "ear train")
SHARD = 32
SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("vq_ids", pa.list_(pa.uint16()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Prompts that are not about the concept, with the frozen model's pictures of them."""

    prompts: tuple[str, ...]
    vq_ids: Tensor
    """int64 [N, T]."""
    frozen: Tensor
    """[N, T, C] in the model's dtype, on the CPU: the frozen model's last hidden states along these pictures."""

    def loss(self, model: JanusModel, chosen: Sequence[int]) -> Tensor:
        """KL(frozen || ``model``) of the next token along the ``chosen`` pictures, in nats, mean over positions."""
        rows = torch.tensor(chosen)
        states = hidden_states(model, [self.prompts[row] for row in chosen], self.vq_ids[rows])
        with torch.no_grad():
            wanted = logits(model, self.frozen[rows].to(states.device)).float()
        return divergence(wanted, logits(model, states).float()).mean()

    def batch(self, seed: int, step: int, size: int) -> list[int]:
        """Which pictures step number ``step`` rehearses: ``size`` different ones, decided by ``seed`` and ``step``."""
        generator = torch.Generator().manual_seed(seeds.derive(seed, str(step), "rehearse"))
        order: list[int] = torch.randperm(len(self.prompts), generator=generator)[:size].tolist()
        return order


def gather(store: Store, model: JanusModel, dataset: Dataset, count: int, *, batch_size: int = 16) -> Rehearsal:
    """``count`` pictures to rehearse (fewer where there are no more prompts), drawn now if not yet in the store.

    Outside nano's world nobody writes other prompts yet: the dataset's own surrogate pictures are rehearsed.
    Raises ``DatasetError`` where there is nothing to rehearse.
    """
    if in_nanos_world(dataset):
        prompts, vq_ids = _drawn(store, model, dataset, count, batch_size)
    else:
        kept = [(one.pair.surrogate, one.surrogate.vq_ids) for one in dataset.train if one.surrogate is not None]
        prompts = [prompt for prompt, _ in kept[:count] if prompt is not None]
        vq_ids = torch.tensor([ids for _, ids in kept[:count]], dtype=torch.int64)
    if not prompts:
        raise DatasetError(f"nothing to rehearse for {dataset.concept.name!r}: train with --option retention=0")
    frozen = [
        _states(model, prompts[start : start + batch_size], vq_ids[start : start + batch_size])
        for start in range(0, len(prompts), batch_size)
    ]
    return Rehearsal(tuple(prompts), vq_ids, torch.cat(frozen))


@torch.no_grad()
def _states(model: JanusModel, prompts: Sequence[str], vq_ids: Tensor) -> Tensor:
    return hidden_states(model, prompts, vq_ids).cpu()


def _drawn(store: Store, model: JanusModel, dataset: Dataset, count: int, batch_size: int) -> tuple[list[str], Tensor]:
    asked = rehearsed(dataset, count)
    stage = ConceptRun(store, dataset.concept).stage_set(
        STAGE,
        {
            "model": model.fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "sampling": dataset.sampling,
            "seed": dataset.run_seed,
            "prompts": [[topic.name, prompt] for topic, prompt in asked],
        },
    )
    if not stage.finished:
        _draw_missing(stage, model, dataset, [(topic.name, prompt) for topic, prompt in asked], batch_size)
        stage.finish({"pictures": len(asked)})
    rows = stage.read()
    return rows["prompt"].to_pylist(), torch.tensor(rows["vq_ids"].to_pylist(), dtype=torch.int64)


def _draw_missing(
    stage: StageSet, model: JanusModel, dataset: Dataset, asked: Sequence[tuple[str, str]], batch_size: int
) -> None:
    sampling = Sampling(**dataset.sampling)
    kept = stage.record_circumstances(batch_size=batch_size, threads=torch.get_num_threads(), device=model.device.type)
    shards = [asked[start : start + SHARD] for start in range(0, len(asked), SHARD)]
    there = [stage.done(index) for index in range(len(shards))]
    before = sum(len(shard) for shard, done in zip(shards, there, strict=True) if done)
    with num_threads(kept["threads"]), console.progress("drawing what is to be kept", len(asked), before) as bar:
        for index, shard in enumerate(shards):
            if there[index]:
                continue
            prompts = [prompt for _, prompt in shard]
            drawn_from = [
                seeds.derive(dataset.run_seed, f"{topic}/{index * SHARD + place}", "rehearse")
                for place, (topic, _) in enumerate(shard)
            ]
            drawing = render_images(
                model, prompts, drawn_from, sampling, batch_size=kept["batch_size"], advance=bar.advance
            )
            columns = {
                "topic": [topic for topic, _ in shard],
                "prompt": prompts,
                "seed": drawn_from,
                "vq_ids": drawing.vq_ids.tolist(),
            }
            stage.write_shard(index, pa.table(columns, schema=SCHEMA))
