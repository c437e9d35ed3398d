"""What the model still understands: its answers to yes/no questions about images, with and without an adapter.

questions ──model──▶ answers, kept in the store ──compare_answers──▶ right or wrong before and after, by group and kind

Without an adapter, the model under test answers as it was published. An interrupted run resumes, and no question is
answered twice.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TypeVar

import pyarrow as pa
import torch

from ear.evaluation.outcomes import AnsweredQuestion
from ear.evaluation.questions import YesNoQuestion
from ear.method.open_adapter import AnyAdapter
from ecgvf.core.concepts import Concept
from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import Stage
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, num_threads, yes_probabilities

STAGE = Stage("understanding", "ear eval --figures full")
QUESTIONS_PER_SEQUENCE = 8
"""Most questions about an image that a sequence holds; its attention is quadratic."""
BATCH = 8
"""Sequences at once: more are no faster on a CPU."""
SHARD = 4 * BATCH
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("yes", pa.bool_()),
        pa.field("probability", pa.float32()),
    ]
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to a question."""

    id: str
    """The question's."""
    yes: bool | None
    """Whether it is yes; None if the model's logits are not finite, which is never right."""
    probability: float | None
    """P(yes) / (P(yes) + P(no)), in [0, 1]."""


def kept_answers(
    store: Store,
    model: JanusModel,
    concept: Concept,
    questions: Sequence[YesNoQuestion],
    *,
    adapter: AnyAdapter | None = None,
    adapter_hash: str | None = None,
) -> list[Answer]:
    """``answer_questions`` by the frozen model or with ``adapter``, kept in the store: no question is answered twice.

    ``adapter_hash`` identifies the adapter's weights.
    """
    settings = {
        "model": model.fingerprint,
        "dtype": model.dtype_name,
        "adapter": adapter_hash,
        "questions": fingerprint({"questions": [[row.id, row.image_id, row.question] for row in questions]}),
    }
    stage_set = ConceptRun(store, concept).stage_set(STAGE, settings)
    sequences = list(_sequences(questions))
    shards = [_flat(sequences[start : start + SHARD]) for start in range(0, len(sequences), SHARD)]

    def work(shard: Sequence[YesNoQuestion], recorded: JSON, advance: Callable[[int], None]) -> pa.Table:
        with num_threads(recorded["threads"]):
            return _table(answer_questions(tuned, shard, batch_size=recorded["batch_size"], advance=advance))

    with adapter.active(model) if adapter is not None else nullcontext(model) as tuned:
        stage_set.fill(
            shards,
            work,
            description="answering without the adapter" if adapter is None else "answering with the adapter",
            circumstances={
                "batch_size": BATCH,
                "threads": torch.get_num_threads(),
                "device": model.device.type,
            },
        )
    stage_set.finish({"questions": len(questions)}, current=False)
    answers = {row["id"]: Answer(**row) for row in stage_set.read().to_pylist()}
    return [answers[question.id] for question in questions]


def answer_questions(
    model: JanusModel,
    questions: Sequence[YesNoQuestion],
    *,
    batch_size: int = BATCH,
    advance: Callable[[int], object] = lambda _: None,
) -> list[Answer]:
    """One answer per question, in order, by ``model`` as it is.

    ``batch_size`` counts sequences, of an image and up to ``QUESTIONS_PER_SEQUENCE`` questions about it. ``advance`` is
    called with the number of questions answered since its last call. Raises ``ModelError`` for a question that is too
    long.
    """
    answers: dict[str, Answer] = {}
    sequences = list(_sequences(questions))
    for start in range(0, len(sequences), batch_size):
        batch = sequences[start : start + batch_size]
        images = [decode(sequence[0].image) for sequence in batch]
        probabilities = yes_probabilities(model, images, [[row.question for row in rows] for rows in batch])
        answered = _flat(batch)
        for question, probability in zip(answered, _flat(probabilities), strict=True):
            answers[question.id] = _answer(question.id, probability)
        advance(len(answered))
    return [answers[question.id] for question in questions]


def compare_answers(
    concept: Concept, questions: Sequence[YesNoQuestion], before: Sequence[Answer], after: Sequence[Answer]
) -> list[AnsweredQuestion]:
    """Right or wrong without and with the adapter, in the order of ``questions``."""
    return [
        AnsweredQuestion(
            id=question.id,
            image_id=question.image_id,
            group="concept" if question.is_about(concept) else "others",
            kind=question.kind,
            before=first.yes == question.answer,
            after=second.yes == question.answer,
            text=hashlib.sha256(question.question.encode()).hexdigest()[:16],
        )
        for question, first, second in zip(questions, before, after, strict=True)
    ]


def _sequences(questions: Sequence[YesNoQuestion]) -> Iterator[list[YesNoQuestion]]:
    """The questions about each image, up to ``QUESTIONS_PER_SEQUENCE`` at a time."""
    by_image: dict[str, list[YesNoQuestion]] = {}
    for question in questions:
        by_image.setdefault(question.image_id, []).append(question)
    for asked in by_image.values():
        for start in range(0, len(asked), QUESTIONS_PER_SEQUENCE):
            yield asked[start : start + QUESTIONS_PER_SEQUENCE]


def _flat(parts: Iterable[Iterable[T]]) -> list[T]:
    return list(chain.from_iterable(parts))


def _answer(id: str, probability: float) -> Answer:
    return Answer(id, None, None) if math.isnan(probability) else Answer(id, probability >= 0.5, probability)


def _table(answers: Sequence[Answer]) -> pa.Table:
    return pa.Table.from_pylist([asdict(answer) for answer in answers], schema=SCHEMA)
