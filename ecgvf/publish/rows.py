"""The published row: what one record says in a dataset that anybody can load, and how it is read back.

One config holds the accepted records of a concept, its ``-rejected`` twin the others, with their reasons.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
from datasets import Features, Image, List, Value

from ecgvf.core.records import ROLES, PromptPair, Role
from ecgvf.publish.catalogue import KEY
from ecgvf.publish.run import Run, public

IMAGES = ("target_image", "surrogate_image")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """What was drawn for one prompt, as the row tells it."""

    seed: int
    image: bytes
    """PNG."""
    vq_ids: tuple[int, ...]


@lru_cache
def features(*, images: bool = True, rejected: bool = False) -> Features:
    """The columns, in their order. Pictures may be left out; rejected records say why they are."""
    labels = List({"label": Value("string"), "score": Value("float32")})
    columns: dict[str, Any] = {
        "record_id": Value("string"),
        "concept": Value("string"),
        "kind": Value("string"),
        "target": Value("string"),
        "surrogate": Value("string"),
        "target_image": Image(),
        "surrogate_image": Image(),
        "target_vq_ids": List(Value("uint16")),
        "surrogate_vq_ids": List(Value("uint16")),
        "target_term": Value("string"),
        "surrogate_term": Value("string"),
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
    return Features({name: kind for name, kind in columns.items() if images or name not in IMAGES})


def schema(run: Run, *, images: bool, rejected: bool) -> pa.Schema:
    """The Arrow schema of a file, with the features for ``datasets`` and ``about`` for ``ear``."""
    declared = features(images=images, rejected=rejected).arrow_schema
    return declared.with_metadata({**declared.metadata, KEY: json.dumps(about(run), sort_keys=True).encode()})


def about(run: Run) -> dict[str, Any]:
    """What the rows of one run have in common and ``ear`` needs: concept, model, sampling, seed, judge."""
    asked = run.verdicts.manifest["circumstances"].get("options")
    return {
        "concept": run.concept.model_dump(mode="json"),
        "model": run.model,
        "renderer": run.pictures.settings["renderer"],
        "sampling": run.pictures.settings["sampling"],
        "run_seed": run.pictures.settings["seed"],
        "judge": public(run.verdicts.settings["judge"]),
        **({"judge_options": asked} if asked else {}),
        **({"source": public(run.pairs.settings["source"])} if "source" in run.pairs.settings else {}),
    }


def row(run: Run, record: PromptPair, drawn: Mapping[Role, Picture]) -> Row:
    """One record as a row; the writer of the file leaves out the columns that it does not have."""
    settings = run.pictures.settings
    decision = run.decisions[record.record_id]
    said: Row = {
        "record_id": record.record_id,
        "concept": record.concept,
        "kind": record.kind,
        "target": record.target,
        "surrogate": record.surrogate,
        "target_term": record.target_term,
        "surrogate_term": record.surrogate_term,
        "seed": next((picture.seed for picture in drawn.values()), None),
        "model": run.model if drawn else None,
        "renderer": settings["renderer"] if drawn else None,
        "sampling": {name: settings["sampling"][name] for name in ("guidance", "temperature", "top_k", "top_p")},
        "judge": public(run.verdicts.settings["judge"]),
        "judge_hash": run.verdicts.settings["judge_hash"],
        "writer": record.writer,
        "model_asked": public(record.model_asked),
        "model_answered": public(record.model_answered),
        "template": record.template,
        "template_hash": record.template_hash,
        "iteration": record.iteration,
        "call_id": record.call_id,
        "source_id": record.source_id,
        "reason": decision.reason,
        "detail": record.detail,
    }
    for role in ROLES:
        picture, verdict = drawn.get(role), run.seen.get((record.record_id, role))
        judged = verdict if verdict is not None and verdict.failure is None else None
        said[f"{role}_image"] = {"bytes": picture.image, "path": None} if picture else None
        said[f"{role}_vq_ids"] = list(picture.vq_ids) if picture else None
        said[f"{role}_present"] = judged.present if judged else None
        said[f"{role}_score"] = judged.score if judged else None
        said[f"{role}_top_labels"] = (
            [{"label": public(label), "score": score} for label, score in judged.top_labels] if judged else None
        )
    return said


class Fingerprint:
    """A hash over rows in their order: of what they say, not of how Parquet packs it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, config: str, said: Row) -> None:
        """One more row of ``config``."""
        plain = {
            name: hashlib.sha256(value["bytes"]).hexdigest() if name in IMAGES and value is not None else value
            for name, value in said.items()
        }
        self._hash.update(json.dumps([config, plain], sort_keys=True, ensure_ascii=True).encode() + b"\n")

    @property
    def text(self) -> str:
        """12 hex digits."""
        return self._hash.hexdigest()[:12]
