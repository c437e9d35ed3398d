"""Yes/no questions about images, to measure what a model understands: a file's, or those of nano's world.

A question names a thing that is in the image, a random thing that is not, or a thing that is frequent in all images but
not in this image, and which models tend to see everywhere. The last two are the "random" and "popular" questions of
POPE (Li et al. 2023, https://arxiv.org/abs/2305.10355).
"""

import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgvf.core import seeds
from ecgvf.core.concepts import Concept, folded
from ecgvf.core.errors import DatasetError
from ecgvf.core.png import decode
from ecgvf.world.grammar import with_article
from ecgvf.world.questions import YES_NO_FORMS, ImageQuestion, load_questions

PRESENT, ABSENT_RANDOM, ABSENT_FREQUENT = "present", "absent_random", "absent_frequent"
COLUMNS = ("image", "question", "answer", "about", "kind")
FREQUENT = 3
"""Number of absent things of an image that count as frequent, as in POPE: half of its six questions about an image."""

_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class YesNoQuestion:
    """A question about an image, and its right answer."""

    id: str
    """Unique among the questions."""
    image_id: str
    """16 hex digits, a hash of the image: questions of one image are not independent of one another."""
    image: bytes
    """An image file, such as a PNG, of any size."""
    question: str
    answer: bool
    """Whether yes is right."""
    about: str
    """The thing that it names."""
    kind: str
    """``PRESENT``, ``ABSENT_RANDOM`` or ``ABSENT_FREQUENT``, or a name that a file gives to a kind of its own."""

    def is_about(self, concept: Concept) -> bool:
        """Whether it names ``concept``: by its name, one of its terms, or its label in nano's world."""
        if folded(self.about) in map(folded, (concept.name, *concept.labels("nano"))):
            return True
        return concept.term_in(self.about) is not None or concept.unseen_in(self.about) is not None


def nano_questions(concept: Concept) -> list[YesNoQuestion]:
    """Yes/no questions about the 256 shipped images of nano's world, the same in every run.

    Three about each image: the two that ship, of which one names a thing that is there and the other any absent thing,
    and one that names a frequent absent thing. The most frequent things are the companions. If ``concept`` is a thing
    of that world, it is asked about in every image, too: of the shipped questions, only 14 are about a church.
    """
    asked = [question for question in load_questions() if question.kind == "yes_no"]
    images = [list(rows) for _, rows in groupby(asked, key=lambda question: question.image_id)]
    counts = Counter(thing for rows in images for thing in _shown(rows[0]))
    by_frequency = sorted(counts, key=lambda thing: (-counts[thing], thing))
    erased = [thing for thing in concept.labels("nano") if thing in counts]
    return [question for rows in images for question in _about_image(rows, by_frequency, erased)]


def _about_image(rows: list[ImageQuestion], by_frequency: list[str], erased: list[str]) -> list[YesNoQuestion]:
    """The shipped yes/no questions about an image, ``rows``, and those added to them."""
    shown, image = _shown(rows[0]), rows[0].image
    frequent = [thing for thing in by_frequency if thing not in shown][:FREQUENT]
    rng = random.Random(seeds.derive(0, rows[0].image_id, "question"))
    texts = {str(row.about): row.question for row in rows}
    kinds = {str(row.about): PRESENT if row.answer == "Yes." else ABSENT_RANDOM for row in rows}
    added = {rng.choice([thing for thing in frequent if thing not in texts]): ABSENT_FREQUENT}
    for thing in erased:
        added.setdefault(thing, PRESENT if thing in shown else ABSENT_FREQUENT if thing in frequent else ABSENT_RANDOM)
    for thing, kind in added.items():
        kinds.setdefault(thing, kind)
        texts.setdefault(thing, rng.choice(YES_NO_FORMS).format(with_article(thing)))
    return [
        YesNoQuestion(f"{rows[0].image_id}/{thing}", _hash(image), image, texts[thing], kind == PRESENT, thing, kind)
        for thing, kind in kinds.items()
    ]


def _shown(row: ImageQuestion) -> set[str]:
    return {row.thing} | ({row.companion} if row.companion is not None else set())


def read_questions(file: Path) -> list[YesNoQuestion]:
    """The questions of a Parquet file with the columns ``image`` (bytes), ``question``, ``answer`` ("yes" or "no"),
    ``about`` and ``kind``.

    ``image`` may also be an image column of ``datasets``, as files on the Hub have. The ids are row numbers, from 1.
    Raises ``DatasetError`` naming the row: for a missing column, an empty field, an image that is missing or cannot be
    read, an answer that is neither yes nor no, and one that contradicts its kind.
    """
    try:
        table = pq.ParquetFile(file)
        if missing := [name for name in COLUMNS if name not in table.schema_arrow.names]:
            raise DatasetError(f"{file} has no column {missing[0]!r}: questions have {', '.join(COLUMNS)}")
        questions: list[YesNoQuestion] = []
        images: dict[str, bytes] = {}
        for batch in table.iter_batches(batch_size=64, columns=list(COLUMNS)):
            for row in batch.to_pylist():
                number = len(questions) + 1
                questions.append(_question(row, f"{number:05d}", f"row {number} of {file}", images))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read questions from {file}: {str(error).splitlines()[0]}") from error
    if not questions:
        raise DatasetError(f"{file} has no questions: add rows, with {', '.join(COLUMNS)}")
    return questions


def _question(row: Mapping[str, Any], id: str, place: str, images: dict[str, bytes]) -> YesNoQuestion:
    """A checked question. ``images`` are those of the rows before it, by hash, which share memory."""
    image = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
    if not image:
        raise DatasetError(f"{place} has a question without an image: add the bytes of an image file")
    if not isinstance(image, bytes):
        raise DatasetError(f"{place} has {image!r} in the column 'image': it must be the bytes of an image file")
    for name in ("question", "about", "kind"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise DatasetError(f"{place} has no text in the column {name!r}: add it")
    if row["answer"] not in _ANSWERS:
        raise DatasetError(f"{place} has the answer {row['answer']!r}: it must be 'yes' or 'no'")
    answer, kind = _ANSWERS[row["answer"]], row["kind"]
    if kind in (PRESENT, ABSENT_RANDOM, ABSENT_FREQUENT) and answer != (kind == PRESENT):
        raise DatasetError(f"{place} is of the kind {kind!r} with the answer {row['answer']!r}: correct one of them")
    image_id = _hash(image)
    if image_id not in images:
        try:
            decode(image)
        except OSError as error:
            raise DatasetError(f"{place} has an image that cannot be read: replace it") from error
        images[image_id] = image
    return YesNoQuestion(id, image_id, images[image_id], row["question"], answer, row["about"], kind)


def _hash(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()[:16]
