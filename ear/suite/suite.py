"""A suite: its cells, where they are trained, and where their outcomes are kept.

STORE/run-0/            a store per run seed: pairs, images, adapters
STORE/logs/             what the processes of the cells printed
RESULTS/<cell>.parquet  the outcomes of a finished cell after erasing and under attack, without images
RESULTS/<concept>-original-<recipe>-<figures>.parquet   the outcomes before erasing, and the ceiling's
RESULTS/prompts/        the evaluation prompts, for submissions

A cell is finished if its file in RESULTS holds its present key (``Suite.key``); otherwise it is trained and measured
(again). So a clone that has the committed files of RESULTS resumes from them, without the store. The finished cells of
a concept are of one dataset: while there are some, no cell is measured on another, such as the same after a review.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ear.evaluation import Evaluation, EvaluationSettings, evaluate
from ear.evaluation.attack_figures import PromptClass
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, read_facts, read_outcomes, selected, write_outcomes
from ear.evaluation.questions import read_questions
from ear.evaluation.robustness import check_oracle
from ear.method.erase import erase
from ear.method.recipes import find
from ear.method.runs import find_adapter
from ear.retained_concepts import retained_families
from ear.suite.cells import ORACLE, Cell, cells_of, in_order
from ear.suite.spec import SuiteSpec, concept_names
from ear.suite.submission import Submission
from ecgvf import Run
from ecgvf.core import concepts, openings
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError, WriterError
from ecgvf.core.files import JSON, is_folder
from ecgvf.core.openings import Opening
from ecgvf.core.shard_set import fingerprint, versions
from ecgvf.core.store import Store
from ecgvf.engine import Engine, ThisProcess, local_engine
from ecgvf.filter.stage import open_judge
from ecgvf.janus import JanusModel, load
from ecgvf.janus.loading import fingerprint as model_fingerprint
from ecgvf.judges import JudgeOptions, create_judge
from ecgvf.judges.factory import RETAINED_JUDGE, weights_by_judge
from ecgvf.judges.nano import nano_weights
from ecgvf.judges.predictions import load_judge
from ecgvf.pairs import captions
from ecgvf.pairs.checks import PromptIndex
from ecgvf.pairs.default_counts import PROMPTS_PER_CALL
from ecgvf.world import grammar
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.llm.registry import LLMWriter

KEY_SETTINGS = (
    *("prompts_per_concept", "prompts_per_other", "prompts_per_group", "prompts_per_neighbour", "family", "figures"),
    *("split", "seed", "judge", "weights", "questions", "batch_size"),
)
"""Settings of an evaluation that are part of every cell's key. Any other, which was added later, is part of it if it is
not at its default, so that a new setting does not invalidate what was measured without it."""


@dataclass(frozen=True)
class CellResult:
    """The outcomes of a finished cell, without images."""

    cell: Cell | None
    """None outside a suite: the seeds are not known then."""
    outcomes: list[Outcome]
    """After erasing."""
    original: list[Outcome]
    """Before erasing, and the ceiling."""
    answered: list[AnsweredQuestion]
    attacked: list[Outcome] = field(default_factory=list)
    """Under attack, by the tuned model and by its controls; empty without the full figures."""
    classes: list[PromptClass] = field(default_factory=list)
    """How often the original renders each class of the written prompts; empty without the full figures."""


@dataclass(frozen=True)
class Suite:
    """A declared suite, its store and its results."""

    spec: SuiteSpec
    store: Path
    results: Path
    submissions: Mapping[str, Path] = field(default_factory=dict)
    """Name → folder of somebody else's images or adapter."""
    engine: Engine | None = None
    """Where the images of datasets are rendered and judged; None: ``local_engine``."""
    _submissions: dict[tuple[str, str], Submission] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Concept and name → the submission, whose hash takes the reading of all its files."""
    _datasets: dict[tuple[str, int], Dataset] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Concept and run seed → the dataset."""

    @cached_property
    def concepts(self) -> dict[str, str]:
        """Name of a concept → what the declaration calls it, which may be the path of a file."""
        return {concepts.find(given).name: given for given in self.spec.concepts}

    @cached_property
    def methods(self) -> list[str]:
        """The recipes, the submissions, and the oracle if a concept has one."""
        return [*self.spec.recipes, *self.submissions, *([ORACLE] if self.spec.oracles else [])]

    def cells_of(self, concept: str, method: str) -> list[Cell]:
        """The cells of a concept and method."""
        images = method in self.submissions and self._submission(concept, method).has_images
        return cells_of(self.spec, concept, method, images=images)

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, in the order in which they are measured."""
        every = [
            cell for concept in self.concepts for method in self.methods for cell in self.cells_of(concept, method)
        ]
        return in_order(self.spec, every)

    def cells_among(self, chosen_concepts: Sequence[str] | None, recipes: Sequence[str] | None) -> list[Cell]:
        """The cells of ``chosen_concepts`` (None: all) and of ``recipes`` (None: all, and the oracle) or submissions.

        Raises ``SettingsError`` for a concept or recipe that the suite does not have.
        """
        named = list(self.concepts) if chosen_concepts is None else chosen_concepts
        given = concept_names([self.concepts.get(name, name) for name in named])
        wanted = [concepts.find(name).name for name in given]
        declared = [*self.spec.recipes, *([ORACLE] if self.spec.oracles else [])]
        methods = declared if recipes is None else [name if name in declared else find(name).name for name in recipes]
        for option, names, known in (
            ("--concepts", wanted, list(self.concepts)),
            ("--recipes", methods, declared),
        ):
            if others := [name for name in names if name not in known]:
                raise SettingsError(f"{option} {others[0]}: the suite has {', '.join(known)}")
        chosen = {*methods, *self.submissions}
        return [cell for cell in self.cells if cell.concept in wanted and cell.recipe in chosen]

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of ``cells`` that have yet to be measured."""
        return [cell for cell in cells if self.facts(cell) is None]

    def check(self, cells: Sequence[Cell]) -> None:
        """Check what ``cells`` need, before anything is paid or rendered; without cells nothing is needed.

        Raises ``ModelError`` for a model that is neither here nor can be downloaded, ``WriterError`` without a writer,
        ``AdapterError`` for a submitted adapter that erases another concept than its cell's and for an oracle that
        knows the concept, ``DatasetError`` for questions that cannot be read, ``SettingsError`` for an unknown family
        and an oracle that is not there, ``JudgeError`` for a judge that cannot be opened.
        """
        if not cells:
            return
        _ = self._facts
        for cell in cells:
            if cell.recipe in self.submissions:
                self._submission(cell.concept, cell.recipe).check(cell.concept)
        if not self.spec.offline:
            self._writers()
        if self.spec.questions is not None and any(cell.figures == "full" for cell in cells):
            read_questions(self.spec.questions)
        erased = {name: self._concept(name) for name in dict.fromkeys(cell.concept for cell in cells)}
        for concept in erased.values():
            self._check_family(concept)
        for cell in cells:
            if cell.concept in self.spec.oracles and (cell.recipe == ORACLE or cell.figures == "full"):
                check_oracle(erased[cell.concept], self.spec.oracles[cell.concept])
        self._check_judges(erased.values())

    def _check_family(self, concept: Concept) -> None:
        family, known = self.spec.prompts.family, retained_families(concept, self.spec.model)
        if family is not None and family not in known:
            raise SettingsError(
                f"prompts.family: no retained concept of {concept.name} is of family {family!r}: the families are "
                f"{', '.join(known)}"
            )

    def _check_judges(self, erased: Iterable[Concept]) -> None:
        """Load the judges of ``erased`` and of retained concepts."""
        for concept in erased:
            options = JudgeOptions(weights=self.spec.judge_weights(concept))
            load_judge(open_judge(concept, self.spec.model, None, options, "cpu"))  # the cells need the GPU
        if self.spec.model != NANO:
            options = JudgeOptions(weights=self.spec.weights.get(RETAINED_JUDGE))
            load_judge(create_judge(None, None, RETAINED_JUDGE, options, "cpu"))

    @cached_property
    def model(self) -> JanusModel:
        """The model under test, loaded when it is first needed. Raises ``ModelError``."""
        return load(self.spec.model)

    def key(self, cell: Cell) -> str:
        """A fingerprint of what decides the cell's outcomes: the cell, its concept, the recipe's settings (a
        submission's files, an oracle's path), the settings of the evaluation with the content of questions and judges'
        weights, the numbers of pairs and prompts, who writes them, the first run seed unless it is 0, and ``_facts``.

        The code, the dtype, which the machine decides, and other weights of judges outside nano's world are not part of
        it.
        """
        concept = self._concept(cell.concept)
        settings: JSON = {
            "cell": asdict(cell),
            "concept": concept.model_dump(mode="json"),
            "recipe": self._method_settings(cell),
            "settings": _keyed(self.spec.settings(concept, cell.figures)),
        }
        if not self.spec.offline:
            settings["writers"] = self.spec.writers
        if self._first:  # all cells are measured on the prompts of the first run seed
            settings["prompts_of_run"] = self._first
        return fingerprint({**settings, "pairs": self.spec.pairs, "tests": self.spec.tests, **self._facts})

    def original_key(self, cell: Cell) -> str:
        """As ``key``, of the original model's outcomes, which a cell shares with the cells of other seeds."""
        return self.key(replace(cell, run_seed=0, training_seed=0))

    def facts(self, cell: Cell) -> JSON | None:
        """The facts in a finished cell's file; None if the cell has yet to be measured, it or the original model was
        measured under another key, or the two on different datasets."""
        file = self.file(cell.name)
        if not file.is_file():
            return None  # before a key is computed, which needs the model's files
        facts = read_facts(file)
        if facts.get("key") != self.key(cell):
            return None
        file = self.file(facts["original"])
        original = read_facts(file) if file.is_file() else {}
        return facts if original.get("key") == self.original_key(cell) and same_dataset(facts, original) else None

    def cell_result(self, cell: Cell) -> CellResult | None:
        """The outcomes of a finished cell; None if ``facts`` is."""
        if (facts := self.facts(cell)) is None:
            return None
        outcomes = _outcomes(self.file(cell.name))
        return CellResult(
            cell=cell,
            outcomes=[outcome for outcome in outcomes if outcome.sample != "attack"],
            original=[*_outcomes(self.file(facts["original"]))],
            answered=[AnsweredQuestion(**answer) for answer in facts["answered"]],
            attacked=[outcome for outcome in outcomes if outcome.sample == "attack"],
            classes=[PromptClass.from_json(prompt_class) for prompt_class in facts.get("classes", ())],
        )

    def measure(self, cell: Cell) -> None:
        """Train and measure a cell, and write its outcomes.

        Raises ``EcgvfError`` as the stages do, and ``DatasetError`` if finished cells are of another dataset.
        """
        started = time.monotonic()
        self._submissions.clear()  # their hashes may be of earlier files
        self._datasets.clear()
        self.__dict__.pop("_facts", None)
        # Before measuring: a file that is edited meanwhile belongs to another cell.
        key, original_key = self.key(cell), self.original_key(cell)
        evaluation, sheet = self._evaluate(cell)
        name = f"{cell.concept}-original-{cell.recipe}-{cell.figures}"
        dataset: JSON = {"dataset": evaluation.origin["dataset"]}
        write_outcomes(evaluation.original, self.file(name), {"key": original_key, **dataset}, images=False)
        facts: JSON = {
            "key": key,
            "original": name,
            **dataset,
            "answered": [asdict(answer) for answer in evaluation.answered],
            "classes": [prompt_class.json() for prompt_class in evaluation.classes],
            "dtype": evaluation.origin["dtype"],
            "training_dtype": evaluation.origin["training_dtype"],
            "not_measured": [str(group) for group in evaluation.not_measured],
            **self._openings(cell),
            "versions": versions(),
            "seconds": round(time.monotonic() - started),
        }
        evaluation.save_contact_sheet(sheet)
        kept = [*selected(evaluation.outcomes, "after"), *evaluation.attacked]
        write_outcomes(kept, self.file(cell.name), facts, images=False)

    def dataset(self, concept: str, run_seed: int) -> Dataset:
        """The dataset of a run seed, made if the store lacks it; read once for a cell.

        Evaluation prompts are written for the first run seed alone; training pairs of other seeds that are near
        duplicates of them are left out, which gives the dataset another fingerprint.
        """
        if (concept, run_seed) not in self._datasets:
            self._datasets[concept, run_seed] = self._dataset(concept, run_seed)
        return self._datasets[concept, run_seed]

    def _dataset(self, concept: str, run_seed: int) -> Dataset:
        run = self.run(concept, run_seed)
        self.write_pairs(run, run_seed)
        engine = self.engine or local_engine()
        # In this process, the model that the cell needs anyway renders.
        model = self.model if isinstance(engine, ThisProcess) else self.spec.model
        run.render(model=model, seed=run_seed, engine=engine)
        run.filter(engine=engine, options=JudgeOptions(weights=self.spec.judge_weights(self._concept(concept))))
        dataset = run.dataset()
        if run_seed == self._first:
            return dataset
        measured = self.dataset(concept, self._first).evaluation(self.spec.split)
        tests = PromptIndex([record.pair.target for record in measured])
        train = tuple(record for record in dataset.train if tests.near_duplicate(record.pair.target) is None)
        if len(train) == len(dataset.train):
            return dataset
        # What was trained on all of them, or without others, is another adapter.
        left = fingerprint({"dataset": dataset.fingerprint, "train": [record.pair.record_id for record in train]})
        return replace(dataset, train=train, fingerprint=left)

    def write_pairs(self, run: Run, run_seed: int) -> None:
        """Write the pairs of a run seed, offline or by LLMs, and for the first seed the evaluation prompts."""
        if not self.spec.offline:
            self._write_with_llms(run)
            return
        count, test = self.spec.tests if run_seed == self._first else 0, self.spec.split == "test"
        run.generate(pairs=self.spec.pairs, validation=0 if test else count, tests=count if test else 0, seed=run_seed)

    def run(self, concept: str, run_seed: int) -> Run:
        """The run of a concept as ``key`` hashes it, whatever the store of its seed keeps."""
        return Run.from_definition(self.concepts[concept], self.store / f"run-{run_seed}")

    def known_openings(self, concept: str) -> list[Opening]:
        """The openings of a concept's test split that are recorded in the store, oldest first."""
        return openings.merge(*(openings.openings(self.run(concept, seed)) for seed in self.spec.run_seeds))

    def file(self, name: str) -> Path:
        """The file of a cell's outcomes, or of those before erasing, by its name."""
        return self.results / f"{name}.parquet"

    @property
    def _first(self) -> int:
        return self.spec.run_seeds[0]

    @cached_property
    def _facts(self) -> JSON:
        """Hashes of the model, of nano's world and its judges' weights, and but for nano of the shipped captions."""
        facts = {"model": model_fingerprint(self.spec.model), "world": grammar.fingerprint(), "judges": nano_weights()}
        return facts if self.spec.model == NANO else {**facts, "captions": captions.settings()}

    def _concept(self, name: str) -> Concept:
        """The concept as it ships, or as its file is now."""
        return concepts.find(self.concepts[name])

    def _method_settings(self, cell: Cell) -> JSON:
        if cell.recipe in self.submissions:
            return {"submitted": self._submission(cell.concept, cell.recipe).hash}
        if cell.recipe == ORACLE:
            return {"oracle": str(self.spec.oracles[cell.concept])}
        return find(cell.recipe).settings()

    def _evaluate(self, cell: Cell) -> tuple[Evaluation, Path]:
        """Train the cell's adapter if it has a recipe, and measure it. Returns also the file for the contact sheet."""
        dataset, store = self.dataset(cell.concept, self._first), Store(self.store / f"run-{self._first}")
        self._check_dataset(cell.concept, dataset)
        settings = self.spec.settings(self._concept(cell.concept), cell.figures)
        if cell.recipe in self.submissions:
            submission = self._submission(cell.concept, cell.recipe)
            found = submission.evaluate(store, self.model, dataset, settings, self.results / "prompts")
            return found, self.store / f"{cell.name}.png"
        if cell.recipe == ORACLE:
            weights = find_adapter(store, str(self.spec.oracles[cell.concept]))
            return evaluate(store, self.model, dataset, [weights], settings), self.store / f"{cell.name}.png"
        adapter = self._train(cell)
        return evaluate(store, self.model, dataset, [adapter], settings), adapter.with_name("sheet.png")

    def _check_dataset(self, concept: str, dataset: Dataset) -> None:
        """Raise ``DatasetError`` if finished cells of a concept are of another dataset: they share the outcomes before
        erasing, and a table compares them."""
        finished = {cell.name: facts for cell in self.cells if cell.concept == concept and (facts := self.facts(cell))}
        present: JSON = {"dataset": dataset.fingerprint}
        if others := [name for name, facts in finished.items() if not same_dataset(facts, present)]:
            raise DatasetError(
                f"the dataset of {concept} has changed, as by a review, since these cells were measured: "
                f"{', '.join(others)}. Undo the change, or delete their files in {self.results} to measure them again"
            )

    def _train(self, cell: Cell) -> Path:
        dataset, store = self.dataset(cell.concept, cell.run_seed), Store(self.store / f"run-{cell.run_seed}")
        weights = self.spec.judge_weights(self._concept(cell.concept))
        recipe, seeds = find(cell.recipe), [cell.training_seed]
        return erase(store, [dataset], self.model, recipe, seeds, weights=weights)[0].adapter

    def _write_with_llms(self, run: Run) -> None:
        """Let LLMs write pairs and evaluation prompts within one budget; answered calls are never paid again."""
        from ecgvf.llm.ledger import Ledger
        from ecgvf.pairs.generation_plan import plan_generation, with_restarts
        from ecgvf.pairs.llm_writers import generate_with_llms

        writers = self._writers()
        each = -(-self.spec.pairs // len(writers))
        pairs, calls = min(PROMPTS_PER_CALL, each), -(-each // PROMPTS_PER_CALL)
        train = plan_generation(run.concept, writers, count=pairs, iterations=calls)
        evaluation = plan_generation(run.concept, writers, split=self.spec.split, count=self.spec.tests)
        both = with_restarts([*train, *evaluation], Ledger.load(run))
        for plans in (train, evaluation):
            generate_with_llms(
                run,
                plans,
                budget_usd=Decimal(str(self.spec.budget_usd)),
                in_budget=lambda intent: any(plan.owns(intent) for plan in both),
            )

    def _writers(self) -> "list[LLMWriter]":
        from ecgvf.llm.registry import Registry, check_keys

        registry = Registry.from_environment()
        writers = registry.select(self.spec.writers) if self.spec.writers is not None else registry.ready()
        if not writers:
            raise WriterError(
                f"pairs for {self.spec.model} are written by LLMs, and no key is set: see `ecgvf writers`, or write "
                "`writers: …` into the suite"
            )
        check_keys(writers)
        return writers

    def _submission(self, concept: str, name: str) -> Submission:
        if (concept, name) not in self._submissions:
            folder = self.submissions[name]
            folder = folder / concept if (folder / concept).is_dir() else folder
            self._submissions[concept, name] = Submission(name, folder)
        return self._submissions[concept, name]

    def _openings(self, cell: Cell) -> JSON:
        """All openings of the test split until now that the store or the cell's present file knows.

        ``all_openings`` is False if that file is of an earlier version, which listed none.
        """
        file = self.file(cell.name)
        before: JSON = read_facts(file) if file.is_file() else {"openings": []}
        lines = openings.merge(openings.from_json(before.get("openings", ())), self.known_openings(cell.concept))
        return {
            "openings": [asdict(line) for line in lines],
            "all_openings": before.get("all_openings", "openings" in before),
        }


def same_dataset(first: JSON, second: JSON) -> bool:
    """Whether the facts of two files name one dataset; those of an earlier version name none, and count as the same."""
    names = [facts.get("dataset") for facts in (first, second)]
    return None in names or names[0] == names[1]


def _outcomes(file: Path) -> tuple[Outcome, ...]:
    state = file.stat()
    return _read_outcomes(file.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_outcomes(file: Path, size: int, mtime_ns: int) -> tuple[Outcome, ...]:
    """Cached, as cells share the original's outcomes, and every method is compared with the reference's first cell; a
    file that changes has another time."""
    return tuple(read_outcomes(file)[0])


def _keyed(settings: EvaluationSettings) -> JSON:
    default = asdict(EvaluationSettings())
    values = asdict(settings)
    if settings.questions is not None:
        values["questions"] = _hash(settings.questions, "questions")
    if settings.weights is not None:
        values["weights"] = {name: _weights(named) for name, named in weights_by_judge(settings.weights).items()}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if name in KEY_SETTINGS or value != default[name]
    }


def _weights(named: str) -> str | dict[str, str]:
    """A hash of the file, or of each in the folder; the name of published weights."""
    path = Path(named)
    if is_folder(path):
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {str(file.relative_to(path)): _hash(file, "weights") for file in files}
    return _hash(path, "weights") if path.is_file() else named


def _hash(file: Path, what: str) -> str:
    """A hash of a file, which holds ``what``. Raises ``DatasetError`` if it cannot be read."""
    try:
        state = file.stat()
        return _content_hash(file.resolve(), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DatasetError(f"cannot read {what} from {file}: {error.strerror}") from error


@cache
def _content_hash(file: Path, size: int, mtime_ns: int) -> str:
    """Cached, as every key has it, and the file may have all of POPE's images; a file that changes has another time."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
