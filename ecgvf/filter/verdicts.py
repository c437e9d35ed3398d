"""The verdicts of judges on the images of a shard."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.records import Rendering, Verdict, from_table, to_table
from ecgvf.core.shard_set import Advance
from ecgvf.engine import Description
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.judge import Judge, Prediction
from ecgvf.judges.judge import settings as judge_settings
from ecgvf.judges.predictions import predict_each
from ecgvf.judges.retained import RetainedJudges, predict

if TYPE_CHECKING:
    from ecgvf.judges.classifier import Classifier

T = TypeVar("T", Rendering, Verdict)

_FAILED = Prediction(present=False, score=0.0, top_labels=())


class VerdictWorker:
    """Judges the images of a shard. An ensemble combines its members' verdicts on them."""

    def __init__(self, judge: Judge, retained: RetainedJudges, retained_concepts: Mapping[str, str]) -> None:
        self._judge, self._retained, self._retained_concepts = judge, retained, retained_concepts

    @property
    def description(self) -> Description:
        """The judges' hashes and criterion."""
        import torch  # takes seconds, and reviewing needs none

        facts = judge_settings(self._judge) | {
            "retained": self._retained.settings(sorted(set(self._retained_concepts.values())))
        }
        return Description(facts, {"threads": torch.get_num_threads()})

    def __call__(self, tasks: Sequence[pa.Table], circumstances: JSON, advance: Advance) -> pa.Table:
        """The verdicts on the images in ``tasks[0]``; further tables are verdicts of an ensemble's members."""
        from ecgvf.janus import num_threads

        renderings = from_table(Rendering, tasks[0])
        with num_threads(circumstances["threads"]):
            if isinstance(self._judge, Ensemble):
                rows = _combine(
                    self._judge, [self._without_retained(from_table(Verdict, table)) for table in tasks[1:]]
                )
            else:
                rows = judge_renderings(self._judge, self._without_retained(renderings))
            rows += judge_retained(self._retained, renderings, self._retained_concepts)
        advance(1)
        return to_table(Verdict, rows)

    def _without_retained(self, records: Sequence[T]) -> list[T]:
        """``records`` without those of the retain split, which ``judge_retained`` judges."""
        return [record for record in records if record.record_id not in self._retained_concepts]


def judge_renderings(judge: Judge, renderings: Sequence[Rendering]) -> list[Verdict]:
    """One verdict per rendering that has an image, in order; it has a ``failure`` if the judge fails on the image.

    Raises as ``predict_each`` does.
    """
    rendered = [rendering for rendering in renderings if rendering.failure is None]
    return _verdicts(judge, rendered, predict_each(judge, rendered, lambda batch: judge.predict(_pixels(batch))))


def judge_retained(
    judges: RetainedJudges, renderings: Sequence[Rendering], retained_concepts: Mapping[str, str]
) -> list[Verdict]:
    """Whether each image of the retain split shows the concept that its record retains, in the order of the renderings.

    ``retained_concepts`` maps record ids to these concepts. A verdict has a ``failure`` if no judge has a label for the
    concept, or if the judge fails. Raises as ``predict_each`` does.
    """
    rendered = [each for each in renderings if each.record_id in retained_concepts and each.failure is None]
    by_judge: dict[Classifier | None, list[Rendering]] = {}
    for rendering in rendered:
        by_judge.setdefault(judges.of(retained_concepts[rendering.record_id]), []).append(rendering)
    verdicts: dict[str, Verdict] = {}
    for judge, own in by_judge.items():
        for verdict in _judge_retained(judges, judge, own, retained_concepts):
            verdicts[verdict.record_id] = verdict
    return [verdicts[rendering.record_id] for rendering in rendered]


def _judge_retained(
    judges: RetainedJudges,
    judge: "Classifier | None",
    renderings: Sequence[Rendering],
    retained_concepts: Mapping[str, str],
) -> list[Verdict]:
    """The verdicts of one judge; a ``judge`` of None has no label for these concepts."""

    def names(batch: Sequence[Rendering]) -> list[str]:
        return [retained_concepts[rendering.record_id] for rendering in batch]

    if judge is None:
        return [
            _verdict(judges.judge, rendering, _FAILED, f"no judge has a label for {name!r}")
            for rendering, name in zip(renderings, names(renderings), strict=True)
        ]
    found = predict_each(judge, renderings, lambda batch: predict(judge, _pixels(batch), names(batch)))
    return _verdicts(judge, renderings, found)


def _verdicts(judge: Judge, renderings: Sequence[Rendering], found: Sequence[Prediction | str]) -> list[Verdict]:
    """The verdicts of ``predict_each``."""
    return [
        _verdict(judge, rendering, _FAILED, each) if isinstance(each, str) else _verdict(judge, rendering, each)
        for rendering, each in zip(renderings, found, strict=True)
    ]


def _pixels(renderings: Sequence[Rendering]) -> NDArray[np.uint8]:
    """RGB uint8 [N, H, W, 3]. Raises ``OSError`` for an unreadable image, ``ValueError`` for images of other sizes."""
    return np.stack([decode(rendering.image) for rendering in renderings])


def _combine(ensemble: Ensemble, members: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """Combine the members' verdicts on the same images; where one member failed, the ensemble fails."""
    combined = []
    for verdicts in zip(*members, strict=True):
        failures = [f"{verdict.judge}: {verdict.failure}" for verdict in verdicts if verdict.failure is not None]
        if failures:
            combined.append(_verdict(ensemble, verdicts[0], _FAILED, failures[0]))
        else:
            predictions = [Prediction(row.present, row.score, row.top_labels, row.boxes) for row in verdicts]
            combined.append(_verdict(ensemble, verdicts[0], ensemble.combined(predictions)))
    return combined


def _verdict(judge: Judge, record: Rendering | Verdict, prediction: Prediction, failure: str | None = None) -> Verdict:
    return Verdict(
        record_id=record.record_id,
        role=record.role,
        judge=judge.name,
        judge_hash=judge.weights_hash,
        label_set=judge.criterion.label_set,
        threshold=judge.criterion.threshold,
        present=prediction.present,
        score=prediction.score,
        top_labels=prediction.top_labels,
        boxes=prediction.boxes,
        failure=failure,
    )
