"""The declaration of a suite: a YAML file, or the options of ``ear suite``.

Paths are relative to the working directory, as in a Makefile, and not to the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ear.evaluation import EvaluationSettings
from ear.evaluation.settings import Figures
from ear.method import recipes
from ear.method.recipe import Recipe
from ecgvf.core import concepts, strict_yaml
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError
from ecgvf.core.files import expanded
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.seeds import check_seed
from ecgvf.core.validation import first_error
from ecgvf.judges.factory import RETAINED_JUDGE, default_judge
from ecgvf.world.domain import NANO

IMAGENETTE = (
    *("tench", "english-springer", "cassette-player", "chain-saw", "church"),
    *("french-horn", "garbage-truck", "gas-pump", "golf-ball", "parachute"),
)
"""The classes of Imagenette, for which the name "imagenette" stands."""

Seeds = Annotated[tuple[int, ...], Field(min_length=1)]
LocalPath = Annotated[Path, AfterValidator(expanded)]
"""``~`` is expanded, as on the command line."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompts(_Part):
    """Numbers of prompts to measure each adapter with."""

    concept: int = Field(default=100, ge=1)
    """Of the erased concept."""
    group: int = Field(default=100, ge=1)
    """Of each group of retained concepts, at least (``EvaluationSettings.prompts_per_group``)."""
    neighbour: int | None = Field(default=None, ge=1)
    """Of each neighbour, if the number differs."""
    family: str | None = None
    """Only retained concepts of this family, as ``ear eval --family``; None: all."""


class Attachments(_Part):
    """Files of other measurements that the report shows beside the suite's own."""

    ablations: tuple[LocalPath, ...] = ()
    """Folders of `ear ablate --out`."""
    trials: LocalPath | None = None
    """JSON of several settings of each recipe, as benchmarks/frontier.py writes it."""
    attacks: tuple[LocalPath, ...] = ()
    """What `ear attack --json` printed."""
    memorisation: tuple[LocalPath, ...] = ()
    """What `ear memorisation` wrote beside its sheet, or printed with --json."""
    agreement: LocalPath | None = None
    """JSON of how far judges and people who labelled images agree, as `ecgvf review --images … --json` prints it."""


class SuiteSpec(_Part):
    """What is trained and measured. Every field but ``concepts`` has a default."""

    name: str = Field(default="suite", pattern=r"^[a-z0-9][a-z0-9-]*$")
    model: str = NANO
    concepts: tuple[str, ...] = Field(min_length=1)
    """Shipped concepts, or paths of YAML files; "imagenette" and "painters" stand for several."""
    recipes: tuple[str, ...] = Field(default=("default",), min_length=1, validate_default=True)
    run_seeds: Seeds = (0,)
    """Each seed writes new pairs and renders them from new noise; it is trained at the first training seed."""
    training_seeds: Seeds = (0,)
    """Each trains on the pairs of the first run seed; a recipe without randomness takes the first seed only."""
    pairs: int = Field(default=60, ge=1)
    """Training pairs to write."""
    tests: int = Field(default=100, ge=1)
    """Evaluation prompts to write, of the split that is measured."""
    split: EvaluationSplit = "test"
    prompts: Prompts = Prompts()
    figures: Literal["default", "full"] = "full"
    """The full figures are measured for the first seeds of each concept and recipe."""
    first_cell_only: tuple[str, ...] = ()
    """Those of ``recipes`` that are measured with the first seeds and the default figures only."""
    questions: LocalPath | None = None
    """Parquet file of yes/no questions about images, for the full figures; None: nano's own for nano, else none."""
    oracles: dict[str, LocalPath] = {}
    """Concept → folder of a model trained without it, which is a row of the table, and is attacked as well in the full
    figures (docs/attacks.md). A cell's key has the path of the folder and not the weights, which a clone need not
    have."""
    goals: str | None = None
    """The recipe that has to meet the goals (``ear.suite.goals``)."""
    writers: str | None = None
    """LLMs that write the pairs, separated by commas, or "offline". None: offline for nano, else the preset "default",
    as far as its keys are set."""
    budget_usd: float = Field(default=5.0, gt=0)
    """Limit on the cost of the LLM calls for a concept, in US dollars."""
    weights: dict[str, str] = {}
    """Judge → its weights, as ``--weights`` names them; a judge that is not named has its own."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images rendered at once; None: by the model's size."""
    timeout_minutes: float | None = Field(default=None, gt=0)
    """A cell that takes longer has failed."""
    store: LocalPath | None = None
    """Folder of pairs, images and adapters; None: suites/NAME/store."""
    results: LocalPath | None = None
    """Folder of the finished cells' outcomes and of the table; None: suites/NAME/results."""
    report: Attachments = Attachments()

    @field_validator("run_seeds", "training_seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        for seed in seeds:
            check_seed(seed, str(info.field_name))
        if len(set(seeds)) < len(seeds):
            raise ValueError("it repeats a seed: name each once")
        return seeds

    @field_validator("store", "results", mode="before")
    @classmethod
    def _local(cls, folder: Any) -> Any:
        if "://" in str(folder):
            raise ValueError(f"{folder} must be a local folder")
        return folder

    @field_validator("concepts")
    @classmethod
    def _known_concepts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        given = concept_names(names)
        if len({concepts.find(name).name for name in given}) < len(given):
            raise ValueError(f"two of {', '.join(given)} share a name: rename yours")
        return given

    @field_validator("recipes", "first_cell_only")
    @classmethod
    def _known_recipes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(recipes.find(name).name for name in names))

    @field_validator("goals")
    @classmethod
    def _known_goals(cls, name: str | None) -> str | None:
        return None if name is None else recipes.find(name).name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.goals is not None and self.goals not in self.recipes:
            raise ValueError(f"goals: {self.goals} is not among the recipes {', '.join(self.recipes)}")
        if self.goals is not None and not self._asks_questions(self.goals):
            raise ValueError(
                f"goals: {self.goals} has a goal for its answers to questions, and no cell of it asks any: write "
                "figures: full, leave it out of first_cell_only, and name questions if the model is not Janus-nano"
            )
        if others := [name for name in self.first_cell_only if name not in self.recipes]:
            raise ValueError(f"first_cell_only: {others[0]} is not among the recipes {', '.join(self.recipes)}")
        known = [concepts.find(name).name for name in self.concepts]
        if unknown := [name for name in self.oracles if name not in known]:
            raise ValueError(f"oracles: {unknown[0]} is not among the concepts {', '.join(known)}")
        judges = {default_judge(concepts.find(name), self.model) for name in self.concepts} | {RETAINED_JUDGE}
        if unknown := [name for name in self.weights if name not in judges]:
            raise ValueError(f"weights: {unknown[0]} is not among the judges {', '.join(sorted(judges))}")
        if len(self.run_seeds) > 1 and not self.offline:
            raise ValueError(
                "run_seeds: LLM writers cannot be seeded, so there can be only one run: write run_seeds: [0]"
            )
        return self

    def _asks_questions(self, recipe: str) -> bool:
        """Whether a cell of ``recipe`` measures what the model understands."""
        asked = self.questions is not None or self.model == NANO
        return self.figures == "full" and recipe not in self.first_cell_only and asked

    @property
    def offline(self) -> bool:
        """Whether the offline writer writes the pairs."""
        return self.writers == "offline" or (self.writers is None and self.model == NANO)

    @property
    def reference(self) -> str:
        """The recipe that other methods are compared with: the one that has goals, else the first."""
        return self.goals if self.goals is not None else self.recipes[0]

    @property
    def store_folder(self) -> Path:
        """Where pairs, images and adapters are kept."""
        return self.store if self.store is not None else Path("suites") / self.name / "store"

    @property
    def results_folder(self) -> Path:
        """Where outcomes and the table are kept."""
        return self.results if self.results is not None else Path("suites") / self.name / "results"

    def seeds(self, recipe: str) -> list[tuple[int, int]]:
        """(run seed, training seed) of each cell of ``recipe``, or of a submission of this name."""
        first, training = self.run_seeds[0], self.training_seeds[0]
        if recipe not in self.recipes or recipe in self.first_cell_only:
            return [(first, training)]
        found = recipes.find(recipe)
        random = isinstance(found, Recipe) and found.depends_on_seed
        trained = self.training_seeds[1:] if random else ()
        return [*((seed, training) for seed in self.run_seeds), *((first, seed) for seed in trained)]

    def judge_weights(self, concept: Concept) -> str | None:
        """The weights of the judges of ``concept`` and of retained concepts, as ``--weights`` names them."""
        judges = (default_judge(concept, self.model), RETAINED_JUDGE)
        return ",".join(f"{name}={self.weights[name]}" for name in sorted(self.weights) if name in judges) or None

    def settings(self, concept: Concept, figures: Figures) -> EvaluationSettings:
        """The settings of the evaluation of each cell of ``concept``."""
        full = figures == "full"
        return EvaluationSettings(
            prompts_per_concept=self.prompts.concept,
            prompts_per_group=self.prompts.group,
            prompts_per_neighbour=self.prompts.neighbour,
            family=self.prompts.family,
            figures=figures,
            split=self.split,
            questions=self.questions if full else None,
            oracle=self.oracles.get(concept.name) if full else None,
            weights=self.judge_weights(concept),
            batch_size=self.batch_size,
        )


def concept_names(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, with "imagenette" and "painters" spelled out. Raises ``ConceptError`` for an unknown concept."""
    painters = [name for name in concepts.names() if concepts.find(name).kind == "style"]
    groups: dict[str, Sequence[str]] = {"imagenette": IMAGENETTE, "painters": painters}
    found = [each for name in names for each in groups.get(name, [name])]
    for name in found:
        concepts.find(name)
    return tuple(dict.fromkeys(found))


def read_spec(file: Path | None, changes: dict[str, Any] | None = None) -> SuiteSpec:
    """The suite in ``file`` (None: the defaults) with ``changes`` in place of its fields. Raises ``SettingsError``."""
    content: Any = {}
    if file is not None:
        if not file.is_file():
            raise SettingsError(f"there is no file {file}: name a suite's YAML file, such as benchmarks/nano.yaml")
        try:
            content = strict_yaml.load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise SettingsError(f"{file} is not a suite: write fields such as `concepts: [church]`")
    changed = {**content, **(changes or {})}
    if not changed.get("concepts") and changed.keys() <= SuiteSpec.model_fields.keys():  # else it may be a misspelt key
        raise SettingsError("the suite has no concepts: name a YAML file, or some with --concepts church,castle")
    try:
        return SuiteSpec.model_validate(changed)
    except ValidationError as error:
        raise SettingsError(f"{file or 'the suite'}: {first_error(error, model=SuiteSpec)}") from error
