"""PromptPair → Rendering → Verdict → Acceptance: one row schema each, for the store, exports and ``ear``.

A record has no time and no random id, so that equal runs write equal bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, TypeVar

import pyarrow as pa

Role = Literal["target", "surrogate"]
Split = Literal["train", "test"]
Reason = Literal[
    "malformed",
    "duplicate",
    "render_failed",
    "judge_failed",
    "target_absent",
    "concept_leaked",
    # The next three need an optional bound, the last one a reviewer.
    "unsteady",
    "off_prompt",
    "changed_elsewhere",
    "reviewed",
]

ROLES: tuple[Role, Role] = ("target", "surrogate")

Row = dict[str, Any]


class Record:
    """A row of ``SCHEMA``, and back."""

    __slots__ = ()
    SCHEMA: ClassVar[pa.Schema]

    def to_row(self) -> Row:
        """Column → value, in the order of ``SCHEMA``."""
        return {name: getattr(self, name) for name in self.SCHEMA.names}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The record of one row; columns that the record does not know are ignored."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{name: value for name, value in row.items() if name in known})


R = TypeVar("R", bound=Record)


def to_table(kind: type[R], records: Iterable[R]) -> pa.Table:
    """Records as an Arrow table of ``kind.SCHEMA``, in their order."""
    return pa.Table.from_pylist([record.to_row() for record in records], schema=kind.SCHEMA)


def from_table(kind: type[R], table: pa.Table) -> list[R]:
    """The records of a table, in its order."""
    return [kind.from_row(row) for row in table.to_pylist()]


def record_id(concept: str, target: str, surrogate: str | None) -> str:
    """Id of a pair: 16 hex digits, a hash of the concept's name and the prompts (``surrogate`` None: a test record)."""
    return _short_hash([concept, target, surrogate])


def malformed_id(call_id: str, position: int) -> str:
    """Id of a rejected draft: 16 hex digits, a hash of the call and of the draft's ``position`` in the answer."""
    return _short_hash([call_id, position])


def _short_hash(parts: list[str | int | None]) -> str:
    canonical = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPair(Record):
    """A target prompt that names the concept, a surrogate prompt that does not, and their provenance.

    A ``test`` record has a target only. A pair that stage 1 rejects keeps its ``reason`` (malformed, duplicate) and a
    ``detail`` in words; if malformed, its ``target`` may be empty.
    """

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("concept", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("target", pa.string(), nullable=False),
            pa.field("surrogate", pa.string()),
            pa.field("target_term", pa.string(), nullable=False),
            pa.field("surrogate_term", pa.string()),
            pa.field("writer", pa.string(), nullable=False),
            pa.field("model_asked", pa.string(), nullable=False),
            pa.field("model_answered", pa.string(), nullable=False),
            pa.field("template", pa.string(), nullable=False),
            pa.field("template_hash", pa.string(), nullable=False),
            pa.field("iteration", pa.int32(), nullable=False),
            pa.field("call_id", pa.string(), nullable=False),
            pa.field("implicit", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
            pa.field("source_id", pa.string()),
            pa.field("seed", pa.int64()),
        ]
    )

    record_id: str
    concept: str
    kind: str
    split: Split
    target: str
    surrogate: str | None
    target_term: str
    surrogate_term: str | None
    writer: str
    model_asked: str
    model_answered: str
    template: str
    template_hash: str
    iteration: int
    call_id: str
    implicit: bool = False
    """Whether the target means the concept without one of its terms (described, misspelt, in another language)."""
    reason: Reason | None = None
    detail: str | None = None
    source_id: str | None = None
    """The id of an imported record in its source."""
    seed: int | None = None
    """The seed that an imported record states; its images are rendered with it."""

    def prompts(self) -> list[tuple[Role, str]]:
        """(role, prompt) of what is rendered: the target, and the surrogate if there is one."""
        prompts: list[tuple[Role, str]] = [("target", self.target)]
        if self.surrogate is not None:
            prompts.append(("surrogate", self.surrogate))
        return prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering(Record):
    """A rendered prompt. ``vq_ids`` (T ints in [0, 65536), raster order) are the training trajectory of ``ear``.

    If rendering failed, ``failure`` is the reason, and ``image`` and ``vq_ids`` are empty.
    """

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("renderer", pa.string(), nullable=False),
            pa.field("prompt_sent", pa.string(), nullable=False),
            pa.field("image", pa.binary(), nullable=False),
            pa.field("vq_ids", pa.list_(pa.uint16()), nullable=False),
            pa.field("failure", pa.string()),
        ]
    )

    record_id: str
    role: Role
    seed: int
    renderer: str
    """Fingerprint of the model that rendered."""
    prompt_sent: str
    """The prompt in the chat template, as passed to the tokenizer."""
    image: bytes
    """PNG."""
    vq_ids: tuple[int, ...]
    failure: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Rendering":
        return cls(**{**row, "vq_ids": tuple(row["vq_ids"])})


@dataclass(frozen=True, slots=True)
class Box:
    """A detected rectangle of an image, in that image's pixels."""

    label: str
    score: float
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """What one judge saw in one image. ``score`` in [0, 1]; ``top_labels`` are (label, score), best first.

    ``boxes`` are a detector's, best first. The rest of the criterion (labels, top-k) is in the set's settings.
    """

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("role", pa.string(), nullable=False),
            pa.field("judge", pa.string(), nullable=False),
            pa.field("judge_hash", pa.string(), nullable=False),
            pa.field("label_set", pa.string(), nullable=False),
            pa.field("threshold", pa.float64()),
            pa.field("present", pa.bool_(), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field(
                "top_labels", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())])), nullable=False
            ),
            pa.field(
                "boxes",
                pa.list_(
                    pa.struct(
                        [("label", pa.string()), ("score", pa.float32())]
                        + [(side, pa.int32()) for side in ("left", "top", "width", "height")]
                    )
                ),
                nullable=False,
            ),
            pa.field("failure", pa.string()),
        ]
    )

    record_id: str
    role: Role
    judge: str
    judge_hash: str
    present: bool
    score: float
    top_labels: tuple[tuple[str, float], ...]
    label_set: str = ""
    """Name of the label set that stands for the concept."""
    threshold: float | None = None
    """The least score at which the concept is present; None if there is no bound."""
    boxes: tuple[Box, ...] = ()
    failure: str | None = None
    """Why the judge failed; ``present`` is then False and meaningless."""

    def to_row(self) -> Row:
        labels = [{"label": label, "score": score} for label, score in self.top_labels]
        return {**Record.to_row(self), "top_labels": labels, "boxes": [asdict(box) for box in self.boxes]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Verdict":
        labels = tuple((top["label"], top["score"]) for top in row["top_labels"])
        return cls(**{**row, "top_labels": labels, "boxes": tuple(Box(**box) for box in row.get("boxes", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(Record):
    """Whether a record is in the dataset; a rejected one keeps its reason."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("accepted", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
        ]
    )

    record_id: str
    accepted: bool
    reason: Reason | None
