from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError, JudgeError, StageMissing
from ecgvf.core.records import Acceptance, Rendering, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import dataset, filter_images
from ecgvf.filter import stage as stage
from ecgvf.render import render
from tests.ecgvf.small_run import Oracle, church_pairs, pair, write_pairs, write_pictures
from tests.random_janus import build

CHURCH = concepts.find("church")

# target, surrogate of three pairs, then two tests
ANSWERS = [True, False, False, False, True, True, True, False]
REASONS = [None, "target_absent", "concept_leaked", None, "target_absent"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("janus")))


@pytest.fixture
def store(tmp_path: Path, model: str) -> Store:
    """Three pairs and two tests, drawn."""
    store = Store(tmp_path / "store")
    write_pairs(store, church_pairs())
    render(ConceptRun(store, CHURCH), model=model)
    return store


def answer(monkeypatch: pytest.MonkeyPatch, answers: list[bool] = ANSWERS) -> Oracle:
    oracle = Oracle(answers)
    monkeypatch.setattr(stage, "create_judge", lambda *_: oracle)
    return oracle


def test_every_record_is_decided_with_its_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    done = filter_images(ConceptRun(store, CHURCH))
    decided = ConceptRun.load(store, "church").current(ACCEPTANCE).records(Acceptance)
    assert [one.reason for one in decided] == REASONS
    assert [one.accepted for one in decided] == [reason is None for reason in REASONS]
    assert (done.accepted_pairs, done.pairs, done.accepted_tests, done.tests) == (1, 3, 1, 2)
    assert done.reasons == {"target_absent": 2, "concept_leaked": 1}
    verdicts = ConceptRun.load(store, "church").current(VERDICTS).records(Verdict)
    assert [one.present for one in verdicts] == ANSWERS


def test_a_second_run_asks_the_judge_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    first = filter_images(ConceptRun(store, CHURCH))
    answer(monkeypatch, [])
    second = filter_images(ConceptRun(store, CHURCH))
    assert second.stage.fingerprint == first.stage.fingerprint
    assert second.reasons == first.reasons


def test_what_is_not_yet_drawn_is_drawn_first(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(store, church_pairs(train=1, test=0))
    answer(monkeypatch, [True, False])
    assert filter_images(ConceptRun(store, CHURCH)).accepted_pairs == 1
    assert "drawn yet" in capsys.readouterr().out


def test_a_judge_that_cannot_be_costs_no_drawing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs(train=1, test=0))
    monkeypatch.setattr(stage, "render_missing", lambda *_, **__: pytest.fail("drawn for nothing"))
    with pytest.raises(JudgeError, match="crystal-ball"):
        filter_images(ConceptRun(store, CHURCH), judge="crystal-ball")


def test_an_older_set_of_pictures_can_be_filtered_with_its_own_pairs(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ConceptRun.load(store, "church").current(IMAGES).fingerprint
    write_pairs(store, church_pairs(train=1, test=0))
    render(ConceptRun(store, CHURCH), model=model)
    answer(monkeypatch)
    assert filter_images(ConceptRun(store, CHURCH), chosen=old[:8]).pairs == 3


def test_rejects_of_stage_1_and_failed_drawings_stay_with_their_reason(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "other")
    pairs = [
        pair("a church <begin_of_image>", "a hotel"),
        pair("a church", "a church", reason="duplicate"),
        *church_pairs(train=1, test=0),
    ]
    write_pairs(store, pairs)
    render(ConceptRun(store, CHURCH), model=model)
    answer(monkeypatch, [False, True, False])
    done = filter_images(ConceptRun(store, CHURCH))
    assert done.reasons == {"duplicate": 1, "render_failed": 1}
    assert done.accepted_pairs == 1


def test_a_picture_that_the_judge_fails_on_is_rejected_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = answer(monkeypatch)
    original, calls = Oracle.look, []

    def failing(self: Oracle, images: Any) -> Any:
        calls.append(len(images))
        if len(images) > 1 or len(calls) == 4:
            raise RuntimeError("blind")
        return original(self, images)

    monkeypatch.setattr(Oracle, "look", failing)
    oracle.answers = [True, False, True, True, False, True, True]
    done = filter_images(ConceptRun(store, CHURCH))
    assert done.reasons == {"judge_failed": 1}
    assert (done.accepted_pairs, done.accepted_tests) == (2, 2)


def test_bytes_that_are_no_picture_fail_alone(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pictures = write_pictures(Store(tmp_path / "torn"), CHURCH, [(noise, noise)])
    target, surrogate = pictures.records(Rendering)
    torn = replace(target, image=target.image[: len(target.image) // 2])
    seen = stage.predict(Oracle([True]), [torn, surrogate, replace(target, image=b"no picture")])
    assert [one.failure is None for one in seen] == [False, True, False]
    assert [one.present for one in seen] == [False, True, False]


# The dataset


def test_the_dataset_holds_accepted_records_with_their_pictures(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch)
    filter_images(ConceptRun(store, CHURCH))
    loaded = dataset.load(store)
    pairs = church_pairs()
    assert [one.pair for one in loaded.train] == [pairs[0]]
    assert [one.pair for one in loaded.test] == [pairs[3]]
    one = loaded.train[0]
    assert one.surrogate is not None
    assert (one.target.role, one.surrogate.role) == ("target", "surrogate")
    assert one.target.seed == one.surrogate.seed and len(one.target.vq_ids) == 16
    assert loaded.test[0].surrogate is None
    assert (loaded.model, loaded.judge, loaded.run_seed) == (model, "oracle", 0)
    assert loaded.sampling["temperature"] == 1.0


def test_a_dataset_without_pairs_says_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageMissing, match="ecgvf filter"):
        dataset.load(store)
    answer(monkeypatch, [False] * 8)
    filter_images(ConceptRun(store, CHURCH))
    with pytest.raises(DatasetError, match=r"empty.*5 target_absent"):
        dataset.load(store)
