"""PromptPair → Rendering → Verdict → Acceptance: one row schema each, for the store, exports and ``ear``.

A record has no time and no random id, so that equal runs write equal bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa

Role = Literal["target", "surrogate"]
Split = Literal["train", "validation", "test", "retain"]
"""Recipes, thresholds and defaults are chosen on train and validation; opening test is recorded (``core.openings``).
The prompts of ``retain`` are about other concepts, which must stay."""

EvaluationSplit = Literal["validation", "test"]

Wording = Literal["explicit", "synonym", "implicit", "misspelled", "other_language", "unseen_form"]
"""How a target prompt means the concept: by its name (the first of its terms), another term, a description, a
misspelling, in another language, or in a form of sentence that no training pair has."""

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
SPLITS: tuple[Split, ...] = get_args(Split)
WORDINGS: tuple[Wording, ...] = get_args(Wording)

Row = dict[str, Any]


class Record:
    """A row of a table, and back. The fields of a subclass are its columns, in their order."""

    __slots__ = ()
    SCHEMA: ClassVar[pa.Schema]

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.SCHEMA = pa.schema([_column(name, hints[name]) for name in cls.__annotations__])

    def to_row(self) -> Row:
        """Column → value, in the order of ``SCHEMA``."""
        return {name: getattr(self, name) for name in self.SCHEMA.names}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The record of one row; columns that the record does not know are ignored."""
        return cls(**_known(cls, row))


def _known(kind: type[Record], row: Mapping[str, Any]) -> Row:
    """``row`` without the columns that ``kind`` lacks."""
    names = set(kind.SCHEMA.names)
    return {name: value for name, value in row.items() if name in names}


_ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}


def _column(name: str, hint: Any) -> pa.Field:
    """The column of a field, nullable if it may be None; ``Annotated`` states a type that Python's does not imply."""
    if get_origin(hint) is Annotated:
        return pa.field(name, hint.__metadata__[0], nullable=type(None) in get_args(hint.__origin__))
    kind, *others = get_args(hint) or (hint,)
    return pa.field(name, _ARROW.get(kind, pa.string()), nullable=type(None) in others)  # a Literal is a string


R = TypeVar("R", bound=Record)


def to_table(kind: type[R], records: Iterable[R]) -> pa.Table:
    """Records as an Arrow table of ``kind.SCHEMA``, in their order."""
    return pa.Table.from_pylist([record.to_row() for record in records], schema=kind.SCHEMA)


def from_table(kind: type[R], table: pa.Table) -> list[R]:
    """The records of a table, in its order."""
    return [kind.from_row(row) for row in table.to_pylist()]


def record_id(concept: str, target: str, surrogate: str | None) -> str:
    """Id of a pair: 16 hex digits, a hash of the concept's name and the prompts (``surrogate`` None: there is none)."""
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

    ``surrogate`` is None in the retain split, whose targets name other concepts, and in some imported or older ``test``
    records. A record that stage 1 rejects has a ``reason`` (malformed, duplicate) and a ``detail`` in words; the
    ``target`` of a malformed one may be empty.
    """

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
    iteration: Annotated[int, pa.int32()]
    call_id: str
    reason: Reason | None = None
    detail: str | None = None
    source_id: str | None = None
    """The id of an imported record in its source."""
    seed: int | None = None
    """The seed that an imported record states; its images are rendered with it."""
    wording: Wording | None = None
    """None in rejected records, in the retain split, and in stores that are older than wordings."""
    retained_concept: str | None = None
    """The concept that a record of the retain split measures; None in the other splits."""

    def prompts(self) -> list[tuple[Role, str]]:
        """(role, prompt) of each image to render: the target, and the surrogate if there is one."""
        prompts: list[tuple[Role, str]] = [("target", self.target)]
        if self.surrogate is not None:
            prompts.append(("surrogate", self.surrogate))
        return prompts

    def judged_roles(self) -> list[Role]:
        """The roles whose images decide whether the record is accepted: both for training, else only the target."""
        return [role for role, _ in self.prompts() if role == "target" or self.split == "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering(Record):
    """A rendered prompt. ``vq_ids`` (T ints in [0, 65536), raster order) are the training trajectory of ``ear``.

    If rendering failed, ``failure`` is the reason, and ``image`` and ``vq_ids`` are empty.
    """

    record_id: str
    role: Role
    seed: int
    renderer: str
    """Fingerprint of the model that rendered."""
    prompt_sent: str
    """The prompt in the chat template, as passed to the tokenizer."""
    image: bytes
    """PNG."""
    vq_ids: Annotated[tuple[int, ...], pa.list_(pa.uint16())]
    failure: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Rendering":
        return cls(**{**_known(cls, row), "vq_ids": tuple(row["vq_ids"])})


@dataclass(frozen=True, slots=True)
class Box:
    """A detected rectangle of an image, in that image's pixels."""

    label: str
    score: float
    left: int
    top: int
    width: int
    height: int


_LABEL = [("label", pa.string()), ("score", pa.float32())]
_BOX = [*_LABEL, *((name, pa.int32()) for name in ("left", "top", "width", "height"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """What one judge saw in one image.

    ``score`` is in [0, 1]; ``top_labels`` are (label, score), and ``boxes`` what a detector found, both best first. The
    labels and the top-k that decided are in the set's settings.
    """

    record_id: str
    role: Role
    judge: str
    judge_hash: str
    label_set: str = ""
    """Name of the label set that stands for the concept."""
    threshold: float | None = None
    """The least score at which the concept is present; None if there is no bound."""
    present: bool
    score: Annotated[float, pa.float32()]
    top_labels: Annotated[tuple[tuple[str, float], ...], pa.list_(pa.struct(_LABEL))]
    boxes: Annotated[tuple[Box, ...], pa.list_(pa.struct(_BOX))] = ()
    failure: str | None = None
    """Why the judge failed; ``present`` is then False and meaningless."""

    def to_row(self) -> Row:
        labels = [{"label": label, "score": score} for label, score in self.top_labels]
        return {**Record.to_row(self), "top_labels": labels, "boxes": [asdict(box) for box in self.boxes]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Verdict":
        labels = tuple((top["label"], top["score"]) for top in row["top_labels"])
        boxes = tuple(Box(**box) for box in row.get("boxes", ()))
        return cls(**{**_known(cls, row), "top_labels": labels, "boxes": boxes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(Record):
    """Whether a record is in the dataset; a rejected one keeps its reason."""

    record_id: str
    accepted: bool
    reason: Reason | None
