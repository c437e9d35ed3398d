"""What a training takes, counted from the model's configuration and the recipe before anything is computed.

Only what grows with the model is counted: buffers of the allocator, and what a library keeps for itself, come on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ear.method.adapter import module_names
from ear.method.recipe import ResolvedRecipe
from ear.method.schedule import count_images, count_windows
from ecgvf.janus import JanusModel
from ecgvf.janus.kv_cache import bytes_per_position, head_dim
from ecgvf.janus.roofline import batch_cost


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """Steps, work and memory of a training."""

    steps: int
    """At most: a window at or below τ takes none."""
    rollouts: int
    """Images that are rendered while training."""
    flops: float
    memory: Mapping[str, int]
    """What is in the device's memory → bytes. A rollout's cache and a step's activations are never there together."""

    @property
    def peak(self) -> int:
        """Bytes of everything that is there at once."""
        turns = ("activations", "rollout cache")
        always = sum(size for name, size in self.memory.items() if name not in turns)
        return always + max(self.memory[name] for name in turns)


def training_cost(model: JanusModel, resolved: ResolvedRecipe, pairs: int, prompt_length: int) -> TrainingCost:
    """The cost of training on ``pairs`` pairs whose prompts have up to ``prompt_length`` tokens.

    ``model`` may be on the meta device.
    """
    recipe, config = resolved.recipe, model.model.config.text_config
    parameters = {name: weight.numel() for name, weight in model.model.named_parameters()}
    language_model = sum(n for name, n in parameters.items() if "language_model.layers" in name)
    tuned = _tuned_parameters(model, resolved)
    weight_bytes = 4 if recipe.weight_dtype == "float32" else model.dtype.itemsize
    steps, images = count_windows(pairs, resolved), count_images(pairs, resolved)
    streams = recipe.trajectory == "streams"
    rehearsed = recipe.rehearsed_per_step if recipe.retention else 0
    length = prompt_length + model.image_tokens - 1
    together = recipe.images_per_step if recipe.trajectory == "rollout" else 1
    tokens = (together + rehearsed) * length
    positions = (together + rehearsed) * model.image_tokens
    if streams:  # single tokens of two rows, of one window, and no logits with gradients
        tokens, positions = 2 * (prompt_length + resolved.window), 0
    activations = tokens * token_bytes(model, resolved) + positions * _logit_bytes(model, resolved)
    # A forward pass casts the tuned weights to the dtype it computes in, and keeps the copy until the backward pass.
    if weight_bytes != _compute_bytes(model, resolved) and recipe.checkpointing == "no":
        activations += tuned * _compute_bytes(model, resolved) * (2 if rehearsed else 1)
    if recipe.rollout_epochs > 1:  # the teacher's outputs of a round are kept for its further epochs
        further = max(0, recipe.rollouts - together)
        activations += further * model.image_tokens * _output_bytes(model, resolved)
    rollouts = images * (recipe.trajectory == "rollout")
    rows = 2 * min(recipe.rollouts, pairs * recipe.passes)
    memory = {
        "weights": sum(weight.numel() * weight.element_size() for weight in model.model.parameters()),
        "tuned weights": tuned * weight_bytes,
        "gradients": tuned * weight_bytes,
        "Adam": 2 * tuned * weight_bytes,
        "activations": activations,
        "rollout cache": rows * (prompt_length + model.image_tokens) * bytes_per_position(config, model.dtype),
    }
    forward = 2 * language_model * length
    # A student's pass goes forward and, for states and tuned weights, backward; a teacher's goes forward.
    student = 2 * forward + 2 * tuned * length * (recipe.adapter == "full")
    if recipe.checkpointing == "layers":
        student += forward
    trained = images * recipe.rollout_epochs
    if streams:
        flops = trained * 2 * (3 * forward + student)
    else:
        windows = steps * together / trained  # of each image; a pass ends where its window ends
        teachers = (2 if resolved.guidance else 1) / recipe.rollout_epochs
        flops = trained * (teachers * forward + (windows + 1) / 2 * student) + steps * rehearsed * student
    if rollouts:
        cost = batch_cost(model, min(recipe.rollouts, rollouts), prompt_length=prompt_length)
        flops += rollouts / min(recipe.rollouts, rollouts) * sum(kernel.calls * kernel.flops for kernel in cost.kernels)
    return TrainingCost(steps, rollouts, flops, memory)


def token_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes of activations that all layers keep for the backward pass, of one token of one row.

    The inputs of both norms (float32), of the tuned projections, q, k, v and the output of attention, and of the MLP
    its gate, the activated gate and up; with checkpointing each layer's input, and the rest of one layer alone.
    """
    config, size = model.model.config.text_config, _compute_bytes(model, resolved)
    width, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads * head_dim(config)
    kv_heads = config.num_key_value_heads * head_dim(config)
    layer = 2 * 4 * width + size * (width + 3 * heads + 2 * kv_heads + 3 * inner)
    if resolved.recipe.modules == "all":  # inputs of the MLP's projections, and of the norms' weights
        layer += size * (3 * width + inner)
    if resolved.recipe.checkpointing == "layers":
        return int(resolved.depth * model.dtype.itemsize * width + layer)
    return int(resolved.depth * layer)


def _logit_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes kept per image position beyond the layers: the teacher's logits, its probabilities and the student's
    log-probabilities, float32; of hidden states alone if they are what is compared."""
    return _output_bytes(model, resolved) * (2 if resolved.recipe.loss == "mse" else 3)


def _output_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes of what is compared at one image position, float32: a hidden state, or logits."""
    if resolved.recipe.loss == "mse":
        return 4 * int(model.model.config.text_config.hidden_size)
    return 4 * int(model.model.model.generation_head.vision_head.out_features)


def _compute_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    return 2 if resolved.recipe.mixed_precision == "bf16" else model.dtype.itemsize


def _tuned_parameters(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Number of parameters that are tuned."""
    recipe, total = resolved.recipe, 0
    for name in module_names(resolved.layer_range, recipe.modules):
        module = model.language_model.get_submodule(name)
        if recipe.adapter == "full":
            total += module.weight.numel()
        elif isinstance(module, torch.nn.Linear):
            total += recipe.rank * (module.in_features + module.out_features)
    return total
