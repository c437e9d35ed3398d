"""What a report is made of: a suite's rows, the outcomes of its cells, and other measurements beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ear.evaluation.outcomes import Outcome, read_outcomes
from ear.suite.leaderboard import REFERENCES
from ear.suite.spec import SuiteSpec
from ear.suite.table import FACTS, FILE, read_datasets
from ecgvf.core import concepts
from ecgvf.core.errors import ConceptError, DatasetError
from ecgvf.core.files import JSON, read_json

Task = tuple[str, str | None, str, int, float, float]
"""(condition, adapter, id, seed, guidance, temperature) of an image; of the frozen model the adapter is None."""


@dataclass(frozen=True)
class SuiteResults:
    """The results' folder of a suite, and the store with its images."""

    folder: Path
    rows: list[JSON]
    facts: JSON
    """met, command, versions, suite, cells."""
    spec: SuiteSpec
    store: Path

    @classmethod
    def open(cls, folder: Path, store: Path | None = None) -> "SuiteResults":
        """``store`` None: the suite's. Raises ``DatasetError`` for a folder without results."""
        file = folder / FILE
        if not file.is_file():
            raise DatasetError(f"{folder} has no {FILE}: `ear suite` writes it, name the folder of its results")
        try:
            table = pq.read_table(file)
            facts = json.loads((table.schema.metadata or {})[FACTS])
            spec = SuiteSpec.model_validate(facts["suite"])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DatasetError(f"{file} is not what `ear suite` wrote: run it again") from error
        return cls(folder, table.to_pylist(), facts, spec, store if store is not None else spec.store_folder)

    @property
    def concepts(self) -> list[str]:
        return list(dict.fromkeys(row["concept"] for row in self.rows))

    @property
    def methods(self) -> list[str]:
        """The recipes and submissions, measured or not."""
        return [name for name in dict.fromkeys(row["recipe"] for row in self.rows) if name not in REFERENCES]

    @cached_property
    def datasets(self) -> JSON:
        """Concept → what its dataset was made of."""
        return read_datasets(self.folder)

    def unsafe(self, concept: str) -> bool:
        """Whether its images are blurred; yes for a concept that nothing is known of."""
        if concept in self.datasets:
            return bool(self.datasets[concept]["unsafe"])
        try:
            return concepts.find(concept).unsafe
        except ConceptError:
            return True

    def cell(self, concept: str, method: str) -> tuple[list[Outcome], list[Outcome]] | None:
        """The outcomes (before and ceiling, after) of the first cell, of the one with the full figures if it is
        measured; None without one."""
        found = [each for each in self.facts["cells"] if (each["concept"], each["recipe"]) == (concept, method)]
        found = [each for each in found if (self.folder / each["file"]).is_file()]
        if not found:
            return None
        first = next((each for each in found if each["figures"] == "full"), found[0])
        original, after = (read_outcomes(self.folder / first[name])[0] for name in ("original", "file"))
        return original, after

    def images(self, concept: str, wanted: set[Task]) -> dict[Task, bytes]:
        """The images that the store has, as PNG."""
        found: dict[Task, bytes] = {}
        columns = ["condition", "adapter", "id", "seed", "guidance", "temperature"]
        for file in sorted(self.store.glob(f"run-*/{concept}/outcomes/*/shard-*.parquet")):
            table = pq.read_table(file, columns=columns)
            tasks = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
            places = [index for index, task in enumerate(tasks) if task in wanted and task not in found]
            if places:
                images = pq.read_table(file, columns=["image"])["image"].take(places).to_pylist()
                found |= {tasks[index]: image for index, image in zip(places, images, strict=True)}
        return found

    def evidence(self, name: str) -> JSON | None:
        """The JSON that the suite names as ``trials`` or ``agreement``; None without the file."""
        file: Path | None = getattr(self.spec.report, name)
        return read_json(file) if file is not None and file.is_file() else None

    def attacks(self) -> list[JSON]:
        """What `ear attack --json` printed, of the files that the suite names."""
        return [read_json(file) for file in self.spec.report.attacks if file.is_file()]

    def memorisation(self) -> list[JSON]:
        """What `ear memorisation --json` printed, likewise."""
        return [read_json(file) for file in self.spec.report.memorisation if file.is_file()]

    def ablations(self) -> list[list[JSON]]:
        """The rows of each ablation that the suite names and that was run."""
        files = [folder / "ablation.parquet" for folder in self.spec.report.ablations]
        return [pq.read_table(file).to_pylist() for file in files if file.is_file()]


def select(rows: Sequence[JSON], **wanted: Any) -> list[JSON]:
    """The rows with a value and these fields; ``wording`` is their class."""
    fields: Mapping[str, Any] = {("class" if name == "wording" else name): value for name, value in wanted.items()}
    return [
        row for row in rows if row["value"] is not None and all(row[name] == value for name, value in fields.items())
    ]
