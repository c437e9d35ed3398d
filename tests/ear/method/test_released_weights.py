"""Weights as the paper's authors released them become an adapter, or one line."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation import EvaluationSettings, evaluate
from ear.method import adapter as adapters
from ear.method.released_weights import import_weights, read_released
from ear.method.runs import newest
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, hidden_states

CHURCH = concepts.find("church")
IDS = torch.zeros(1, 16, dtype=torch.int64)


def released(model: JanusModel, layers: int = 2) -> dict[str, Any]:
    names = adapters.module_names(range(layers), "attention")
    weights = {name: model.language_model.get_submodule(name).weight.detach() for name in names}
    return {name: {"weight": (weight + 0.05).bfloat16()} for name, weight in weights.items()}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, file := folder / "church.pth")
    return file


@pytest.mark.parametrize("rotary", [False, True])
def test_they_become_an_adapter(rotary: bool, store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path) -> None:
    content = released(tiny)
    if rotary:
        content |= {f"layers.{layer}.self_attn.rotary_emb": {} for layer in range(2)}
    file = saved(content, tmp_path)
    run = import_weights(store, file, read_released(file), CHURCH, tiny)
    assert run.new and newest(store, "church") == run
    assert not import_weights(store, file, read_released(file), CHURCH, tiny).new
    adapter = adapters.load(tiny, run.adapter)
    assert [*adapter.modules] == sorted(released(tiny))
    by_hand = adapters.adapter_of(tiny, {name: value["weight"] for name, value in released(tiny).items()}, tmp_path)
    with adapter.active(tiny), torch.no_grad():
        imported = hidden_states(tiny, ["a church"], IDS)
    with by_hand.active(tiny), torch.no_grad():
        assert torch.equal(hidden_states(tiny, ["a church"], IDS), imported)
    found = evaluate(store, tiny, dataset, [run.adapter], EvaluationSettings(prompts_per_concept=1))
    assert found.recipe == "imported"


class Malicious:
    """Unpickling it makes ``file``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_what_is_not_the_released_layout_is_refused(store: Store, tiny: JanusModel, tmp_path: Path) -> None:
    whole = released(tiny)
    first = next(iter(whole))
    wrong: list[tuple[Any, str]] = [
        ([1, 2], "holds no dict"),
        ({}, "holds no projection"),
        ({**whole, "layers.0.mlp.up_proj": {"weight": torch.zeros(1)}}, "'layers.0.mlp.up_proj' is not a projection"),
        ({**whole, first: {"weight": torch.zeros(1), "bias": torch.zeros(1)}}, "is not a projection of the released"),
        ({**whole, first: torch.zeros(1)}, "is not a projection of the released"),
        ({**whole, first: {"weight": 3}}, "is not a tensor"),
        ({name: value for name, value in whole.items() if name != first}, "lacks layers.0.self_attn.q_proj"),
    ]
    for content, message in wrong:
        with pytest.raises(AdapterError, match=message):
            read_released(saved(content, tmp_path))
    for content in ({**whole, first: {"weight": torch.zeros(3, 3)}}, {**released(tiny, 3), **_ninth_layer(whole)}):
        file = saved(content, tmp_path)
        with pytest.raises(AdapterError, match="belongs to another model"):
            import_weights(store, file, read_released(file), CHURCH, tiny)
    with pytest.raises(AdapterError, match="no file at"):
        read_released(tmp_path / "gone.pth")
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(AdapterError, match="holds only weights"):
        read_released(tmp_path / "text.pth")


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    evil = {"layers.0.self_attn.q_proj": Malicious(tmp_path / "made")}
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(evil))
    with pytest.raises(AdapterError, match="holds only weights"):
        read_released(tmp_path / "evil.pth")
    torch.save(evil, tmp_path / "evil.pt")
    with pytest.raises(AdapterError, match="holds only weights"):
        read_released(tmp_path / "evil.pt")
    assert not (tmp_path / "made").exists()


def ear(*words: str, store: Store, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["import-weights", *words, "--store", str(store.root)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_command_makes_an_adapter_once(store: Store, tiny: JanusModel, tiny_path: Path, tmp_path: Path) -> None:
    words = (str(saved(released(tiny), tmp_path)), "--concept", "church", "--model", str(tiny_path))
    shown = ear(*words, store=store)
    adapter = newest(store, "church").adapter
    assert shown.replace("\n", "").endswith(f"Adapter (imported): {adapter}")
    assert "Adapter (imported before)" in ear(*words, store=store)
    assert json.loads(ear(*words, "--json", store=store)) == {
        "concept": "church",
        "model": str(tiny_path),
        "adapter": str(adapter),
        "new": False,
    }


def test_the_command_refuses_in_a_line(store: Store, tiny: JanusModel, tiny_path: Path, tmp_path: Path) -> None:
    good = str(saved(released(tiny), tmp_path))
    evil = {"layers.0.self_attn.q_proj": Malicious(tmp_path / "made")}
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(evil))
    for file, concept, model, message in (
        (str(tmp_path / "gone.pth"), "church", str(tiny_path), "no file at"),
        (str(tmp_path / "evil.pth"), "church", "janus-giga", "holds only weights"),  # before a model is looked for
        (good, "chruch", str(tiny_path), "chruch"),
        (good, "church", "janus-tiny", "unknown model 'janus-tiny'"),
        (good, "church", "janus-nano", "belongs to another model"),
    ):
        shown = ear(file, "--concept", concept, "--model", model, store=store, code=2)
        assert message in shown and "Traceback" not in shown and shown.startswith("error ")
        assert len(shown.splitlines()) == 1
    assert not (store.root / "church" / "ear").exists()


def _ninth_layer(whole: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("layers.0", "layers.9"): value for name, value in whole.items() if "layers.0" in name}
