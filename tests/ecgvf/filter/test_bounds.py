"""The optional bounds, all off by default: several seeds, a CLIP floor, a limit on change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core import concepts
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import Acceptance, Box
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import Bounds, FilterResult, filter_images
from ecgvf.filter import stage as stage
from ecgvf.filter.bounds import change
from ecgvf.filter.clip_score import LIKENESS, Likeness
from ecgvf.judges.clip import Encoder
from ecgvf.render import render, render_missing
from ecgvf.render import shard as render_shard
from tests import random_clip, random_janus
from tests.ecgvf.small_run import Oracle, church_pairs, write_pairs, write_pictures

CHURCH = concepts.find("church")
GREY = np.full((64, 64, 3), 100, np.uint8)


def half_changed() -> np.ndarray:
    """The left half is another picture, the right half is the same but for a little."""
    other = GREY.copy()
    other[:, :32] = 255
    other[:, 32:] += 10
    return other


def reasons(store: Store, monkeypatch: pytest.MonkeyPatch, answers: list[bool], rule: Bounds) -> list[str | None]:
    monkeypatch.setattr(stage, "create_judge", lambda *_: Oracle(answers))
    filter_images(ConceptRun(store, CHURCH), rule=rule, device="cpu")
    return [one.reason for one in ConceptRun.load(store, "church").current(ACCEPTANCE).records(Acceptance)]


# A limit on change


def test_half_of_the_picture_may_change_as_it_likes() -> None:
    assert change(GREY, GREY) == 0
    assert change(GREY, half_changed()) == pytest.approx(10 / 255)


def test_outside_a_detectors_boxes_everything_counts() -> None:
    left = Box("church", 1.0, 0, 0, 32, 64)
    assert change(GREY, half_changed(), [left]) == pytest.approx(10 / 255)
    assert change(GREY, half_changed(), [Box("church", 1.0, 32, 0, 32, 64)]) == pytest.approx(155 / 255)
    assert change(GREY, half_changed(), [Box("church", 1.0, 0, 0, 64, 64)]) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_change_is_symmetric_and_a_share(seed: int, side: int) -> None:
    one, other = np.random.default_rng(seed).integers(0, 256, (2, side, side + 3, 3), dtype=np.uint8)
    assert change(one, other) == change(other, one)
    assert 0 <= change(one, other) <= 1


def test_a_pair_that_changes_elsewhere_is_rejected_with_that_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(store, CHURCH, [(GREY, half_changed()), (GREY, 255 - GREY)])
    assert reasons(store, monkeypatch, [True, False] * 2, Bounds(most_change=0.1)) == [None, "changed_elsewhere"]
    # The bound is a setting of the decision: the judge is not asked again.
    assert reasons(store, monkeypatch, [], Bounds(most_change=0.9)) == [None, None]
    assert reasons(store, monkeypatch, [], Bounds()) == [None, None]
    assert len(ConceptRun.load(store, "church").sets(VERDICTS)) == 1


# A CLIP floor


def test_a_picture_far_from_its_prompt_is_rejected_with_that_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = str(random_clip.build(tmp_path / "clip"))
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    write_pictures(store, CHURCH, [(noise[0], noise[1]), (noise[2], noise[3])])
    assert reasons(store, monkeypatch, [True, False] * 2, Bounds(clip_floor=-1, clip=clip)) == [None, None]
    rows = ConceptRun.load(store, "church").current(LIKENESS).records(Likeness)
    encoder = Encoder(clip)
    own = encoder.pictures(noise[:1]) @ encoder.texts(["a church by lake 0"]).T
    assert (rows[0].role, rows[0].cosine) == ("target", pytest.approx(float(own.item()), abs=1e-5))
    worst = [min(one.cosine for one in rows[place : place + 2]) for place in (0, 2)]
    between = (worst[0] + worst[1]) / 2
    expected = [None if one >= between else "off_prompt" for one in worst]
    # Another floor measures nothing anew.
    monkeypatch.setattr(Encoder, "pictures", lambda *_: pytest.fail("looked again"))
    assert reasons(store, monkeypatch, [], Bounds(clip_floor=between, clip=clip)) == expected
    assert sorted(expected, key=str) == [None, "off_prompt"]


# Several seeds


def test_a_pair_has_to_hold_in_a_share_of_the_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "seeds")
    model = str(random_janus.build(tmp_path / "janus", layers=1))
    write_pairs(store, church_pairs(train=2, test=1))
    own = render(ConceptRun(store, CHURCH), model=model, seed=5).images
    held, leaked = [True, False], [True, True]
    # Of three seeds, the first pair holds in all, the second in its own and one other; the test prompt in two.
    answers = [*held, *held, True, *held, *leaked, False, *held, *held, True]

    def decided(share: float, say: list[bool]) -> FilterResult:
        oracle = Oracle(say)
        monkeypatch.setattr(stage, "create_judge", lambda *_: oracle)
        return filter_images(ConceptRun(store, CHURCH), rule=Bounds(seeds=3, share=share), device="cpu")

    done = decided(1.0, answers)
    assert [one.reason for one in done.stage.records(Acceptance)] == [None, "unsteady", "unsteady"]
    assert sorted(one.settings["seed"] for one in ConceptRun.load(store, "church").sets(IMAGES)) == [5, 6, 7]
    # The run's own pictures stay the ones that everything after this reads.
    assert (
        ConceptRun.load(store, "church").current(IMAGES).fingerprint
        == own.fingerprint
        == done.stage.settings["pictures"]
    )
    assert ConceptRun.load(store, "church").current(VERDICTS).fingerprint == done.stage.settings["verdicts"]
    with monkeypatch.context() as patch:
        patch.setattr(render_shard, "render_images", lambda *_: pytest.fail("drawn again"))
        assert decided(0.6, []).accepted_pairs == 2
    # New pairs are drawn as the run's own were, not as its further seeds.
    write_pairs(store, church_pairs(train=3, test=1))
    assert render_missing(ConceptRun(store, CHURCH)).images.settings["seed"] == 5


def test_further_seeds_that_are_interrupted_change_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "seeds")
    model = str(random_janus.build(tmp_path / "janus", layers=1))
    write_pairs(store, church_pairs(train=2, test=0))
    own = render(ConceptRun(store, CHURCH), model=model).images.fingerprint
    monkeypatch.setattr(stage, "create_judge", lambda *_: Oracle([True, False] * 6))
    real = render_shard.render_images
    times = iter(range(100))

    def pulled(*words: Any, **named: Any) -> Any:
        if next(times) == 1:
            raise KeyboardInterrupt
        return real(*words, **named)

    monkeypatch.setattr(render_shard, "render_images", pulled)
    with pytest.raises(KeyboardInterrupt):
        filter_images(ConceptRun(store, CHURCH), rule=Bounds(seeds=3), device="cpu")
    assert ConceptRun.load(store, "church").current(IMAGES).fingerprint == own
    done = filter_images(ConceptRun(store, CHURCH), rule=Bounds(seeds=3), device="cpu")
    assert done.stage.settings["pictures"] == own == ConceptRun.load(store, "church").current(IMAGES).fingerprint
    assert sorted(one.settings["seed"] for one in ConceptRun.load(store, "church").sets(IMAGES)) == [0, 1, 2]


def test_values_that_cannot_be_are_refused() -> None:
    for wrong in ({"seeds": 0}, {"share": 0.0}, {"share": 1.1}, {"clip_floor": 2.0}, {"most_change": -0.1}):
        with pytest.raises(SettingsError):
            Bounds(**wrong)  # type: ignore[arg-type]
