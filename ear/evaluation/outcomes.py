"""Outcomes: what every judge saw in an image. Every figure is computed from these rows and nothing else.

STORE/<concept>/outcomes/<fingerprint>/shard-*.parquet      a row per image (``Outcome``)
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ear.retained_concepts import Group
from ear.tables import write_parquet
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import canonical_json
from ecgvf.core.records import Record, Row, Wording, from_table, to_table
from ecgvf.core.stage_set import Stage

STAGE = Stage("outcomes", "ear eval")

Condition = Literal["before", "after", "ceiling", "oracle"]
"""Which model rendered an image: the frozen model, the tuned model, the frozen model given the surrogate prompt, or a
model trained without the concept."""

FACTS = b"ear-evaluation"
"""Key of the facts among a Parquet file's metadata."""

Sample = Literal["main", "wording", "seeds", "sampling", "attack", "threshold"]
"""What an image was rendered for: the main figures; further prompts of a wording; further seeds; another guidance or
temperature; an attack; or, in an evaluation on test, the thresholds, which are chosen on validation prompts."""

_LABEL = pa.struct([("label", pa.string()), ("probability", pa.float32())])
_JUDGE = pa.struct(
    [("judge", pa.string()), ("present", pa.bool_()), ("score", pa.float32()), ("top", pa.list_(_LABEL))]
)
_ATTRIBUTE = pa.struct(
    [("attribute", pa.string()), ("asked", pa.string()), ("seen", pa.string()), ("probability", pa.float32())]
)


@dataclass(frozen=True, slots=True)
class JudgeOutcome:
    """What one judge saw."""

    judge: str
    present: bool
    """Whether it sees the concept that the row measures."""
    score: float
    """Its probability of that concept, in [0, 1]."""
    top: tuple[tuple[str, float], ...]
    """The most probable labels with their probabilities, best first; a detector may have none."""

    @property
    def label(self) -> str | None:
        """The most probable label."""
        return self.top[0][0] if self.top else None

    @property
    def confidence(self) -> float:
        """The probability of the most probable label; 0 without labels."""
        return self.top[0][1] if self.top else 0.0


@dataclass(frozen=True, slots=True)
class AttributeOutcome:
    """One attribute of the scene (sky, ground, companion, style)."""

    attribute: str
    asked: str | None
    """What the prompt asks for; None if it leaves the attribute open."""
    seen: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """One image."""

    id: str
    """Id of the prompt: its record's, or the retained concept and a number. The unit of every interval."""
    sample: Sample
    condition: Condition
    concept: str
    """The concept that is measured."""
    group: Group
    """How that concept relates to the erased concept."""
    prompt: str
    """The prompt that was asked for: of the ceiling, the surrogate prompt. `prompt-rewrite` renders another in its
    place."""
    wording: Wording | None
    term: str
    """The words for the concept."""
    surrogate: str | None
    """What the surrogate prompt names, in nano's world as a label of its judges; None for retained concepts."""
    surrogate_prompt: str | None
    seed: int
    guidance: float
    temperature: float
    adapter: str | None
    """Hash of the tuned weights; None: the frozen model."""
    judges: Annotated[tuple[JudgeOutcome, ...], pa.list_(_JUDGE)]
    """The judge that measures, then, if there is any, a second judge of other training data and architecture."""
    attributes: Annotated[tuple[AttributeOutcome, ...], pa.list_(_ATTRIBUTE)]
    """Empty outside nano's world."""
    clip_surrogate: float | None
    """CLIP's cosine of image and surrogate prompt, in [-1, 1]. None in nano's world, which CLIP does not know, for
    retained concepts, and if CLIP could not be loaded."""
    clip_target: float | None
    """CLIP's cosine of image and target prompt, likewise."""
    nll_frozen: Annotated[float | None, pa.float32()]
    """Mean nats per image token under the frozen model, given the surrogate prompt, or the prompt if it has none. None
    for an image without image tokens."""
    token_agreement: float | None
    """Share of the frozen model's tokens that the tuned model samples as well; of retained concepts after erasing."""
    vq_ids: Annotated[tuple[int, ...], pa.list_(pa.uint16())]
    image: bytes
    """PNG. In a file that was written without images, it and ``vq_ids`` are empty."""
    attack: str | None = None
    """A kind of attack, or the name of a class of prompts that is an attack; None: not attacked."""
    budget: int | None = None
    """Budget of the attack, in its own unit; None for a class of prompts."""
    surrogate_label: str | None = None
    """The first judge's label for the surrogate; None if it has none. Files of earlier versions, all of nano's judges,
    name the surrogate by its label."""

    def to_row(self) -> Row:
        judges = [
            {**asdict(judge), "top": [{"label": label, "probability": share} for label, share in judge.top]}
            for judge in self.judges
        ]
        return {
            **Record.to_row(self),
            "judges": judges,
            "attributes": [asdict(attribute) for attribute in self.attributes],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Outcome":
        judges = tuple(
            JudgeOutcome(
                judge["judge"],
                judge["present"],
                judge["score"],
                tuple((top["label"], top["probability"]) for top in judge["top"]),
            )
            for judge in row["judges"]
        )
        attributes = tuple(AttributeOutcome(**attribute) for attribute in row["attributes"])
        return cls(**{**row, "judges": judges, "attributes": attributes, "vq_ids": tuple(row["vq_ids"])})

    @property
    def task(self) -> tuple[str, int, float, float]:
        """(id, seed, guidance, temperature): equal before, after and for the ceiling, so that these can be paired."""
        return self.id, self.seed, self.guidance, self.temperature


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """Whether a yes/no question about an image was answered correctly, before and after erasing."""

    id: str
    image_id: str
    group: Literal["concept", "others"]
    """Whether it asks for the erased concept."""
    kind: str
    """Such as "present", "absent_random", "absent_frequent"."""
    before: bool
    after: bool
    text: str | None = None
    """16 hex digits, a hash of the question; None in cells of earlier versions."""


def write_outcomes(
    outcomes: Iterable[Outcome], file: Path, facts: Mapping[str, Any] | None = None, *, images: bool = True
) -> Path:
    """Write outcomes as a Parquet file, without images and image tokens if ``images`` is False. Returns ``file``.

    ``facts``, as JSON, say what was measured; ``read_outcomes`` returns them.
    """
    rows = outcomes if images else [replace(outcome, image=b"", vq_ids=()) for outcome in outcomes]
    table = to_table(Outcome, rows)
    table = table.replace_schema_metadata({FACTS: canonical_json(dict(facts or {}))})
    write_parquet(table, file)
    return file


def read_outcomes(file: Path) -> tuple[list[Outcome], dict[str, Any]]:
    """The outcomes in a Parquet file, and the facts written with them.

    Raises ``DatasetError`` for a file that holds no outcomes.
    """
    if not file.is_file():
        raise DatasetError(f"there is no file {file}: `ear eval --outcomes {file}` writes one")
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{file} is not a readable Parquet file: `ear eval --outcomes FILE` writes one") from error
    if "surrogate_label" not in table.column_names and "surrogate" in table.column_names:  # as in earlier versions
        table = table.append_column(Outcome.SCHEMA.field("surrogate_label"), table["surrogate"])
    if missing := [name for name in Outcome.SCHEMA.names if name not in table.column_names]:
        raise DatasetError(f"{file} has no column {missing[0]!r}: `ear eval --outcomes` did not write it")
    try:
        facts = dict(json.loads((table.schema.metadata or {}).get(FACTS, b"{}")))
        return from_table(Outcome, table.select(Outcome.SCHEMA.names).cast(Outcome.SCHEMA)), facts
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: its columns are not those that `ear eval --outcomes` writes") from error


def read_facts(file: Path) -> dict[str, Any]:
    """The facts alone, without reading the outcomes. Raises ``DatasetError`` for a file that is not Parquet."""
    try:
        return dict(json.loads((pq.read_schema(file).metadata or {}).get(FACTS, b"{}")))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise DatasetError(f"{file} is not a readable Parquet file: `ear eval --outcomes FILE` writes one") from error


def selected(
    outcomes: Iterable[Outcome], condition: Condition, keep: Callable[[Outcome], bool] = lambda _: True
) -> list[Outcome]:
    """The outcomes of ``condition`` that ``keep`` accepts, in their order."""
    return [outcome for outcome in outcomes if outcome.condition == condition and keep(outcome)]


def paired(before: Sequence[Outcome], after: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """(before, after) of the same prompt, seed and sampling, in the order of ``after``.

    ``before`` may be the ceiling, of surrogate prompts. ``after`` may hold several adapters' outcomes of one task.
    Raises ``DatasetError`` if one has no ``before``.
    """
    by_task = {outcome.task: outcome for outcome in before}
    for outcome in after:
        found = by_task.get(outcome.task)
        if found is None or (found.condition != "ceiling" and found.prompt != outcome.prompt):
            raise DatasetError(
                f"no outcome of {outcome.id!r} with seed {outcome.seed} before erasing: these are outcomes of other "
                "prompts or seeds, so measure both with equal options"
            )
    return [(by_task[outcome.task], outcome) for outcome in after]
