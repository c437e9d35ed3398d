import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ear.method import adapter as adapters
from ear.method.adapter import Adapter
from ecgvf.core.errors import AdapterError
from ecgvf.janus import JanusModel, Sampling, hidden_states, load, render_images
from tests.random_janus import build

IDS = torch.zeros(1, 16, dtype=torch.int64)


def moved(model: JanusModel, seed: int, layers: int = 2) -> Adapter:
    adapter = adapters.fresh(model, layers, "qkvo")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapter.weights:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator)).requires_grad_(False)
    return adapter


def facts(model: JanusModel, concept: str = "church", **more: object) -> dict[str, object]:
    told = {"concept": concept, "model": model.name, "fingerprint": model.fingerprint}
    return {**told, "sampling": {}, "recipe": {"name": "paper"}, **more}


def said(model: JanusModel) -> Tensor:
    return hidden_states(model, ["a church"], IDS)


def test_names_are_those_of_the_published_weights() -> None:
    assert adapters.names(5, "qkvo")[:4] == [f"layers.0.self_attn.{kind}_proj" for kind in "qkvo"]
    assert len(adapters.names(5, "qkvo")) == 20


def test_a_fresh_adapter_changes_nothing_and_holds_float32_masters(tiny_path: Path) -> None:
    half = load(str(tiny_path), device="cpu", dtype="bfloat16")
    adapter = adapters.fresh(half, 2, "qk")
    assert {weight.dtype for weight in adapter.weights} == {torch.float32}
    assert all(weight.requires_grad for weight in adapter.weights)
    before = said(half)
    with adapter.active(half):
        assert torch.equal(said(half), before)
        said(half).float().sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in adapter.weights)


def test_inside_the_model_is_tuned_and_outside_it_is_not(tiny: JanusModel) -> None:
    before, modules = said(tiny), dict(tiny.model.named_modules())
    adapter = moved(tiny, 1)
    with pytest.raises(ZeroDivisionError), adapter.active(tiny):
        assert not torch.equal(said(tiny), before)
        raise ZeroDivisionError
    assert torch.equal(said(tiny), before)
    assert dict(tiny.model.named_modules()) == modules


def test_drawing_follows_the_adapter(tiny: JanusModel) -> None:
    adapter = moved(tiny, 1)
    before = render_images(tiny, ["a church"], [1], Sampling())
    with adapter.active(tiny):
        inside = render_images(tiny, ["a church"], [1], Sampling())
    assert (inside.vq_ids != before.vq_ids).any()
    assert (render_images(tiny, ["a church"], [1], Sampling()).vq_ids == before.vq_ids).all()


def test_what_is_saved_comes_back(tiny: JanusModel, tmp_path: Path) -> None:
    adapter, file = moved(tiny, 1), tmp_path / "adapter.safetensors"
    adapter.save(file, facts(tiny), tiny.dtype)
    loaded = adapters.load(tiny, file)
    assert loaded.facts == facts(tiny)
    assert [*loaded.projections] == sorted(adapter.projections)
    for name, projection in loaded.projections.items():
        assert torch.equal(projection.weight, adapter.projections[name].weight)
    first = hashlib.sha256(file.read_bytes()).digest()
    adapter.save(file, facts(tiny), tiny.dtype)
    assert hashlib.sha256(file.read_bytes()).digest() == first


def test_stacking_adds_what_each_one_changed(tiny: JanusModel, tmp_path: Path) -> None:
    files = []
    for number, concept in enumerate(("church", "cat"), start=1):
        files.append(tmp_path / f"{concept}.safetensors")
        told = facts(tiny, concept, unsafe=concept == "church")
        moved(tiny, number, layers=number).save(files[-1], told, tiny.dtype)
    stacked = adapters.stack(tiny, files)
    assert (stacked.facts["concept"], stacked.facts["unsafe"]) == ("church+cat", True)
    assert adapters.concepts(stacked) == ["church", "cat"]
    one, two = (adapters.load(tiny, file).projections for file in files)
    assert set(stacked.projections) == set(two)
    frozen = tiny.language_model.get_submodule("layers.0.self_attn.q_proj").weight
    name = "layers.0.self_attn.q_proj"
    expected = frozen + (one[name].weight - frozen) + (two[name].weight - frozen)
    torch.testing.assert_close(stacked.projections[name].weight.detach(), expected.detach())
    deeper = "layers.1.self_attn.v_proj"
    torch.testing.assert_close(stacked.projections[deeper].weight, two[deeper].weight)


@pytest.fixture
def wrong(tiny: JanusModel, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "adapter.safetensors"


def test_what_is_no_adapter_is_refused_in_one_line(tiny: JanusModel, wrong: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter at"):
        adapters.load(tiny, wrong)
    wrong.write_bytes(b"not safetensors")
    with pytest.raises(AdapterError, match="not a readable safetensors"):
        adapters.load(tiny, wrong)
    save_file({"layers.0.self_attn.q_proj.weight": torch.zeros(2)}, wrong)
    with pytest.raises(AdapterError, match="not an adapter that"):
        adapters.load(tiny, wrong)
    for told in ("{", "[]", '{"concept": "church"}'):
        save_file({"w": torch.zeros(2)}, wrong, {adapters.FORMAT: told})
        with pytest.raises(AdapterError, match="does not say where it comes from"):
            adapters.load(tiny, wrong)


def test_an_adapter_of_another_model_is_refused(tiny: JanusModel, wrong: Path, tmp_path: Path) -> None:
    moved(tiny, 1).save(wrong, facts(tiny), tiny.dtype)
    other = load(str(build(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(AdapterError, match="was trained on"):
        adapters.load(other, wrong)
    for name, weight in (("layers.9.self_attn.q_proj", torch.zeros(32, 32)), ("norm", torch.zeros(32))):
        told = {adapters.FORMAT: json.dumps(facts(tiny))}
        save_file({f"{name}.weight": weight}, wrong, told)
        with pytest.raises(AdapterError, match="belongs to another model"):
            adapters.load(tiny, wrong)
    save_file({"layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)}, wrong, told)
    with pytest.raises(AdapterError, match="belongs to another model"):
        adapters.load(tiny, wrong)
