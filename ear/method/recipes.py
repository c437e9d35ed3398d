"""The named recipes. A name never changes its meaning: results cite it.

Each description, which `ear recipes` prints, says whether EAR's two ideas, windows and threshold, act in the recipe. To
add a recipe, define it here and name it in ``RECIPES`` and docs/erase.md.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from ear.method.recipe import PAPER_TOKENS, Recipe, check_name
from ecgvf.core.errors import RecipeError

PAPER = Recipe(
    name="paper",
    loss="mse",
    guidance=1.0,
    trajectory="surrogate",
    window=None,
    threshold=0.05,
    tail="step",
    layers=5,
    learning_rate=1e-4,
    pairs=50,
    passes=1,
    order="dataset",
    retention=0.0,
    rehearsed=0,
    rehearsed_per_step=0,
    description=(
        "Equations 6 to 8 with the settings of section 6.1 (but the modules of the released weights), with context and "
        "without a retention term. Windows and the threshold take effect."
    ),
)

PAPER_IN_ROWS = dataclasses.replace(
    PAPER,
    name="paper-rows",
    window_scale="rows",
    description=(
        "paper with windows of whole rows of image tokens: two of nano's sixteen for church, as two of Janus-Pro's "
        "twenty-four. Windows and the threshold take effect."
    ),
)

PUBLISHED = dataclasses.replace(
    PAPER,
    name="published",
    trajectory="streams",
    tail="drop",
    weight_dtype="model",
    description=(
        "The loop that the paper's authors released, with its faults: single tokens without context, bare prompts, "
        "three streams that diverge, weights in the model's dtype, seed 42. The streams are sampled as the dataset was "
        "(their script: guidance 5, temperature 1). Windows and the threshold take effect."
    ),
)

PER_PATCH = dataclasses.replace(
    PAPER,
    name="per-patch",
    window=1,
    description=(
        "paper with a window of one image token, so that nothing accumulates. The threshold takes effect on each."
    ),
)

ESD = dataclasses.replace(
    PAPER,
    name="esd",
    window=1,
    windows="random",
    threshold=0.0,
    passes=12,
    order="shuffled",
    description=(
        "The baseline of the paper's figure 2: the objective of ESD (arXiv 2303.07345) on one random image token a "
        "step. Neither windows nor the threshold take effect. Twelve passes take as many steps as paper does for "
        "church."
    ),
)

WINDOWED_KL = Recipe(
    name="windowed-kl",
    loss="kl",
    guidance=0.0,
    trajectory="both",
    window=144,
    threshold=0.05,
    tail="step",
    layers=30,
    learning_rate=3e-4,
    pairs=50,
    passes=2,
    order="shuffled",
    retention=100.0,
    rehearsed=200,
    rehearsed_per_step=4,
    description=(
        "Matches the surrogate's next-token distribution on the images of both prompts, and rehearses other prompts "
        "with a large weight. Windows take effect; the threshold skips no window. Measurements: "
        "docs/decisions/0004-erasing.md."
    ),
)

WINDOWED_KL_HALF = dataclasses.replace(
    WINDOWED_KL,
    name="windowed-kl-half",
    rehearsed_concepts="half",
    description=(
        "windowed-kl that rehearses every second retained concept, so that evaluation shows what becomes of the "
        "others. Windows take effect; the threshold skips no window."
    ),
)

WINDOWED_KL_TUNED = dataclasses.replace(
    WINDOWED_KL_HALF,
    name="windowed-kl-tuned",
    learning_rate=6e-4,
    retention=33.0,
    description=(
        "windowed-kl-half with twice the learning rate and a third of the weight, as chosen on pairs with a single "
        "surrogate. Windows take effect; the threshold skips no window. Measurements: docs/results.md; how it was "
        "chosen: docs/decisions/0018-recipes.md."
    ),
)

ON_POLICY = Recipe(
    name="on-policy",
    description=(
        "Matches the surrogate's next-token distribution on the tuned model's own images, whole images at a time, with "
        "a low-rank update (LoRA). EAR's guidance takes effect on styles; neither windows nor the threshold take "
        "effect. Measurements: docs/results.md; how it was chosen: docs/decisions/0017-on-policy.md."
    ),
    loss="kl",
    guidance=0.0,
    trajectory="rollout",
    rollouts=48,
    rollout_epochs=2,
    style_guidance=0.5,
    window=PAPER_TOKENS,
    threshold=0.05,
    tail="step",
    layers=30,
    style_layers=22,
    adapter="lora",
    rank=16,
    learning_rate=3e-3,
    schedule="linear",
    images_per_step=4,
    mixed_precision="bf16",
    pairs=50,
    passes=20,
    order="shuffled",
    retention=60.0,
    rehearsed=200,
    rehearsed_per_step=4,
    rehearsal_noise=0.5,
    rehearsed_concepts="half",
)

ON_POLICY_WORDS = dataclasses.replace(
    ON_POLICY,
    name="on-policy-words",
    retention=10.0,
    rehearsed=100,
    rehearsed_words=300,
    description=(
        "on-policy that also rehearses the target prompts with other words of the vocabulary in the concept's place, "
        "for a concept whose neighbours look like it; neither windows nor the threshold take effect. Measurements: "
        "docs/results.md; how it was chosen: docs/decisions/0017-on-policy.md."
    ),
)


Fields = Mapping[str, tuple[str, str]]
"""Field of recipe.json → (where its value comes from, what it means)."""

_COMMON_FIELDS: Fields = {
    "format": ("`ear train`", "The format of the file."),
    "recipe": ("this recipe", "Its name."),
    "concept": ("the dataset", "The name of the concept that is avoided."),
    "unsafe": ("the concept", "Whether it is marked unsafe, so that its images are blurred."),
    "erased": (
        "the concept: name, terms, unseen terms, judges' labels",
        "Concepts that do not count as retained if the adapter is measured.",
    ),
    "dataset": ("the dataset", "Its fingerprint."),
    "sampling": ("the dataset", "How its images were sampled, and how `ear generate` samples by default."),
    "model": ("--model, or the model that rendered the dataset", "Its name."),
    "fingerprint": ("that model", "Its fingerprint; any other model is refused."),
}


@dataclass(frozen=True, slots=True)
class PromptRecipe:
    """A way to avoid the concept without training: it changes the prompt, or what guidance leads away from."""

    name: str
    description: str
    own_fields: Fields = field(compare=False, repr=False)
    """What its recipe.json has, and those of other recipes lack."""

    @property
    def fields(self) -> Fields:
        """The fields of its recipe.json."""
        return {**self.own_fields, **_COMMON_FIELDS}

    def __post_init__(self) -> None:
        check_name(self.name)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The recipe itself. Raises ``RecipeError`` if there are options: it has no settings."""
        if options:
            raise RecipeError(f"recipe {self.name} has no settings: omit {next(iter(options))!r}")
        return self

    def settings(self) -> dict[str, Any]:
        """Its name, in the form that fingerprints are computed of, as ``Recipe.settings``."""
        return {"name": self.name}


AnyRecipe = Recipe | PromptRecipe

NEGATIVE_PROMPT = PromptRecipe(
    "negative-prompt",
    description=("Guidance leads away from the concept's name instead of the empty prompt. Nothing is trained."),
    own_fields={
        "negative_prompt": (
            "the concept: its first term",
            "What guidance leads away from, in place of the empty prompt.",
        )
    },
)

PROMPT_REWRITE = PromptRecipe(
    "prompt-rewrite",
    description=(
        "The surrogate takes the concept's place in the prompt: a dataset's own surrogate prompt, in any other prompt "
        "the surrogate instead of the concept's terms. Nothing is trained; it is the ceiling of every other recipe."
    ),
    own_fields={
        "terms": ("the concept: its terms", "Words to replace in prompts that are not the dataset's; plurals, too."),
        "surrogate": ("the concept: its first surrogate", "What takes their place."),
    },
)

DEFAULT = ON_POLICY
"""The recommended recipe."""

RECIPES: Mapping[str, AnyRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            ON_POLICY,
            ON_POLICY_WORDS,
            WINDOWED_KL,
            WINDOWED_KL_HALF,
            WINDOWED_KL_TUNED,
            PAPER,
            PAPER_IN_ROWS,
            PUBLISHED,
            PER_PATCH,
            ESD,
            NEGATIVE_PROMPT,
            PROMPT_REWRITE,
        )
    }
)


def find(name: str) -> AnyRecipe:
    """The recipe called ``name``; "default" is the recommended recipe. Raises ``RecipeError`` for an unknown name."""
    if name == "default":
        return DEFAULT
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}: use default, or one of {', '.join(RECIPES)}")
    return RECIPES[name]
