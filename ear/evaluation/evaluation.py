"""An evaluation: the concept and the rest of the model's world, before and after, with one seed per picture."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ear.evaluation import contact_sheet as sheet
from ear.evaluation.accuracy import Figure, share
from ear.evaluation.cases import Case, concept_cases, topic_cases
from ear.evaluation.images import pictures
from ear.evaluation.judges import Panel
from ear.method import adapter as adapters
from ear.retained_concepts import Topic, others
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import SettingsError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel

CONCEPT_ROWS, OTHER_ROWS = 5, 5
"""Rows of the contact sheet."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after."""

    before: Figure
    after: Figure

    def json(self) -> dict[str, Any]:
        return {"before": self.before.json(), "after": self.after.json()}


@dataclass(frozen=True, slots=True)
class Shot:
    """One case, drawn without and with the adapter, and whether its topic was seen."""

    case: Case
    before: NDArray[np.uint8]
    """RGB [H, W, 3], as ``after``."""
    after: NDArray[np.uint8]
    seen_before: bool
    seen_after: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an adapter did to a model."""

    concept: str
    """What is measured: the dataset's. Stacked adapters may erase others as well."""
    unsafe: bool
    model: str
    adapters: tuple[Path, ...]
    recipe: str
    judge: str
    erasure: Change
    retention: tuple[tuple[Topic, Change], ...]
    neighbours: Change
    """All neighbours together."""
    unrelated: Change
    """Everything else together."""
    shown: tuple[Shot, ...] = field(compare=False, repr=False, default=())
    """Those on the contact sheet."""

    @property
    def erasure_rate(self) -> float | None:
        """1 - accuracy after / accuracy before; None where the concept was not there before."""
        before = self.erasure.before.value
        return None if before == 0 else 1 - self.erasure.after.value / before

    def json(self) -> dict[str, Any]:
        """As `ear eval --json` prints it."""
        files = [str(file) for file in self.adapters]
        return {
            "concept": self.concept,
            "model": self.model,
            "adapter": files[0] if len(files) == 1 else files,
            "recipe": self.recipe,
            "judge": self.judge,
            "erasure": self.erasure.json(),
            "erasure_rate": self.erasure_rate,
            "retention": [
                {"concept": topic.name, "neighbour": topic.neighbour, "family": topic.family, **change.json()}
                for topic, change in self.retention
            ],
            "neighbours": self.neighbours.json(),
            "unrelated": self.unrelated.json(),
        }


def evaluate(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    *,
    concept_count: int = 64,
    other_count: int = 8,
    family: str | None = None,
    seed: int = 0,
    gone: Collection[str] = (),
    judge: str | None = None,
    weights: str | None = None,
    batch_size: int = 32,
) -> Evaluation:
    """Draw and judge ``concept_count`` prompts of the concept and ``other_count`` of each other topic (of ``family``
    only, where given), with the frozen model and with the stacked adapters of ``files``.

    What these adapters erase beside the concept, and what ``gone`` names, is no topic that should have stayed.
    ``judge`` with ``weights`` looks for the concept (None: see ``looking``).
    Raises ``AdapterError``, ``DatasetError``, ``JudgeError``, and ``SettingsError`` for a family that is not there.
    """
    if concept_count < 1 or other_count < 0:
        raise SettingsError(f"{concept_count} prompts of the concept and {other_count} of others: at least 1 and 0")
    adapter = adapters.stack(model, files)
    panel = Panel(dataset, judge, weights)
    topics = _topics(panel, family, {*adapters.concepts(adapter), *gone})

    def shots(group: Sequence[Case]) -> list[Shot]:
        before = pictures(store, model, dataset, group, batch_size=batch_size)
        after = pictures(
            store, model, dataset, group, adapter=adapter, adapter_hash=_hash(files), batch_size=batch_size
        )
        hits = panel.seen(group, before), panel.seen(group, after)
        return [Shot(*shot) for shot in zip(group, before, after, *hits, strict=True)]

    # Two sets, so that asking for more of the one does not draw the other again.
    of_concept = shots(concept_cases(dataset, concept_count, seed))
    cases = topic_cases(topics, other_count, seed)
    of_topics = shots(cases) if cases else []

    def change(wanted: Callable[[Topic], bool]) -> Change:
        return _change([shot for shot in of_topics if shot.case.topic is not None and wanted(shot.case.topic)])

    return Evaluation(
        concept=dataset.concept.name,
        unsafe=dataset.concept.unsafe,
        model=model.name,
        adapters=tuple(files),
        recipe=str(adapter.facts["recipe"]["name"]),
        judge=panel.of_concept,
        erasure=_change(of_concept),
        retention=tuple((topic, change(topic.__eq__)) for topic in topics),
        neighbours=change(lambda topic: topic.neighbour),
        unrelated=change(lambda topic: not topic.neighbour),
        shown=(*of_concept[:CONCEPT_ROWS], *(of_topics[place] for place in _rows(cases, OTHER_ROWS))),
    )


def write_contact_sheet(results: Sequence[Evaluation], names: Sequence[str], file: Path) -> Path:
    """Write one page of the pictures that ``results`` (of one dataset, with equal counts) show: "original", and a
    column per result, called as ``names`` says. Returns ``file``."""
    first = results[0]
    columns = [("original", np.stack([shot.before for shot in first.shown]))]
    columns += [
        (name, np.stack([shot.after for shot in result.shown])) for name, result in zip(names, results, strict=True)
    ]
    topics = [shot.case.topic for shot in first.shown]
    page = sheet.sheet(
        [
            (topic.name if topic else first.concept, shot.case.prompt)
            for topic, shot in zip(topics, first.shown, strict=True)
        ],
        columns,
        title=f"{first.concept} erased from {Path(first.model).name}",
        blurred=[first.unsafe and topic is None for topic in topics],
    )
    sheet.save(page, file)
    return file


def _topics(panel: Panel, family: str | None, gone: Collection[str]) -> list[Topic]:
    """What should have stayed and can be measured, of ``family`` only where given."""
    topics = [topic for topic in panel.measurable(others(panel.dataset)) if topic.name not in gone]
    wanted = [topic for topic in topics if family in (None, topic.family)]
    if family is not None and not wanted:
        families = ", ".join(sorted({topic.family for topic in topics})) or "none"
        raise SettingsError(f"no topics of family {family!r}: there are {families}")
    return wanted


def _change(shots: Sequence[Shot]) -> Change:
    return Change(share([shot.seen_before for shot in shots]), share([shot.seen_after for shot in shots]))


def _rows(cases: Sequence[Case], most: int) -> list[int]:
    """Places of ``most`` cases to show, one per topic, neighbours first."""
    first: dict[str, tuple[int, bool]] = {}
    for place, case in enumerate(cases):
        if case.topic is not None:
            first.setdefault(case.topic.name, (place, case.topic.neighbour))
    # Neighbours take two rows at most: they are few, and the sheet is to show the rest as well.
    near = [place for place, neighbour in first.values() if neighbour][:2]
    far = [place for place, neighbour in first.values() if not neighbour]
    step = max(1, len(far) // max(1, most - len(near)))
    return (near + far[::step])[:most]


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
