"""A merged model is loaded by transformers alone, and renders what the adapter renders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoProcessor, JanusForConditionalGeneration
from typer.testing import CliRunner

from ear.cli import app
from ear.method.erase import erase
from ear.method.merge import export_merged
from ear.method.open_adapter import open_adapter
from ear.method.oracle import MODEL_FILE
from ear.method.prompt_recipes import write_prompt_adapter
from ear.method.recipe import Recipe
from ear.method.recipes import NEGATIVE_PROMPT, PAPER
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, load, render_images

FULL = replace(PAPER, threshold=0.0, learning_rate=0.01)


@pytest.mark.parametrize(
    "recipe",
    [FULL, replace(FULL, modules="all", layers=30), replace(FULL, adapter="lora")],
    ids=["full", "all", "lora"],
)
def test_it_renders_what_the_adapter_renders(
    recipe: Recipe, store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path
) -> None:
    [run] = erase(store, [dataset], tiny, recipe, [0])
    adapter = open_adapter(tiny, [run.adapter])
    before = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    export_merged(tiny, [run.adapter], tmp_path / "merged")
    assert all(torch.equal(weight, before[name]) for name, weight in tiny.model.state_dict().items())
    with adapter.active(tiny) as tuned:
        ours = render_images(tuned, ["a church on a hill"], [1], Sampling())
    merged = render_images(load(str(tmp_path / "merged"), device="cpu"), ["a church on a hill"], [1], Sampling())
    assert (merged.vq_ids == ours.vq_ids).all()
    other, loading = JanusForConditionalGeneration.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert sum(weight.numel() for weight in other.parameters()) == sum(w.numel() for w in tiny.model.parameters())
    assert AutoProcessor.from_pretrained(tmp_path / "merged").image_start_token == tiny.processor.image_start_token


class Copies(TorchDispatchMode):
    """Records to which device each tensor is copied; None: to its own."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: set[torch.device | None] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.clone.default, torch.ops.aten._to_copy.default):
            self.devices.add((kwargs or {}).get("device"))
        return func(*args, **(kwargs or {}))


def test_the_models_device_does_not_hold_the_weights_twice(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run] = erase(store, [dataset], tiny, FULL, [0])
    monkeypatch.setattr(tiny.model, "save_pretrained", lambda folder, state_dict: folder.mkdir())
    with Copies() as copies:
        export_merged(tiny, [run.adapter], tmp_path / "merged")
    assert copies.devices == {torch.device("cpu")}


def test_it_is_written_to_the_current_folder(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run] = erase(store, [dataset], tiny, FULL, [0])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here.partial").mkdir()  # somebody's own
    export_merged(tiny, [run.adapter], Path())
    assert (tmp_path / "here" / "config.json").is_file()
    assert sorted(file.name for file in tmp_path.glob("here*")) == ["here", "here.partial"]


def test_what_cannot_be_merged_is_one_line(store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path) -> None:
    without_weights = write_prompt_adapter(store, dataset, tiny, NEGATIVE_PROMPT)
    with pytest.raises(AdapterError, match="there is nothing to merge"):
        export_merged(tiny, [without_weights.adapter], tmp_path / "merged")
    with pytest.raises(AdapterError, match="is a whole model already: copy its folder"):
        export_merged(tiny, [tiny.path / MODEL_FILE], tmp_path / "merged")
    [run] = erase(store, [dataset], tiny, FULL, [0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(AdapterError, match="is not empty: name a new folder"):
        export_merged(tiny, [run.adapter], tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["note.txt"]


def test_the_command_merges_the_newest_adapter(
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ear(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["export", *words, "--device", "cpu", "--store", str(store.root)])
        assert result.exit_code == code, result.output
        assert "%|" not in result.stderr  # a bar of transformers
        return result.stdout if code == 0 else result.stderr

    assert "no adapter for 'church'" in ear("--merged", str(tmp_path / "merged"), code=2)
    [run] = erase(store, [dataset], tiny, replace(FULL, adapter="lora"), [0])
    assert f"Merged model: {tmp_path / 'merged'}" in ear("--merged", str(tmp_path / "merged")).replace("\n", "")
    named = json.loads(ear("--adapter", run.path.name, "--merged", str(tmp_path / "named"), "--json"))
    assert named == {"adapter": [str(run.adapter)], "model": str(tiny_path), "merged": str(tmp_path / "named")}
    expected = open_adapter(tiny, [run.adapter])
    for folder in (tmp_path / "merged", tmp_path / "named"):
        merged = JanusForConditionalGeneration.from_pretrained(folder)
        for name, module in expected.modules.items():
            assert torch.equal(merged.get_submodule(f"model.language_model.{name}").weight, module.weight)
    monkeypatch.setattr("ecgvf.janus.load", lambda *_, **__: pytest.fail("loaded"))
    assert "is not empty: name a new folder" in ear("--merged", str(tmp_path / "merged"), code=2)
