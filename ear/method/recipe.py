"""Every choice of the method, in one place.

The paper and its released loop leave or contradict many choices; here each has a name and a value. A recipe states
window and depth for the paper's model (576 image tokens, 30 layers); ``resolve`` scales them to the model in use.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from ear.retained_concepts import Rehearsed
from ecgvf.core.errors import RecipeError

PAPER_TOKENS, PAPER_DEPTH = 576, 30
"""Image tokens per image and layers of the language model of Janus-Pro-7B, for which recipes are stated."""

Loss = Literal["mse", "kl"]
Trajectory = Literal["surrogate", "target", "both", "rollout"]
Tail = Literal["step", "drop"]
Order = Literal["shuffled", "dataset"]
Schedule = Literal["constant", "linear"]


def _setting(requirement: str, valid: Callable[[Any], bool], default: Any = dataclasses.MISSING) -> Any:
    """A field whose value must pass ``valid``; ``requirement`` completes "it must ..."."""
    return dataclasses.field(metadata={"requirement": requirement, "valid": valid}, default=default)


def _count(default: Any = dataclasses.MISSING) -> Any:
    return _setting("be at least 1", lambda value: value >= 1, default)


def _non_negative(default: Any = dataclasses.MISSING) -> Any:
    return _setting("be 0 or more", lambda value: 0 <= value < math.inf, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to erase. ``RECIPES`` holds the named ones; ``dataclasses.replace`` or ``with_options`` make others.

    Raises ``RecipeError`` for a value out of range.
    """

    name: str

    # What the tuned model has to match at each image position (equation 6)
    loss: Loss
    """mse: squared distance of last hidden states, mean over channels, as in the paper. kl: Kullback-Leibler
    divergence, in nats, of next-token distributions."""
    guidance: float = _setting("be a number", math.isfinite)
    """η: how far the guided target lies beyond the surrogate, away from the target. 0 is the surrogate itself."""
    trajectory: Trajectory
    """The image on which all prompts are teacher-forced: the pair's surrogate image, its target image, or both in
    turn; or an image of the target prompt by the tuned model itself (on-policy)."""
    rollouts: int = _non_negative(0)
    """Images that the tuned model renders in each round, for the trajectory "rollout"."""

    # When a step is taken (equations 7 and 8)
    window: int | None = _setting("be at least 1", lambda value: value is None or value >= 1)
    """L for 576 image tokens; None takes the concept's own."""
    threshold: float = _non_negative()
    """τ, compared with the sum of a window's losses; a window at or below it takes no step."""
    tail: Tail
    """Positions left over if L does not divide T: a shorter last window, or dropped."""

    # What is tuned, and how
    layers: int = _setting(f"be 1 to {PAPER_DEPTH} (of {PAPER_DEPTH})", lambda value: 1 <= value <= PAPER_DEPTH)
    """Number of tuned layers of 30, from the first."""
    projections: tuple[str, ...] = _setting("be of q, k, v, o", lambda value: value and {*value} <= {*"qkvo"})
    """Tuned projections of each layer's self-attention."""
    learning_rate: float = _setting("be above 0", lambda value: 0 < value < math.inf)
    """Learning rate of Adam, with PyTorch's defaults otherwise, on float32 weights."""
    schedule: Schedule = "constant"
    """Of the learning rate: constant, or falling linearly to 0."""
    images_per_step: int = _count(1)
    """Trajectories whose window a step takes together."""
    pairs: int = _count()
    """Most accepted pairs to train on, the first of the dataset."""
    passes: int = _count()
    """Passes over the pairs."""
    order: Order
    """Order of the pairs: shuffled anew in each pass by the seed, or that of the dataset."""

    # Retention (not in the paper)
    retention: float = _non_negative()
    """Weight, per position, of the divergence from the frozen model on its own images of other prompts; 0 is none."""
    rehearsed: int = _non_negative()
    """Size of the rehearsal set, in images."""
    rehearsed_per_step: int = _non_negative()
    """Images rehearsed in each step."""
    rehearsed_concepts: Rehearsed = "all"
    """Of the retained concepts that are no neighbours: all, or every second one in alphabetical order, so that the
    others show what becomes of a concept that was not rehearsed."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), get_args(kinds[field.name])
            if get_origin(kinds[field.name]) is Literal and value not in choices:
                raise RecipeError(f"recipe {self.name}: {field.name} is {value!r}, use one of {', '.join(choices)}")
            if field.metadata and not _passes(field.metadata["valid"], value):
                requirement = field.metadata["requirement"]
                raise RecipeError(f"recipe {self.name}: {field.name} is {value!r}, it must {requirement}")
        if (self.trajectory == "rollout") != bool(self.rollouts):
            raise RecipeError(
                f"recipe {self.name}: rollouts is {self.rollouts}, it must be above 0 for the trajectory rollout and 0 "
                "for another"
            )
        if self.retention and not (self.rehearsed and self.rehearsed_per_step):
            raise RecipeError(
                f"recipe {self.name}: retention {self.retention} needs rehearsed and rehearsed_per_step above 0"
            )

    @property
    def random(self) -> bool:
        """Whether another seed ends in other weights."""
        return self.order == "shuffled" or self.trajectory == "rollout" or self.retention > 0

    def settings(self) -> dict[str, Any]:
        """Every choice, as JSON. One that older recipes lack is left out where it says what they did, so that their
        adapters and figures stay theirs."""
        settings = {**dataclasses.asdict(self), "projections": list(self.projections)}
        return {name: value for name, value in settings.items() if _ADDED.get(name, ...) != value}

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The recipe with some settings replaced, given as values or as text ("none" is None, "q,v" is a tuple).

        Raises ``RecipeError`` naming the option.
        """
        kinds = get_type_hints(type(self))
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in kinds or name == "name":
                known = ", ".join(kind for kind in kinds if kind != "name")
                raise RecipeError(f"a recipe has no setting {name!r}; its settings are {known}")
            try:
                values[name] = _parse(_text(value), kinds[name])
            except ValueError as error:
                raise RecipeError(f"recipe setting {name}={value!r}: {error}") from error
        return dataclasses.replace(self, **values)

    def resolve(self, *, tokens: int, depth: int, concept_window: int) -> "ResolvedRecipe":
        """Window and depth for a model of ``tokens`` image tokens and ``depth`` layers, rounded, at least 1.

        ``concept_window`` is the concept's own L for 576 image tokens.
        """
        window = self.window if self.window is not None else concept_window
        return ResolvedRecipe(
            recipe=self,
            window=min(tokens, max(1, round(window * tokens / PAPER_TOKENS))),
            layers=min(depth, max(1, round(self.layers * depth / PAPER_DEPTH))),
            tokens=tokens,
            depth=depth,
        )


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe on one model."""

    recipe: Recipe
    window: int
    """L, in image tokens."""
    layers: int
    """Number of tuned layers, from the first."""
    tokens: int
    """T of the model."""
    depth: int
    """Layers of the model."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides the training, as JSON."""
        return {"recipe": self.recipe.settings(), "window": self.window, "layers": self.layers}

    def summary(self) -> list[tuple[str, str]]:
        """The choices to show to the user, as (label, text)."""
        r = self.recipe
        images = f"the images of: {r.trajectory}"
        if r.trajectory == "rollout":
            images = f"the tuned model's own images, {r.rollouts} a round, {r.images_per_step} a step"
        rate = f"{r.learning_rate:g}" + (" falling to 0" if r.schedule == "linear" else "")
        summary = [
            ("recipe", r.name),
            ("objective", f"{r.loss}, guidance η {r.guidance:g}, on {images}"),
            ("window", f"{self.window} of {self.tokens} image tokens, threshold τ {r.threshold:g}, tail: {r.tail}"),
            ("tuned", f"{', '.join(r.projections)} of the first {self.layers} of {self.depth} layers"),
            ("steps", f"Adam, learning rate {rate}, {r.passes} pass(es) over at most {r.pairs} pairs"),
        ]
        if r.retention:
            rehearsal = f"{r.rehearsed_per_step} of {r.rehearsed} images per step, of {r.rehearsed_concepts} the others"
            summary.append(("retention", f"weight {r.retention:g}, {rehearsal}"))
        return summary


_ADDED: Mapping[str, Any] = {"rollouts": 0, "schedule": "constant", "images_per_step": 1, "rehearsed_concepts": "all"}
"""Setting added since adapters were published → its value in the recipes before."""


def _passes(valid: Callable[[Any], bool], value: Any) -> bool:
    try:
        return valid(value)
    except TypeError:
        return False


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _parse(text: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return None if text == "none" else _parse(text, get_args(kind)[0])
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"choose one of {', '.join(get_args(kind))}")
        return text
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.replace(",", " ").split())
    try:
        return kind(text)
    except ValueError:
        raise ValueError("an integer is needed" if kind is int else "a number is needed") from None


PAPER = Recipe(
    name="paper",
    loss="mse",
    guidance=1.0,
    trajectory="surrogate",
    window=None,
    threshold=0.05,
    tail="step",
    layers=5,
    projections=("q", "k", "v", "o"),
    learning_rate=1e-4,
    pairs=50,
    passes=1,
    order="dataset",
    retention=0.0,
    rehearsed=0,
    rehearsed_per_step=0,
)
"""Equations 6 to 8 with the settings of section 6.1, with context and without a retention term."""

WINDOWED_KL = Recipe(
    name="windowed-kl",
    loss="kl",
    guidance=0.0,
    trajectory="both",
    window=144,
    threshold=0.05,
    tail="step",
    layers=30,
    projections=("q", "k", "v", "o"),
    learning_rate=3e-4,
    pairs=50,
    passes=2,
    order="shuffled",
    retention=100.0,
    rehearsed=200,
    rehearsed_per_step=4,
)
"""It matches the surrogate's next-token distribution on the images of both prompts, and rehearses other prompts with a
large weight. Of EAR's ideas the windows act, and τ never skips one. docs/decisions/0004-erasing.md reports measurements
of each choice."""

WINDOWED_KL_HALF = dataclasses.replace(WINDOWED_KL, name="windowed-kl-half", rehearsed_concepts="half")
"""The same, but it rehearses every second retained concept, so that evaluation tells what becomes of the others."""

ON_POLICY = Recipe(
    name="on-policy",
    loss="kl",
    guidance=0.0,
    trajectory="rollout",
    rollouts=48,
    window=PAPER_TOKENS,
    threshold=0.05,
    tail="step",
    layers=30,
    projections=("q", "k", "v", "o"),
    learning_rate=5e-4,
    schedule="linear",
    images_per_step=4,
    pairs=50,
    passes=40,
    order="shuffled",
    retention=30.0,
    rehearsed=200,
    rehearsed_per_step=4,
    rehearsed_concepts="half",
)
"""It matches the surrogate's conditional next-token distribution on the tuned model's own images, whole images at a
time: neither EAR's windows nor τ act. docs/decisions/0017-on-policy.md reports measurements of each choice."""

DEFAULT = ON_POLICY
"""The recommended recipe, which "default" names."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (ON_POLICY, WINDOWED_KL, WINDOWED_KL_HALF, PAPER)}
)


def find(name: str) -> Recipe:
    """The recipe called ``name``, or the recommended one for "default". Raises ``RecipeError``."""
    if name == "default":
        return DEFAULT
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}: use default, or one of {', '.join(RECIPES)}")
    return RECIPES[name]
