"""The facts of an adapter: what decided it, and what its file says of it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ecgvf.core.concepts import Concept
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
    "fingerprint" its fingerprint, and whether the concept is unsafe. No time: equal runs write equal bytes."""
    return {**settings, "model": model.name, "fingerprint": model.fingerprint, "unsafe": concept.unsafe}
