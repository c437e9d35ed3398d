import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ear.method import adapter as adapters
from ear.method.adapter import Adapter
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel, Sampling, hidden_states, load, render_images
from tests.ear.random_adapter import random_adapter, save_adapter
from tools.tiny_janus import build

IDS = torch.zeros(1, 16, dtype=torch.int64)


def tuned_adapter(model: JanusModel, seed: int, layers: int = 2) -> Adapter:
    adapter = random_adapter(model, layers, scale=0.1, seed=seed)
    for weight in adapter.weights:
        weight.requires_grad_(False)
    return adapter


def facts(model: JanusModel, concept: str = "church", **more: object) -> dict[str, object]:
    required = {"concept": concept, "model": model.name, "fingerprint": model.fingerprint}
    return {**required, "sampling": {}, "recipe": {"name": "paper"}, **more}


def states(model: JanusModel) -> Tensor:
    return hidden_states(model, ["a church"], IDS)


def test_names_are_those_of_the_released_weights() -> None:
    names = adapters.module_names(range(5), "attention")
    assert names[:4] == [f"layers.0.self_attn.{kind}_proj" for kind in "qkvo"]
    assert len(names) == 20


def test_a_new_adapter_changes_nothing_and_has_float32_weights(tiny_path: Path) -> None:
    half = load(str(tiny_path), device="cpu", dtype="bfloat16")
    adapter = adapters.new_adapter(half, range(2), "all")
    assert {weight.dtype for weight in adapter.weights} == {torch.float32}
    assert all(weight.requires_grad for weight in adapter.weights)
    before = states(half)
    with adapter.active(half):
        assert torch.equal(states(half), before)
        states(half).float().sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in adapter.weights)


def test_the_model_is_tuned_only_inside_the_context(tiny: JanusModel) -> None:
    before, modules = states(tiny), dict(tiny.model.named_modules())
    adapter = tuned_adapter(tiny, 1)
    with pytest.raises(ZeroDivisionError), adapter.active(tiny):
        assert not torch.equal(states(tiny), before)
        raise ZeroDivisionError
    assert torch.equal(states(tiny), before)
    assert dict(tiny.model.named_modules()) == modules


def test_images_follow_the_adapter(tiny: JanusModel) -> None:
    adapter = tuned_adapter(tiny, 1)
    before = render_images(tiny, ["a church"], [1], Sampling())
    with adapter.active(tiny):
        inside = render_images(tiny, ["a church"], [1], Sampling())
    assert (inside.vq_ids != before.vq_ids).any()
    assert (render_images(tiny, ["a church"], [1], Sampling()).vq_ids == before.vq_ids).all()


def test_a_saved_adapter_loads_as_it_was(tiny: JanusModel, tmp_path: Path) -> None:
    adapter, file = tuned_adapter(tiny, 1), tmp_path / "adapter.safetensors"
    adapter.save(file, facts(tiny), tiny.dtype)
    loaded = adapters.load(tiny, file)
    assert loaded.facts == facts(tiny)
    assert [*loaded.modules] == sorted(adapter.modules)
    for name, projection in loaded.modules.items():
        assert torch.equal(projection.weight, adapter.modules[name].weight)
    first = hashlib.sha256(file.read_bytes()).digest()
    adapter.save(file, facts(tiny), tiny.dtype)
    assert hashlib.sha256(file.read_bytes()).digest() == first


def test_stacking_adds_up_the_changes(tiny: JanusModel, tmp_path: Path) -> None:
    files = []
    for number, concept in enumerate(("church", "cat"), start=1):
        files.append(tmp_path / f"{concept}.safetensors")
        adapter = tuned_adapter(tiny, number, layers=number)
        adapter.save(files[-1], facts(tiny, concept, unsafe=concept == "church"), tiny.dtype)
    stacked = adapters.stack(tiny, files)
    assert (stacked.facts["concept"], stacked.facts["unsafe"]) == ("church+cat", True)
    assert stacked.concepts == ["church", "cat"]
    adapter.save(tmp_path / "unsaid.safetensors", facts(tiny), tiny.dtype)
    assert adapters.stack(tiny, [files[1], tmp_path / "unsaid.safetensors"]).facts["unsafe"]
    church, cat = (adapters.load(tiny, file).modules for file in files)
    assert set(stacked.modules) == set(cat)
    frozen = tiny.language_model.get_submodule("layers.0.self_attn.q_proj").weight
    name = "layers.0.self_attn.q_proj"
    expected = frozen + (church[name].weight - frozen) + (cat[name].weight - frozen)
    torch.testing.assert_close(stacked.modules[name].weight.detach(), expected.detach())
    deeper = "layers.1.self_attn.v_proj"
    torch.testing.assert_close(stacked.modules[deeper].weight, cat[deeper].weight)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "adapter.safetensors"


def test_a_file_that_is_no_adapter_is_refused(tiny: JanusModel, file: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter at"):
        adapters.load(tiny, file)
    file.write_bytes(b"not safetensors")
    with pytest.raises(AdapterError, match="not a readable safetensors"):
        adapters.load(tiny, file)
    save_file({"layers.0.self_attn.q_proj.weight": torch.zeros(2)}, file)
    with pytest.raises(AdapterError, match="not an adapter that"):
        adapters.load(tiny, file)
    for content in ("{", "[]", '{"concept": "church"}'):
        save_file({"w": torch.zeros(2)}, file, {adapters.FORMAT: content})
        with pytest.raises(AdapterError, match="lacks the facts of its training"):
            adapters.load(tiny, file)


def test_an_adapter_of_another_model_is_refused(tiny: JanusModel, file: Path, tmp_path: Path) -> None:
    tuned_adapter(tiny, 1).save(file, facts(tiny), tiny.dtype)
    another = load(str(build(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(AdapterError, match="was trained on"):
        adapters.load(another, file)
    for name, weight in (("layers.9.self_attn.q_proj", torch.zeros(32, 32)), ("layers.0", torch.zeros(32))):
        metadata = {adapters.FORMAT: json.dumps(facts(tiny))}
        save_file({f"{name}.weight": weight}, file, metadata)
        with pytest.raises(AdapterError, match="belongs to another model"):
            adapters.load(tiny, file)
    save_file({"layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)}, file, metadata)
    with pytest.raises(AdapterError, match="belongs to another model"):
        adapters.load(tiny, file)


def test_what_any_of_stacked_adapters_rehearsed_is_rehearsed(tiny: JanusModel, tmp_path: Path) -> None:
    files = [
        save_adapter(tiny, tmp_path / concept / "adapter.safetensors", concept, rehearsed=rehearsed)
        for concept, rehearsed in (("church", ["castle", "dog"]), ("cat", ["bank", "castle"]))
    ]
    for order in (files, files[::-1]):
        facts = dict(adapters.stack(tiny, order).facts)
        assert facts["rehearsed_concepts"] == ["bank", "castle", "dog"]
