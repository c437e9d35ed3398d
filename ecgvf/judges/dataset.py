"""The accepted records of a store, with their pictures: what ``ear`` trains on and is tested with."""

from dataclasses import dataclass
from typing import Any

from ecgvf.concepts import Concept
from ecgvf.errors import DatasetError
from ecgvf.judges.choice import Options
from ecgvf.judges.decide import settled
from ecgvf.records import Acceptance, PromptPair, Rendering, Role, from_table
from ecgvf.store import ACCEPTANCE, PAIRS, PICTURES, VERDICTS, Store


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that holds, with what was drawn of it."""

    pair: PromptPair
    target: Rendering
    surrogate: Rendering | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """The accepted records of one acceptance set, in record order."""

    concept: Concept
    model: str
    """Name or path of the model that drew."""
    renderer: str
    """That model's fingerprint."""
    sampling: dict[str, Any]
    """The fields of ``Sampling``."""
    run_seed: int
    judge: str
    """The judge that filtered; another one measures."""
    judge_options: Options
    """What that judge was asked for beside the concept's own: labels, bounds, words. No weights."""
    fingerprint: str
    train: tuple[Accepted, ...]
    test: tuple[Accepted, ...]


def load(store: Store, concept: str | None = None, chosen: str | None = None) -> Dataset:
    """The dataset of ``concept`` (None: the last one), of its current set or the one that starts with ``chosen``.

    What people decided since then (``ecgvf review``) counts in the current set.
    Raises ``StageMissing`` before ``ecgvf filter`` has run, ``DatasetError`` where no training pair was accepted.
    """
    known = store.concept(concept)
    acceptance = settled(store, known) if chosen is None else store.current(known.name, ACCEPTANCE, chosen)
    summary = acceptance.summary
    if not summary["accepted_pairs"]:
        why = ", ".join(f"{count} {reason}" for reason, count in summary["reasons"].items()) or "there were none"
        raise DatasetError(
            f"the dataset of {known.name!r} in {store.root} is empty: no pair was accepted ({why}); "
            f"look at `ecgvf status`, then generate other pairs or draw with another model"
        )
    pictures = store.current(known.name, PICTURES, acceptance.settings["pictures"])
    verdicts = store.current(known.name, VERDICTS, acceptance.settings["verdicts"])
    pairs = from_table(PromptPair, store.current(known.name, PAIRS, acceptance.settings["pairs"]).read())
    held = {one.record_id for one in from_table(Acceptance, acceptance.read()) if one.accepted}
    drawn: dict[tuple[str, Role], Rendering] = {}
    for table in pictures.tables():
        for rendering in from_table(Rendering, table):
            if rendering.record_id in held:
                drawn[rendering.record_id, rendering.role] = rendering
    records = [
        Accepted(pair, drawn[pair.record_id, "target"], drawn.get((pair.record_id, "surrogate")))
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
        judge_options=Options.read(verdicts.manifest["circumstances"].get("options", {})),
        fingerprint=acceptance.fingerprint,
        train=tuple(one for one in records if one.pair.split == "train"),
        test=tuple(one for one in records if one.pair.split == "test"),
    )
