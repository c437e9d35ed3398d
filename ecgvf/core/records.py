"""PromptPair → Rendering → Verdict → Acceptance: one row each, the same in the store, in an export and in ``ear``.

Nothing in a record tells time or chance, so that equal runs write equal bytes.
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
    # These four speak only where a user turned their rule on, or where people looked.
    "unsteady",
    "off_prompt",
    "changed_elsewhere",
    "reviewed",
]

ROLES: tuple[Role, Role] = ("target", "surrogate")

Row = dict[str, Any]


class Record:
    """What every record can do: become a row of its ``SCHEMA`` and come back."""

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
    """Id of a pair: 16 hex digits, a hash of the concept's name and the prompts (a test record has a target only)."""
    return _short_hash([concept, target, surrogate])


def malformed_id(call_id: str, position: int) -> str:
    """Id of the answer at ``position`` in the call ``call_id`` that could not be read as a pair: 16 hex digits."""
    return _short_hash([call_id, position])


def _short_hash(parts: list[str | int | None]) -> str:
    canonical = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPair(Record):
    """A target prompt that names the concept, a surrogate prompt that does not, and where they come from.

    A ``test`` record has a target only. A pair that stage 1 rejects stays, with its ``reason`` (malformed, duplicate)
    and a ``detail`` in words; a malformed one may have an empty ``target``.
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
    """The target means the concept without one of its terms (described, misspelt, foreign): the judge decides."""
    reason: Reason | None = None
    detail: str | None = None
    source_id: str | None = None
    """The id that an imported record had where it came from."""
    seed: int | None = None
    """The seed that an imported record states; its pictures take it."""

    def prompts(self) -> list[tuple[Role, str]]:
        """What is to be drawn: the target, and the surrogate where there is one."""
        drawn: list[tuple[Role, str]] = [("target", self.target)]
        if self.surrogate is not None:
            drawn.append(("surrogate", self.surrogate))
        return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering(Record):
    """One drawn prompt. ``vq_ids`` (T ints in [0, 65536), raster order) are the training trajectory of ``ear``.

    Where drawing failed, ``failure`` says why, ``image`` is empty and so are ``vq_ids``.
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
    """Fingerprint of the model that drew."""
    prompt_sent: str
    """The prompt in the chat template, as the tokenizer got it."""
    image: bytes
    """PNG."""
    vq_ids: tuple[int, ...]
    failure: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Rendering":
        return cls(**{**row, "vq_ids": tuple(row["vq_ids"])})


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a picture, in pixels of that picture, and what is in it."""

    label: str
    score: float
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """What one judge saw in one picture. ``score`` in [0, 1]; ``top_labels`` are (label, score), best first.

    ``boxes`` are a detector's (label, score, left, top, width, height), in pixels, best first. What else decided
    (labels, top-k) is in the set's settings.
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
    """Name of the labels that meant the concept."""
    threshold: float | None = None
    """What the score had to reach, where it had to."""
    boxes: tuple[Box, ...] = ()
    failure: str | None = None
    """Why the judge could not look; ``present`` is then False and means nothing."""

    def to_row(self) -> Row:
        labels = [{"label": label, "score": score} for label, score in self.top_labels]
        return {**Record.to_row(self), "top_labels": labels, "boxes": [asdict(box) for box in self.boxes]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Verdict":
        labels = tuple((top["label"], top["score"]) for top in row["top_labels"])
        return cls(**{**row, "top_labels": labels, "boxes": tuple(Box(**box) for box in row.get("boxes", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(Record):
    """Whether a record is in the dataset; a rejected one stays, with its reason."""

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
