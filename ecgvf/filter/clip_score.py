"""CLIP scores: the cosine similarity of each image and its own prompt, measured once and then bounded by any floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.records import PromptPair, Record, Rendering, Role, from_table, to_table
from ecgvf.core.shard_set import Advance
from ecgvf.core.stage_set import PAIRS, Stage, StageSet

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder

CLIP_SCORES = Stage("likeness", "ecgvf filter")

BATCH = 32
"""Images, with their prompts, per forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore(Record):
    """The cosine, in [-1, 1], of one image and its prompt; -1 if the image is unreadable."""

    record_id: str
    role: Role
    cosine: Annotated[float, pa.float32()]


def measure_clip_scores(images: StageSet, encoder: "Encoder", *, current: bool = True) -> StageSet:
    """The finished set of a ``ClipScore`` per image; it resumes where it was interrupted. It becomes current if
    ``current``. Raises as ``device_errors`` does."""
    import torch  # takes seconds, and reviewing needs none

    from ecgvf.core.device import device_errors
    from ecgvf.janus import num_threads

    scores = images.run.stage_set(CLIP_SCORES, {"pictures": images.fingerprint, "clip_hash": encoder.weights_hash})
    prompts = {
        (pair.record_id, role): prompt
        for pair in images.source(PAIRS).records(PromptPair)
        for role, prompt in pair.prompts()
    }

    def work(shard: Sequence[int], recorded: JSON, advance: Advance) -> pa.Table:
        renderings = [
            rendering
            for index in shard
            for rendering in from_table(Rendering, images.read_shard(index))
            if rendering.failure is None
        ]
        with num_threads(recorded["threads"]), device_errors(encoder.device, "measure CLIP scores"):
            cosines = _cosines(
                encoder,
                [rendering.image for rendering in renderings],
                [prompts[rendering.record_id, rendering.role] for rendering in renderings],
            )
        advance(len(shard))
        rows = [
            ClipScore(record_id=rendering.record_id, role=rendering.role, cosine=cosine)
            for rendering, cosine in zip(renderings, cosines, strict=True)
        ]
        return to_table(ClipScore, rows)

    shards = [[index] for index in range(len(images.shards()))]
    scores.fill(shards, work, description="CLIP scores", circumstances={"threads": torch.get_num_threads()})
    scores.finish({}, current=current)
    return scores


def _cosines(encoder: "Encoder", pngs: Sequence[bytes], prompts: Sequence[str]) -> list[float]:
    """The cosine of each image and its prompt; -1 for an unreadable image."""
    cosines = [-1.0] * len(pngs)
    readable = [(index, pixels) for index, png in enumerate(pngs) if (pixels := _decode(png)) is not None]
    for start in range(0, len(readable), BATCH):
        batch = readable[start : start + BATCH]
        vectors = encoder.encode_images(np.stack([pixels for _, pixels in batch]))
        texts = encoder.encode_texts([prompts[index] for index, _ in batch])
        for (index, _), cosine in zip(batch, (vectors * texts).sum(dim=1).tolist(), strict=True):
            cosines[index] = cosine
    return cosines


def _decode(png: bytes) -> NDArray[np.uint8] | None:
    try:
        return decode(png)
    except OSError:
        return None
