"""``ear generate --prompts``, as users type it. ``--prompt`` is in test_cli.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ear.cli import app
from ear.method.prompt_recipes import FORMAT
from ecgvf.core import concepts
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.render import batches
from tests.ear.random_adapter import save_adapter


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a file of prompts, and no store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE")
    Path("prompts.csv").write_text('id,prompt\nx,a church\ny,"a cat, asleep 🐈"\nz,\n', encoding="utf-8")
    return tmp_path


def generate(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["generate", *words])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_without_an_adapter_the_original_model_renders_and_no_store_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--prompts", "prompts.csv", "--out", "out", "--seed", "5"]
    result = json.loads(generate(*words, "--json"))
    assert result == {
        "model": "janus-nano",
        "adapter": [],
        "out": "out",
        "index": "out/index.parquet",
        "images": 2,
        "failed": 1,
        "new": 3,
    }
    church, cat, empty = pq.read_table("out/index.parquet").to_pylist()
    assert church == {"id": "x", "prompt": "a church", "seed": 5, "image": "images/00001.png", "failure": None}
    assert (cat["prompt"], cat["seed"], cat["failure"]) == ("a cat, asleep 🐈", 6, None)
    assert empty["image"] is None and "empty" in empty["failure"]
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    shown = generate(*words)
    assert "finished before, nothing to render: 2 images, 1 failed: out/index.parquet" in " ".join(shown.split())
    assert sorted(file.name for file in folder.iterdir()) == ["out", "prompts.csv"]
    assert "sampling.guidance: 1.25 → 2.0" in generate(*words, "--guidance", "2", code=2)


def test_the_model_is_the_adapters_and_a_repeated_adapter_stacks(tiny: JanusModel, folder: Path) -> None:
    first = save_adapter(tiny, folder / "a" / "adapter.safetensors")
    second = save_adapter(tiny, folder / "b" / "adapter.safetensors", "castle", seed=1)
    words = ["--prompts", "prompts.csv", "--json"]
    original = json.loads(generate(*words, "--out", "0", "--model", tiny.name))
    single = json.loads(generate(*words, "--out", "1", "--adapter", str(first)))
    stacked = json.loads(generate(*words, "--out", "2", "--adapter", "a", "--adapter", "b"))
    assert single["model"] == stacked["model"] == original["model"] == tiny.name
    assert (single["adapter"], stacked["adapter"]) == ([str(first)], [f"{name}/{second.name}" for name in "ab"])
    images = [(folder / name / "images" / "00001.png").read_bytes() for name in "012"]
    Path("church.txt").write_text("a church\n")
    assert "1 image, 0 failed" in generate("--prompts", "church.txt", "--out", "3", "--model", tiny.name)
    assert len(set(images)) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "either --prompt TEXT (repeatable) or --prompts FILE"),
        ("--prompt x --prompts prompts.csv --out out", "either --prompt TEXT (repeatable) or --prompts FILE"),
        ("--prompts prompts.csv", "--prompts needs --out DIR"),
        ("--prompts prompts.csv --out out --dataset ecgvf/church", "--dataset is for --prompt"),
        ("--prompts prompts.csv --out out --clear", "--clear is for --prompt"),
        ("--prompts prompts.csv --out out --seed -1", "--seed -1: it must be a whole number"),
        ("--prompts prompts.csv --out out --batch-size 0", "--batch-size 0: it must be at least 1"),
        ("--prompts prompts.csv --out out --guidance -1", "--guidance -1: it must be a number"),
        ("--prompts prompts.csv --out out --adapter nothing", "no adapter at nothing"),
        ("--prompts prompts.csv --out out --model janus-giga", "unknown model 'janus-giga'"),
        ("--prompts prompts.csv --out prompts.csv", "--out prompts.csv is a file"),
        ("--prompts nothing.csv --out out", "there is no file nothing.csv"),
        ("--prompts nothing.docx --out out", "there is no file nothing.docx"),
        ("--prompts prompts.csv --out out --column caption", "has no column 'caption'"),
        ("--prompt x --guidance 2", "--guidance is for --prompts FILE"),
        ("--prompt x --batch-size 2", "--batch-size is for --prompts FILE"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(folder: Path, line: str, message: str) -> None:
    output = generate(*line.split(), code=2)
    assert message in output
    assert sum(text.startswith("error") for text in output.splitlines()) == 1 and "Traceback" not in output
    assert [file.name for file in folder.iterdir()] == ["prompts.csv"]


def test_an_adapter_is_blurred_if_it_is_or_was_marked_unsafe_or_does_not_say(
    tiny: JanusModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []

    def preview(*_: Any, blurred: bool) -> bytes:
        drawn.append(blurred)
        return b""

    def compare(concept: str, **mark: bool) -> None:
        facts = {"concept": concept, "model": tiny.name, "fingerprint": tiny.fingerprint, "sampling": {}}
        recipe = {"format": FORMAT, "recipe": {"name": "negative-prompt"}, "negative_prompt": concept}
        Path("recipe.json").write_text(json.dumps({**facts, **recipe, **mark}))
        generate("--adapter", "recipe.json", "--prompt", "x", "--out", "sheet.png")

    monkeypatch.setattr("ear.evaluation.preview.preview", preview)
    compare("church", unsafe=False)
    compare("church", unsafe=True)
    compare("church")
    compare("cat+nudity", unsafe=False)  # marked since, in the package
    Store("ecgvf-store").remember(concepts.find("church").model_copy(update={"unsafe": True}))
    compare("church+cat", unsafe=False)  # marked since, in the store
    assert drawn == [False, True, True, True, True]


def test_a_whole_model_is_compared_with_the_original_and_blurred_unless_it_is_known_to_be_safe(
    tiny: JanusModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.name, "other")
    assert "other is a whole model: name the original to compare it with as --model" in generate(
        "--adapter", "other", "--prompt", "x", code=2
    )
    drawn: list[bool] = []

    def preview(*_: Any, blurred: bool) -> bytes:
        drawn.append(blurred)
        return b""

    monkeypatch.setattr("ear.evaluation.preview.preview", preview)
    line = ["--adapter", "other", "--prompt", "x", "--model", tiny.name, "--out", "sheet.png"]
    generate(*line)
    for without in (["nudity"], ["gore"], ["church", "pagoda"], []):
        Path("other/oracle.json").write_text(json.dumps({"without": without}))
        generate(*line)
    assert drawn == [True, True, True, False, False]
