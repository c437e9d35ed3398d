"""Parts of nano are built from those before them, and what is finished is not built again."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from ecgvf.core.errors import SettingsError
from tools.nano import clip, judges
from tools.nano.build import RECORDED, build


def test_a_missing_part_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(SettingsError, match="--part tokenizer"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SettingsError, match="--part save"):
        build(tmp_path, tmp_path / "out", ("second-judges",))
    with pytest.raises(SettingsError, match="--part codec"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    assert not (tmp_path / "out").exists()


def test_another_folder_gets_judges_and_clip_too(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, trained = tmp_path / "work", list[Path]()

    def write(folder: Path) -> dict[str, float]:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"")
        trained.append(folder)
        return {"n": 1}

    monkeypatch.setattr(judges, "train_judge", lambda name, folder: write(folder / name))
    monkeypatch.setattr(clip, "train_clip", lambda tokenizer, work, out, seconds: write(out))
    tokenizer.save_pretrained(work / "tokenizer")
    for out in ("first", "first", "second"):
        build(work, tmp_path / out, ("judges", "clip"))
    parts = ("judges/object-a", "judges/object-b", "judges/style", "clip")
    assert trained == [tmp_path / out / part for out in ("first", "second") for part in parts]
    assert json.loads((work / "record.json").read_text()).keys() == {
        *(f"judge:{name}" for name in judges.JUDGES),
        "clip",
    }


def test_a_card_without_the_trainings_record_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match=r"record.json lacks codec, vision, clip, .*: name the --work"):
        build(tmp_path, out, ("card",))
    (tmp_path / "record.json").write_text(json.dumps({name: {} for name in RECORDED.keys() - {"clip"}}))
    with pytest.raises(SettingsError, match=r"record.json lacks clip, and the card would"):
        build(tmp_path, out, ("tokenizer", "card"))
    assert not out.exists()
