"""A run that is small enough for every test: a few pairs of church, and a random tiny model to draw them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.png import encode
from ecgvf.core.records import PromptPair, Reason, Rendering, Split, record_id, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.judges.judge import Criterion, Prediction


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
    stage = ConceptRun(store, concepts.find(concept)).stage_set(PAIRS, {"pairs": [one.record_id for one in pairs]})
    if not stage.done(0):
        stage.write_shard(0, to_table(PromptPair, pairs))
    stage.finish({"pairs": len(pairs)})
    return stage


def write_pictures(
    store: Store,
    concept: Concept,
    drawn: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    *,
    model: str = "janus-pro-1b",
    seed: int = 0,
) -> StageSet:
    """Finished pairs and pictures: of each pair, what the target's and the surrogate's picture show."""
    term, other = concept.terms[0], concept.surrogates[0]
    pairs = [
        replace(
            pair(f"a {term} by lake {number}", f"a {other} by lake {number}"),
            record_id=record_id(concept.name, f"a {term} by lake {number}", f"a {other} by lake {number}"),
            concept=concept.name,
            kind=concept.kind,
            target_term=term,
            surrogate_term=other,
            writer=("offline", "gpt")[number % 2],
        )
        for number in range(len(drawn))
    ]
    store.remember(concept)
    pairs_set = ConceptRun(store, concept).stage_set(PAIRS, {"pairs": [one.record_id for one in pairs]})
    if not pairs_set.finished:
        pairs_set.write_shard(0, to_table(PromptPair, pairs))
    pairs_set.finish({"pairs": len(pairs)})
    settings = {"pairs": pairs_set.fingerprint, "model": model, "renderer": "0", "seed": seed, "dtype": "float32"}
    settings["sampling"] = {"guidance": 5.0, "temperature": 1.0}
    pictures = ConceptRun(store, concept).stage_set(IMAGES, settings)
    rows = [
        Rendering(
            record_id=one.record_id,
            role=role,
            seed=number,
            renderer="0",
            prompt_sent=prompt,
            image=encode(pixels),
            vq_ids=(1, 2, 3, 4),
        )
        for number, (one, pixels_of) in enumerate(zip(pairs, drawn, strict=True))
        for (role, prompt), pixels in zip(one.prompts(), pixels_of, strict=True)
    ]
    if not pictures.finished:
        pictures.write_shard(0, to_table(Rendering, rows))
    pictures.finish({"pictures": len(rows), "failed": 0, "failures": {}})
    return pictures


class Oracle:
    """A judge that answers what it was told, in the order in which it is asked."""

    name = "oracle"
    weights_hash = "0"
    criterion = Criterion(label_set="oracle", accepted=("church",), near=("castle",), top_k=1)

    def __init__(self, answers: Sequence[bool]) -> None:
        self.answers = list(answers)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        now, self.answers = self.answers[: len(images)], self.answers[len(images) :]
        return [Prediction(present=there, score=float(there), top_labels=(("church", float(there)),)) for there in now]
