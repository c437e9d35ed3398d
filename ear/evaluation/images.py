"""Evaluation images, kept in the store: an interrupted evaluation resumes, and "before" is rendered once."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from ear.evaluation.attacks.fit import FittedAttack
from ear.evaluation.prompts import EvaluationPrompt
from ear.method.open_adapter import AnyAdapter
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import Stage, StageSet
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling
from ecgvf.render import RenderedImage, fill_with_images, refusal, refuse_failures

STAGE = Stage("evaluation", "ear eval")
SHARD = 64
SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("vq_ids", pa.list_(pa.uint16()), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)


def shards(prompts: Sequence[EvaluationPrompt]) -> list[Sequence[EvaluationPrompt]]:
    """The prompts of each shard."""
    return [prompts[start : start + SHARD] for start in range(0, len(prompts), SHARD)]


def renderable(model: JanusModel, prompts: Sequence[EvaluationPrompt]) -> list[EvaluationPrompt]:
    """The ``prompts`` that ``model`` accepts; a note counts those that are left out.

    Raises ``DatasetError`` if none is left.
    """
    reasons = [refusal(model, prompt.prompt) for prompt in prompts]
    accepted = [prompt for prompt, reason in zip(prompts, reasons, strict=True) if reason is None]
    if len(accepted) < len(prompts):
        text, why = next((prompt.prompt, reason) for prompt, reason in zip(prompts, reasons, strict=True) if reason)
        left_out = (
            f"{len(prompts) - len(accepted)} of {len(prompts)} prompts cannot be rendered, such as {text[:60]!r}: {why}"
        )
        if not accepted:
            raise DatasetError(left_out)
        console.note(f"left out: {left_out}")
    return accepted


def evaluation_images(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    prompts: Sequence[EvaluationPrompt],
    sampling: Sampling,
    *,
    adapter: AnyAdapter | None = None,
    adapter_hash: str | None = None,
    attack: FittedAttack | None = None,
    batch_size: int | None = None,
) -> StageSet:
    """Render an image per prompt, by the frozen model or with ``adapter``, under ``attack`` if given; a finished set.

    Images that the store has are not rendered again. ``adapter_hash`` identifies the adapter's weights. ``batch_size``
    decides the images, and is part of the fingerprint, only if the model does not mask padding. Raises
    ``DatasetError`` for a prompt that cannot be rendered.
    """
    settings: dict[str, Any] = {
        "model": model.fingerprint,
        "dtype": model.dtype_name,
        "sampling": asdict(sampling),
        "adapter": adapter_hash,
        "cases": fingerprint({"cases": [[prompt.prompt, prompt.seed] for prompt in prompts]}),
        "columns": SCHEMA.names,
    }
    if not model.padding_masked:
        settings["unmasked_batch"] = batch_size
    if attack is not None:
        settings["attack"] = attack.fingerprint
    if model.raw_control_tokens:
        settings["raw_control_tokens"] = True
    stage_set = ConceptRun(store, dataset.concept).stage_set(STAGE, settings)
    description = "rendering without the adapter" if adapter is None else "rendering with the adapter"
    with ExitStack() as stack:
        rendering = stack.enter_context(adapter.active(model)) if adapter is not None else model
        if attack is not None:
            rendering = stack.enter_context(attack.active(rendering))
            description += f", under {attack.name}"
        fill_with_images(
            stage_set,
            shards(prompts),
            rendering,
            sampling,
            _table,
            description=description,
            batch_size=batch_size,
            prefix=attack.prefix if attack is not None else lambda tasks: None,
        )
    stage_set.finish({"pictures": len(prompts)}, current=False)
    return stage_set


def image_table(
    prompts: Sequence[EvaluationPrompt], images: Sequence[bytes], vq_ids: Sequence[Sequence[int]]
) -> pa.Table:
    """A row of ``SCHEMA`` per prompt: its image as PNG, and the image's tokens, which may be none."""
    columns = {
        "prompt": [prompt.prompt for prompt in prompts],
        "seed": [prompt.seed for prompt in prompts],
        "vq_ids": vq_ids,
        "image": images,
    }
    return pa.table(columns, schema=SCHEMA)


def _table(prompts: Sequence[EvaluationPrompt], images: Sequence[RenderedImage]) -> pa.Table:
    refuse_failures(prompts, images)
    return image_table(prompts, [image.image for image in images], [image.vq_ids for image in images])
