"""Every choice of the method, in one place.

The paper and its released loop leave or contradict many choices; here each one has a name and a value. A recipe states
window and depth for the paper's model (576 image tokens, 30 layers); ``resolve`` scales them to the model at hand.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from ecgvf.core.errors import RecipeError

PAPER_TOKENS, PAPER_DEPTH = 576, 30
"""Image tokens of a picture and layers of the language model of Janus-Pro-7B, which recipes are stated for."""

Loss = Literal["mse", "kl"]
Trajectory = Literal["surrogate", "target", "both"]
Tail = Literal["step", "drop"]
Order = Literal["shuffled", "dataset"]


def _setting(must: str, holds: Callable[[Any], bool]) -> Any:
    """A field whose value ``must`` (in words) be what ``holds`` says of it."""
    return dataclasses.field(metadata={"must": must, "holds": holds})


def _counts(value: int) -> bool:
    return value >= 1


def _weighs(value: float) -> bool:
    return 0 <= value < math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to erase. ``RECIPES`` holds the named ones."""

    name: str

    # What is asked of the tuned model at each image position (equation 6)
    loss: Loss
    """mse: squared distance of last hidden states, mean over channels, as the paper has it. kl: Kullback-Leibler
    divergence, in nats, of the next-token distribution from the one aimed at."""
    guidance: float = _setting("be a number", math.isfinite)
    """η: how far to aim beyond the surrogate, away from the target. 0 aims at the surrogate itself."""
    trajectory: Trajectory
    """Whose picture all prompts are teacher-forced on: a pair's surrogate picture, its target picture, or one after the
    other."""

    # When a step is taken (equations 7 and 8)
    window: int | None = _setting("be at least 1", lambda value: value is None or value >= 1)
    """L for 576 image tokens; None takes the concept's own."""
    threshold: float = _setting("be 0 or more", _weighs)
    """τ, compared with the sum of a window's losses; a window at or below it takes no step."""
    tail: Tail
    """Positions left over where L does not divide T: a shorter last window, or none."""

    # What is tuned, and how
    layers: int = _setting(f"be 1 to {PAPER_DEPTH} (of {PAPER_DEPTH})", lambda value: 1 <= value <= PAPER_DEPTH)
    """How many of 30 layers, from the first."""
    projections: tuple[str, ...] = _setting("be of q, k, v, o", lambda value: value and {*value} <= {*"qkvo"})
    """Which projections of a layer's self-attention, of q, k, v, o."""
    learning_rate: float = _setting("be above 0", lambda value: 0 < value < math.inf)
    """Of Adam with PyTorch's defaults, on float32 weights."""
    pairs: int = _setting("be at least 1", _counts)
    """At most so many accepted pairs, the first of the dataset."""
    passes: int = _setting("be at least 1", _counts)
    """How often each pair comes."""
    order: Order
    """shuffled: anew in each pass, by the seed."""

    # What is kept (not in the paper)
    retention: float = _setting("be 0 or more", _weighs)
    """Weight, per position, of the divergence from the frozen model on its own pictures of other prompts; 0 is none."""
    rehearsed: int = _setting("be 0 or more", _weighs)
    """How many pictures of other prompts are rehearsed."""
    rehearsed_per_step: int = _setting("be 0 or more", _weighs)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata and not field.metadata["holds"](value):
                raise RecipeError(f"recipe {self.name}: {field.name} is {value!r}, it must {field.metadata['must']}")
        if self.retention and not (self.rehearsed and self.rehearsed_per_step):
            raise RecipeError(
                f"recipe {self.name}: retention {self.retention} needs rehearsed and rehearsed_per_step above 0"
            )

    def changed(self, options: Mapping[str, str]) -> Self:
        """The recipe with some settings replaced, given as text. Raises ``RecipeError`` naming the option."""
        kinds = get_type_hints(type(self))
        values: dict[str, Any] = {}
        for field, text in options.items():
            if field not in kinds or field == "name":
                known = ", ".join(name for name in kinds if name != "name")
                raise RecipeError(f"a recipe has no setting {field!r}: there are {known}")
            try:
                values[field] = _read(text, kinds[field])
            except ValueError as error:
                raise RecipeError(f"recipe setting {field}={text!r}: {error}") from error
        return dataclasses.replace(self, **values)

    def resolve(self, *, tokens: int, depth: int, concept_window: int) -> "Resolved":
        """Window and depth for a model of ``tokens`` image tokens and ``depth`` layers, rounded, at least 1."""
        window = self.window if self.window is not None else concept_window
        return Resolved(
            recipe=self,
            window=min(tokens, max(1, round(window * tokens / PAPER_TOKENS))),
            layers=min(depth, max(1, round(self.layers * depth / PAPER_DEPTH))),
            tokens=tokens,
            depth=depth,
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe on one model."""

    recipe: Recipe
    window: int
    """L, image tokens."""
    layers: int
    """How many layers are tuned, from the first."""
    tokens: int
    """T of the model."""
    depth: int
    """Layers of the model."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides the training, as JSON."""
        recipe = {**dataclasses.asdict(self.recipe), "projections": list(self.recipe.projections)}
        return {"recipe": recipe, "window": self.window, "layers": self.layers}

    def lines(self) -> list[tuple[str, str]]:
        """What a person wants to know of it: (setting, value)."""
        r = self.recipe
        lines = [
            ("recipe", r.name),
            ("objective", f"{r.loss}, guidance η {r.guidance:g}, on the pictures of: {r.trajectory}"),
            ("window", f"{self.window} of {self.tokens} image tokens, threshold τ {r.threshold:g}, tail: {r.tail}"),
            ("tuned", f"{', '.join(r.projections)} of the first {self.layers} of {self.depth} layers"),
            ("steps", f"Adam, learning rate {r.learning_rate:g}, {r.passes} pass(es) over at most {r.pairs} pairs"),
        ]
        if r.retention:
            kept = f"weight {r.retention:g}, {r.rehearsed_per_step} of {r.rehearsed} pictures a step"
            lines.append(("retention", kept))
        return lines


def _read(text: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return None if text == "none" else _read(text, get_args(kind)[0])
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
"""Equations 6 to 8 with section 6.1's settings, with context; nothing is kept on purpose."""

DEFAULT = Recipe(
    name="default",
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
"""What is recommended: aims at the surrogate's next-token distribution, on the pictures of both prompts, and rehearses
other prompts with a large weight. Each choice is measured in docs/decisions/0004-erasing.md."""

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in (DEFAULT, PAPER)})


def find(name: str) -> Recipe:
    """The recipe of that name. Raises ``RecipeError``."""
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]
