"""An evaluation: the erased concept and the retained ones, before and after, with one seed per prompt."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ear.evaluation import report
from ear.evaluation.images import evaluation_images
from ear.evaluation.judges import EvaluationJudges
from ear.evaluation.prompts import EvaluationPrompt, concept_prompts, retained_prompts
from ear.method import adapter as adapters
from ear.retained_concepts import RetainedConcept, retained_concepts
from ecgvf.core import console, openings
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import SettingsError
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.judges import Judge

CONCEPT_ROWS, RETAINED_ROWS, NEIGHBOUR_ROWS = 5, 5, 2
"""Rows of the contact sheet. At most 2 of those for retained concepts are neighbours: they are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What is measured, and by which judge. Raises ``SettingsError`` for too few prompts, and for another split."""

    prompts_per_concept: int | None = None
    """Prompts of the erased concept, and of each retained one. None: 64, and 8 of each retained one."""
    prompts_per_other: int | None = None
    """Prompts of each retained concept, if the number differs."""
    family: str | None = None
    """Only retained concepts of this family."""
    split: EvaluationSplit = "validation"
    """The dataset's prompts to measure with. Whoever measures with ``test`` is recorded (``ecgvf.core.openings``)."""
    seed: int = 0
    """Decides prompts and images, independent of filtering."""
    judge: str | Judge | None = None
    """The erased concept's judge (None: ``judges.default_judge``)."""
    weights: str | None = None
    """Weights of a judge given by name (None: its own)."""
    batch_size: int | None = None
    """Images rendered at once (None: by the model's size, or the GPU's memory)."""

    def __post_init__(self) -> None:
        concept, retained = self.counts
        if self.split not in get_args(EvaluationSplit):
            raise SettingsError(f"--split {self.split}: measure on {' or '.join(get_args(EvaluationSplit))}")
        if concept < 1 or retained < 0:
            raise SettingsError(f"{concept} prompts of the concept and {retained} of others: at least 1 and 0")

    @property
    def counts(self) -> tuple[int, int]:
        """Prompts of the erased concept, and of each retained one."""
        concept, retained = (64, 8) if self.prompts_per_concept is None else (self.prompts_per_concept,) * 2
        return concept, retained if self.prompts_per_other is None else self.prompts_per_other


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after."""

    before: Figure
    after: Figure

    def json(self) -> dict[str, Any]:
        """``{"before": figure, "after": figure}``."""
        return {"before": self.before.json(), "after": self.after.json()}


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A prompt's images by the frozen and by the tuned model, and whether its concept is present in each."""

    prompt: EvaluationPrompt
    before: NDArray[np.uint8]
    """RGB [H, W, 3], as ``after``."""
    after: NDArray[np.uint8]
    present_before: bool
    present_after: bool


@dataclass(frozen=True, slots=True)
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
    erasure: Change
    """Share of the concept's prompts whose images show the concept."""
    retention: tuple[tuple[RetainedConcept, Change], ...]
    """The same for each retained concept."""
    neighbours: Change
    """All neighbours together."""
    unrelated: Change
    """All other retained concepts together."""
    examples: tuple[BeforeAfter, ...] = field(compare=False, repr=False, default=())
    """The rows of the contact sheet."""

    @property
    def erasure_rate(self) -> float | None:
        """1 - share after / share before; None if the concept was absent before."""
        before = self.erasure.before.value
        return None if before == 0 else 1 - self.erasure.after.value / before

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it."""
        files = [str(file) for file in self.adapters]
        return {
            "concept": self.concept,
            "model": self.model,
            "adapter": files[0] if len(files) == 1 else files,
            "recipe": self.recipe,
            "judge": self.judge,
            "split": self.split,
            "test_openings": self.test_openings,
            "erasure": self.erasure.json(),
            "erasure_rate": self.erasure_rate,
            "retention": [
                {"concept": concept.name, "neighbour": concept.neighbour, "family": concept.family, **change.json()}
                for concept, change in self.retention
            ],
            "neighbours": self.neighbours.json(),
            "unrelated": self.unrelated.json(),
        }

    def save_contact_sheet(self, file: Path | str) -> Path:
        """Write a PNG of some prompts' images before and after, and return its path."""
        return report.write_contact_sheet([self], ["erased"], Path(file))

    def __str__(self) -> str:
        return report.text([self], ["after"])


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
    concept_count, retained_count = settings.counts
    adapter = adapters.stack(model, files)
    judges = EvaluationJudges(dataset, settings.judge, settings.weights)
    # Without prompts no judge of the retained concepts is needed, and none is downloaded.
    measured = retained_count or settings.family is not None
    retained = _retained(judges, settings.family, {*adapter.concepts, *also_erased}) if measured else []
    digest = _hash(files)

    def measure(
        prompts: Sequence[EvaluationPrompt], present: Callable[[NDArray[np.uint8]], list[bool]]
    ) -> list[BeforeAfter]:
        size = settings.batch_size
        before = evaluation_images(store, model, dataset, prompts, batch_size=size)
        after = evaluation_images(store, model, dataset, prompts, adapter=adapter, adapter_hash=digest, batch_size=size)
        columns = prompts, before, after, present(before), present(after)
        return [BeforeAfter(*row) for row in zip(*columns, strict=True)]

    # Two sets, so that more prompts of one kind do not render the other kind again.
    asked = concept_prompts(dataset, concept_count, settings.seed, settings.split)
    recipe = str(adapter.facts["recipe"]["name"])
    opened = _count_openings(store, dataset, settings.split, digest, recipe)
    of_concept = measure(asked, judges.concept_present)
    prompts = retained_prompts(retained, retained_count, settings.seed)
    shown = [prompt.retained for prompt in prompts if prompt.retained is not None]
    of_retained = measure(prompts, lambda images: judges.retained_present(shown, images)) if prompts else []

    def change(selected: Callable[[RetainedConcept], bool]) -> Change:
        return _change([row for row, concept in zip(of_retained, shown, strict=True) if selected(concept)])

    return Evaluation(
        concept=dataset.concept.name,
        unsafe=dataset.concept.unsafe,
        model=model.name,
        adapters=tuple(files),
        recipe=recipe,
        judge=judges.concept_judge,
        split=settings.split,
        test_openings=opened,
        erasure=_change(of_concept),
        retention=tuple((concept, change(concept.__eq__)) for concept in retained),
        neighbours=change(lambda concept: concept.neighbour),
        unrelated=change(lambda concept: not concept.neighbour),
        examples=(*of_concept[:CONCEPT_ROWS], *(of_retained[index] for index in _example_indices(shown))),
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
    erased = {concept for file in files for concept in adapters.load(model, file).concepts}
    return [evaluate(store, model, dataset, [file], settings, also_erased=erased) for file in files]


def _count_openings(store: Store, dataset: Dataset, split: EvaluationSplit, adapter: str, recipe: str) -> int:
    """How often the test split was opened, this time included, which is recorded before any of it is measured."""
    run = ConceptRun(store, dataset.concept)
    if split == "test":
        openings.record(run, dataset=dataset.fingerprint, adapter=adapter, recipe=recipe)
    opened = len(openings.merge(dataset.openings, openings.openings(run)))
    if split == "test":
        console.note(f"this opens the test split of {dataset.concept.name}, now {opened} times in all; it is recorded")
    return opened


def _retained(judges: EvaluationJudges, family: str | None, erased: Collection[str]) -> list[RetainedConcept]:
    concepts = judges.measurable(retained_concepts(judges.dataset))
    concepts = [concept for concept in concepts if concept.name not in erased]
    of_family = [concept for concept in concepts if family in (None, concept.family)]
    if family is not None and not of_family:
        families = ", ".join(sorted({concept.family for concept in concepts})) or "none"
        raise SettingsError(f"no retained concept of family {family!r}: the families are {families}")
    return of_family


def _change(rows: Sequence[BeforeAfter]) -> Change:
    return Change(_share([row.present_before for row in rows]), _share([row.present_after for row in rows]))


def _share(present: Sequence[bool]) -> Figure:
    # Without prompts the share is reported as 0, with an interval that includes everything.
    return proportion(sum(present), len(present)) if present else Figure(0.0, 0, 0.0, 1.0)


def _example_indices(concepts: Sequence[RetainedConcept]) -> list[int]:
    """Indices of prompts for the contact sheet, one per concept, neighbours first and the others spread out."""
    first: dict[RetainedConcept, int] = {}
    for index, concept in enumerate(concepts):
        first.setdefault(concept, index)
    neighbours = [index for concept, index in first.items() if concept.neighbour][:NEIGHBOUR_ROWS]
    unrelated = [index for concept, index in first.items() if not concept.neighbour]
    step = max(1, len(unrelated) // max(1, RETAINED_ROWS - len(neighbours)))
    return [*neighbours, *unrelated[::step]][:RETAINED_ROWS]


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
