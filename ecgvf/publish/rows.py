"""The published row: one record in a dataset that anybody can load.

One config holds the accepted records of a concept, and its ``-rejected`` twin the others, with their reasons.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
from datasets import Features, Image, List, Value

from ecgvf.core.records import ROLES, PromptPair, Rendering, Role
from ecgvf.filter.acceptance import judge_options
from ecgvf.publish.catalogue import KEY
from ecgvf.publish.finished_run import FinishedRun
from ecgvf.publish.redaction import redact

IMAGES = ("target_image", "surrogate_image")
SPLIT_COLUMNS = ("split", "wording")

Row = dict[str, Any]


@lru_cache
def features(*, images: bool = True, rejected: bool = False, older: bool = False, retained: bool = False) -> Features:
    """The columns of a published file, in order.

    ``images``: with images. ``rejected``: with reasons. ``older``: without split and wording, as in files that are
    older than the validation split. ``retained``: with the concept that a record of the retain split measures.
    """
    labels = List({"label": Value("string"), "score": Value("float32")})
    columns: dict[str, Any] = {
        "record_id": Value("string"),
        "concept": Value("string"),
        "kind": Value("string"),
        "split": Value("string"),
        "target": Value("string"),
        "surrogate": Value("string"),
        "target_image": Image(),
        "surrogate_image": Image(),
        "target_vq_ids": List(Value("uint16")),
        "surrogate_vq_ids": List(Value("uint16")),
        "target_term": Value("string"),
        "surrogate_term": Value("string"),
        "wording": Value("string"),
        **({"retained_concept": Value("string")} if retained else {}),
        "seed": Value("int64"),
        "model": Value("string"),
        "renderer": Value("string"),
        "sampling": {
            "guidance": Value("float64"),
            "temperature": Value("float64"),
            "top_k": Value("int64"),
            "top_p": Value("float64"),
        },
        "judge": Value("string"),
        "judge_hash": Value("string"),
        **{f"{role}_present": Value("bool") for role in ROLES},
        **{f"{role}_score": Value("float32") for role in ROLES},
        **{f"{role}_top_labels": labels for role in ROLES},
        "writer": Value("string"),
        "model_asked": Value("string"),
        "model_answered": Value("string"),
        "template": Value("string"),
        "template_hash": Value("string"),
        "iteration": Value("int32"),
        "call_id": Value("string"),
        "source_id": Value("string"),
    }
    if rejected:
        columns |= {"reason": Value("string"), "detail": Value("string")}
    left_out = {*(() if images else IMAGES), *(SPLIT_COLUMNS if older else ())}
    return Features({name: kind for name, kind in columns.items() if name not in left_out})


def schema(run: FinishedRun, *, images: bool, rejected: bool) -> pa.Schema:
    """The Arrow schema of a file, with the features for ``datasets`` and ``metadata`` for ``ear``."""
    columns = features(images=images, rejected=rejected, retained=run.has_retained).arrow_schema
    return columns.with_metadata({**columns.metadata, KEY: json.dumps(metadata(run), sort_keys=True).encode()})


def metadata(run: FinishedRun) -> dict[str, Any]:
    """What all rows of a run have in common and ``ear`` needs: concept, model, sampling, seed, judge."""
    options = judge_options(run.verdicts)
    return {
        "concept": run.concept.model_dump(mode="json"),
        "model": run.model,
        "renderer": run.images.settings["renderer"],
        "sampling": run.images.settings["sampling"],
        "run_seed": run.images.settings["seed"],
        "judge": redact(run.verdicts.settings["judge"]),
        **({"judge_options": options} if options else {}),
        **({"retained": True} if run.has_retained else {}),
        **({"source": redact(run.pairs.settings["source"])} if "source" in run.pairs.settings else {}),
    }


def to_row(run: FinishedRun, record: PromptPair, renderings: Mapping[Role, Rendering]) -> Row:
    """``record`` as a row with the columns of all configs; ``renderings`` has only the renderings that succeeded."""
    settings = run.images.settings
    # Retained concepts have a judge of their own where the concept's has no label for them.
    judged = next(iter(run.verdicts_by_record.get(record.record_id, {}).values()), None)
    row: Row = {
        **record.to_row(),
        "seed": next((rendering.seed for rendering in renderings.values()), None),
        "model": run.model if renderings else None,
        "renderer": settings["renderer"] if renderings else None,
        "sampling": {name: settings["sampling"][name] for name in ("guidance", "temperature", "top_k", "top_p")},
        "judge": redact(judged.judge if judged else run.verdicts.settings["judge"]),
        "judge_hash": judged.judge_hash if judged else run.verdicts.settings["judge_hash"],
        "model_asked": redact(record.model_asked),
        "model_answered": redact(record.model_answered),
        "reason": run.decisions[record.record_id].reason,
    }
    for role in ROLES:
        row |= _role_columns(run, record, role, renderings.get(role))
    return row


def _role_columns(run: FinishedRun, record: PromptPair, role: Role, rendering: Rendering | None) -> Row:
    """The columns of one role's image and verdict, None without them."""
    verdict = run.verdicts_by_record.get(record.record_id, {}).get(role)
    if verdict is not None and verdict.failure is not None:
        verdict = None
    return {
        f"{role}_image": {"bytes": rendering.image, "path": None} if rendering else None,
        f"{role}_vq_ids": list(rendering.vq_ids) if rendering else None,
        f"{role}_present": verdict.present if verdict else None,
        f"{role}_score": verdict.score if verdict else None,
        f"{role}_top_labels": (
            [{"label": redact(label), "score": score} for label, score in verdict.top_labels] if verdict else None
        ),
    }


class Fingerprint:
    """A hash of rows in their order: of their values, not of how Parquet packs them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, config: str, row: Row) -> None:
        """Add a row of ``config``."""
        hashable = {
            name: hashlib.sha256(value["bytes"]).hexdigest() if name in IMAGES and value is not None else value
            for name, value in row.items()
        }
        self._hash.update(json.dumps([config, hashable], sort_keys=True, ensure_ascii=True).encode() + b"\n")

    @property
    def text(self) -> str:
        """12 hex digits."""
        return self._hash.hexdigest()[:12]
