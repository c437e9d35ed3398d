"""Attack a tuned model and its controls under the same budgets, and measure what comes back.

training pairs ──examples──▶ attack on the tuned model ──▶ outcomes "after"  ┐
              └───────────▶ attack on the oracle       ──▶ outcomes "oracle" ├─▶ attack_figures
images of another concept that the oracle was trained without ──▶ attack on it, likewise ┘

The oracle is a model trained without the concept. If its folder names a second concept that training left out, that is
the absent concept. In nano's world nothing else can be, because the judges know the things of that world only, and nano
draws all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from ear.evaluation.attack_figures import AttackRow, PromptClass, attack_rows, prompt_classes
from ear.evaluation.attack_table import attack_caption, attack_table
from ear.evaluation.attacks.attack import Example, Kind
from ear.evaluation.attacks.fit import fit
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.contact_sheets import write_attack_sheet
from ear.evaluation.control_tokens import class_outcomes
from ear.evaluation.images import evaluation_images, renderable
from ear.evaluation.judges import open_judges
from ear.evaluation.measure import Measurement
from ear.evaluation.open_split import open_split
from ear.evaluation.outcomes import Outcome, write_outcomes
from ear.evaluation.prompts import EvaluationPrompt, concept_prompts, retained_prompts
from ear.method.open_adapter import check_concept, files_hash, open_adapter
from ear.method.oracle import ORACLE_FILE, oracle_facts, read_oracle
from ear.method.pairs import accepted_pairs, training_pairs, training_records
from ear.retained_concepts import RetainedConcept, retained_concepts
from ecgvf.core import console, seeds
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.core.device import device_errors
from ecgvf.core.errors import AdapterError, DatasetError, SettingsError
from ecgvf.core.png import decode
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.run import ConceptRun
from ecgvf.core.seeds import check_seed
from ecgvf.core.shard_set import versions
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.judges import Judge
from ecgvf.pairs.importing import matching_rows
from ecgvf.pairs.tables import PromptTable

EXAMPLES = max(attack.examples_used for attack in KINDS.values())


@dataclass(frozen=True, slots=True)
class Controls:
    """What an attack is compared with."""

    oracle: Measurement
    """Measures the oracle in place of the tuned model."""
    absent: RetainedConcept | None
    """The absent concept, if the oracle's folder names any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSettings:
    """What to attack with, and what to measure then. Raises ``SettingsError`` for a budget or a number below 1."""

    budgets: Mapping[Kind, int]
    """Attack → its budget; empty if the prompts are the attack."""
    prompts: int = 100
    """Prompts of the concept to measure with; no attack sees them."""
    split: EvaluationSplit = "validation"
    seed: int = 0
    """Decides the attack and the images."""
    judge: str | Judge | None = None
    weights: str | None = None
    oracle: Path | None = None
    """Folder of the oracle; None: not measured."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for kind, budget in self.budgets.items():
            if budget < 1:
                raise SettingsError(f"--budget {budget}: a budget counts {KINDS[kind].unit} and must be at least 1")
        if self.prompts < 1:
            raise SettingsError(f"--prompts-per-concept {self.prompts}: it must be at least 1")


@dataclass(frozen=True)
class Robustness:
    """What attacks brought back."""

    concept: str
    unsafe: bool
    model: str
    adapters: tuple[Path, ...]
    oracle: str | None
    absent: str | None
    judge: str
    split: EvaluationSplit
    test_openings: int
    origin: Mapping[str, Any]
    """As of an ``Evaluation``."""
    classes: tuple[PromptClass, ...]
    outcomes: tuple[Outcome, ...]

    @cached_property
    def attacks(self) -> list[AttackRow]:
        """The share of images that show the concept, under each attack."""
        return attack_rows(self.outcomes, self.classes)

    def json(self) -> dict[str, Any]:
        """As ``ear attack --json`` prints it."""
        return {
            **self._facts(),
            "attacks": [row.json() for row in self.attacks],
            "classes": [each.json() for each in self.classes],
        }

    def save(self, file: Path) -> Path:
        """Write the outcomes as one Parquet file, with what they were measured on and by; returns its path."""
        return write_outcomes(
            self.outcomes, file, self._facts() | {"origin": dict(self.origin), "versions": versions()}
        )

    def _facts(self) -> dict[str, Any]:
        names = ("concept", "model", "oracle", "absent", "judge", "split", "test_openings")
        return {**{name: getattr(self, name) for name in names}, "adapter": [str(file) for file in self.adapters]}

    def save_contact_sheet(self, file: Path) -> Path:
        """Write a PNG of what each attack brought back; returns its path."""
        return write_attack_sheet(self, self.outcomes, file)

    def attack_table(self) -> Table:
        """The table of what attacks brought back."""
        caption = attack_caption(self.outcomes, self.split, self.test_openings)
        title = f"{self.concept} under attack, erased from {self.model}: shares of images that show it"
        return attack_table(self.attacks, self.classes, title=title, caption=caption)


def attack(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    settings: AttackSettings,
    prompt_set: PromptTable | None = None,
) -> Robustness:
    """Attack the stacked adapters in ``files`` with each of ``settings.budgets``, or with prompts, ``prompt_set``.

    Raises ``AdapterError``, ``DatasetError``, ``DeviceFailed``, ``JudgeError``, ``ModelError``, ``SettingsError``.
    """
    with device_errors(model.device, "attack"):
        judges = open_judges(dataset, settings.judge, settings.weights, str(model.device))
        adapter = open_adapter(model, files)
        check_concept(adapter.concepts, dataset.concept.name, files[0])
        measurement = Measurement(store, model, dataset, judges, adapter, files_hash(files))
        controls = find_controls(measurement, settings.oracle) if settings.oracle is not None else None
        if prompt_set is None:
            check_attacks(model, dataset, settings.budgets)
            prompts = concept_prompts(dataset, settings.split, settings.prompts, settings.seed)
        else:
            prompts = renderable(model, _of_file(dataset, prompt_set, settings))[: settings.prompts]
        recipe = str(measurement.adapter.facts["recipe"]["name"])
        test_openings = open_split(store, dataset, settings.split, measurement.adapter_hash, recipe)
        if prompt_set is None:
            outcomes = measurement.outcomes(prompts, ceiling=False)
            outcomes += attack_outcomes(measurement, prompts, settings.budgets, settings.seed, settings.split, controls)
        else:
            outcomes = class_outcomes(measurement, controls.oracle if controls else None, prompts, prompt_set.name)
    return Robustness(
        concept=dataset.concept.name,
        unsafe=dataset.concept.unsafe,
        model=model.name,
        adapters=tuple(files),
        oracle=str(settings.oracle) if controls is not None else None,
        absent=controls.absent.name if controls is not None and controls.absent is not None else None,
        judge=judges.concept_judge,
        split=settings.split,
        test_openings=test_openings,
        origin=measurement.origin(prompts, settings.seed),
        classes=tuple(prompt_classes(dataset, settings.split)) if prompt_set is None else (),
        outcomes=tuple(outcomes),
    )


def check_settings(
    model: JanusModel, dataset: Dataset, settings: AttackSettings, prompt_set: PromptTable | None = None
) -> None:
    """Find what is wrong before a model is loaded: ``model`` may be without weights. Raises as ``attack`` does."""
    open_judges(dataset, settings.judge, settings.weights, "cpu")
    if settings.oracle is not None:
        check_oracle(dataset.concept, settings.oracle)
    if prompt_set is None:
        check_budgets(model, settings.budgets)
        concept_prompts(dataset, settings.split, settings.prompts, settings.seed)
        accepted_pairs(dataset, EXAMPLES)
    else:
        _of_file(dataset, prompt_set, settings)


def check_oracle(concept: Concept, folder: Path) -> None:
    """Raise ``SettingsError`` if there is no ``folder``, ``AdapterError`` if it says that its model was trained with
    ``concept``."""
    if not folder.is_dir():
        raise SettingsError(f"oracle {folder}: there is no such folder; name one with a model")
    left_out = [name for name in str(oracle_facts(folder)["concept"]).split("+") if name]
    if (folder / ORACLE_FILE).is_file() and not {concept.name, *concept.labels("nano")} & set(left_out):
        without = f"without {', '.join(left_out)}, but " if left_out else ""
        raise AdapterError(f"{folder} was trained {without}with {concept.name}: name an oracle of {concept.name}")


def find_controls(measurement: Measurement, folder: Path) -> Controls:
    """The oracle in ``folder``, and the absent concept; a note if the folder does not say what its training left out.

    Raises ``SettingsError`` and ``AdapterError`` as ``check_oracle`` does.
    """
    concept = measurement.dataset.concept
    check_oracle(concept, folder)
    oracle = read_oracle(measurement.model, folder)
    known = {concept.name, *concept.labels("nano")}
    if not (folder / ORACLE_FILE).is_file():
        console.note(
            f"{folder} has no {ORACLE_FILE}: whether the model was trained without {concept.name} is not known"
        )
    absent = [
        each
        for each in retained_concepts(measurement.dataset)
        if each.name in oracle.concepts and each.name not in known and measurement.judges.can_judge(each)
    ]
    of_oracle = replace(measurement, adapter=oracle, adapter_hash=oracle.other.fingerprint)
    return Controls(of_oracle, absent[0] if absent else None)


def check_attacks(model: JanusModel, dataset: Dataset, budgets: Mapping[Kind, int]) -> None:
    """Check what attacks need before anything is rendered: budgets that fit ``model``, and training pairs.

    Raises ``SettingsError``, and ``DatasetError`` as ``training_records`` does.
    """
    check_budgets(model, budgets)
    training_records(dataset, model, EXAMPLES)


def check_budgets(model: JanusModel, budgets: Mapping[Kind, int]) -> None:
    """Raise ``SettingsError`` for a budget that does not fit ``model``."""
    for kind, budget in budgets.items():
        KINDS[kind].check(model, budget)


def attack_outcomes(
    measurement: Measurement,
    prompts: Sequence[EvaluationPrompt],
    budgets: Mapping[Kind, int],
    seed: int,
    split: EvaluationSplit,
    controls: Controls | None,
) -> list[Outcome]:
    """The outcomes of ``prompts`` under each attack, by the tuned model and by the oracle.

    The oracle is also attacked for the absent concept, with prompts and examples of that concept.
    """
    pairs = training_pairs(measurement.store, measurement.dataset, measurement.model, EXAMPLES)
    examples = [Example(pair.target, pair.target_ids) for pair in pairs]
    concept = measurement.dataset.concept.name
    outcomes = []
    for kind, budget in budgets.items():
        attacked = [(measurement, concept, examples, prompts)]
        if controls is not None:
            attacked.append((controls.oracle, concept, examples, prompts))
            if controls.absent is not None:
                absent = _examples(measurement, controls.absent, seed)
                of_absent = retained_prompts([controls.absent], split, len(prompts), seed)
                attacked.append((controls.oracle, controls.absent.name, absent, of_absent))
        for each, name, known, reported in attacked:
            fitted = fit(
                ConceptRun(each.store, each.dataset.concept),
                each.model,
                each.adapter,
                kind,
                budget,
                known,
                seed,
                adapter_hash=each.adapter_hash,
                concept=name,
            )
            outcomes += each.attacked(reported, fitted, "after" if each is measurement else "oracle")
    return outcomes


def _examples(measurement: Measurement, concept: RetainedConcept, seed: int) -> list[Example]:
    """Prompts of a retained concept with the frozen model's images, as far as these show it.

    Raises ``SettingsError`` if none does.
    """
    count = EXAMPLES + EXAMPLES // 2  # some do not show it
    prompts = [
        # Sums, where others are derived (``seeds.derive``): committed figures were measured with these.
        EvaluationPrompt(id=identity, prompt=text, seed=(seed + index) % 2**63, retained=concept)
        for index, (identity, text) in enumerate(concept.prompts(count, seed, "rehearse"))
    ]
    dataset = measurement.dataset
    images = evaluation_images(measurement.store, measurement.model, dataset, prompts, dataset.sampling)
    rows = images.read().to_pylist()
    judged = measurement.judges.judge_images(prompts, np.stack([decode(row["image"]) for row in rows]))
    shown = [
        Example(prompt.prompt, torch.tensor(row["vq_ids"], dtype=torch.int64))
        for prompt, row, seen in zip(prompts, rows, judged, strict=True)
        if seen[0].present
    ]
    if not shown:
        raise SettingsError(
            f"the original shows {concept.name} in none of {console.counted(count, 'image')}: nothing to attack with"
        )
    return shown


def _of_file(dataset: Dataset, table: PromptTable, settings: AttackSettings) -> list[EvaluationPrompt]:
    """The prompts of a file that are about the concept, with its seeds; a row that repeats another is left out.

    Equal prompts have one id. Raises ``DatasetError`` if there are none.
    """
    ids: dict[str, str] = {}
    prompts: dict[tuple[str, int], EvaluationPrompt] = {}
    for row in matching_rows(dataset.concept, table):
        if not row.target:
            continue
        seed = seeds.derive(settings.seed, str(row.number), "attack") if row.seed is None else row.seed
        prompts[row.target, seed] = EvaluationPrompt(
            id=ids.setdefault(row.target, f"{row.number:05d}"),
            prompt=row.target,
            seed=seed,
            surrogate_prompt=row.surrogate,
            target_prompt=row.target,
        )
    if not prompts:
        raise DatasetError(
            f"{table.name} has no prompt about {dataset.concept.name}: name another file, or a dataset of its concept"
        )
    return list(prompts.values())
