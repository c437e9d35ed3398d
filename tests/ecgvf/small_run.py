"""A run that is small enough for every test: a few pairs of church, and a random tiny model to draw them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgvf import concepts
from ecgvf.judges.judge import Reading
from ecgvf.records import PromptPair, Reason, Split, record_id, to_table
from ecgvf.store import PAIRS, StageSet, Store


def pair(target: str, surrogate: str | None, reason: Reason | None = None) -> PromptPair:
    split: Split = "test" if surrogate is None else "train"
    return PromptPair(
        record_id=record_id("church", target, surrogate),
        concept="church",
        kind="object",
        split=split,
        target=target,
        surrogate=surrogate,
        target_term="church",
        surrogate_term=None if surrogate is None else "hotel",
        writer="offline",
        model_asked="offline",
        model_answered="offline",
        template="grammar",
        template_hash="0",
        iteration=0,
        call_id="0",
        reason=reason,
    )


def church_pairs(train: int = 3, test: int = 2) -> list[PromptPair]:
    places = [f"by lake {number}" for number in range(train + test)]
    return [
        *(pair(f"a church {place}", f"a hotel {place}") for place in places[:train]),
        *(pair(f"a church {place}", None) for place in places[train:]),
    ]


def write_pairs(store: Store, pairs: Sequence[PromptPair], concept: str = "church") -> StageSet:
    """A finished pairs set, as ``ecgvf generate`` leaves it."""
    store.remember(concepts.find(concept))
    stage = store.stage(concept, PAIRS, {"pairs": [one.record_id for one in pairs]})
    if not stage.done(0):
        stage.write_shard(0, to_table(PromptPair, pairs))
    stage.finish({"pairs": len(pairs)})
    return stage


class Oracle:
    """A judge that answers what it was told, in the order in which it is asked."""

    name = "oracle"
    weights_hash = "0"
    accepted = ("church",)

    def __init__(self, answers: Sequence[bool]) -> None:
        self.answers = list(answers)

    def look(self, images: NDArray[np.uint8]) -> list[Reading]:
        now, self.answers = self.answers[: len(images)], self.answers[len(images) :]
        return [Reading(present=there, score=float(there), top_labels=(("church", float(there)),)) for there in now]
