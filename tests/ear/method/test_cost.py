"""What a training is counted to take, against what autograd keeps on layers of Janus-Pro's shape."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import JanusForConditionalGeneration

from ear.method.adapter import new_adapter
from ear.method.cost import token_bytes, training_cost
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER, PUBLISHED, WINDOWED_KL
from ear.method.schedule import count_windows
from ecgvf.janus import JanusModel, hidden_states
from tools.janus_pro import SHAPES, config

TOKENS = 96
FULL = replace(ON_POLICY, adapter="full", mixed_precision="no")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def two_layers(request: pytest.FixtureRequest, tiny: JanusModel) -> JanusModel:
    """Two layers of Janus-Pro-1B's shape with random weights, and few words."""
    shape = config("1b", layers=2)
    shape.text_config.vocab_size = 1000
    torch.manual_seed(0)
    model = JanusForConditionalGeneration(shape).eval().requires_grad_(False)
    return JanusModel("two layers", Path(), model.to(getattr(torch, request.param)), tiny.processor)


def kept_bytes(model: JanusModel, recipe: Recipe) -> int:
    """Bytes that a forward pass of one row keeps for the backward pass, weights excluded."""
    resolved = recipe.resolve(tokens=model.image_tokens, depth=model.depth, concept_window=48)
    adapter = new_adapter(model, resolved.layer_range, recipe.modules)
    weights = {weight.untyped_storage().data_ptr() for weight in (*adapter.weights, *model.model.parameters())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with adapter.active(model), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = hidden_states(
            model,
            ["a church"],
            torch.zeros(1, TOKENS, dtype=torch.int64),
            checkpointing=recipe.checkpointing == "layers",
        )
    size = sum(size for size, tensor in kept.values() if tensor.dtype != torch.int64)
    assert states.requires_grad
    if model.dtype == torch.float32 or recipe.checkpointing == "layers":
        return size
    # Casts of the tuned weights are counted apart; the first q, k, v keep none unless the norm below them is tuned.
    first = {f"layers.0.self_attn.{kind}_proj.weight" for kind in "qkv" if recipe.modules == "attention"}
    cast = [weight for name, weight in adapter.parameters.items() if name not in first and weight.ndim == 2]
    return size - sum(weight.numel() for weight in cast) * model.dtype.itemsize


@pytest.mark.parametrize("modules", ["attention", "all"])
def test_activations_are_counted_as_autograd_keeps_them(two_layers: JanusModel, modules: str) -> None:
    recipe = FULL.with_options({"modules": modules})
    resolved = recipe.resolve(tokens=576, depth=2, concept_window=48)
    length = TOKENS - 1 + len(two_layers.processor.tokenizer("a church")["input_ids"])
    counted = token_bytes(two_layers, resolved) * length
    assert kept_bytes(two_layers, recipe) == pytest.approx(counted, rel=0.25)


def test_checkpointing_keeps_less_and_changes_no_gradient(two_layers: JanusModel, tiny: JanusModel) -> None:
    saving = replace(FULL, checkpointing="layers")
    assert kept_bytes(two_layers, saving) < 0.2 * kept_bytes(two_layers, FULL)
    gradients = []
    for checkpointing in (False, True):
        adapter = new_adapter(tiny, range(2), "attention")
        with adapter.active(tiny):
            ids = torch.arange(16)[None] % 5
            hidden_states(tiny, ["a church"], ids, checkpointing=checkpointing).square().sum().backward()
        gradients.append([weight.grad for weight in adapter.weights])
    for kept, computed_again in zip(*gradients, strict=True):
        assert kept is not None and torch.equal(kept, computed_again)


def full_size(size: str, tiny: JanusModel) -> JanusModel:
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config(size)).to(torch.bfloat16)
    return JanusModel(size, Path(), model, tiny.processor)


@pytest.mark.parametrize("size", SHAPES)
def test_memory_at_full_size_is_counted_without_weights(size: str, tiny: JanusModel) -> None:
    model = full_size(size, tiny)
    width, _, depth, _ = SHAPES[size]

    def cost(recipe: Recipe) -> dict[str, int]:
        resolved = recipe.resolve(tokens=576, depth=depth, concept_window=48)
        found = training_cost(model, resolved, 50, 24)
        assert found.peak <= sum(found.memory.values())
        assert found.steps == count_windows(50, resolved)
        return dict(found.memory)

    full = cost(FULL)
    assert full["tuned weights"] == full["gradients"] == full["Adam"] // 2 == 4 * 4 * width**2 * depth
    assert cost(PUBLISHED)["tuned weights"] == 2 * 4 * width**2 * round(5 * depth / 30)
    low_rank = cost(ON_POLICY)
    assert low_rank["tuned weights"] == 4 * 4 * 16 * 2 * width * depth
    assert cost(replace(FULL, checkpointing="layers"))["activations"] < 0.3 * full["activations"]
    assert cost(PAPER)["rollout cache"] == 0 < full["rollout cache"]


def test_work_grows_with_passes_windows_and_rehearsal(tiny: JanusModel) -> None:
    def flops(recipe: Recipe) -> float:
        resolved = recipe.resolve(tokens=16, depth=3, concept_window=144)
        return training_cost(tiny, resolved, 8, 10).flops

    assert flops(replace(PAPER, passes=2)) == 2 * flops(PAPER)
    assert flops(replace(PAPER, window=12)) > 2 * flops(PAPER)
    assert flops(WINDOWED_KL) > flops(replace(WINDOWED_KL, retention=0.0))
    assert flops(ON_POLICY) < 2 * flops(replace(ON_POLICY, rollout_epochs=1))


def test_images_of_the_dataset_are_counted_as_they_are_trained_on_alone(tiny: JanusModel) -> None:
    costs = []
    for images_per_step in (1, 4):
        recipe = replace(ON_POLICY, trajectory="both", rollouts=0, images_per_step=images_per_step)
        costs.append(training_cost(tiny, recipe.resolve(tokens=16, depth=3, concept_window=144), 8, 10))
    assert costs[0] == costs[1] and min(costs[0].memory.values()) >= 0
