"""Estimate what a training takes, by counting from the model's configuration and the recipe.

Only what grows with the model is counted; the allocator's buffers and what libraries keep for themselves come on top.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from ear.method.adapter import module_names
from ear.method.objective import windows
from ear.method.precision import computes_in_bfloat16
from ear.method.recipe import ResolvedRecipe
from ear.method.retention import FORWARD_BATCH
from ear.method.rounds import count_images, most_steps, windows_per_image
from ear.method.stored_tokens import SHARD
from ecgvf.janus import JanusModel
from ecgvf.janus.kv_cache import bytes_per_position, head_dim
from ecgvf.janus.roofline import Kernel, Roofs, batch_cost

REHEARSAL_SET = "rehearsal set"


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """Steps, work and memory of a training."""

    steps: int
    """Steps of Adam, at most: a window whose loss is at most τ takes none."""
    rollouts: int
    """Images that are rendered while training, at most: fewer if ``max_steps`` ends it."""
    rehearsed: int
    """Images that are rendered before it, once for all trainings on a dataset."""
    work: Mapping[str, tuple[Kernel, ...]]
    """Steps, rollouts and rehearsal set → what they compute."""
    memory: Mapping[str, int]
    """Part → bytes on the device. The rollout cache and the merged weights, which rollouts take, and the activations of
    a step are never there at the same time."""

    @property
    def peak(self) -> int:
        """Most bytes that are on the device at the same time."""
        memory = dict(self.memory)
        step, rollouts = memory.pop("activations"), memory.pop("rollout_cache") + memory.pop("merged_weights")
        return sum(memory.values()) + max(step, rollouts)

    def flops(self, trainings: int = 1) -> int:
        """FLOPs of ``trainings`` trainings, and of their rehearsal set."""
        return round(self._sum(lambda kernel: kernel.calls * kernel.flops, trainings))

    def bytes(self, trainings: int = 1) -> int:
        """Bytes that they move between the device's memory and its cores."""
        return round(self._sum(lambda kernel: kernel.calls * kernel.bytes, trainings))

    def seconds(self, roofs: Roofs, trainings: int = 1) -> float:
        """The least time that they take on a device with these ``roofs``."""
        return self._sum(lambda kernel: kernel.seconds(roofs), trainings)

    def _sum(self, measure: Callable[[Kernel], float], trainings: int) -> float:
        times = {part: 1 if part == REHEARSAL_SET else trainings for part in self.work}
        return sum(times[part] * sum(map(measure, kernels)) for part, kernels in self.work.items())


def training_cost(
    model: JanusModel, resolved: ResolvedRecipe, pairs: int, prompt_length: int, *, rendered: int | None = None
) -> TrainingCost:
    """The cost of training on ``pairs`` pairs whose prompts have up to ``prompt_length`` tokens.

    ``rendered``: how many images of the rehearsal set are still to be rendered; None: all. ``model`` may be on the meta
    device.
    """
    recipe = resolved.recipe
    rehearsed = (recipe.rehearsed + recipe.rehearsed_words) if recipe.retention else 0
    rendered = rehearsed if rendered is None else rendered
    rollouts = count_images(pairs, resolved) * (recipe.trajectory == "rollout")
    work = {
        "steps": _steps(model, resolved, pairs, prompt_length),
        # Their pixels are never decoded.
        "rollouts": tuple(
            kernel
            for kernel in _rendering(model, _least_rollouts(pairs, resolved), recipe.rollouts, prompt_length)
            if kernel.name != "pixels"
        ),
        REHEARSAL_SET: (
            *_rendering(model, rendered, min(SHARD, model.default_batch_size()), prompt_length),
            *_frozen_states(model, rehearsed, prompt_length),
        ),
    }
    memory = _memory(model, resolved, pairs, prompt_length)
    return TrainingCost(most_steps(pairs, resolved), rollouts, rendered, work, memory)


def _least_rollouts(pairs: int, resolved: ResolvedRecipe) -> int:
    """Rollouts of the rounds that a training's steps need if every window takes a step."""
    recipe = resolved.recipe
    if recipe.trajectory != "rollout":
        return 0
    batches = math.ceil(recipe.rollouts / recipe.images_per_step)
    rounds = math.ceil(most_steps(pairs, resolved) / (batches * windows_per_image(resolved) * recipe.rollout_epochs))
    return min(rounds * recipe.rollouts, count_images(pairs, resolved))


def _memory(model: JanusModel, resolved: ResolvedRecipe, pairs: int, prompt_length: int) -> dict[str, int]:
    recipe = resolved.recipe
    tuned = _tuned_parameters(model, resolved)
    weight_bytes = 4 if recipe.weight_dtype == "float32" else model.dtype.itemsize
    images = _images_per_step(resolved) + (recipe.rehearsed_per_step if recipe.retention else 0)
    tokens, positions = images * (prompt_length + model.image_tokens - 1), images * model.image_tokens
    if recipe.trajectory == "streams":  # single tokens of two rows, of one window, and no logits with gradients
        tokens, positions = 2 * (prompt_length + resolved.window), 0
    activations = tokens * token_bytes(model, resolved) + positions * _logit_bytes(model, resolved)
    activations += cast_bytes(model, resolved) * (2 if recipe.retention else 1)
    rows = 2 * min(recipe.rollouts, pairs * recipe.passes)
    position_bytes = bytes_per_position(model.model.config.text_config, model.dtype)
    return {
        "weights": sum(weight.numel() * weight.element_size() for weight in model.model.parameters()),
        "tuned_weights": tuned * weight_bytes,
        "gradients": tuned * weight_bytes,
        "optimizer_state": 2 * tuned * weight_bytes,
        "activations": activations,
        "rollout_cache": rows * (prompt_length + model.image_tokens) * position_bytes,
        "merged_weights": merged_bytes(model, resolved) if recipe.trajectory == "rollout" else 0,
    }


def _steps(model: JanusModel, resolved: ResolvedRecipe, pairs: int, prompt_length: int) -> tuple[Kernel, ...]:
    """All steps of a training: the teacher's passes, the student's, and those over rehearsed images."""
    recipe = resolved.recipe
    steps, per_image = most_steps(pairs, resolved), windows_per_image(resolved)
    length = prompt_length + model.image_tokens - 1
    # A student's pass goes forward and, for states and tuned weights, backward; a teacher's goes forward.
    student = 3 if recipe.checkpointing == "layers" else 2
    tuned = _tuned_parameters(model, resolved)
    # It reads weights, gradients and both moments, and writes all but the gradients.
    adam = Kernel("Adam", steps, 7 * tuned * (4 if recipe.weight_dtype == "float32" else model.dtype.itemsize), 0.0)
    if recipe.trajectory == "streams":  # two rows of a token: three through the frozen model, one through the tuned
        calls = math.ceil(steps / per_image) * model.image_tokens
        rows = 2 * length / model.image_tokens
        return (
            _passes(model, "streams, frozen", calls, rows, reads=3),
            _passes(model, "streams, tuned", calls, rows, reads=student, tuned=tuned),
            adam,
        )
    batches, images = math.ceil(steps / per_image), _images_per_step(resolved)
    taught = math.ceil(batches / recipe.rollout_epochs)
    if recipe.trajectory != "rollout":  # kept for further passes (ear/method/teacher.py)
        taught = min(taught, count_images(pairs, resolved) // recipe.passes)
    # A pass ends where its window ends, which is in the middle on average.
    number = len(list(windows(resolved.tokens, resolved.window, recipe.tail)))
    seen = images * length * (number + 1) / (2 * number)
    rehearsed = recipe.rehearsed_per_step if recipe.retention else 0
    return (
        _passes(model, "teacher", taught, images * length * (2 if resolved.guidance else 1), reads=1),
        _passes(model, "student", steps, seen, reads=student, tuned=tuned),
        _passes(model, "rehearsal", steps if rehearsed else 0, rehearsed * length, reads=student, tuned=tuned),
        adam,
    )


def _passes(model: JanusModel, name: str, calls: int, tokens: float, *, reads: int, tuned: int = 0) -> Kernel:
    """Passes over ``tokens`` tokens, each of which reads the layers' weights ``reads`` times, and computes gradients of
    ``tuned`` weights. The bytes of activations are left out."""
    weights = _parameters(model, "language_model.layers")
    return Kernel(name, calls, reads * weights * model.dtype.itemsize, tokens * 2 * (reads * weights + tuned))


def _rendering(model: JanusModel, images: int, batch: int, prompt_length: int) -> tuple[Kernel, ...]:
    """Rendering ``images`` images in batches of ``batch``."""
    whole, rest = divmod(images, batch) if images else (0, 0)
    return tuple(
        replace(kernel, calls=times * kernel.calls)
        for size, times in ((batch, whole), (rest, 1))
        if size and times
        for kernel in batch_cost(model, size, prompt_length=prompt_length).kernels
    )


def _frozen_states(model: JanusModel, images: int, prompt_length: int) -> tuple[Kernel, ...]:
    """The frozen model's states along ``images`` rehearsed images."""
    if not images:
        return ()
    calls = math.ceil(images / FORWARD_BATCH)
    tokens = images / calls * (prompt_length + model.image_tokens - 1)
    return (_passes(model, "frozen states", calls, tokens, reads=1),)


def _images_per_step(resolved: ResolvedRecipe) -> int:
    """Images in a step; a single image unless the trajectory is rollout."""
    return min(resolved.recipe.images_per_step, resolved.recipe.rollouts or 1)


def token_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes of activations that all layers keep for the backward pass, of one token of one row.

    Of each layer: the inputs of both norms (float32) and of the tuned projections; q, k, v and the output of attention;
    the MLP's gate, activated gate and up. With checkpointing: the input of each layer, and the rest of a single layer.
    """
    config, size = model.model.config.text_config, _compute_bytes(model, resolved)
    width, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads * head_dim(config)
    kv_heads = config.num_key_value_heads * head_dim(config)
    everything = resolved.recipe.modules == "all"
    layer = 2 * 4 * width + size * (width + 3 * heads + 2 * kv_heads + 3 * inner)
    if everything:  # inputs of the MLP's projections
        layer += size * (width + inner)
    if everything and resolved.recipe.adapter == "full":  # and of the norms' weights
        layer += size * 2 * width
    if model.dtype.itemsize != size:  # autocast casts an input anew for each projection: for k and v, and for up
        layer += size * width * (3 if everything else 2)
    if resolved.recipe.checkpointing == "layers":
        return int(resolved.depth * model.dtype.itemsize * width + layer)
    return int(resolved.depth * layer)


def cast_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes of weights that are cast to the dtype of a forward pass, and kept for the backward pass.

    Tuned weights are cast if they have another dtype, frozen weights under autocast. With checkpointing, only those of
    one layer are kept.
    """
    recipe, size = resolved.recipe, _compute_bytes(model, resolved)
    tuned = _tuned_parameters(model, resolved)
    cast = tuned if size != (4 if recipe.weight_dtype == "float32" else model.dtype.itemsize) else 0
    if size != model.dtype.itemsize:
        cast += _parameters(model, "language_model.layers") + _parameters(model, "generation_head")
        cast -= tuned * (recipe.adapter == "full")  # which replace frozen weights
    return size * cast // (resolved.depth if recipe.checkpointing == "layers" else 1)


def merged_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes of tuned projections, merged and in the model's dtype, that decoding keeps beside the frozen ones, at most
    (ecgvf/janus/fused.py)."""
    names = module_names(resolved.layer_range, resolved.recipe.modules)
    modules = (model.language_model.get_submodule(name) for name in names)
    numbers = (module.weight.numel() for module in modules if isinstance(module, torch.nn.Linear))
    return model.dtype.itemsize * sum(numbers)


def _logit_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    """Bytes kept per image position beyond the layers: the teacher's logits, its probabilities and the student's
    log-probabilities, float32; of hidden states alone if they are what is compared."""
    if resolved.recipe.loss == "mse":
        return 2 * 4 * int(model.model.config.text_config.hidden_size)
    return 3 * 4 * int(model.model.model.generation_head.vision_head.out_features)


def _compute_bytes(model: JanusModel, resolved: ResolvedRecipe) -> int:
    return 2 if computes_in_bfloat16(resolved.recipe, model.device, model.dtype) else model.dtype.itemsize


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


def _parameters(model: JanusModel, part: str) -> int:
    """Number of parameters of the modules whose names contain ``part``."""
    return sum(weight.numel() for name, weight in model.model.named_parameters() if part in name)
