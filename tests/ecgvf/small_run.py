"""A run that is small enough for every test: a few pairs of church, and images that need no model."""

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


def pair(target: str, surrogate: str | None, reason: Reason | None = None, split: Split | None = None) -> PromptPair:
    """Without a ``split``, a record with a surrogate is a training pair, one without an older dataset's test prompt."""
    split = split or ("test" if surrogate is None else "train")
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
        wording="explicit",
    )


def church_pairs(train: int = 3, test: int = 2, *, validation: int = 0) -> list[PromptPair]:
    """Pairs by numbered lakes: those for training, for validation, and test prompts without surrogates."""
    lakes = [f"by lake {number}" for number in range(train + validation + test)]
    return [
        *(pair(f"a church {lake}", f"a hotel {lake}") for lake in lakes[:train]),
        *(pair(f"a church {lake}", f"a hotel {lake}", split="validation") for lake in lakes[train:][:validation]),
        *(pair(f"a church {lake}", None) for lake in lakes[train + validation :]),
    ]


def write_pairs(store: Store, pairs: Sequence[PromptPair], concept: str = "church") -> StageSet:
    """A finished pairs set, as ``ecgvf generate`` writes it."""
    return _write_pairs(ConceptRun(store, concepts.find(concept)), pairs)


def write_images(
    store: Store,
    concept: Concept,
    images: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    *,
    model: str = "janus-pro-1b",
    seed: int = 0,
    split: Split = "train",
) -> StageSet:
    """Finished pairs of ``split`` and images.

    ``images`` are the target's and the surrogate's, RGB uint8 [H, W, 3], per pair.
    """
    run = ConceptRun(store, concept)
    term, surrogate = concept.terms[0], concept.surrogates[0]
    pairs = [
        replace(
            pair(f"a {term} by lake {number}", f"a {surrogate} by lake {number}", split=split),
            record_id=record_id(concept.name, f"a {term} by lake {number}", f"a {surrogate} by lake {number}"),
            concept=concept.name,
            kind=concept.kind,
            target_term=term,
            surrogate_term=surrogate,
            writer=("offline", "gpt")[number % 2],
        )
        for number in range(len(images))
    ]
    settings = {
        "pairs": _write_pairs(run, pairs).fingerprint,
        "model": model,
        "renderer": "0",
        "seed": seed,
        "dtype": "float32",
        "sampling": {"guidance": 5.0, "temperature": 1.0},
    }
    image_set = run.stage_set(IMAGES, settings)
    rows = [
        Rendering(
            record_id=pair.record_id,
            role=role,
            seed=number,
            renderer="0",
            prompt_sent=prompt,
            image=encode(pixels),
            vq_ids=(1, 2, 3, 4),
        )
        for number, (pair, both) in enumerate(zip(pairs, images, strict=True))
        for (role, prompt), pixels in zip(pair.prompts(), both, strict=True)
    ]
    if not image_set.finished:
        image_set.write_shard(0, to_table(Rendering, rows))
    image_set.finish({"pictures": len(rows), "failed": 0, "failures": {}})
    return image_set


def _write_pairs(run: ConceptRun, pairs: Sequence[PromptPair]) -> StageSet:
    run.store.remember(run.concept)
    pairs_set = run.stage_set(PAIRS, {"pairs": [pair.record_id for pair in pairs]})
    if not pairs_set.done(0):
        pairs_set.write_shard(0, to_table(PromptPair, pairs))
    pairs_set.finish({"pairs": len(pairs)})
    return pairs_set


class ScriptedJudge:
    """A judge with given predictions, one per image, in the order in which the images come."""

    name = "scripted"
    weights_hash = "0"
    criterion = Criterion(label_set="scripted", accepted=("church",), near=("castle",), top_k=1)

    def __init__(self, answers: Sequence[bool]) -> None:
        self.answers = list(answers)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        batch, self.answers = self.answers[: len(images)], self.answers[len(images) :]
        return [Prediction(present=yes, score=float(yes), top_labels=(("church", float(yes)),)) for yes in batch]
