"""An evaluation: the erased concept and the retained ones, before and after, with one seed per prompt."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.table import Table

from ear.evaluation import attack_report, figures, report
from ear.evaluation.attack_figures import AttackRow, PromptClass, attack_rows, prompt_classes
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.fidelity.measure import Fidelity, FidelityMeasurement
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.figures import FigureRow
from ear.evaluation.judges import EvaluationJudges
from ear.evaluation.measure import Measurement, files_hash
from ear.evaluation.not_measured import NotMeasured, left_out
from ear.evaluation.opened import count_openings
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, read_outcomes, write_outcomes
from ear.evaluation.prompts import (
    EvaluationPrompt,
    concept_prompts,
    prompts_by_seed,
    prompts_by_wording,
    retained_prompts,
)
from ear.evaluation.questions import YesNoQuestion, nano_questions, read_questions
from ear.evaluation.robustness import attack_outcomes, find_oracle, written_with_control_tokens
from ear.evaluation.settings import FULL_GUIDANCES, FULL_TEMPERATURES, EvaluationSettings
from ear.evaluation.submitted_images import SubmittedImages
from ear.evaluation.understanding import compare_answers, kept_answers
from ear.method.open_adapter import AnyAdapter, open_adapter
from ear.retained_concepts import RetainedConcept, in_nano_world, rehearsed_concepts, retained_concepts
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling


@dataclass(frozen=True)
class Evaluation:
    """What an adapter changed. ``print`` shows it as a table."""

    concept: str
    """The concept of the dataset, which is measured. Stacked adapters may erase others as well."""
    unsafe: bool
    model: str
    adapters: tuple[Path, ...]
    recipe: str
    judge: str
    split: EvaluationSplit
    test_openings: int
    """How often the test split was opened so far, as store and dataset know."""
    families: dict[str, str] = field(repr=False)
    """Retained concept → its family."""
    outcomes: tuple[Outcome, ...] = field(repr=False)
    """A row per image; every figure is computed from them."""
    answered: tuple[AnsweredQuestion, ...] = field(repr=False, default=())
    """Yes/no questions, of the full figures."""
    not_measured: tuple[NotMeasured, ...] = field(repr=False, default=())
    """Retained concepts that are left out, and why."""
    fidelity: Fidelity | None = field(repr=False, default=None)
    """FID, KID and CLIP score on general captions, of the paper's figures."""
    attacked: tuple[Outcome, ...] = field(repr=False, default=())
    """The outcomes under attack, of the full figures."""
    classes: tuple[PromptClass, ...] = field(repr=False, default=())
    """How often the original renders each class of the prompts that were written, of the full figures."""

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
    def retention(self) -> list[FigureRow]:
        """Share of images that show their concept, of each retained concept; the worst first."""
        return figures.retention_by_concept(self.outcomes)

    @cached_property
    def lost(self) -> set[str]:
        """The retained concepts whose loss is shown, corrected for their number (Holm)."""
        return figures.lost(self.outcomes)

    @cached_property
    def groups(self) -> list[FigureRow]:
        """What the groups of retained concepts kept, and all of them pooled."""
        return figures.retention(self.outcomes)

    @cached_property
    def understanding(self) -> list[FigureRow]:
        """Share of yes/no questions about images that are answered correctly; empty unless the figures are full."""
        main = self.outcomes[0]
        return figures.understanding(self.answered, main.guidance, main.temperature)

    @property
    def erasure(self) -> FigureRow:
        """Share of the concept's prompts whose images show the concept."""
        return self.replacement[0]

    @property
    def erasure_rate(self) -> float | None:
        """1 - share after / share before; None if the concept was absent before."""
        before = self.erasure.before.value
        return None if before == 0 else 1 - self.erasure.after.value / before

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it."""
        files = [str(file) for file in self.adapters]
        neighbours = {outcome.concept for outcome in self.outcomes if outcome.group == "neighbours"}
        group_of = {outcome.concept: outcome.group for outcome in self.outcomes}
        return {
            "concept": self.concept,
            "model": self.model,
            "adapter": files[0] if len(files) == 1 else files,
            "recipe": self.recipe,
            "judge": self.judge,
            "split": self.split,
            "test_openings": self.test_openings,
            "erasure": _before_after(self.erasure),
            "erasure_rate": self.erasure_rate,
            "retention": [
                {
                    "concept": row.group,
                    "neighbour": row.group in neighbours,
                    "group": group_of[row.group],
                    "family": self.families[row.group],
                    "lost": row.group in self.lost,
                    **_before_after(row),
                }
                for row in self.retention
            ],
            "neighbours": _before_after(figures.retained(self.outcomes, neighbours)),
            "unrelated": _before_after(figures.retained(self.outcomes, set(self.families) - neighbours)),
            "groups": [row.json() for row in self.groups],
            "not_measured": [each.json() for each in self.not_measured],
            "retention_ratio": figures.retention_ratio(self.outcomes).json(),
            "replacement": [row.json() for row in self.replacement],
            "scene": [row.json() for row in self.scene],
            "understanding": [row.json() for row in self.understanding],
            "by_wording": [row.json() for row in figures.replacement_by_wording(self.outcomes)],
            "by_sampling": [row.json() for row in figures.replacement_by_sampling(self.outcomes)],
            "paper": self.fidelity.json() if self.fidelity is not None else None,
            "in_any_seed": [row.json() for row in figures.concept_in_any_seed(self.outcomes)],
            "attacks": [row.json() for row in self.attacks],
            "classes": [each.json() for each in self.classes],
        }

    def save(self, file: Path | str, *, images: bool = True) -> Path:
        """Write the outcomes as one Parquet file, from which ``load`` makes this evaluation again. Returns its path."""
        lists = {
            "adapters": [*map(str, self.adapters)],
            "answered": [asdict(answer) for answer in self.answered],
            "not_measured": [each.json() for each in self.not_measured],
            "fidelity": self.fidelity.json() if self.fidelity is not None else None,
            "classes": [each.json() for each in self.classes],
        }
        facts = {name: getattr(self, name) for name in _FACTS} | lists | {"versions": versions()}
        return write_outcomes([*self.outcomes, *self.attacked], Path(file), facts, images=images)

    @classmethod
    def load(cls, file: Path | str) -> "Evaluation":
        """The evaluation that ``save`` wrote. Raises ``DatasetError`` for another file."""
        outcomes, facts = read_outcomes(Path(file))
        if missing := sorted(_FACTS - facts.keys()):
            raise DatasetError(f"{file} does not say its {missing[0]}: it is no file that `ear eval --outcomes` wrote")
        if not any(outcome.group == "concept" and outcome.condition == "after" for outcome in outcomes):
            raise DatasetError(
                f"{file} has no outcome of {facts['concept']} after erasing: write one with `ear eval --outcomes`"
            )
        try:
            answered = tuple(AnsweredQuestion(**answer) for answer in facts["answered"])
            classes = tuple(PromptClass.from_json(each) for each in facts.get("classes", ()))
            missing_groups = tuple(NotMeasured.from_json(each) for each in facts.get("not_measured", ()))
            lists = {"adapters": tuple(map(Path, facts["adapters"])), "answered": answered}
            measured = facts.get("fidelity")
            fidelity = Fidelity.from_json(measured) if measured is not None else None
        except (TypeError, KeyError) as error:
            raise DatasetError(f"{file}: its facts are not those that `ear eval --outcomes` writes") from error
        known = {name: facts[name] for name in _FACTS} | lists
        return cls(
            **known,
            not_measured=missing_groups,
            fidelity=fidelity,
            outcomes=tuple(outcome for outcome in outcomes if outcome.sample != "attack"),
            attacked=tuple(outcome for outcome in outcomes if outcome.sample == "attack"),
            classes=classes,
        )

    def save_contact_sheet(self, file: Path | str) -> Path:
        """Write a PNG of some prompts' images before and after, and return its path."""
        return report.write_contact_sheet([self], ["erased"], Path(file))

    def attack_table(self) -> Table:
        """What attacks brought back, of the full figures."""
        caption = attack_report.attack_caption([*self.outcomes, *self.attacked], self.split, self.test_openings)
        title = f"{self.concept} under attack: shares of images that show it"
        return attack_report.attack_table(self.attacks, self.classes, title=title, caption=caption)

    def save_attack_sheet(self, file: Path) -> Path:
        """Write a PNG of what each attack brought back, of the full figures, and return its path."""
        title = f"{self.concept} under attack, erased from {Path(self.model).name}"
        outcomes = [*self.outcomes, *self.attacked]
        return attack_report.write_attack_sheet(outcomes, file, title=title, unsafe=self.unsafe)

    def __str__(self) -> str:
        return report.text([self], ["after"])


_FACTS = {each.name for each in fields(Evaluation)} - {"outcomes", "not_measured", "attacked", "classes", "fidelity"}


def evaluate(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    settings: EvaluationSettings = EvaluationSettings(),
    *,
    also_erased: Collection[str] = (),
) -> Evaluation:
    """Render and judge the evaluation prompts with the frozen model and with the stacked adapters of ``files``.

    Concepts that these adapters erase, and those in ``also_erased``, do not count as retained.
    Raises ``AdapterError``, ``DatasetError``, ``JudgeError``, and ``SettingsError`` for an unknown family.
    """
    adapter = open_adapter(model, files)
    return _evaluate(store, model, dataset, adapter, files_hash(files), settings, files, also_erased)


def evaluate_images(
    store: Store, model: JanusModel, dataset: Dataset, images: SubmittedImages, settings: EvaluationSettings
) -> Evaluation:
    """The same for images that another method rendered of ``evaluation_prompts``.

    Figures that need image tokens, and those of other prompts, guidance and temperature, are not measured. Raises as
    ``evaluate`` does, ``SettingsError`` for other figures, and ``DatasetError`` for missing images.
    """
    if settings.figures != "default":
        raise SettingsError(f"{images.name}: images of the prompts alone cannot have the {settings.figures} figures")
    return _evaluate(store, model, dataset, images, images.hash, settings, [images.folder])


def evaluation_prompts(dataset: Dataset, settings: EvaluationSettings) -> list[EvaluationPrompt]:
    """The prompts that the default figures need an image of, if training rehearsed nothing."""
    judges = EvaluationJudges(dataset, settings.judge, settings.weights)
    retained, _ = _retained(judges, settings, {dataset.concept.name}, ())
    asked = concept_prompts(dataset, settings.counts[0], settings.seed, settings.split)
    return [*asked, *_retained_prompts(retained, (), settings)]


def _evaluate(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    adapter: AnyAdapter | SubmittedImages,
    tuned_hash: str,
    settings: EvaluationSettings,
    files: Sequence[Path],
    also_erased: Collection[str] = (),
) -> Evaluation:
    judges = EvaluationJudges(dataset, settings.judge, settings.weights)
    questions = _questions(dataset, settings)  # read at once, so that a wrong file costs no rendering
    captions = None
    if settings.figures == "paper":
        settings_of_paper = settings.fidelity or FidelitySettings()
        captions = FidelityMeasurement.open(store, model, dataset, settings_of_paper, settings.seed)
    rehearsed = _rehearsed(dataset, adapter)
    retained, not_measured = _retained(judges, settings, {*adapter.concepts, *also_erased}, rehearsed)
    measurement = Measurement(store, model, dataset, judges, adapter, tuned_hash, settings.batch_size)
    full = settings.figures == "full"
    oracle = find_oracle(measurement, settings.oracle) if full and settings.oracle is not None else None
    asked = concept_prompts(dataset, settings.counts[0], settings.seed, settings.split)
    asked_of_retained = _retained_prompts(retained, rehearsed, settings)
    judges.settings([*asked, *asked_of_retained])  # hashes the weights, so that a missing file costs no rendering
    recipe = str(adapter.facts["recipe"]["name"])
    opened = count_openings(store, dataset, settings.split, measurement.adapter_hash, recipe)
    outcomes = measurement.outcomes(asked)
    outcomes += measurement.outcomes(asked_of_retained)
    if settings.split == "test":
        of_validation = _retained_prompts(retained, (), replace(settings, split="validation"))
        outcomes += measurement.frozen(of_validation, "threshold")
    attacked: list[Outcome] = []
    if full:
        outcomes += _full_outcomes(measurement, asked, settings)
        budgets = {kind: attack.default_budget for kind, attack in KINDS.items()}
        attacked = attack_outcomes(measurement, asked, budgets, settings.seed, settings.split, oracle)
        attacked += written_with_control_tokens(measurement, asked, settings.seed, settings.split, oracle)
    answered = _answered(measurement, questions)
    fidelity = None
    if captions is not None and not isinstance(adapter, SubmittedImages):
        fidelity = captions.measure(store, model, adapter, measurement.adapter_hash, settings.batch_size)
    return Evaluation(
        concept=dataset.concept.name,
        unsafe=dataset.concept.unsafe,
        model=model.name,
        adapters=tuple(files),
        recipe=recipe,
        judge=judges.concept_judge,
        split=settings.split,
        test_openings=opened,
        families={concept.name: concept.family for concept in retained},
        outcomes=tuple(outcomes),
        answered=tuple(answered),
        not_measured=tuple(not_measured),
        fidelity=fidelity,
        attacked=tuple(attacked),
        classes=tuple(prompt_classes(dataset, settings.split)) if full else (),
    )


def compare(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    settings: EvaluationSettings = EvaluationSettings(),
) -> list[Evaluation]:
    """One evaluation per adapter, each alone, on the same prompts and seeds.

    What any of them erases does not count as retained for all, so that their figures are of the same concepts.
    """
    erased = {concept for file in files for concept in open_adapter(model, [file]).concepts}
    return [evaluate(store, model, dataset, [file], settings, also_erased=erased) for file in files]


def _retained_prompts(
    concepts: Sequence[RetainedConcept], rehearsed: Collection[str], settings: EvaluationSettings
) -> list[EvaluationPrompt]:
    """Prompts of the retained concepts, grouped by what training rehearsed."""
    prompts = []
    for group in figures.GROUPS:
        members = [concept for concept in concepts if concept.group(rehearsed) == group]
        count = settings.counts[1]
        if settings.prompts_per_group is not None and members:
            count = -(-settings.prompts_per_group // len(members))
        if settings.prompts_per_neighbour is not None and group == "neighbours":
            count = settings.prompts_per_neighbour
        prompts += retained_prompts(members, count, settings.seed, rehearsed, settings.split)
    return prompts


def _rehearsed(dataset: Dataset, adapter: AnyAdapter | SubmittedImages) -> list[str]:
    """The concepts that the adapter's training rehearsed; older adapters do not name them."""
    recipe = adapter.facts["recipe"]
    if not recipe.get("retention"):
        return []
    recorded: list[str] | None = adapter.facts.get("rehearsed_concepts")
    if recorded is not None:
        return recorded
    # Outside nano's world they rehearsed the surrogate images of their own pairs.
    return rehearsed_concepts(dataset, recipe["rehearsed"]) if in_nano_world(dataset) else []


def _full_outcomes(
    measurement: Measurement, main: Sequence[EvaluationPrompt], settings: EvaluationSettings
) -> list[Outcome]:
    """Outcomes of the concept beyond the main ones: wordings, more seeds, other guidance and temperature."""
    dataset = measurement.dataset
    by_wording = _unknown(prompts_by_wording(dataset, settings.seed, settings.split), main)
    more = prompts_by_seed(dataset, settings.counts[0], figures.SEEDS, settings.seed, settings.split)
    outcomes = measurement.outcomes(by_wording, "wording")
    outcomes += measurement.outcomes(_unknown(more, [*main, *by_wording]), "seeds")
    usual = Sampling(**dataset.sampling)
    guidances = FULL_GUIDANCES[in_nano_world(dataset)]
    changed = [replace(usual, guidance=guidance) for guidance in guidances]
    changed += [replace(usual, temperature=temperature) for temperature in FULL_TEMPERATURES]
    for sampling in changed:
        if sampling != usual:
            outcomes += measurement.outcomes(main, "sampling", sampling)
    return outcomes


def _questions(dataset: Dataset, settings: EvaluationSettings) -> list[YesNoQuestion]:
    """The questions of the full figures: the file's, else those about nano's world; without either there are none."""
    if settings.figures != "full":
        return []
    if settings.questions is not None:
        return read_questions(settings.questions)
    if in_nano_world(dataset):
        return nano_questions(dataset.concept)
    console.note("understanding is not measured: name a Parquet file of questions with --questions")
    return []


def _answered(measurement: Measurement, questions: Sequence[YesNoQuestion]) -> list[AnsweredQuestion]:
    """The answers of the frozen and of the tuned model."""
    if not questions or isinstance(measurement.adapter, SubmittedImages):
        return []
    store, model, concept = measurement.store, measurement.model, measurement.dataset.concept
    before = kept_answers(store, model, concept, questions)
    after = kept_answers(
        store, model, concept, questions, adapter=measurement.adapter, adapter_hash=measurement.adapter_hash
    )
    return compare_answers(concept, questions, before, after)


def _unknown(prompts: Iterable[EvaluationPrompt], known: Iterable[EvaluationPrompt]) -> list[EvaluationPrompt]:
    """The prompts whose images are not among those of ``known``: no image is rendered twice."""
    seeds = {(prompt.id, prompt.seed) for prompt in known}
    return [prompt for prompt in prompts if (prompt.id, prompt.seed) not in seeds]


def _retained(
    judges: EvaluationJudges, settings: EvaluationSettings, erased: Collection[str], rehearsed: Collection[str]
) -> tuple[list[RetainedConcept], list[NotMeasured]]:
    """The retained concepts to measure, and those that are left out."""
    family = settings.family
    concepts = [concept for concept in retained_concepts(judges.dataset) if concept.name not in erased]
    families = sorted({concept.family for concept in concepts})
    if family is not None and family not in families:
        raise SettingsError(f"no retained concept of family {family!r}: the families are {', '.join(families)}")

    def why_not(concept: RetainedConcept) -> str | None:
        if family not in (None, concept.family):
            return f"not of family {family}"
        if not settings.counts[1]:
            return "no prompts were asked for"
        if not judges.can_judge(concept):
            return "no judge has a label for it"
        if concept.captions == ():
            return "no caption of it ships" if judges.dataset.retain is None else "no prompt about it was accepted"
        return None

    measured = [concept for concept in concepts if why_not(concept) is None]
    return measured, left_out(concepts, rehearsed, why_not)


def _before_after(row: FigureRow | None) -> dict[str, Any]:
    nothing: Figure = proportion(0, 0)
    before, after = (nothing, nothing) if row is None else (row.before, row.after)
    return {"before": before.json(), "after": after.json()}
