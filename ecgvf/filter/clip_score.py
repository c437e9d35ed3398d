"""How near each picture is to its own prompt, by CLIP: looked at once, and bounded afterwards by whatever floor."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.png import decode
from ecgvf.core.records import PromptPair, Record, Rendering, Role, from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, Stage, StageSet

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder

LIKENESS = Stage("likeness", "ecgvf filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness(Record):
    """The cosine, in [-1, 1], of one picture and its prompt; -1 where the picture cannot be read."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("cosine", pa.float32(), nullable=False),
        ]
    )

    record_id: str
    role: Role
    cosine: float


def measure(run: ConceptRun, pictures: StageSet, encoder: "Encoder") -> StageSet:
    """The finished set of ``Likeness`` of a set of pictures, shard by shard; it goes on where it was interrupted."""
    stage = run.stage_set(LIKENESS, {"pictures": pictures.fingerprint, "clip_hash": encoder.weights_hash})
    if not stage.finished:
        pairs = run.open(PAIRS, pictures.settings["pairs"]).records(PromptPair)
        prompts = {(pair.record_id, role): prompt for pair in pairs for role, prompt in pair.prompts()}
        count = len(pictures.shards())
        there = [stage.done(index) for index in range(count)]
        with console.progress("CLIP looks", count, sum(there)) as bar:
            for index in range(count):
                if not there[index]:
                    drawn = [one for one in from_table(Rendering, pictures.read_shard(index)) if one.failure is None]
                    rows = [
                        Likeness(record_id=one.record_id, role=one.role, cosine=_cosine(encoder, one, prompts))
                        for one in drawn
                    ]
                    stage.write_shard(index, to_table(Likeness, rows))
                    bar.advance()
    stage.finish({})
    return stage


def _cosine(encoder: "Encoder", drawn: Rendering, prompts: dict[tuple[str, Role], str]) -> float:
    try:
        picture = encoder.encode_images(np.stack([decode(drawn.image)]))
    except OSError:
        return -1.0
    return float((picture @ encoder.encode_texts([prompts[drawn.record_id, drawn.role]]).T).item())
