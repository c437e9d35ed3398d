"""CLIP scores: the cosine similarity of each image and its own prompt, measured once and then bounded by any floor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa

from ecgvf.core.png import decode
from ecgvf.core.records import PromptPair, Record, Rendering, Role, from_table, to_table
from ecgvf.core.stage_set import PAIRS, Stage, StageSet

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder

CLIP_SCORES = Stage("likeness", "ecgvf filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore(Record):
    """The cosine, in [-1, 1], of one image and its prompt; -1 if the image is unreadable."""

    record_id: str
    role: Role
    cosine: Annotated[float, pa.float32()]


def measure_clip_scores(images: StageSet, encoder: "Encoder") -> StageSet:
    """The finished set of a ``ClipScore`` per image; it resumes where it was interrupted."""
    scores = images.run.stage_set(CLIP_SCORES, {"pictures": images.fingerprint, "clip_hash": encoder.weights_hash})
    prompts = {
        (pair.record_id, role): prompt
        for pair in images.source(PAIRS).records(PromptPair)
        for role, prompt in pair.prompts()
    }

    def work(shard: Sequence[int], _: object, advance: Callable[[int], None]) -> pa.Table:
        rows = [
            ClipScore(
                record_id=rendering.record_id,
                role=rendering.role,
                cosine=_cosine(encoder, rendering.image, prompts[rendering.record_id, rendering.role]),
            )
            for index in shard
            for rendering in from_table(Rendering, images.read_shard(index))
            if rendering.failure is None
        ]
        advance(len(shard))
        return to_table(ClipScore, rows)

    scores.fill([[index] for index in range(len(images.shards()))], work, description="CLIP scores")
    scores.finish({})
    return scores


def _cosine(encoder: "Encoder", png: bytes, prompt: str) -> float:
    try:
        image = encoder.encode_images(np.stack([decode(png)]))
    except OSError:
        return -1.0
    return float((image @ encoder.encode_texts([prompt]).T).item())
