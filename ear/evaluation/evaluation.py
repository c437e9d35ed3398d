"""Evaluate an adapter: the erased concept and the retained ones, before and after, with one seed per prompt."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ear.evaluation import figures
from ear.evaluation.attack_figures import prompt_classes
from ear.evaluation.attacks.attack import Kind
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.control_tokens import control_token_outcomes
from ear.evaluation.fidelity.measure import FidelityMeasurement
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.judges import EvaluationJudges, open_judges
from ear.evaluation.measure import Measurement
from ear.evaluation.not_measured import NotMeasured, left_out
from ear.evaluation.open_split import open_split
from ear.evaluation.outcomes import AnsweredQuestion, Outcome
from ear.evaluation.prompts import (
    EvaluationPrompt,
    concept_prompts,
    prompts_by_seed,
    prompts_by_wording,
    retained_prompts,
    written_prompts,
)
from ear.evaluation.questions import YesNoQuestion, nano_questions, read_questions
from ear.evaluation.result import Evaluation
from ear.evaluation.robustness import Controls, attack_outcomes, check_attacks, check_oracle, find_controls
from ear.evaluation.settings import GUIDANCES, NANO_GUIDANCES, TEMPERATURES, EvaluationSettings
from ear.evaluation.submitted_images import SubmittedImages, SubmittedMeasurement
from ear.evaluation.understanding import compare_answers, kept_answers
from ear.method.adapter import check_model
from ear.method.facts import all_names, erased_names
from ear.method.open_adapter import adapter_facts, check_concept, files_hash, open_adapter
from ear.method.oracle import MODEL_FILE
from ear.retained_concepts import RetainedConcept, in_nano_world, retained_concepts
from ecgvf.core import console
from ecgvf.core.concepts import name_key
from ecgvf.core.dataset import Dataset
from ecgvf.core.device import device_errors
from ecgvf.core.errors import SettingsError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel


def evaluate(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    settings: EvaluationSettings = EvaluationSettings(),
    *,
    also_erased: Collection[str] = (),
) -> Evaluation:
    """Render and judge the evaluation prompts, by the frozen model and with the stacked adapters in ``files``.

    Neither the concepts that these adapters erase nor those in ``also_erased`` count as retained.
    Raises ``AdapterError``, also if none of them erases the dataset's concept, ``DatasetError``, ``JudgeError``,
    ``SettingsError`` for an unknown family and if memory runs out, and ``DeviceFailed``.
    """
    with device_errors(model.device, "evaluate"):
        adapter = open_adapter(model, files)
        check_concept(adapter.concepts, dataset.concept.name, files[0])
        judges = open_judges(dataset, settings.judge, settings.weights, str(model.device))
        measurement = Measurement(store, model, dataset, judges, adapter, files_hash(files), settings.batch_size)
        return _evaluate(measurement, settings, files, also_erased)


def evaluate_images(
    store: Store, model: JanusModel, dataset: Dataset, images: SubmittedImages, settings: EvaluationSettings
) -> Evaluation:
    """As ``evaluate``, for images of ``evaluation_prompts`` that another method rendered.

    Figures that need image tokens, other prompts, guidance or temperature are not measured. Raises as ``evaluate``
    does, ``SettingsError`` for figures other than the default, and ``DatasetError`` for missing images.
    """
    if settings.figures != "default":
        raise SettingsError(f"{images.name}: images of the prompts alone cannot have the {settings.figures} figures")
    with device_errors(model.device, "evaluate"):
        judges = open_judges(dataset, settings.judge, settings.weights, str(model.device))
        measurement = SubmittedMeasurement(store, model, dataset, judges, images, images.hash, settings.batch_size)
        return _evaluate(measurement, settings, [images.folder])


def check_settings(dataset: Dataset, settings: EvaluationSettings) -> None:
    """Find what is wrong with ``settings`` before a model is loaded: judge, weights, family, split, questions, oracle.

    Raises as ``evaluate`` does.
    """
    if settings.questions is not None:
        read_questions(settings.questions)
    if settings.oracle is not None:
        check_oracle(dataset.concept, settings.oracle)
    evaluation_prompts(dataset, settings)


def evaluation_prompts(dataset: Dataset, settings: EvaluationSettings) -> list[EvaluationPrompt]:
    """The prompts of the default figures, for a method that rehearsed nothing."""
    judges = open_judges(dataset, settings.judge, settings.weights, "cpu")  # they see no image
    retained, _ = _retained(judges, settings, all_names(dataset.concept), ())
    of_concept = concept_prompts(dataset, settings.split, settings.concept_count, settings.seed)
    return [*of_concept, *_retained_prompts(retained, (), settings)]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What to measure, opened and checked."""

    of_concept: list[EvaluationPrompt]
    of_retained: list[EvaluationPrompt]
    retained: list[RetainedConcept]
    not_measured: list[NotMeasured]
    questions: list[YesNoQuestion]
    fidelity: FidelityMeasurement | None
    controls: Controls | None


def _plan(measurement: Measurement, settings: EvaluationSettings, also_erased: Collection[str]) -> _Plan:
    """Find what is wrong before anything is rendered."""
    dataset, adapter, judges = measurement.dataset, measurement.adapter, measurement.judges
    questions = _questions(dataset, settings)
    fidelity = _fidelity(measurement, settings)
    rehearsed: list[str] = adapter.facts.get("rehearsed_concepts", [])
    erased = {*erased_names(adapter.facts), *map(name_key, also_erased)}
    retained, not_measured = _retained(judges, settings, erased, rehearsed)
    if settings.figures == "full":
        check_attacks(measurement.model, dataset, _budgets())
    controls = find_controls(measurement, settings.oracle) if settings.oracle is not None else None
    of_concept = concept_prompts(dataset, settings.split, settings.concept_count, settings.seed)
    of_retained = _retained_prompts(retained, rehearsed, settings)
    judges.settings([*of_concept, *of_retained])  # hashes the weights: a missing file is found here
    judges.note_unnamed_surrogates(of_concept)
    return _Plan(
        of_concept=of_concept,
        of_retained=of_retained,
        retained=retained,
        not_measured=not_measured,
        questions=questions,
        fidelity=fidelity,
        controls=controls,
    )


def _evaluate(
    measurement: Measurement, settings: EvaluationSettings, files: Sequence[Path], also_erased: Collection[str] = ()
) -> Evaluation:
    """Check everything, record that the test split is opened if it is, and measure."""
    plan = _plan(measurement, settings, also_erased)
    store, model, dataset, adapter = measurement.store, measurement.model, measurement.dataset, measurement.adapter
    recipe = str(adapter.facts["recipe"]["name"])
    test_openings = open_split(store, dataset, settings.split, measurement.adapter_hash, recipe)
    outcomes = measurement.outcomes(plan.of_concept)
    outcomes += measurement.outcomes(plan.of_retained)
    if settings.split == "test":
        of_validation = _retained_prompts(plan.retained, (), replace(settings, split="validation"))
        outcomes += measurement.for_thresholds(of_validation)
    full = settings.figures == "full"
    if full:
        outcomes += _full_outcomes(measurement, plan.of_concept, settings)
    attacked = _attacked(measurement, plan.of_concept, settings, plan.controls) if full else []
    answered = _answered(measurement, plan.questions)
    fidelity = None
    if plan.fidelity is not None:
        fidelity = plan.fidelity.measure(store, model, adapter, measurement.adapter_hash, settings.batch_size)
    return Evaluation(
        concept=dataset.concept.name,
        unsafe=dataset.concept.unsafe,
        model=model.name,
        adapters=tuple(files),
        recipe=recipe,
        judge=measurement.judges.concept_judge,
        split=settings.split,
        test_openings=test_openings,
        families={concept.name: concept.family for concept in plan.retained},
        outcomes=tuple(outcomes),
        answered=tuple(answered),
        not_measured=(*plan.not_measured, *_without_threshold(outcomes)),
        fidelity=fidelity,
        attacked=tuple(attacked),
        classes=tuple(prompt_classes(dataset, settings.split)) if full else (),
        origin=measurement.origin([*plan.of_concept, *plan.of_retained], settings.seed),
    )


def compare(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    files: Sequence[Path],
    settings: EvaluationSettings = EvaluationSettings(),
) -> list[Evaluation]:
    """Evaluate each adapter in ``files`` by itself, on the same prompts and seeds.

    A concept that any of them erases does not count as retained for the others either, so that all figures are of the
    same concepts. Raises as ``evaluate`` does.
    """
    erased: set[str] = set()
    for file in files:  # by their facts: to open a whole model takes as much memory again
        facts = adapter_facts(file)
        if file.name != MODEL_FILE:
            check_model(facts, model, file)
        erased |= erased_names(facts)
    return [evaluate(store, model, dataset, [file], settings, also_erased=erased) for file in files]


def _retained_prompts(
    concepts: Sequence[RetainedConcept], rehearsed: Collection[str], settings: EvaluationSettings
) -> list[EvaluationPrompt]:
    """Prompts of the retained ``concepts``, in their order: those that training rehearsed differ between recipes, and
    batches should not. How many a concept has depends on its group only if ``settings`` count by group.

    ``rehearsed`` names the concepts that training rehearsed.
    """
    sizes = Counter(concept.group(rehearsed) for concept in concepts)
    prompts = []
    for concept in concepts:
        group, count = concept.group(rehearsed), settings.retained_count
        if settings.prompts_per_group is not None:
            count = -(-settings.prompts_per_group // sizes[group])
        if settings.prompts_per_neighbour is not None and group == "neighbours":
            count = settings.prompts_per_neighbour
        prompts += retained_prompts([concept], settings.split, count, settings.seed, rehearsed)
    return prompts


def _full_outcomes(
    measurement: Measurement, main: Sequence[EvaluationPrompt], settings: EvaluationSettings
) -> list[Outcome]:
    """Outcomes of the concept's further prompts: wordings, more seeds, other guidance and temperature."""
    dataset = measurement.dataset
    by_wording = _without(prompts_by_wording(dataset, settings.split, settings.seed), main)
    more = prompts_by_seed(dataset, settings.split, settings.concept_count, figures.SEEDS, settings.seed)
    outcomes = measurement.outcomes(by_wording, "wording")
    outcomes += measurement.outcomes(_without(more, [*main, *by_wording]), "seeds")
    usual = dataset.sampling
    guidances = NANO_GUIDANCES if in_nano_world(dataset) else GUIDANCES
    changed = [replace(usual, guidance=guidance) for guidance in guidances]
    changed += [replace(usual, temperature=temperature) for temperature in TEMPERATURES]
    for sampling in changed:
        if sampling != usual:
            outcomes += measurement.outcomes(main, "sampling", sampling)
    return outcomes


def _attacked(
    measurement: Measurement, main: Sequence[EvaluationPrompt], settings: EvaluationSettings, controls: Controls | None
) -> list[Outcome]:
    """Outcomes of every attack at its default budget, and of as many written prompts, accepted or not, with control
    tokens."""
    outcomes = attack_outcomes(measurement, main, _budgets(), settings.seed, settings.split, controls)
    written = written_prompts(measurement.dataset, settings.split, len(main), settings.seed)
    return [*outcomes, *control_token_outcomes(measurement, controls.oracle if controls else None, written)]


def _budgets() -> dict[Kind, int]:
    return {kind: attack.default_budget for kind, attack in KINDS.items()}


def _fidelity(measurement: Measurement, settings: EvaluationSettings) -> FidelityMeasurement | None:
    """What measures the paper's figures, with its files opened; None without these figures."""
    if settings.figures != "paper":
        return None
    fidelity = settings.fidelity or FidelitySettings()
    return FidelityMeasurement.open(measurement.store, measurement.model, measurement.dataset, fidelity, settings.seed)


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
    if not questions:
        return []
    store, model, concept = measurement.store, measurement.model, measurement.dataset.concept
    before = kept_answers(store, model, concept, questions)
    after = kept_answers(
        store, model, concept, questions, adapter=measurement.adapter, adapter_hash=measurement.adapter_hash
    )
    return compare_answers(concept, questions, before, after)


def _without_threshold(outcomes: Sequence[Outcome]) -> list[NotMeasured]:
    """That whether images of the concept show something is not measured, if nothing gives its judges a threshold."""
    first = outcomes[0]
    judges = tuple(judge.judge for judge in first.judges)
    if judges in figures.thresholds(outcomes):
        return []
    reason = f"shows something: no image of a retained concept gives {' and '.join(judges)} a threshold"
    return [NotMeasured(first.group, reason, (first.concept,))]


def _without(prompts: Iterable[EvaluationPrompt], known: Iterable[EvaluationPrompt]) -> list[EvaluationPrompt]:
    """The prompts without those of equal id and seed in ``known``, whose images are measured already."""
    seeds = {(prompt.id, prompt.seed) for prompt in known}
    return [prompt for prompt in prompts if (prompt.id, prompt.seed) not in seeds]


def _retained(
    judges: EvaluationJudges, settings: EvaluationSettings, erased: Collection[str], rehearsed: Collection[str]
) -> tuple[list[RetainedConcept], list[NotMeasured]]:
    """The retained concepts to measure, and those that are left out, with the reason. ``erased``: ``all_names``."""
    family = settings.family
    concepts = [concept for concept in retained_concepts(judges.dataset) if name_key(concept.name) not in erased]
    families = sorted({concept.family for concept in concepts})
    if family is not None and family not in families:
        raise SettingsError(f"no retained concept of family {family!r}: the families are {', '.join(families)}")

    def why_not(concept: RetainedConcept) -> str | None:
        if family not in (None, concept.family):
            return f"not of family {family}"
        if not settings.retained_count:
            return "no prompts were asked for"
        if not judges.can_judge(concept):
            return "no judge has a label for it"
        if concept.captions == ():
            return "no caption of it ships" if judges.dataset.retain is None else "no prompt about it was accepted"
        if not concept.prompts(1, settings.seed, settings.split):
            return "too few accepted captions"
        return None

    measured = [concept for concept in concepts if why_not(concept) is None]
    return measured, left_out(concepts, rehearsed, why_not)
