"""Every choice of the method, in one place; ear/method/recipes.py makes the named recipes of them.

The paper and its released loop leave many choices open, or contradict each other; here each has a name and a value. A
recipe states window and depth for the paper's model (576 image tokens, 30 layers); ``resolve`` scales them to the model
in use.

To add a choice: a field of ``Recipe`` whose default is what recipes did before, and the code that reads it. A default
never changes: fingerprints leave it out, so that adapters and figures made before the field was added stay valid.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ear.retained_concepts import RehearsedConcepts
from ecgvf.core import console
from ecgvf.core.concepts import NAME
from ecgvf.core.errors import RecipeError
from ecgvf.core.validation import faults

PAPER_TOKENS, PAPER_ROWS, PAPER_DEPTH = 576, 24, 30
"""Image tokens, their rows, and layers of the language model of Janus-Pro-7B, for which recipes are stated."""

Loss = Literal["mse", "kl"]
Trajectory = Literal["surrogate", "target", "both", "rollout", "streams"]
WindowScale = Literal["tokens", "rows"]
WindowChoice = Literal["all", "random"]
ThresholdPer = Literal["window", "position"]
Tail = Literal["step", "drop"]
LayerChoice = Literal["first", "last"]
Modules = Literal["attention", "qkv", "all"]
AdapterKind = Literal["full", "lora"]
WeightDtype = Literal["float32", "model"]
Order = Literal["shuffled", "dataset"]
Schedule = Literal["constant", "linear"]
MixedPrecision = Literal["no", "bf16"]
Checkpointing = Literal["no", "layers"]


Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]
Depth = Annotated[int, Field(ge=1, le=PAPER_DEPTH)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def check_name(name: str) -> None:
    """Raise ``RecipeError`` for a name that is no part of a folder's name, as those of runs are made of it."""
    if not NAME.fullmatch(str(name)):
        raise RecipeError(f"{name!r} cannot name a recipe: use lower-case letters, digits and single hyphens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way to train. ear/method/recipes.py has the named recipes; ``with_options`` changes some settings.

    Raises ``RecipeError`` for a value out of range, and as ``check_name`` does.
    """

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
    description: str = dataclasses.field(default="", compare=False)
    """What the recipe does, in a sentence or two. Not a setting."""

    # What the tuned model has to match at each image position (equation 6)
    loss: Loss
    """What is compared at each image position. mse: squared distance of last hidden states, mean over channels, as in
    the paper. kl: Kullback-Leibler divergence of next-token distributions, in nats. `published` takes the mean over
    all positions of a forward pass, those of the prompt included, and over both rows of guidance."""
    guidance: Number
    """η: how far to go beyond the frozen model's output for the surrogate, away from that for the target. 0 matches the
    surrogate itself."""
    style_guidance: Number | None = None
    """η if the concept is a style; None: as for any concept."""
    trajectory: Trajectory
    """The image along which all prompts are teacher-forced. surrogate, target, both: the pair's surrogate image, its
    target image, or each in turn. rollout: an image of the target prompt that the tuned model renders (on-policy).
    streams: no image, but the released loop's three streams of single tokens without context."""
    rollouts: Size = 0
    """Images that the tuned model renders in each round, for the trajectory "rollout"."""
    rollout_epochs: Count = 1
    """Times that training goes over the images of a round."""

    # When a step is taken (equations 7 and 8)
    window: Count | None
    """L, the length of a window, for 576 image tokens. None: the concept's own."""
    window_scale: WindowScale = "tokens"
    """How L is scaled to a model with another number of image tokens. tokens: as the same share of the image. rows: as
    the nearest number of whole rows, of which the paper's model has 24."""
    windows: WindowChoice = "all"
    """Windows of an image to train on: all, in order, or a single window that the seed draws."""
    threshold: Weight
    """τ: a window whose loss is at most τ takes no step."""
    threshold_per: ThresholdPer = "window"
    """What τ is compared with. window: the sum of the window's losses, as in equation 8, which a longer window exceeds
    sooner. position: their mean, which does not depend on the length."""
    tail: Tail
    """Positions left over if L does not divide T. step: a shorter last window. drop: not trained on."""

    # What is tuned, and how
    layers: Depth
    """Number of tuned layers of 30."""
    layer_choice: LayerChoice = "first"
    """Whether to tune the first layers or the last."""
    style_layers: Depth | None = None
    """Number of tuned layers, counted from the last, if the concept is a style; None: as for any concept. The first
    layers distinguish words: tuning them erases a style only where the pairs' own words name it."""
    modules: Modules = "attention"
    """Tuned modules of each layer. attention, the default and the choice of all named recipes: the projections q, k, v
    and o of its self-attention, as in the released loop and weights, which can then be compared. qkv: without o, as in
    section 2.2 of the paper. all: also the MLP's projections and both norms, as in section 6.1."""
    adapter: AdapterKind = "full"
    """How the modules are tuned. full: all their weights. lora: a change of low rank to projections; norms stay."""
    rank: Count = 16
    """Rank of LoRA, whose scaling is 1."""
    learning_rate: Rate
    """Learning rate of Adam, which otherwise has PyTorch's defaults."""
    weight_dtype: WeightDtype = "float32"
    """Dtype of the tuned weights during training. model: the model's own, as in the released loop."""
    schedule: Schedule = "constant"
    """Learning rate over the training: constant, or falling linearly to 0."""
    images_per_step: Count = 1
    """Images in a step, for the trajectory rollout; with any other trajectory, a step has a single image."""
    mixed_precision: MixedPrecision = "no"
    """no: everything is computed in the model's dtype. bf16: forward and backward passes are computed in bfloat16 where
    autocast does so; weights, gradients, Adam and losses stay float32, and rollouts are in the model's dtype. A CPU
    without AVX-512 and a GPU without bfloat16, where it is slow, compute in the model's dtype, as any do if that is
    float16."""
    checkpointing: Checkpointing = "no"
    """Gradient checkpointing. no: all activations are kept for the backward pass. layers: only the inputs of layers are
    kept, which saves memory at the price of another forward pass."""
    pairs: Count
    """Accepted pairs to train on, at most: the first of the dataset."""
    passes: Count
    """Passes over the pairs."""
    max_steps: Count | None = None
    """Steps of Adam after which training ends, even within a pass."""
    order: Order
    """Order of the pairs. shuffled: anew in each pass, by the seed. dataset: as in the dataset."""

    # Retention (not in the paper)
    retention: Weight
    """Weight, per position, of the divergence from the frozen model along its own images of other prompts. 0: no
    rehearsal."""
    rehearsed: Size
    """Size of the rehearsal set, in images."""
    rehearsed_words: Size = 0
    """Further images of the rehearsal set, at most: of target prompts with a word of the model's vocabulary in place of
    the concept's term. Images that show the concept are left out."""
    rehearsed_per_step: Size
    """Images to rehearse in each step."""
    rehearsal_noise: Weight = 0.0
    """Scale of Gaussian noise on the token embeddings of rehearsed prompts, in standard deviations of these embeddings.
    It also retains what lies near the rehearsed prompts."""
    rehearsed_concepts: RehearsedConcepts = "all"
    """Which retained concepts to rehearse, of those that are not neighbours: all; half, every second in alphabetical
    order; or this many. The rest show what becomes of a concept that was not rehearsed."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for name, kind in _kinds().items():
            value = getattr(self, name)
            try:
                # As a float if it should be: equal settings have equal fingerprints.
                object.__setattr__(self, name, kind.validate_python(value, strict=True))
            except ValidationError as error:
                raise RecipeError(f"recipe {self.name}: {name} is {value!r}, but {faults(error)}") from error
        for name, value in _RELEASED_LOOP.items():
            if self.trajectory == "streams" and (given := getattr(self, name)) != value:
                raise RecipeError(
                    f"recipe {self.name}: {name} is {given}, but the trajectory streams (the released loop) allows "
                    f"{value} only"
                )
        if (self.trajectory == "rollout") != bool(self.rollouts):
            raise RecipeError(
                f"recipe {self.name}: rollouts must be above 0 with trajectory=rollout, and 0 otherwise, but is "
                f"{self.rollouts} with trajectory={self.trajectory}"
            )
        if self.retention and not (self.rehearsed and self.rehearsed_per_step):
            raise RecipeError(
                f"recipe {self.name}: retention {self.retention} needs rehearsed and rehearsed_per_step above 0"
            )

    @property
    def along_images(self) -> bool:
        """Whether prompts are teacher-forced along images of the dataset."""
        return self.trajectory not in ("rollout", "streams")

    @property
    def depends_on_seed(self) -> bool:
        """Whether the weights depend on the seed. The released loop always samples its streams from the seed 42."""
        drawn = self.order == "shuffled" or self.windows == "random" or self.trajectory == "rollout"
        return drawn or self.retention > 0 or self.adapter == "lora"

    def settings(self) -> dict[str, Any]:
        """The settings other than at their defaults, as JSON, in the form that fingerprints are computed of.

        ``modules`` is always there; attention and qkv as ``projections``, a list of letters (``_PROJECTIONS``).
        """
        settings = {
            field.name: value
            for field in dataclasses.fields(self)
            if field.name != "description" and (value := getattr(self, field.name)) != field.default
        }
        if (projections := _PROJECTIONS.get(self.modules)) is not None:
            settings.pop("modules", None)
            settings["projections"] = projections
        return settings

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """A copy with other values of some settings, given as values or as text ("none" is None).

        ``guidance``, ``layers`` and ``layer_choice`` are then of styles, too: they unset ``style_guidance`` and
        ``style_layers``, unless ``options`` name these as well.

        Raises ``RecipeError`` that names the setting, if it is unknown or its value is invalid.
        """
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in SETTINGS:
                known = ", ".join(SETTINGS)
                raise RecipeError(f"a recipe has no setting {name!r}; its settings are {known}")
            try:
                values[name] = _kinds()[name].validate_python(None if value == "none" else value)
            except ValidationError as error:
                raise RecipeError(f"--option {name}={value}: {faults(error)}") from error
        for name, style_setting in _STYLE_SETTINGS.items():
            if name in values:
                values.setdefault(style_setting, None)
        return dataclasses.replace(self, **values)

    def resolve(self, *, tokens: int, depth: int, concept_window: int, style: bool = False) -> "ResolvedRecipe":
        """Scale window and layers to a model of ``tokens`` image tokens and ``depth`` layers, rounded, at least 1.

        ``concept_window`` is the concept's own L for 576 image tokens, for a recipe without L; ``style``: whether the
        concept is a style.
        """
        layers, choice = self.layers, self.layer_choice
        if style and self.style_layers is not None:
            layers, choice = self.style_layers, "last"
        window = self.window if self.window is not None else concept_window
        unit, per_unit = (tokens / PAPER_TOKENS, 1)
        if self.window_scale == "rows":
            unit, per_unit = 1 / PAPER_ROWS, math.isqrt(tokens)
        return ResolvedRecipe(
            recipe=self,
            window=min(tokens, max(1, round(window * unit)) * per_unit),
            layers=min(depth, max(1, round(layers * depth / PAPER_DEPTH))),
            layer_choice=choice,
            tokens=tokens,
            depth=depth,
            guidance=self.style_guidance if style and self.style_guidance is not None else self.guidance,
        )


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe for a model and a concept: window, layers and guidance as they are in use."""

    recipe: Recipe
    """The recipe as it is written: its window, layers and guidance are not those in use."""
    window: int
    """L, in image tokens."""
    layers: int
    """Number of tuned layers."""
    tokens: int
    """T of the model."""
    depth: int
    """Layers of the model."""
    guidance: float
    """η."""
    layer_choice: LayerChoice = "first"
    """Whether the first layers are tuned or the last."""

    @property
    def layer_range(self) -> range:
        """Indices of the tuned layers."""
        first = 0 if self.layer_choice == "first" else self.depth - self.layers
        return range(first, first + self.layers)

    def threshold(self, length: int) -> float:
        """What the summed loss of a window of ``length`` positions must exceed for a step."""
        recipe = self.recipe
        return recipe.threshold * (length if recipe.threshold_per == "position" else 1)

    def settings(self) -> dict[str, Any]:
        """The recipe's settings, and window and layers as resolved, as JSON."""
        return {"recipe": self.recipe.settings(), "window": self.window, "layers": self.layers}

    def summary(self) -> list[tuple[str, str]]:
        """The main choices for people, as (label, text)."""
        r = self.recipe
        images = {
            "rollout": f"the tuned model's own images, {r.rollouts} a round, {r.images_per_step} a step",
            "streams": "three streams of single tokens, without context",
        }.get(r.trajectory, f"the images of: {r.trajectory}")
        steps = "all windows" if r.windows == "all" else "one random window of each image"
        passes = console.counted(r.passes, "pass", "passes")
        rate = f"{r.learning_rate:g}" + (" falling to 0" if r.schedule == "linear" else "")
        summary = [
            ("recipe", r.name),
            ("objective", f"{r.loss}, guidance η {self.guidance:g}, on {images}"),
            (
                "window",
                f"{self.window} of {self.tokens} image tokens, {steps}, threshold τ {r.threshold:g} per "
                f"{r.threshold_per}, tail: {r.tail}",
            ),
            (
                "tuned",
                f"{r.modules} of the {self.layer_choice} {self.layers} of {self.depth} layers, "
                + (f"LoRA of rank {r.rank}" if r.adapter == "lora" else "full weights"),
            ),
            ("steps", f"Adam, learning rate {rate}, {passes} over at most {console.counted(r.pairs, 'pair')}"),
        ]
        if r.retention:
            which = "all" if r.rehearsed_concepts == "all" else f"{r.rehearsed_concepts} of the"
            each, images = (console.counted(count, "image") for count in (r.rehearsed_per_step, r.rehearsed))
            rehearsal = f"{each} per step, drawn from {images} of {which} other concepts"
            if r.rehearsed_words:
                rehearsal += f", and of up to {r.rehearsed_words} with other words in the concept's place"
            summary.append(("retention", f"weight {r.retention:g}, {rehearsal}"))
        return summary


SETTINGS = tuple(field.name for field in dataclasses.fields(Recipe) if field.name not in ("name", "description"))
"""The settings of a recipe."""


def setting_descriptions() -> dict[str, str]:
    """Setting → what it means, from the docstrings of ``Recipe``."""
    properties = TypeAdapter(Recipe).json_schema()["properties"]
    return {name: " ".join(properties[name]["description"].split()) for name in SETTINGS}


_STYLE_SETTINGS: Mapping[str, str] = {
    "guidance": "style_guidance",
    "layers": "style_layers",
    "layer_choice": "style_layers",
}
"""Setting → the setting that comes before it if the concept is a style."""

_RELEASED_LOOP: Mapping[str, Any] = {
    "loss": "mse",
    "rollout_epochs": 1,
    "windows": "all",
    "adapter": "full",
    "rank": 16,
    "schedule": "constant",
    "images_per_step": 1,
    "mixed_precision": "no",
    "checkpointing": "no",
    "retention": 0,
    "rehearsed": 0,
    "rehearsed_words": 0,
    "rehearsed_per_step": 0,
    "rehearsal_noise": 0,
    "rehearsed_concepts": "all",
}
"""Setting → the only value that the trajectory "streams", the released loop, allows."""

_PROJECTIONS: Mapping[str, Sequence[str]] = {"attention": [*"qkvo"], "qkv": [*"qkv"]}
"""``modules`` → the field ``projections`` that was in its place (``Recipe.settings``)."""


@cache
def _kinds() -> dict[str, TypeAdapter[Any]]:
    """Setting → the values that it takes."""
    hints = get_type_hints(Recipe, include_extras=True)
    return {name: TypeAdapter(hints[name]) for name in SETTINGS}
