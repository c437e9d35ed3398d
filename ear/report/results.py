"""The input of a report: rows, outcomes, images and further measurements, of a suite or of an evaluation."""

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from ear.ablation.ablation import COMMAND, NOT_MEASURED, TABLE
from ear.evaluation.fidelity.measure import Fidelity
from ear.evaluation.outcomes import Outcome, read_outcomes
from ear.report.attached import Agreement, Attacks, Memorisation, Trials
from ear.suite.cells import ORACLE
from ear.suite.leaderboard import REFERENCES, openings_sentence
from ear.suite.rows import pooled
from ear.suite.spec import Attachments
from ear.suite.table import read_datasets
from ear.suite.view import clock
from ecgvf.core import concepts, console
from ecgvf.core.errors import DatasetError, StoreCorrupt
from ecgvf.core.files import JSON
from ecgvf.core.validation import first_error
from ecgvf.publish.push_results import FACTS, FILE

AttachmentName = Literal["ablations", "trials", "attacks", "memorisation", "agreement"]
"""A field of ``Attachments``."""

ImageKey = tuple[str, str | None, str, int, float, float, str, float | None]
"""What ``image_key`` returns."""


@dataclass(frozen=True, kw_only=True)
class CellOutcomes:
    """The outcomes of the first cell of a concept and method, without those under attack."""

    original: Sequence[Outcome]
    """Before erasing, and the ceiling."""
    after: Sequence[Outcome]
    not_measured: Sequence[str] | None
    """Groups and retained concepts that were left out, and why; None if the file does not say, which is of a suite that
    left out none but groups without concepts."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """An ablation's rows, and what was left out."""

    file: Path
    rows: list[JSON]
    not_measured: Sequence[str]
    """Factors with their levels."""
    command: str
    """The command that made it; empty if Python did."""


@dataclass(frozen=True, kw_only=True)
class Results(ABC):
    """The results of a suite, or of one evaluation."""

    title: str
    source: Path
    """The folder or file."""
    rows: list[JSON]
    concepts: Sequence[str]
    methods: Sequence[str]
    """The recipes and submissions, measured or not."""
    model: str
    split: str
    datasets: JSON
    """Concept → what its dataset was made of, as far as it is known."""
    commands: Sequence[str]
    """Commands that reproduce these results."""
    provenance: Sequence[str]
    """Where the results come from, in sentences for people."""
    versions: Mapping[str, str]
    goals: str | None = None
    """The recipe that has to meet the goals."""
    met: bool | None = None
    """Whether it meets them; None while cells are missing."""
    attachments: Attachments = field(default_factory=Attachments)

    @abstractmethod
    def cell(self, concept: str, method: str) -> CellOutcomes | None:
        """The outcomes of the cell with the full figures, else of the first measured cell; None without any."""

    def outcomes(self, concept: str, method: str) -> list[Outcome]:
        """Those that the rows of a concept and method are computed from, of all its cells, without those under
        attack."""
        cell = self.cell(concept, method)
        return [] if cell is None else [*cell.original, *cell.after]

    @abstractmethod
    def images(self, concept: str, wanted: set[ImageKey]) -> dict[ImageKey, bytes]:
        """The ``wanted`` images that are in the store or the file, as PNG."""

    def fidelity(self) -> Fidelity | None:
        """FID, KID and CLIP score; None if they were not measured."""
        return None

    def methods_of(self, concept: str) -> list[str]:
        """The methods, and the oracle if it was measured for ``concept``."""
        # Of an oracle that was only attacked there are no images without attacks.
        measured = select(self.rows, concept=concept, recipe=ORACLE, figure="retention_ratio")
        # A model whose folder is called so is a method.
        return [*self.methods, *([ORACLE] if measured and ORACLE not in self.methods else [])]

    @property
    def series(self) -> list[str]:
        """The names that charts can show, in the same order everywhere, which decides their colours."""
        return list(dict.fromkeys([*REFERENCES, *self.methods]))

    def unsafe(self, concept: str, *, unknown: bool = True) -> bool:
        """Whether to blur its images: if it was marked unsafe or is now; ``unknown`` for a concept of which neither is
        known."""
        mark = self.datasets.get(concept, {}).get("unsafe")
        return concepts.may_be_unsafe(concept, mark, None if unknown else False)

    def attacks(self) -> list[JSON]:
        """What `ear attack --json` printed, of the files that the suite names."""
        return [_read(file, Attacks) for file in self.attachments.attacks if file.is_file()]

    def memorisation(self) -> list[JSON]:
        """What `ear memorisation` wrote, of the files that the suite names. ``sheet`` is the image's present path."""
        found = []
        for file in self.attachments.memorisation:
            if file.is_file():
                content = _read(file, Memorisation)
                sheet = Path(content.get("sheet") or file.with_suffix(".png"))
                beside = file.with_name(sheet.name)  # of a copied file, its own copy
                found.append(content | {"sheet": str(sheet if sheet.is_file() and not beside.is_file() else beside)})
        return found

    def trials(self) -> JSON | None:
        """Several settings of each recipe; None without the file that the suite names."""
        file = self.attachments.trials
        return _read(file, Trials) if file is not None and file.is_file() else None

    def agreement(self) -> JSON | None:
        """How far judges agree with labels; None without the file that the suite names."""
        file = self.attachments.agreement
        return _read(file, Agreement) if file is not None and file.is_file() else None

    def ablations(self) -> list[Ablation]:
        """Each ablation that the suite names and that was run."""
        return [_read_ablation(file) for file in self._ablation_files if file.is_file()]

    def attached_commands(self) -> dict[Path, str]:
        """Each file of another measurement → the command that wrote it; empty if the file does not say."""
        found = {ablation.file: ablation.command for ablation in self.ablations()}
        named = self.attachments
        for file in (named.trials, *named.attacks, *named.memorisation, named.agreement):
            if file is not None and file.is_file():
                found[file] = json.loads(file.read_bytes()).get("command", "")
        return found

    def absent(self, name: AttachmentName) -> list[Path]:
        """The files of ``name`` that the suite names and that are not there."""
        named = getattr(self.attachments, name)
        files = self._ablation_files if name == "ablations" else named if isinstance(named, tuple) else [named]
        return [file for file in files if file is not None and not file.is_file()]

    @property
    def _ablation_files(self) -> list[Path]:
        return [folder / TABLE for folder in self.attachments.ablations]


@dataclass(frozen=True, kw_only=True)
class SuiteResults(Results):
    """The results of a suite, from its folder, and the store that has the images."""

    files: Mapping[tuple[str, str], Sequence[tuple[Path, Path]]]
    """Concept and method → the files of its cells' outcomes, before and after; those of ``cell`` come first."""
    store: Path
    _cells: dict[tuple[str, str], CellOutcomes] = field(init=False, repr=False, compare=False, default_factory=dict)

    @classmethod
    def open(cls, folder: Path, store: Path | None = None) -> "SuiteResults":
        """``store`` None: the suite's. Raises ``DatasetError`` for a folder without results."""
        if not folder.exists():
            raise DatasetError(
                f"there is no {folder}: name a suite's folder of results, or a file of `ear eval --outcomes`"
            )
        file = folder / FILE
        if not file.is_file():
            raise DatasetError(f"{folder} has no {FILE}: `ear suite` writes it, name the folder of its results")
        try:
            table = pq.read_table(file)
            facts = json.loads((table.schema.metadata or {})[FACTS])
            suite = facts["suite"]
            rows = table.to_pylist()
            names = list(dict.fromkeys(row["recipe"] for row in rows))
            datasets = read_datasets(folder)
            given = [] if store is None else ["--store", str(store)]
            return cls(
                title=suite["name"],
                source=folder,
                rows=rows,
                concepts=list(dict.fromkeys(row["concept"] for row in rows)),
                methods=[name for name in names if name not in REFERENCES],
                model=suite["model"],
                split=suite["split"],
                datasets=datasets,
                commands=[facts["command"], shlex.join(["ear", "report", str(folder), *given])],
                provenance=[*_declared(suite, names), *_measured(facts), openings_sentence(facts["test_openings"])],
                versions=_versions(facts["versions"]),
                goals=suite["goals"],
                met=facts["met"],
                attachments=Attachments.model_validate(suite["report"]),
                files=_cell_files(folder, facts["cells"]),
                store=store if store is not None else Path(suite["store"] or f"suites/{suite['name']}/store"),
            )
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{file} is not what this version of `ear suite` writes: run it again") from error

    def cell(self, concept: str, method: str) -> CellOutcomes | None:
        if (concept, method) not in self._cells and (concept, method) in self.files:
            (original, _), (outcomes, facts) = map(read_outcomes, self.files[concept, method][0])
            after = [outcome for outcome in outcomes if outcome.sample != "attack"]
            self._cells[concept, method] = CellOutcomes(
                original=original, after=after, not_measured=facts.get("not_measured")
            )
        return self._cells.get((concept, method))

    def outcomes(self, concept: str, method: str) -> list[Outcome]:
        read = [[read_outcomes(file)[0] for file in files] for files in self.files.get((concept, method), ())]
        return pooled((original, [each for each in after if each.sample != "attack"]) for original, after in read)

    def images(self, concept: str, wanted: set[ImageKey]) -> dict[ImageKey, bytes]:
        return stored_images(self.store.glob(f"run-*/{concept}"), wanted)


def image_key(outcome: Outcome) -> ImageKey:
    """What identifies the outcome's image in a store: (condition, adapter, id, seed, guidance, temperature, prompt,
    nll_frozen).

    A store may have images of several models for one prompt and seed; their ``nll_frozen`` differ.
    """
    return (outcome.condition, outcome.adapter, *outcome.task, outcome.prompt, outcome.nll_frozen)


def stored_images(runs: Iterable[Path], wanted: set[ImageKey]) -> dict[ImageKey, bytes]:
    """The ``wanted`` images among the outcomes in ``runs``, folders of concepts in stores, as PNG."""
    found: dict[ImageKey, bytes] = {}
    columns = ["condition", "adapter", "id", "seed", "guidance", "temperature", "prompt", "nll_frozen"]
    for file in sorted(file for run in runs for file in run.glob("outcomes/*/shard-*.parquet")):
        table = _read_shard(file, columns)
        keys: list[ImageKey] = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
        places = [index for index, key in enumerate(keys) if key in wanted and key not in found]
        if places:
            images = _read_shard(file, ["image"])["image"].take(places).to_pylist()
            found |= {keys[index]: image for index, image in zip(places, images, strict=True)}
    return found


def _read_shard(file: Path, columns: Sequence[str]) -> pa.Table:
    """Raises ``StoreCorrupt`` for a damaged file."""
    try:
        return pq.read_table(file, columns=[*columns])
    except (pa.ArrowException, OSError) as error:
        raise StoreCorrupt(f"{file} is damaged: restore it, or delete {file.parent} and measure again") from error


def _cell_files(folder: Path, cells: Sequence[JSON]) -> dict[tuple[str, str], list[tuple[Path, Path]]]:
    """(concept, method) → files of its cells, before and after, the cell with the full figures first: it takes the
    place of the cell with the same seeds."""
    found: dict[tuple[str, str], dict[tuple[int, int], tuple[Path, Path]]] = {}
    for cell in sorted(cells, key=lambda each: each["figures"] != "full"):
        original, after = (folder / Path(cell[name]).name for name in ("original", "file"))
        if original.is_file() and after.is_file():
            of_method = found.setdefault((cell["concept"], cell["recipe"]), {})
            of_method.setdefault((cell["run_seed"], cell["training_seed"]), (original, after))
    return {name: list(files.values()) for name, files in found.items()}


def _declared(suite: JSON, methods: Sequence[str]) -> Iterator[str]:
    """What the suite's declaration says, for people; of ``methods``, submissions are not declared."""
    yield f"Concepts: {', '.join(suite['concepts'])}"
    yield f"Methods: {', '.join(name for name in methods if name not in ('original', 'ceiling'))}"
    seeds, training = (" ".join(map(str, suite[name])) for name in ("run_seeds", "training_seeds"))
    yield f"Run seeds {seeds}; training seeds {training}"
    yield (
        f"Written pairs {suite['pairs']}, evaluation prompts {suite['tests']}; measured with "
        f"{console.counted(suite['prompts']['concept'], 'prompt')} of the concept and at least "
        f"{suite['prompts']['group']} of each group of others"
    )


def _measured(facts: JSON) -> Iterator[str]:
    """How long the cells took, if all of them say so, and how many do not say what measured them."""
    if facts.get("seconds"):
        count, spent = console.counted(len(facts["cells"]), "cell"), clock(facts["seconds"])
        yield f"Training and measuring took {spent} of wall time, {count} in all"
    if unknown := sum(each["cells"] for each in facts["versions"] if each["versions"] is None):
        yield f"Cells that were measured by unknown versions of the packages: {unknown}"


def _versions(found: Sequence[JSON]) -> dict[str, str]:
    """Package → the versions that measured cells, as far as these say."""
    known = [each["versions"] for each in found if each["versions"] is not None]
    packages = dict.fromkeys(package for each in known for package in each)
    return {
        package: " or ".join(dict.fromkeys(each[package] for each in known if package in each)) for package in packages
    }


def _read(file: Path, kind: type[BaseModel]) -> JSON:
    """A JSON file that the suite names. Raises ``DatasetError`` for a file that is not of ``kind``."""
    try:
        content: JSON = json.loads(file.read_bytes())
        kind.model_validate(content)
    except ValueError as error:
        reason = first_error(error) if isinstance(error, ValidationError) else "it is not JSON"
        raise DatasetError(
            f"{file} cannot be shown ({reason}): write it again, or leave it out of the suite's report"
        ) from error
    return content


def _read_ablation(file: Path) -> Ablation:
    """Raises ``DatasetError`` for a file that is not an ablation's."""
    facts = ["concept", "base", "split", "judge", "factor", "level", "equal", "seeds", "pairs"]
    columns = [*facts, "figure", "value", "n", "low", "high"]
    try:
        table = pq.read_table(file, columns=columns)
        metadata = table.schema.metadata or {}
        left, command = json.loads(metadata[NOT_MEASURED]), metadata[COMMAND].decode()
        return Ablation(file=file, rows=table.to_pylist(), not_measured=left, command=command)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{file} is not what `ear ablate` writes: run it again") from error


def select(rows: Sequence[JSON], **wanted: Any) -> list[JSON]:
    """The rows with a value and the ``wanted`` fields, by default not under attack; ``wording`` stands for "class"."""
    fields = {("class" if name == "wording" else name): value for name, value in ({"attack": None} | wanted).items()}
    return [
        row for row in rows if row["value"] is not None and all(row[name] == value for name, value in fields.items())
    ]
