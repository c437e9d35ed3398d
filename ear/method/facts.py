"""The facts of an adapter: what decided it, and what its file says of it."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept, name_key
from ecgvf.core.sampling import Sampling
from ecgvf.janus import JanusModel

ADAPTER_FACTS = {"concept", "model", "fingerprint", "sampling", "recipe"}
"""What the file of any adapter says."""


def adapter_settings(
    concept: Concept, dataset: str | None, model: JanusModel, sampling: Sampling, **others: Any
) -> dict[str, Any]:
    """What decides an adapter, as JSON, from which ``open_run`` computes the name of its run.

    ``dataset`` is a fingerprint, or None if no dataset was trained on, and "model" is the model's fingerprint.
    """
    common = {"concept": concept.name, "dataset": dataset, "model": model.fingerprint, "sampling": asdict(sampling)}
    return {**common, **others}


def saved_facts(concept: Concept, model: JanusModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an adapter's file and run.json say: the settings, of which "model" is the model's name there and
    "fingerprint" its fingerprint, whether the concept is unsafe, and all its names ("erased"). No time: equal runs
    write equal bytes."""
    known = {"model": model.name, "fingerprint": model.fingerprint, "unsafe": concept.unsafe}
    return {**settings, **known, "erased": sorted(all_names(concept))}


def all_names(concept: Concept) -> set[str]:
    """Keys (``name_key``) of the names, terms and judges' labels of ``concept``, which may be several as "a+b"."""
    labels = chain.from_iterable(concept.judge_labels.values())
    return set(map(name_key, (*concept.name.split("+"), *concept.terms, *concept.unseen_terms, *labels)))


def erased_names(facts: Mapping[str, Any]) -> set[str]:
    """``all_names`` of what an adapter with these ``facts`` erases.

    If they only name concepts, as an oracle's do, terms and labels are those of shipped concepts.
    """
    if "erased" in facts:
        return set(facts["erased"])
    names = [name for name in str(facts.get("concept", "")).split("+") if name]
    shipped = [all_names(concepts.find(name)) for name in names if name in concepts.names()]
    return set(map(name_key, names)).union(*shipped)
