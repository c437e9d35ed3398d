"""The accepted records of a run with their images: what ``ear`` trains on and is measured with."""

from dataclasses import replace

from ecgvf.core.concepts import Concept, parse
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.openings import openings
from ecgvf.core.records import Acceptance, PromptPair, Rendering, Role
from ecgvf.core.run import ConceptRun
from ecgvf.core.sampling import Sampling
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter.acceptance import criteria_of, current_acceptance, judge_options


def dataset_acceptance(run: ConceptRun, set_id: str | None = None) -> StageSet:
    """The acceptance set that starts with ``set_id``, or the current one with new reviews, checked to make a dataset.

    Raises ``StageMissing`` before ``ecgvf filter`` has run, ``DatasetError`` if no training pair was accepted or the
    images obey control tokens of their prompts, which no row of a dataset records.
    """
    acceptance = current_acceptance(run) if set_id is None else run.open(ACCEPTANCE, set_id)
    summary = acceptance.summary
    if not summary["accepted_pairs"]:
        why = ", ".join(f"{count} {reason}" for reason, count in summary["reasons"].items()) or "there were none"
        raise DatasetError(
            f"the dataset of {run.concept.name!r} in {run.store.root} is empty: no pair was accepted ({why}); "
            f"run `ecgvf status`, then generate other pairs or render with another model"
        )
    if acceptance.source(IMAGES).settings.get("raw_control_tokens"):
        raise DatasetError(
            f"the images of {run.concept.name!r} were rendered with --raw-control-tokens, which is for experiments: "
            "render without it to make a dataset"
        )
    return acceptance


def load_dataset(
    run: ConceptRun, set_id: str | None = None, *, unfiltered: bool = False, images: bool = True
) -> Dataset:
    """The dataset of the acceptance set that starts with ``set_id`` (None: the current one), in memory.

    ``unfiltered`` takes all records that were rendered, to measure what filtering is worth. ``images`` False leaves the
    PNGs out, as in a published dataset, and keeps their tokens. Raises as ``dataset_acceptance`` does.
    """
    acceptance = dataset_acceptance(run, set_id)
    rendered, verdicts = acceptance.source(IMAGES).settings, acceptance.source(VERDICTS)
    records = _records(acceptance, unfiltered, images)
    return Dataset(
        concept=dataset_concept(acceptance),
        model=rendered["model"],
        renderer=rendered["renderer"],
        sampling=Sampling(**rendered["sampling"]),
        run_seed=rendered["seed"],
        judge=verdicts.settings["judge"],
        judge_options=judge_options(verdicts),
        fingerprint=acceptance.fingerprint + ("-unfiltered" if unfiltered else ""),
        train=tuple(record for record in records if record.pair.split == "train"),
        validation=tuple(record for record in records if record.pair.split == "validation"),
        test=tuple(record for record in records if record.pair.split == "test"),
        retain=tuple(record for record in records if record.pair.split == "retain")
        if "retained" in acceptance.summary
        else None,
        rejected=tuple(_rejected(acceptance)),
        openings=tuple(openings(run)),
    )


def dataset_concept(acceptance: StageSet) -> Concept:
    """The concept that ``acceptance`` stands for: as it was when the pairs were written, with the labels by which they
    were judged, so that one fingerprint is one dataset; unsafe also if it was marked so since then."""
    pairs, now = acceptance.source(PAIRS), acceptance.run.concept
    recorded = pairs.settings.get("concept")
    if not isinstance(recorded, dict):
        return now
    concept = parse(recorded, f"{pairs.path / 'settings.json'}")
    criteria = criteria_of(acceptance.source(VERDICTS)).values()
    labels = {each.label_set: each.accepted for each in criteria if each.label_set in now.judge_labels}
    # A mark that was added since counts for these pairs, too; one that was removed counts for new pairs only.
    unsafe = concept.unsafe or now.unsafe
    return concept.model_copy(update={"judge_labels": concept.judge_labels | labels, "unsafe": unsafe})


def _rejected(acceptance: StageSet) -> list[PromptPair]:
    """The records that were not accepted, each with its reason."""
    reasons = {row.record_id: row.reason for row in acceptance.records(Acceptance) if not row.accepted}
    pairs = acceptance.source(PAIRS).records(PromptPair)
    return [replace(pair, reason=reasons[pair.record_id]) for pair in pairs if pair.record_id in reasons]


def _records(acceptance: StageSet, unfiltered: bool, images: bool) -> list[AcceptedRecord]:
    """The accepted records with their renderings, or ``unfiltered`` all that were rendered."""
    chosen = {row.record_id for row in acceptance.records(Acceptance) if row.accepted or unfiltered}
    renderings: dict[tuple[str, Role], Rendering] = {}
    columns = [name for name in Rendering.SCHEMA.names if images or name != "image"]
    for table in acceptance.source(IMAGES).tables(columns):
        for row in table.to_pylist():
            rendering = Rendering.from_row({"image": b"", **row})
            if rendering.record_id in chosen and not rendering.failure:
                renderings[rendering.record_id, rendering.role] = rendering
    pairs = [pair for pair in acceptance.source(PAIRS).records(PromptPair) if pair.record_id in chosen]
    return [
        AcceptedRecord(pair, target, surrogate)
        for pair in pairs
        if (target := renderings.get((pair.record_id, "target"))) is not None
        and ((surrogate := renderings.get((pair.record_id, "surrogate"))) is not None or pair.split != "train")
    ]
