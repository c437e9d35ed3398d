"""Answers with and without an adapter: kept in the store, computed once, compared by group and kind."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ear.evaluation import understanding
from ear.evaluation.questions import YesNoQuestion, nano_questions
from ear.evaluation.understanding import Answer, answer_questions, compare_answers, kept_answers
from ear.method.adapter import Adapter
from ecgvf.core import concepts
from ecgvf.core.png import encode
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from tests.ear.random_adapter import random_adapter

CHURCH = concepts.find("church")
RNG = np.random.default_rng(0)
IMAGES = [encode(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(3)]


def question(number: int, about: str = "dog", kind: str = "present") -> YesNoQuestion:
    image = number % len(IMAGES)
    text = f"Is there a {about} in picture {number}?"
    return YesNoQuestion(f"{number:05d}", str(image), IMAGES[image], text, kind == "present", about, kind)


QUESTIONS = [question(number) for number in range(20)]


@pytest.fixture
def adapter(tiny: JanusModel) -> Adapter:
    return random_adapter(tiny, layers=3, scale=0.2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that reach the model, as they do."""
    texts: list[str] = []
    real = understanding.yes_probabilities

    def listening(model: JanusModel, images: Any, questions: Sequence[Sequence[str]]) -> list[list[float]]:
        texts.extend(text for part in questions for text in part)
        return real(model, images, questions)

    monkeypatch.setattr(understanding, "yes_probabilities", listening)
    return texts


def test_answers_are_in_the_order_of_the_questions_whatever_the_batches(tiny: JanusModel) -> None:
    done: list[int] = []
    answers = answer_questions(tiny, QUESTIONS, batch_size=2, advance=done.append)
    assert [answer.id for answer in answers] == [row.id for row in QUESTIONS] and sum(done) == len(QUESTIONS)
    for row, answer in zip(QUESTIONS, answers, strict=True):
        (alone,) = answer_questions(tiny, [row])
        assert answer.probability == pytest.approx(alone.probability, abs=1e-5)
        assert answer.yes == (answer.probability is not None and answer.probability >= 0.5)


def test_the_adapter_answers_only_while_it_is_active(tiny: JanusModel, adapter: Adapter) -> None:
    frozen = answer_questions(tiny, QUESTIONS)
    with adapter.active(tiny) as model:
        tuned = answer_questions(model, QUESTIONS)
    assert all(before.probability != after.probability for before, after in zip(frozen, tuned, strict=True))
    assert answer_questions(tiny, QUESTIONS) == frozen


def test_no_question_is_answered_twice(
    store: Store, tiny: JanusModel, adapter: Adapter, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(understanding, "SHARD", 1)
    real = understanding.answer_questions

    def interrupted(*arguments: Any, **options: Any) -> list[Answer]:
        if asked:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(understanding, "answer_questions", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kept_answers(store, tiny, CHURCH, QUESTIONS)
    assert 0 < len(asked) < len(QUESTIONS)
    answers = kept_answers(store, tiny, CHURCH, QUESTIONS)
    assert sorted(asked) == sorted(row.question for row in QUESTIONS)
    assert [answer.id for answer in answers] == [row.id for row in QUESTIONS]
    for row, fresh in zip(answers, answer_questions(tiny, QUESTIONS), strict=True):
        assert row.yes == fresh.yes and row.probability == pytest.approx(fresh.probability, abs=1e-5)
    asked.clear()
    assert kept_answers(store, tiny, CHURCH, QUESTIONS) == answers and not asked
    # Other weights and other questions are answered, the frozen model's answers stay.
    tuned = kept_answers(store, tiny, CHURCH, QUESTIONS, adapter=adapter, adapter_hash="a")
    assert tuned != answers and len(asked) == len(QUESTIONS)
    kept_answers(store, tiny, CHURCH, QUESTIONS[1:])
    assert len(asked) == 2 * len(QUESTIONS) - 1
    assert kept_answers(store, tiny, CHURCH, QUESTIONS) == answers


def test_equal_runs_write_equal_bytes(tiny: JanusModel, tmp_path: Path) -> None:
    shards = []
    for name in ("a", "b"):
        kept_answers(Store(tmp_path / name), tiny, CHURCH, QUESTIONS)
        shards.append([file.read_bytes() for file in sorted((tmp_path / name).rglob("shard-*.parquet"))])
    assert shards[0] == shards[1] and shards[0]


def test_right_and_wrong_are_told_apart_by_group_and_kind() -> None:
    questions = [question(0, "dog"), question(1, "chapel"), question(2, "dog", "absent_random"), question(3, "cat")]
    before = [Answer(row.id, row.answer, 0.5) for row in questions]
    after = [Answer("00000", False, 0.1), before[1], Answer("00002", True, 0.9), Answer("00003", None, None)]
    compared = compare_answers(CHURCH, questions, before, after)
    assert [(row.id, row.group, row.kind, row.before, row.after) for row in compared] == [
        ("00000", "others", "present", True, False),
        ("00001", "concept", "present", True, True),
        ("00002", "others", "absent_random", True, False),
        ("00003", "others", "present", True, False),
    ]
    other = [replace(row, question=f"{row.question} Really?") for row in questions]
    texts = [{row.text for row in compare_answers(CHURCH, asked, before, after)} for asked in (questions, other)]
    assert not texts[0] & texts[1] and None not in texts[0]


def test_logits_that_are_not_finite_are_no_answer(
    store: Store, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(understanding, "yes_probabilities", lambda _, __, rows: [[math.nan] * len(row) for row in rows])
    answers = kept_answers(store, tiny, CHURCH, QUESTIONS[:2])
    assert answers == [Answer(row.id, None, None) for row in QUESTIONS[:2]]
    rows = compare_answers(CHURCH, [question(0), question(1, kind="absent_random")], answers, answers)
    assert not any(row.before or row.after for row in rows)


def test_nano_understands_until_its_weights_are_noise() -> None:
    nano = load("janus-nano", device="cpu")
    questions = [row for row in nano_questions(CHURCH) if row.about != "church"][:96]
    wrecked = random_adapter(nano, layers=nano.depth, scale=0.3)
    before = answer_questions(nano, questions)
    with wrecked.active(nano) as model:
        after = answer_questions(model, questions)
    rows = compare_answers(CHURCH, questions, before, after)
    assert sum(row.before for row in rows) > 0.9 * len(questions)
    assert sum(row.after for row in rows) < 0.8 * len(questions)
