"""The questions about composed images that ship as ``data/nano/questions.parquet``."""

import random
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core import png
from ecgvf.core.files import write_atomic
from ecgvf.world.questions import ImageQuestion
from tools.nano import vision
from tools.nano.questions import OPEN_QUESTIONS, open_question, yes_no
from tools.nano.scenes import held_out_scene
from tools.nano.world import STYLES, Scene, compose_batch, things

IMAGES = 256
_NULLABLE = ("about", "companion")
_SCHEMA = pa.schema(
    [
        pa.field(field.name, pa.binary() if field.name == "image" else pa.string(), field.name in _NULLABLE)
        for field in fields(ImageQuestion)
    ]
)


def generator(seed: int) -> random.Random:
    """The generator of the scenes and then of the yes/no questions."""
    return random.Random(f"ecgvf.nano.questions:{seed}")


def sample_scenes(rng: random.Random) -> list[Scene]:
    """`IMAGES` distinct held-out scenes, balanced over things and styles, none of them in the vision tower's pool.

    That pool has held-out combinations, so that a scene, designer included, must also differ from all of its scenes.
    """
    excluded = set(vision.training_pool())
    scenes: list[Scene] = []
    for number in range(IMAGES):
        thing, style = things()[number % len(things())], STYLES[number % len(STYLES)]
        scene = held_out_scene(rng, thing, style, excluded)
        excluded.add(scene)
        scenes.append(scene)
    return scenes


def rows(seed: int = 0) -> Iterator[ImageQuestion]:
    """The questions about each image in turn: a yes/no question of each answer, then one of every open kind."""
    rng = generator(seed)
    for number, scene in enumerate(sample_scenes(rng)):
        image = png.encode(compose_batch([scene])[0])
        questions = [yes_no(scene, rng, expected) for expected in (True, False)]
        questions += [open_question(scene, kind) for kind in OPEN_QUESTIONS]
        for question in questions:
            yield ImageQuestion(
                f"{number:03}", image, question.text, question.answer, question.kind, question.about, *scene.combination
            )


def write(path: Path, seed: int = 0) -> int:
    """Write the questions to a Parquet file and return their number. Raises as ``write_atomic`` does."""
    records = [asdict(row) for row in rows(seed)]
    table = pa.Table.from_pylist(records, schema=_SCHEMA)
    content = pa.BufferOutputStream()
    # The dictionary must hold all images, or each one is written once per question.
    pq.write_table(table, content, compression="zstd", dictionary_pagesize_limit=16 * 2**20)
    write_atomic(path, content.getvalue().to_pybytes())
    return len(records)
