"""The factors of an ablation, and the variants of a base recipe that each factor compares.

To add a factor, add it to ``FACTORS`` (settings) or ``DATA_FACTORS`` (training pairs), and to the help of ``--over``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER
from ecgvf.core.errors import SettingsError

TrainingData = Literal["filtered", "unfiltered", "one-word targets", "single", "per-term", "free"]
"""What to train on: the dataset's own pairs; such pairs before filtering; pairs of the bare term and its surrogate; or
pairs written with a single surrogate, with a surrogate per term of the concept, or with any surrogate."""

WINDOWS = (1, 12, 24, 48, 72, 100, 256, 576)
"""L of 576: a single patch, those of the paper's figure 5, two rows of nano's tokens, and the whole image."""

LORA_RATE = 6
"""Learning rate of LoRA, as a multiple of the learning rate of full weights."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One level of a factor."""

    factor: str
    level: str
    options: Mapping[str, Any]
    """Settings of the base recipe that it changes."""
    data: TrainingData = "filtered"
    equal_steps: bool = False
    """Whether it takes as many steps of Adam as the base recipe on the same pairs, instead of seeing as many pairs."""

    def __str__(self) -> str:
        return f"{self.factor} {self.level}, equal {'steps' if self.equal_steps else 'pairs'}"


Levels = Callable[[Recipe], Sequence[tuple[str, Mapping[str, Any]]]]


def _options(name: str, *values: Any) -> Levels:
    return lambda base: [(str(value), {name: value}) for value in values]


def _windows(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [(str(window), {"window": window}) for window in WINDOWS]


def _threshold(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    own = base.threshold or PAPER.threshold
    return [(f"{value:g}" if value else "off", {"threshold": value}) for value in (0.0, own, 4 * own, 20 * own)]


def _layers(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    depths = [(choice, layers) for choice in ("first", "last") for layers in (5, 15, 22)]
    some = [
        (f"{choice} {layers}", {"layers": layers, "layer_choice": choice, "style_layers": None})
        for choice, layers in depths
    ]
    return [*some, ("all 30", {"layers": 30, "layer_choice": "first", "style_layers": None})]


def _guidances(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [(str(eta), {"guidance": eta, "style_guidance": None}) for eta in (0.0, 0.5, 1.0)]


def _adapters(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Full weights, and ranks of LoRA. Each has its own learning rate: the other's diverges, or moves too little."""
    low_rank = base.learning_rate * (1 if base.adapter == "lora" else LORA_RATE)
    ranks = [{"adapter": "lora", "rank": rank, "learning_rate": low_rank} for rank in (4, 16, 64)]
    full = {"adapter": "full", "learning_rate": low_rank / LORA_RATE}
    return [("full", full), *((f"lora {options['rank']}", options) for options in ranks)]


def _patch_sampling(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [("sequential", {"windows": "all"}), ("random", {"windows": "random"})]


def _trajectories(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    rollouts = base.rollouts or ON_POLICY.rollouts
    images = [(name, {"trajectory": name, "rollouts": 0}) for name in ("surrogate", "target", "both")]
    return [*images, ("rollout", {"trajectory": "rollout", "rollouts": rollouts})]


def _retention(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [("off", {"retention": 0.0}), ("on", _rehearsal(base))]


def _retention_weights(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [(f"{weight:g}", {**_rehearsal(base), "retention": weight}) for weight in (0.1, 1.0, 10.0)]


def _retained_concepts(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
    some = [(str(number), {**_rehearsal(base), "rehearsed_concepts": number}) for number in (3, 9, 27)]
    return [("0", {"retention": 0.0}), *some]


def _rehearsed(name: str, *values: Any) -> Levels:
    """Levels of a setting of rehearsal, which has no effect without: a base recipe without it gets `on-policy`'s."""

    def levels(base: Recipe) -> Sequence[tuple[str, Mapping[str, Any]]]:
        added = {} if base.retention else _rehearsal(base)
        return [(str(value), {**added, name: value}) for value in values]

    return levels


def _rehearsal(base: Recipe) -> Mapping[str, Any]:
    """Retention as the base recipe has it, or else as `on-policy` does."""
    source, names = base, ["retention", "rehearsed", "rehearsed_per_step", "rehearsed_concepts"]
    if not base.retention:
        source, names = ON_POLICY, [*names, "rehearsal_noise"]
    return {name: getattr(source, name) for name in names}


FACTORS: Mapping[str, Levels] = MappingProxyType(
    {
        "window": _windows,
        "threshold": _threshold,
        "layers": _layers,
        "modules": _options("modules", "attention", "qkv", "all"),
        "adapter": _adapters,
        "rehearsal-noise": _rehearsed("rehearsal_noise", 0.0, 0.5, 1.0, 2.0),
        "rehearsed-words": _rehearsed("rehearsed_words", 0, 100, 300),
        "loss": _options("loss", "mse", "kl"),
        "guidance": _guidances,
        "order": _options("order", "dataset", "shuffled"),
        "patch-sampling": _patch_sampling,
        "trajectory": _trajectories,
        "retention": _retention,
        "retention-weight": _retention_weights,
        "retained-concepts": _retained_concepts,
    }
)
"""Factor → its levels, as (name, changed settings), around a base recipe."""

EQUAL_STEPS: Mapping[str, Sequence[bool]] = MappingProxyType(
    {"window": (False, True), "patch-sampling": (True,), "trajectory": (False, True)}
)
"""Factor → how its levels are compared (``Variant.equal_steps``); the others' see equal pairs."""

DATA_FACTORS: Mapping[str, Sequence[TrainingData]] = MappingProxyType(
    {"surrogates": ("single", "per-term", "free"), "data": ("filtered", "unfiltered", "one-word targets", "free")}
)
"""Factor → what its variants are trained on; their recipe is the base recipe."""


def variants(factor: str, base: Recipe) -> list[Variant]:
    """The variants of ``factor`` around ``base``, compared as ``EQUAL_STEPS`` says.

    Raises ``SettingsError`` for an unknown factor.
    """
    if factor in DATA_FACTORS:
        return [Variant(factor, data, {}, data) for data in DATA_FACTORS[factor]]
    if factor not in FACTORS:
        known = ", ".join((*FACTORS, *DATA_FACTORS))
        raise SettingsError(f"--over {factor}: an ablation has the factors {known}")
    levels = FACTORS[factor](base)
    compared = EQUAL_STEPS.get(factor, (False,))
    return [Variant(factor, level, options, equal_steps=equal) for equal in compared for level, options in levels]


def all_variants(factors: Sequence[str], base: Recipe) -> list[Variant]:
    """The variants of all ``factors``, in their order. Raises ``SettingsError`` for none, and as ``variants`` does."""
    if not factors:
        raise SettingsError("--over names no factor: write some, such as window,threshold")
    return [variant for factor in factors for variant in variants(factor, base)]
