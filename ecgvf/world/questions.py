"""Questions about 256 composed images of nano's world, to measure what a model understands (``data/nano``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgvf.core.paths import data_dir

Kind = Literal["yes_no", "object", "sky", "ground", "style", "companion"]

YES_NO_FORMS = ("Is there {} in this picture?", "Does this picture show {}?", "Can you see {}?")
"""The yes/no questions that nano was trained to answer, about a thing or companion with its article."""


@dataclass(frozen=True, slots=True)
class ImageQuestion:
    """A row of ``questions.parquet``: a question about an image, its right answer and the scene in the image."""

    image_id: str
    image: bytes
    """PNG, 64 x 64 RGB. Questions about the same image share the ``image_id``."""
    question: str
    answer: str
    """As nano was trained to answer it: "Yes.", "No.", "A church.", "Grass.", ..., or "Nothing." beside the thing."""
    kind: Kind
    about: str | None
    """The thing or companion that a yes/no question names, else None."""
    thing: str
    sky: str
    ground: str
    companion: str | None
    """The smaller object beside the thing, if there is one."""
    style: str


def questions_path() -> Path:
    """The shipped file, which ``python -m tools.nano questions`` writes."""
    return data_dir() / "nano" / "questions.parquet"


def load_questions() -> list[ImageQuestion]:
    """The 1,792 shipped questions: 7 about each image, namely one per open kind and a yes/no question of each answer.

    The ``held_out`` combinations of thing, sky, ground, companion and style that the images show are in no training
    image of nano's language model. Raises ``OSError`` if the file is missing.
    """
    import pyarrow.parquet as pq

    return [ImageQuestion(**row) for row in pq.read_table(questions_path()).to_pylist()]
