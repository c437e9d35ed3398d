"""The accepted records of a store, with their pictures: what ``ear`` trains on and is tested with."""

from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import Acceptance, PromptPair, Rendering, Role, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
from ecgvf.filter.decide import settled


def load(run: ConceptRun, chosen: str | None = None) -> Dataset:
    """The dataset of ``run``, of its current set or the one that starts with ``chosen``.

    What people decided since then (``ecgvf review``) counts in the current set.
    Raises ``StageMissing`` before ``ecgvf filter`` has run, ``DatasetError`` where no training pair was accepted.
    """
    known, store = run.concept, run.store
    acceptance = settled(run) if chosen is None else run.open(ACCEPTANCE, chosen)
    summary = acceptance.summary
    if not summary["accepted_pairs"]:
        why = ", ".join(f"{count} {reason}" for reason, count in summary["reasons"].items()) or "there were none"
        raise DatasetError(
            f"the dataset of {known.name!r} in {store.root} is empty: no pair was accepted ({why}); "
            f"look at `ecgvf status`, then generate other pairs or draw with another model"
        )
    pictures = run.open(IMAGES, acceptance.settings["pictures"])
    verdicts = run.open(VERDICTS, acceptance.settings["verdicts"])
    pairs = run.open(PAIRS, acceptance.settings["pairs"]).records(PromptPair)
    held = {one.record_id for one in acceptance.records(Acceptance) if one.accepted}
    drawn: dict[tuple[str, Role], Rendering] = {}
    for table in pictures.tables():
        for rendering in from_table(Rendering, table):
            if rendering.record_id in held:
                drawn[rendering.record_id, rendering.role] = rendering
    records = [
        AcceptedRecord(pair, drawn[pair.record_id, "target"], drawn.get((pair.record_id, "surrogate")))
        for pair in pairs
        if pair.record_id in held
    ]
    return Dataset(
        concept=known,
        model=pictures.settings["model"],
        renderer=pictures.settings["renderer"],
        sampling=pictures.settings["sampling"],
        run_seed=pictures.settings["seed"],
        judge=verdicts.settings["judge"],
        judge_options=verdicts.circumstances.get("options", {}),
        fingerprint=acceptance.fingerprint,
        train=tuple(one for one in records if one.pair.split == "train"),
        test=tuple(one for one in records if one.pair.split == "test"),
    )
