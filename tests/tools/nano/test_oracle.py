"""An oracle's training is about nothing that is left out, in any words."""

import json
import random
import re
from pathlib import Path

import pytest

from ecgvf.core.errors import SettingsError
from ecgvf.world.grammar import WORDINGS, held_out, load_world, without_article
from tools.nano import language_model, oracle, question_set, vision
from tools.nano.questions import questions
from tools.nano.scenes import caption, scene_pool, training_scenes
from tools.nano.vision import training_pool

WITHOUT = ("church", "pagoda")


def words() -> re.Pattern[str]:
    phrases = {
        without_article(phrase)
        for name in WITHOUT
        for wording in WORDINGS
        for phrase in load_world().things[name].noun_phrases(wording)
    }
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(phrases)))})\b", re.IGNORECASE)


def test_no_caption_image_or_question_is_about_what_is_left_out() -> None:
    rng, endless = random.Random(0), training_scenes(random.Random(0), WITHOUT)
    scenes = [next(endless) for _ in range(800)]
    texts = [caption(scene, rng) for scene in scenes]
    asked = [question for scene in scenes for question in questions(scene, rng, 10, WITHOUT)]
    texts += [f"{question.text} {question.answer}" for question in asked]
    assert not {scene.thing for scene in scenes} & set(WITHOUT)
    assert not {question.about for question in asked} & set(WITHOUT)
    assert [text for text in texts if words().search(text)] == []
    assert len({scene.thing for scene in scenes}) == 30


def test_the_words_of_a_church_are_found_where_nothing_is_left_out() -> None:
    rng = random.Random(0)
    scenes = [scene for scene in scene_pool("words", 400) if scene.thing in WITHOUT]
    assert all(words().search(caption(scene, rng)) for scene in scenes)


def test_the_vision_tower_does_not_see_it_either() -> None:
    assert not {scene.thing for scene in training_pool(0, 500, WITHOUT)} & set(WITHOUT)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_question_is_about_an_image_that_the_vision_tower_has_seen(seed: int) -> None:
    shipped = set(question_set.sample_scenes(question_set.generator(0)))
    for without in ((), WITHOUT):
        seen = set(oracle.vision_scenes(without, seed))
        assert not seen & shipped
        asked = oracle.held_out_questions(random.Random(seed), without, seen)
        assert len(asked) == oracle.QUESTIONS and not seen & {scene for scene, _ in asked}
        assert all(held_out(*scene.combination) for scene, _ in asked)
        assert {question.about for _, question in asked} >= set(without)


def test_an_oracle_sees_no_scene_that_nano_did_not() -> None:
    assert set(oracle.vision_scenes(WITHOUT, 0)) < set(oracle.vision_scenes((), 0)) == set(training_pool())


@pytest.mark.slow
def test_a_short_training_ends_in_a_model_with_a_card_and_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "nano"
    # Little of everything: what the model has learnt does not matter.
    monkeypatch.setattr(vision, "scene_pool", lambda name, count, **rest: scene_pool(name, min(count, 64), **rest))
    monkeypatch.setattr(language_model, "BATCH", 4)
    monkeypatch.setattr(language_model, "ANSWER_IMAGES", 3)
    monkeypatch.setattr(oracle, "things", lambda: ["bank", "church", "pagoda", "tent"])
    monkeypatch.setattr(oracle, "STYLES", ("plain",))
    monkeypatch.setattr(oracle, "QUESTIONS", 8)

    def train() -> None:
        oracle.train_oracle(
            work, out, WITHOUT, steps=5, vision_steps=2, pool=64, images_per_prompt=1, compiled=False, progress=str
        )

    train()
    assert json.loads((out / "oracle.json").read_bytes())["without"] == ["church", "pagoda"]
    card = (out / "README.md").read_text()
    assert "# Janus-nano without church and pagoda" in card and "things left out that are drawn when asked for" in card
    assert "oracle --without church --without pagoda --steps 5 --seed 0 --work WORK --out OUT" in card
    assert '"resumed": 0' in card
    made = {file: file.stat().st_mtime_ns for folder in (work / "language-model", out) for file in folder.iterdir()}
    train()
    assert all(file.stat().st_mtime_ns == written for file, written in made.items())
    (out / "README.md").unlink()  # as if it was killed before
    train()
    checkpoint = work / "language-model" / "checkpoint.pt"
    assert (out / "README.md").read_text() == card and checkpoint.stat().st_mtime_ns == made[checkpoint]
    with pytest.raises(SettingsError, match="holds a training with other settings"):
        oracle.train_oracle(work, out, ("church",), steps=5)
    with pytest.raises(SettingsError, match="is not of this training: name another --out"):
        oracle.train_oracle(tmp_path / "other", out, ("church",), steps=5)
    assert (out / "README.md").read_text() == card


def test_an_unknown_thing_and_no_steps_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--without zeppelin: nano's things are bank, "):
        oracle.train_oracle(tmp_path, tmp_path, ("zeppelin",))
    with pytest.raises(SettingsError, match="--steps is 0"):
        oracle.train_oracle(tmp_path, tmp_path, ("church",), steps=0)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    for name, content in (("notes.txt", "mine"), ("README.md", "# Mine"), ("oracle.json", "[]")):
        file = out / name
        file.write_text(content)
        with pytest.raises(SettingsError, match=r"out is not empty, and .*oracle.json is not of this training"):
            oracle.train_oracle(work, out, (), steps=5)
        assert file.read_text() == content
    with pytest.raises(SettingsError, match="is a file: name a folder as --out"):
        oracle.train_oracle(work, out / "notes.txt", (), steps=5)
    assert not work.exists()


def test_a_finished_training_that_names_no_seed_has_seed_0(tmp_path: Path) -> None:
    shipped = Path(oracle.__file__).parent / "oracles" / "nano-again"
    notes: list[str] = []
    oracle.train_oracle(tmp_path, shipped, (), steps=8500, progress=notes.append)
    assert notes == [f"{shipped} is finished"]
    with pytest.raises(SettingsError, match="name another --out"):
        oracle.train_oracle(tmp_path / "other", shipped, (), steps=8500, seed=1)
