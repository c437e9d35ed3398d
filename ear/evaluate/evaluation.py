"""An evaluation: the concept and the rest of the model's world, before and after, with one seed per picture."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ear import adapter as adapters
from ear.evaluate import sheet
from ear.evaluate.accuracy import Figure, share
from ear.evaluate.cases import Case, concept_cases, topic_cases
from ear.evaluate.looking import judge_of, measurable, seen
from ear.evaluate.pictures import pictures
from ear.topics import Topic, others
from ecgvf.errors import SettingsError
from ecgvf.janus import JanusModel
from ecgvf.judges.dataset import Dataset
from ecgvf.store import Store

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
class Evaluation:
    """What an adapter did to a model."""

    concept: str
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
    sheet: Path

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
            "sheet": str(self.sheet),
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
    batch_size: int = 32,
    sheet_file: Path | None = None,
) -> Evaluation:
    """Draw and judge ``concept_count`` prompts of the concept and ``other_count`` of each other topic (of ``family``
    only, where given), with the frozen model and with the stacked adapters of ``files``.

    Raises ``AdapterError``, ``DatasetError``, ``JudgeError``, and ``SettingsError`` for a family that is not there.
    """
    if concept_count < 1 or other_count < 0:
        raise SettingsError(f"{concept_count} prompts of the concept and {other_count} of others: at least 1 and 0")
    adapter = adapters.stack(model, files)
    topics = measurable(dataset, others(dataset))
    if family is not None:
        families = sorted({topic.family for topic in topics})
        topics = [topic for topic in topics if topic.family == family]
        if not topics:
            raise SettingsError(f"no topics of family {family!r}: there are {', '.join(families) or 'none'}")
    # Two sets, so that asking for more of the one does not draw the other again.
    groups = [concept_cases(dataset, concept_count, seed), topic_cases(topics, other_count, seed)]
    cases: list[Case] = []
    hits: tuple[list[bool], list[bool]] = ([], [])
    shown = []
    for group, most in zip(groups, (CONCEPT_ROWS, OTHER_ROWS), strict=True):
        if not group:
            continue
        before = pictures(store, model, dataset, group, batch_size=batch_size)
        after = pictures(
            store, model, dataset, group, adapter=adapter, adapter_hash=_hash(files), batch_size=batch_size
        )
        hits[0].extend(seen(dataset, group, before))
        hits[1].extend(seen(dataset, group, after))
        cases += group
        shown += [(group[place], before[place], after[place]) for place in _rows(group, most)]

    def change(wanted: list[bool]) -> Change:
        first, second = ([hit for hit, want in zip(side, wanted, strict=True) if want] for side in hits)
        return Change(share(first), share(second))

    file = sheet_file if sheet_file is not None else files[-1].parent / "sheet.png"
    concept = dataset.concept
    page = sheet.sheet(
        [(case.topic.name if case.topic else concept.name, case.prompt) for case, _, _ in shown],
        np.stack([one for _, one, _ in shown]),
        np.stack([one for _, _, one in shown]),
        title=f"{concept.name} erased from {Path(model.name).name}",
        blurred=[concept.unsafe and case.topic is None for case, _, _ in shown],
    )
    sheet.save(page, file)
    return Evaluation(
        concept=str(adapter.facts["concept"]),
        model=model.name,
        adapters=tuple(files),
        recipe=str(adapter.facts["recipe"]["name"]),
        judge=judge_of(dataset, None),
        erasure=change([case.topic is None for case in cases]),
        retention=tuple((topic, change([case.topic == topic for case in cases])) for topic in topics),
        neighbours=change([case.topic is not None and case.topic.neighbour for case in cases]),
        unrelated=change([case.topic is not None and not case.topic.neighbour for case in cases]),
        sheet=file,
    )


def _rows(group: Sequence[Case], most: int) -> list[int]:
    """Places of ``most`` cases to show: one per topic, neighbours first, else from the start."""
    first: dict[str | None, int] = {}
    for place, case in enumerate(group):
        first.setdefault(case.topic.name if case.topic else None, place)
    if None in first:
        return list(range(min(most, len(group))))
    # Neighbours take two rows at most: they are few, and the sheet is to show the rest as well.
    near = [place for place in first.values() if (topic := group[place].topic) is not None and topic.neighbour][:2]
    far = [place for place in first.values() if (topic := group[place].topic) is not None and not topic.neighbour]
    step = max(1, len(far) // max(1, most - len(near)))
    return (near + far[::step])[:most]


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
