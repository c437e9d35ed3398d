"""The attribute judges' training images: scenes that stay whole while their things go missing or to pieces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tools.nano.attribute_judges import (
    ALTERATIONS,
    ATTRIBUTE_JUDGES,
    CODED_SHARE,
    NO_COMPANION,
    Pool,
    attribute_labels,
    build_pool,
    compose_altered,
    random_alterations,
    shuffle_thing_tokens,
    train_attribute_judge,
)
from tools.nano.frozen_codec import Codec
from tools.nano.scenes import scene_pool
from tools.nano.world import SKIES, compose_batch, things

SCENES = scene_pool("test", 24, style="plain")


def composed(alteration: str) -> np.ndarray:
    return compose_altered(SCENES, [alteration] * len(SCENES), np.random.default_rng(0))


def test_an_intact_thing_is_drawn_and_a_missing_one_leaves_no_trace() -> None:
    assert np.array_equal(composed("intact"), compose_batch(SCENES))
    others = [replace(scene, thing=next(name for name in things() if name != scene.thing)) for scene in SCENES]
    without = compose_altered(others, ["missing"] * len(others), np.random.default_rng(0))
    assert np.array_equal(composed("missing"), without)
    assert (composed("missing") != composed("intact")).any((1, 2, 3)).all()


def test_a_shuffled_thing_stays_in_its_place_and_the_companion_whole() -> None:
    intact, shuffled = composed("intact"), composed("shuffled")
    changed = (intact != shuffled).any(-1)
    assert changed.any((1, 2)).all()
    assert not changed[:, :20].any() and not changed[:, 60:].any()
    assert not changed[:, :, :12].any() and not changed[:, :, 52:].any()
    alone = np.array([scene.companion is None for scene in SCENES])
    pixels = [images[alone, 20:60, 12:52].reshape(alone.sum(), -1) for images in (intact, shuffled)]
    assert np.array_equal(*(np.sort(values, axis=1) for values in pixels))


def test_shuffled_tokens_are_the_things_own() -> None:
    tokens = np.arange(3 * 256).reshape(3, 256)
    shuffled = shuffle_thing_tokens(tokens, np.random.default_rng(0))
    assert np.array_equal(np.sort(shuffled), tokens)
    rows, columns = np.divmod(np.flatnonzero((shuffled != tokens).any(0)), 16)
    assert {rows.min(), rows.max()} == {4, 14} and {columns.min(), columns.max()} == {3, 10}


def test_only_the_last_training_images_passed_through_the_codec(small_codec: Codec) -> None:
    pool = build_pool(small_codec, 40)
    first = round((1 - CODED_SHARE) * 40)
    alterations = random_alterations("judge:attributes", 40)
    assert [*pool.scenes] == scene_pool("judge:attributes", 40)
    assert np.array_equal(
        pool.images[:first], compose_altered(pool.scenes[:first], alterations[:first], np.random.default_rng(0))
    )
    without = compose_altered(pool.scenes[first:], ["missing"] * (40 - first), np.random.default_rng(0))
    missing = np.array([alteration == "missing" for alteration in alterations[first:]])
    assert missing.any() and np.array_equal(pool.images[first:][missing], small_codec.recode(without)[missing])
    assert (pool.images[first:][~missing] != small_codec.recode(without)[~missing]).any((1, 2, 3)).all()


def test_alterations_have_their_shares_and_no_companion_is_a_label() -> None:
    alterations = random_alterations("test", 2_000)
    assert alterations[:100] == random_alterations("test", 100)
    assert all(abs(alterations.count(alteration) / 2_000 - share) < 0.04 for alteration, share in ALTERATIONS.items())
    seen = attribute_labels("companion", SCENES)
    assert {NO_COMPANION} < set(seen) <= set(ATTRIBUTE_JUDGES["companion"])


def test_an_attribute_judge_learns(tmp_path: Path) -> None:
    pool = Pool(
        SCENES * 4,
        np.concatenate([composed(alteration) for alteration in ("intact", "missing", "shuffled", "missing")]),
    )
    record = train_attribute_judge("sky", pool, tmp_path, epochs=6, batch_size=16, tested=60)
    assert record["held_out_accuracy"] > 0.35  # of six skies, after 36 steps; chance gives 0.17
    assert json.loads((tmp_path / "sky" / "config.json").read_text())["labels"] == list(SKIES)
    assert (tmp_path / "sky" / "model.safetensors").stat().st_size < 500_000
