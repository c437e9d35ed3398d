"""The results of an evaluation, which ``ear eval`` writes beside the adapter, or to a file of ``--outcomes``."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from ear.evaluation import Evaluation
from ear.evaluation.fidelity.measure import Fidelity
from ear.evaluation.open_split import openings_text
from ear.evaluation.outcomes import read_facts, selected
from ear.memorisation.report import files_in
from ear.method.runs import adapter_name
from ear.report.results import CellOutcomes, ImageKey, Results, image_key, stored_images
from ear.suite.rows import drop_repeated_ceiling, table_rows
from ear.suite.spec import Attachments
from ear.suite.suite import CellResult
from ear.suite.table import dataset_facts
from ecgvf import Run
from ecgvf.core.errors import DatasetError, StageMissing
from ecgvf.core.files import JSON, require_local
from ecgvf.core.store import Store


@dataclass(frozen=True, kw_only=True)
class EvaluationResults(Results):
    """The results of an evaluation, and the store that has the images."""

    evaluation: Evaluation
    store: Store

    @classmethod
    def open(cls, file: Path, store: Path | None = None) -> "EvaluationResults":
        """Open a file of `ear eval`. Raises ``DatasetError`` for another file, ``StoreError`` for a store on object
        storage, and as ``Store`` does."""
        found, opened = Evaluation.load(file), Store(store)
        require_local(opened.root, "the images of a report")
        return cls(
            title=f"{found.concept}, {found.recipe}",
            source=file,
            rows=_rows(found),
            concepts=[found.concept],
            methods=[found.recipe],
            model=found.model,
            split=found.split,
            datasets=_dataset(found, opened),
            commands=_commands(found, file, store),
            provenance=[
                f"Dataset: {found.origin['dataset']}",
                f"Adapter: {', '.join(map(adapter_name, found.adapters))}",
                f"Judge of the concept: {found.judge}",
                openings_text(found.test_openings),
            ],
            versions=read_facts(file).get("versions", {}),
            attachments=Attachments(memorisation=tuple(files_in(file.parent))),
            evaluation=found,
            store=opened,
        )

    def unsafe(self, concept: str, *, unknown: bool = True) -> bool:
        erased = concept == self.evaluation.concept
        # A mark in the store counts, whichever dataset was measured.
        marked = concept in self.store.concepts() and self.store.concept(concept).unsafe
        return marked or (erased and self.evaluation.unsafe) or super().unsafe(concept, unknown=unknown and not erased)

    def cell(self, concept: str, method: str) -> CellOutcomes:
        found = self.evaluation
        left = [str(each) for each in found.not_measured]
        return CellOutcomes(original=found.original, after=selected(found.outcomes, "after"), not_measured=left)

    def fidelity(self) -> Fidelity | None:
        return self.evaluation.fidelity

    def images(self, concept: str, wanted: set[ImageKey]) -> dict[ImageKey, bytes]:
        """Those of the file (`ear eval --outcomes`), else those of the store."""
        found = {image_key(outcome): outcome.image for outcome in self.evaluation.outcomes if outcome.image}
        return {key: found[key] for key in wanted & found.keys()} or stored_images([self.store.root / concept], wanted)


def _rows(found: Evaluation) -> list[JSON]:
    result = CellResult(
        cell=None,
        outcomes=selected(found.outcomes, "after"),
        original=found.original,
        answered=list(found.answered),
        attacked=list(found.attacked),
        classes=list(found.classes),
    )
    facts = {"concept": found.concept, "model": found.model, "split": found.split}
    return drop_repeated_ceiling(table_rows(facts, found.recipe, [result]))


def _dataset(found: Evaluation, store: Store) -> JSON:
    """What the measured dataset was made of; empty if the store does not have it, but maybe another of the concept."""
    if found.concept not in store.concepts():
        return {}
    try:
        return {found.concept: dataset_facts(Run.load(found.concept, store), found.origin["dataset"])}
    except (StageMissing, DatasetError):
        return {}


def _commands(found: Evaluation, file: Path, store: Path | None) -> list[str]:
    """Those that measure again and report that; of what was measured in Python, the report alone."""
    words = ["ear", "report"] if found.command else ["ear", "report", str(file)]
    options = [] if store is None else ["--store", str(store)]
    return [shlex.join(command) for command in (found.command, [*words, *options]) if command]
