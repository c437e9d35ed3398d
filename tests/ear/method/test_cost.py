"""What a training is counted to take, against what autograd keeps on layers of Janus-Pro's shape."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import JanusForConditionalGeneration

from ear.method.adapter import new_adapter
from ear.method.cost import TrainingCost, cast_bytes, merged_bytes, token_bytes, training_cost
from ear.method.precision import computes_in_bfloat16
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER, PUBLISHED, WINDOWED_KL
from ear.method.rounds import count_windows
from ecgvf.janus import JanusModel, generation_ids, hidden_states
from ecgvf.janus.fused import FusedLayer, join_projections
from ecgvf.janus.roofline import Roofs, batch_cost
from tools.janus_pro import SHAPES, config

TOKENS = 96
PROMPTS = ["a church"]
FULL = replace(ON_POLICY, adapter="full", mixed_precision="no")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def two_layers(request: pytest.FixtureRequest, tiny: JanusModel) -> JanusModel:
    """Two layers of Janus-Pro-1B's shape with few words, and without values: what is kept depends on shapes alone."""
    shape = config("1b", layers=2)
    shape.text_config.vocab_size = 1000
    with torch.device("meta"):
        model = JanusForConditionalGeneration(shape).to(getattr(torch, request.param))
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    return JanusModel("two layers", Path(), model, tiny.processor)


def kept_bytes(model: JanusModel, recipe: Recipe) -> tuple[int, int]:
    """Bytes that a forward pass of one row keeps for the backward pass: of activations, and of cast weights."""
    resolved = recipe.resolve(tokens=model.image_tokens, depth=model.depth, concept_window=48)
    rank = recipe.rank if recipe.adapter == "lora" else None
    adapter = new_adapter(model, resolved.layer_range, recipe.modules, rank=rank)
    weights = {weight.untyped_storage().data_ptr(): weight for weight in (*adapter.weights, *model.model.parameters())}
    shapes = {tuple(sorted(weight.shape)) for weight in weights.values() if weight.ndim == 2}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.dtype != torch.int64:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bfloat16(recipe, model.device, model.dtype))
    saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with adapter.active(model), saving, autocast:
        ids, checkpointing = torch.zeros(1, TOKENS, dtype=torch.int64), recipe.checkpointing == "layers"
        states = hidden_states(model, PROMPTS, ids, checkpointing=checkpointing)
    assert states.requires_grad
    casts = sum(size for size, tensor in kept.values() if tuple(sorted(tensor.shape)) in shapes)
    return sum(size for size, _ in kept.values()) - casts, casts


@pytest.mark.parametrize("modules", ["attention", "all"])
@pytest.mark.parametrize("recipe", [FULL, ON_POLICY], ids=["full", "on-policy"])
def test_what_autograd_keeps_is_counted(
    two_layers: JanusModel, recipe: Recipe, modules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of full weights, and of the recommended recipe: LoRA under bfloat16 autocast, on any CPU."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    recipe = recipe.with_options({"modules": modules})
    resolved = recipe.resolve(tokens=576, depth=2, concept_window=48)
    activations, casts = kept_bytes(two_layers, recipe)
    length = TOKENS - 1 + generation_ids(two_layers, PROMPTS)[0].shape[1]
    assert activations == pytest.approx(token_bytes(two_layers, resolved) * length, rel=0.1)
    counted, full = cast_bytes(two_layers, resolved), recipe.adapter == "full"
    if autocast := two_layers.dtype == torch.float32 and computes_in_bfloat16(
        recipe, two_layers.device, two_layers.dtype
    ):
        head = two_layers.model.model.generation_head  # has no part in hidden states
        counted -= 2 * sum(weight.numel() for weight in head.parameters())
    # Unless the norm below is tuned, no gradient flows through the first q, k and v, and their weights are not kept.
    if counted and (full or autocast) and not (full and modules == "all"):
        counted -= 2 * 3 * 2048**2
    assert casts == pytest.approx(counted, rel=0.02, abs=2**19)


@pytest.mark.parametrize("modules", ["attention", "all"])
def test_the_weights_that_rollouts_merge_are_counted(two_layers: JanusModel, modules: str) -> None:
    recipe = ON_POLICY.with_options({"modules": modules, "layers": 15})  # one of two
    resolved = recipe.resolve(tokens=576, depth=2, concept_window=48)
    join_projections(two_layers.language_model)  # as loading does
    frozen = {weight.untyped_storage().data_ptr() for weight in two_layers.model.parameters()}
    with new_adapter(two_layers, resolved.layer_range, recipe.modules, rank=recipe.rank).active(two_layers):
        layers = [FusedLayer(layer, two_layers.dtype) for layer in two_layers.language_model.layers]
    used = [value[0] for layer in layers for value in vars(layer).values() if isinstance(value, tuple)]
    merged = {weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes() for weight in used}
    assert sum(size for address, size in merged.items() if address not in frozen) == merged_bytes(two_layers, resolved)


def test_checkpointing_keeps_less_and_changes_no_gradient(two_layers: JanusModel, tiny: JanusModel) -> None:
    saving = replace(FULL, checkpointing="layers")
    assert sum(kept_bytes(two_layers, saving)) < 0.2 * sum(kept_bytes(two_layers, FULL))
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
    assert full["tuned_weights"] == full["gradients"] == full["optimizer_state"] // 2 == 4 * 4 * width**2 * depth
    assert cost(PUBLISHED)["tuned_weights"] == 2 * 4 * width**2 * round(5 * depth / 30)
    low_rank = cost(ON_POLICY)
    assert low_rank["tuned_weights"] == 4 * 4 * 16 * 2 * width * depth
    assert cost(replace(FULL, checkpointing="layers"))["activations"] < 0.3 * full["activations"]
    assert cost(PAPER)["rollout_cache"] == cost(PAPER)["merged_weights"] == 0 < full["rollout_cache"]
    assert low_rank["merged_weights"] == 2 * 4 * width**2 * depth


def small_cost(model: JanusModel, recipe: Recipe, **options: int) -> TrainingCost:
    return training_cost(model, recipe.resolve(tokens=16, depth=3, concept_window=144), 8, 10, **options)


def test_work_grows_with_passes_windows_and_rehearsal(tiny: JanusModel) -> None:
    def flops(recipe: Recipe) -> float:
        return small_cost(tiny, recipe).flops()

    def of_each(recipe: Recipe) -> dict[str, float]:
        return {kernel.name: kernel.calls * kernel.flops for kernel in small_cost(tiny, recipe).work["steps"]}

    once, twice = of_each(PAPER), of_each(replace(PAPER, passes=2))
    assert twice["student"] == 2 * once["student"] and twice["teacher"] == once["teacher"] > 0  # whose states are kept
    assert flops(replace(PAPER, window=12)) > 2 * flops(PAPER)
    assert flops(WINDOWED_KL) > flops(replace(WINDOWED_KL, retention=0.0))
    assert flops(ON_POLICY) < 2 * flops(replace(ON_POLICY, rollout_epochs=1))


def test_images_of_the_dataset_are_counted_as_they_are_trained_on_alone(tiny: JanusModel) -> None:
    costs = []
    for images_per_step in (1, 4):
        recipe = replace(ON_POLICY, trajectory="both", rollouts=0, images_per_step=images_per_step)
        costs.append(training_cost(tiny, recipe.resolve(tokens=16, depth=3, concept_window=144), 8, 10))
    assert costs[0] == costs[1]


def test_of_a_training_with_few_steps_the_work_counts_the_rounds_that_they_need_alone(tiny: JanusModel) -> None:
    recipe = replace(ON_POLICY, rollouts=4, images_per_step=4, passes=2)
    limited, whole = small_cost(tiny, replace(recipe, max_steps=1)), small_cost(tiny, recipe)
    round_ = [kernel for kernel in batch_cost(tiny, 4, prompt_length=10).kernels if kernel.name != "pixels"]
    assert list(limited.work["rollouts"]) == round_
    assert list(whole.work["rollouts"]) == [replace(kernel, calls=4 * kernel.calls) for kernel in round_]
    assert limited.rollouts == whole.rollouts == 16  # at most: a window may take no step


def test_the_rehearsal_set_is_counted_once_for_all_trainings(tiny: JanusModel) -> None:
    words = replace(ON_POLICY, rehearsed=10, rehearsed_words=30)
    counted, there = small_cost(tiny, words), small_cost(tiny, words, rendered=0)
    assert (counted.rehearsed, there.rehearsed, small_cost(tiny, PAPER).rehearsed) == (40, 0, 0)
    rendering = counted.flops() - there.flops()
    assert rendering == pytest.approx(
        sum(
            kernel.calls * kernel.flops
            for size in (32, 8)
            for kernel in batch_cost(tiny, size, prompt_length=10).kernels
        )
    )
    assert counted.flops(3) - there.flops(3) == pytest.approx(rendering)
    assert 2 * counted.flops() < counted.flops(3) < 3 * counted.flops()


def test_time_is_that_of_the_lower_roof(tiny: JanusModel) -> None:
    """Work of few tokens waits for weights, work of many for products."""
    for recipe in (PAPER, PUBLISHED, ON_POLICY):
        counted = small_cost(tiny, recipe)
        assert counted.seconds(Roofs(1.0, 1e30), 2) == pytest.approx(counted.bytes(2))
        assert counted.seconds(Roofs(1e30, 1.0), 2) == pytest.approx(counted.flops(2))
        both = counted.seconds(Roofs(1.0, 1.0))
        assert max(counted.bytes(), counted.flops()) <= both < counted.bytes() + counted.flops()
    published, paper = (small_cost(tiny, recipe) for recipe in (PUBLISHED, replace(PAPER, window=144)))
    assert published.bytes() / published.flops() > 4 * paper.bytes() / paper.flops()
