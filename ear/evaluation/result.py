"""The result of an evaluation: its outcomes, the figures computed from them, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.table import Table

from ear.evaluation import figures
from ear.evaluation.attack_figures import AttackRow, PromptClass, attack_rows
from ear.evaluation.attack_table import attack_caption, attack_table
from ear.evaluation.contact_sheets import write_attack_sheet, write_contact_sheet
from ear.evaluation.fidelity.measure import Fidelity
from ear.evaluation.figures import SEEDS, FigureRow
from ear.evaluation.not_measured import NotMeasured
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, read_outcomes, selected, write_outcomes
from ear.evaluation.table import BY_CONCEPT, BY_SAMPLING, BY_WORDING, text
from ecgvf.core.errors import DatasetError
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.shard_set import versions

LAST_EVALUATION = "evaluation.parquet"
"""Name of the file, beside an adapter, in which `ear eval` leaves its last evaluation, without images."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are shown together."""

    title: str
    """Of a section of the table."""
    rows: Sequence[FigureRow]
    key: str | None = None
    """In JSON; None: there they have another form."""


@dataclass(frozen=True)
class Evaluation:
    """What an adapter changed; ``print`` shows the table."""

    concept: str
    """The measured concept, which is the dataset's. Stacked adapters may erase others as well."""
    unsafe: bool
    model: str
    adapters: tuple[Path, ...]
    recipe: str
    judge: str
    split: EvaluationSplit
    test_openings: int
    """How often the test split was opened so far, as store and dataset know."""
    families: Mapping[str, str | None] = field(repr=False)
    """Retained concept → its family; None in a cell of a suite, which does not say."""
    origin: Mapping[str, Any] = field(repr=False)
    """Fingerprints of "dataset" and "model", the model's "dtype", the adapter's "training_dtype" (None: not trained
    here), the settings of the "judges", and the "seed"."""
    outcomes: tuple[Outcome, ...] = field(repr=False)
    """A row per image, from which every figure is computed; those under attack are in ``attacked``."""
    answered: tuple[AnsweredQuestion, ...] = field(repr=False, default=())
    """Answers to yes/no questions; empty without the full figures."""
    not_measured: tuple[NotMeasured, ...] = field(repr=False, default=())
    """Retained concepts that are left out, and a figure of the concept if it is, and why."""
    fidelity: Fidelity | None = field(repr=False, default=None)
    """FID, KID and CLIP score on general captions; None without the paper's figures."""
    attacked: tuple[Outcome, ...] = field(repr=False, default=())
    """The outcomes under attack; empty without the full figures."""
    classes: tuple[PromptClass, ...] = field(repr=False, default=())
    """How often the original renders each class of the written prompts; empty without the full figures."""
    command: tuple[str, ...] = field(repr=False, default=())
    """The words of the ``ear eval`` that measured it; empty if it was measured in Python."""
    all_openings: bool = field(repr=False, default=True)
    """Whether ``test_openings`` counts all; not of a suite with cells of earlier versions, which do not list them."""

    @property
    def original(self) -> list[Outcome]:
        """The outcomes before erasing, and the ceiling's."""
        return [outcome for outcome in self.outcomes if outcome.condition != "after"]

    @cached_property
    def attacks(self) -> list[AttackRow]:
        """Whether attacks bring the concept back; empty unless the figures are full."""
        return attack_rows([*self.outcomes, *self.attacked], self.classes)

    @cached_property
    def replacement(self) -> list[FigureRow]:
        """Whether the concept is gone, and whether its surrogate stands in its place."""
        return figures.replacement(self.outcomes)

    @cached_property
    def scene(self) -> list[FigureRow]:
        """Whether the rest of the scene stays, and whether the image is coherent."""
        return figures.scene(self.outcomes)

    @cached_property
    def retention_by_concept(self) -> list[FigureRow]:
        """Share of images that show their concept, for each retained concept; the worst first."""
        return figures.retention_by_concept(self.outcomes)

    @cached_property
    def lost(self) -> dict[str, bool | None]:
        """Retained concept → whether its loss is shown, corrected for their number (Holm); None: too few prompts."""
        return figures.lost(self.outcomes)

    @cached_property
    def retention_by_group(self) -> list[FigureRow]:
        """What the groups of retained concepts kept, and all of them pooled."""
        return figures.retention_by_group(self.outcomes)

    @cached_property
    def by_wording(self) -> list[FigureRow]:
        """``replacement`` and ``scene`` for each class of prompts."""
        return figures.by_wording(self.outcomes)

    @cached_property
    def by_sampling(self) -> list[FigureRow]:
        """``replacement`` at every other guidance and temperature; empty unless the figures are full."""
        return figures.replacement_by_sampling(self.outcomes)

    @cached_property
    def in_any_seed(self) -> list[FigureRow]:
        """Share of prompts that show the concept with any of several seeds; empty unless the figures are full."""
        return figures.concept_in_any_seed(self.outcomes)

    @cached_property
    def understanding(self) -> list[FigureRow]:
        """Share of yes/no questions about images that are answered correctly; empty unless the figures are full."""
        main = self.outcomes[0]
        return figures.understanding(self.answered, main.guidance, main.temperature)

    @property
    def erasure(self) -> FigureRow:
        """Share of the concept's prompts whose images show the concept."""
        return self.replacement[0]

    @cached_property
    def erasure_rate(self) -> Figure:
        """1 - share after / share before; undefined if the concept was absent before."""
        return figures.erasure_rate(self.outcomes)

    @property
    def parts(self) -> list[Part]:
        """All rows, without those of attacks, in the order of the table."""
        return [
            Part(self.concept, self.replacement, "replacement"),
            Part("scene", self.scene, "scene"),
            Part(BY_WORDING, self.by_wording, "by_wording"),
            Part(BY_SAMPLING, self.by_sampling, "by_sampling"),
            Part(f"{SEEDS} seeds of a prompt", self.in_any_seed, "in_any_seed"),
            Part("retained concepts", self.retention_by_group, "groups"),
            Part("understanding", self.understanding, "understanding"),
            Part("general captions", () if self.fidelity is None else self.fidelity.rows),
            Part(BY_CONCEPT, self.retention_by_concept),
        ]

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it."""
        files = [str(file) for file in self.adapters]
        neighbours = {outcome.concept for outcome in self.outcomes if outcome.group == "neighbours"}
        # Images of the sample "threshold", before erasing alone, are grouped without a recipe.
        group_of = {outcome.concept: outcome.group for outcome in selected(self.outcomes, "after")}
        return {
            "concept": self.concept,
            "model": self.model,
            "adapter": files[0] if len(files) == 1 else files,
            "recipe": self.recipe,
            "judge": self.judge,
            "split": self.split,
            "test_openings": self.test_openings,
            "erasure": _before_after(self.erasure),
            "erasure_rate": self.erasure_rate.json(),
            "retention": [
                {
                    "concept": row.group,
                    "neighbour": row.group in neighbours,
                    "group": group_of[row.group],
                    "family": self.families[row.group],
                    "lost": self.lost[row.group],
                    **_before_after(row),
                }
                for row in self.retention_by_concept
            ],
            "neighbours": _before_after(figures.retained(self.outcomes, neighbours)),
            "unrelated": _before_after(figures.retained(self.outcomes, set(self.families) - neighbours)),
            "not_measured": [each.json() for each in self.not_measured],
            "retention_ratio": figures.retention_ratio(self.outcomes).json(),
            **{part.key: [row.json() for row in part.rows] for part in self.parts if part.key is not None},
            "paper": self.fidelity.json() if self.fidelity is not None else None,
            "attacks": [row.json() for row in self.attacks],
            "classes": [each.json() for each in self.classes],
        }

    def save(self, file: Path | str, *, images: bool = True) -> Path:
        """Write the evaluation, with or without ``images``, as a Parquet file that ``load`` reads. Returns its path."""
        lists = {
            "adapters": [*map(str, self.adapters)],
            "answered": [asdict(answer) for answer in self.answered],
            "not_measured": [each.json() for each in self.not_measured],
            "fidelity": self.fidelity.json() if self.fidelity is not None else None,
            "classes": [each.json() for each in self.classes],
            "command": list(self.command),
        }
        facts = {name: getattr(self, name) for name in _FACTS} | lists | {"versions": versions()}
        return write_outcomes([*self.outcomes, *self.attacked], Path(file), facts, images=images)

    @classmethod
    def load(cls, file: Path | str) -> "Evaluation":
        """The evaluation that ``save`` wrote. Raises ``DatasetError`` for another file."""
        outcomes, facts = read_outcomes(Path(file))
        if "original" in facts:
            raise DatasetError(
                f"{file} is a cell of a suite, not a file of `ear eval --outcomes`: `ear report {Path(file).parent}` "
                "shows the suite, and `ear compare` compares cells with cells"
            )
        if not facts:
            raise DatasetError(f"{file} does not say what it is of: `ear eval --outcomes` did not write it")
        if missing := sorted(_FACTS - facts.keys()):
            raise DatasetError(f"{file} lacks {missing[0]}: {_NOT_OF_THIS_VERSION}")
        if not any(outcome.group == "concept" and outcome.condition == "after" for outcome in outcomes):
            raise DatasetError(
                f"{file} has no outcome of {facts['concept']} after erasing: write one with `ear eval --outcomes`"
            )
        try:
            if missing := sorted({"dataset", "model", "judges"} - set(facts["origin"])):  # what comparisons read
                raise KeyError(missing[0])
            measured = facts["fidelity"]
            read = {
                "adapters": tuple(map(Path, facts["adapters"])),
                "answered": tuple(AnsweredQuestion(**answer) for answer in facts["answered"]),
                "classes": tuple(PromptClass.from_json(each) for each in facts["classes"]),
                "fidelity": Fidelity.from_json(measured) if measured is not None else None,
                "not_measured": tuple(NotMeasured.from_json(each) for each in facts["not_measured"]),
                "command": tuple(facts["command"]),
            }
        except (TypeError, KeyError) as error:
            raise DatasetError(f"{file}: {_NOT_OF_THIS_VERSION}") from error
        return cls(
            **{name: facts[name] for name in _FACTS} | read,
            outcomes=tuple(outcome for outcome in outcomes if outcome.sample != "attack"),
            attacked=tuple(outcome for outcome in outcomes if outcome.sample == "attack"),
        )

    def save_contact_sheet(self, file: Path | str) -> Path:
        """Write a PNG of some prompts' images before and after, and return its path."""
        return write_contact_sheet([self], ["erased"], Path(file))

    def attack_table(self) -> Table:
        """The table of what attacks brought back, for the full figures."""
        caption = attack_caption([*self.outcomes, *self.attacked], self.split, self.test_openings)
        title = f"{self.concept} under attack: shares of images that show it"
        return attack_table(self.attacks, self.classes, title=title, caption=caption)

    def save_attack_sheet(self, file: Path) -> Path:
        """Write a PNG of what each attack brought back, for the full figures, and return its path."""
        return write_attack_sheet(self, [*self.outcomes, *self.attacked], file)

    def __str__(self) -> str:
        return text([self], ["after"])


_NOT_OF_THIS_VERSION = "its facts are not those that this version of `ear eval --outcomes` writes: measure again"
_FACTS = {each.name for each in fields(Evaluation)} - {"outcomes", "attacked", "all_openings"}


def _before_after(row: FigureRow | None) -> dict[str, Any]:
    nothing: Figure = proportion(0, 0)
    before, after = (nothing, nothing) if row is None else (row.before, row.after)
    return {"before": before.json(), "after": after.json()}
