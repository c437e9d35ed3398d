"""Stage 3: a judge classifies every image, and every record is accepted or rejected."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.png import decode
from ecgvf.core.records import PromptPair, Rendering, Verdict, from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter.acceptance import FilterResult, write_acceptance
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.clip_score import measure_clip_scores
from ecgvf.judges import judge as judges
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.domain import domain_warning
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import OF_RETAINED, JudgeOptions, create_judge, weights_by_judge
from ecgvf.judges.judge import Judge, Prediction
from ecgvf.judges.retained import RetainedJudges, predict

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder

_FAILED = Prediction(present=False, score=0.0, top_labels=())


def filter_images(
    run: ConceptRun,
    *,
    judge: str | Judge | None = None,
    options: JudgeOptions | None = None,
    bounds: Bounds | None = None,
    device: str = "auto",
    set_id: str | None = None,
) -> FilterResult:
    """Judge the current images, or those of the set that starts with ``set_id``, and accept or reject every record.

    ``judge`` is a name, or a ``Judge``; None: see ``create_judge``. Missing images are rendered first, those of the
    further seeds in ``bounds`` included. Raises ``JudgeError``, and as ``render`` does.
    """
    from ecgvf.render import render_missing, rendering_model  # PyTorch takes seconds, and reviewing needs none

    options = replace(options or JudgeOptions(), device=device)
    bounds = bounds or Bounds()
    model = rendering_model(run, set_id)
    # Before hours of rendering, so that a wrong name or a missing file costs none.
    judge = open_judge(run.concept, model, judge, options)
    encoder = open_encoder(bounds, device)
    photographs = model != "janus-nano" and not judge.name.startswith("nano-")
    weights = weights_by_judge(options.weights).get(OF_RETAINED)
    retained = RetainedJudges(judge, photographs=photographs, weights=weights, device=device)
    pairs = run.current(PAIRS) if set_id is None else run.open(IMAGES, set_id).source(PAIRS)
    retained.settings(sorted(set(_subjects(pairs).values())))
    images = render_missing(run, device=device, set_id=set_id).images
    if (warning := domain_warning(judge, model)) is not None:
        console.note(console.escape(warning))
    verdicts = judge_images(images, judge, options, retained=retained)
    measured = measure_bounds(images, verdicts, judge, bounds, encoder, device, retained)
    images.finish({})  # a set selected by ``set_id`` becomes current
    return write_acceptance(images, verdicts, measured)


def open_judge(concept: Concept, model: str, judge: str | Judge | None, options: JudgeOptions) -> Judge:
    """``judge`` itself, or the one of that name (None: see ``create_judge``), with its weights found.

    Raises ``JudgeError``.
    """
    if judge is None or isinstance(judge, str):
        judge = create_judge(concept, model, judge, options)
    judges.settings(judge)  # hashes the weights
    return judge


def open_encoder(bounds: Bounds, device: str) -> "Encoder | None":
    """The CLIP model that ``bounds`` need, if any. Raises ``JudgeError``."""
    if bounds.clip_floor is None:
        return None
    from ecgvf.judges.clip import Encoder

    return Encoder(bounds.clip, device)


def judge_images(
    images: StageSet,
    judge: Judge,
    options: JudgeOptions | None = None,
    *,
    retained: RetainedJudges | None = None,
    current: bool = True,
) -> StageSet:
    """The finished verdicts of a judge on a set of images; those of an ensemble's members are sets of their own.

    ``options`` are those that created the judge; they are recorded with the verdicts, so that the same judge can be
    created again. ``retained`` judges the images of the retain split; None leaves them out. ``current`` as in
    ``render``.
    """
    settings: dict[str, Any] = {"pictures": images.fingerprint, **judges.settings(judge)}
    subjects = _subjects(images.source(PAIRS))
    if retained is not None and subjects:
        settings["retained"] = retained.settings(sorted(set(subjects.values())))
    members: list[StageSet] = []
    if isinstance(judge, Ensemble):
        members = [judge_images(images, member, current=False) for member in judge.judges]
        settings |= {"combine": judge.combine, "parts": [member.fingerprint for member in members]}
    verdicts = images.run.stage_set(VERDICTS, settings)

    def work(shard: Sequence[int], _: object, advance: Callable[[int], None]) -> pa.Table:
        rows: list[Verdict] = []
        for index in shard:
            renderings = from_table(Rendering, images.read_shard(index))
            if isinstance(judge, Ensemble):
                rows += _combine(judge, [from_table(Verdict, member.read_shard(index)) for member in members])
            else:
                rows += judge_renderings(judge, [each for each in renderings if each.record_id not in subjects])
            if retained is not None:
                rows += judge_retained(retained, renderings, subjects)
            advance(1)
        return to_table(Verdict, rows)

    verdicts.fill(
        [[index] for index in range(len(images.shards()))],
        work,
        description=f"verdicts of {judge.name}",
        circumstances={"options": (options or JudgeOptions()).recorded()},
    )
    verdicts.finish({} if verdicts.finished else _summary(verdicts), current=current)
    return verdicts


def judge_renderings(judge: Judge, renderings: Sequence[Rendering]) -> list[Verdict]:
    """One verdict per rendering with an image, in their order; if the judge fails on it, with a ``failure``."""
    rendered = [rendering for rendering in renderings if rendering.failure is None]
    if not rendered:
        return []
    try:
        predictions = judge.predict(np.stack([decode(rendering.image) for rendering in rendered]))
    except (OSError, ValueError, RuntimeError) as error:
        if len(rendered) > 1:
            # One image spoils the batch: judged alone, each gets its own verdict.
            return [verdict for rendering in rendered for verdict in judge_renderings(judge, [rendering])]
        return [_verdict(judge, rendered[0], _FAILED, (str(error) or type(error).__name__).splitlines()[0])]
    return [_verdict(judge, *both) for both in zip(rendered, predictions, strict=True)]


def judge_retained(
    judges: RetainedJudges, renderings: Sequence[Rendering], subjects: Mapping[str, str]
) -> list[Verdict]:
    """One verdict per rendering of the retain split with an image, in their order: whether it shows its own concept.

    ``subjects``: record id → retained concept. If no judge can name it, or its judge fails, with a ``failure``.
    """
    asked = [(each, subjects[each.record_id]) for each in renderings if each.record_id in subjects and not each.failure]
    verdicts: dict[str, Verdict] = {}
    for judge in {judges.of(name) for _, name in asked}:
        own = [(rendering, name) for rendering, name in asked if judges.of(name) is judge]
        for rendering, verdict in zip((each for each, _ in own), _judged(judges, judge, own), strict=True):
            verdicts[rendering.record_id] = verdict
    return [verdicts[rendering.record_id] for rendering, _ in asked]


def _judged(judges: RetainedJudges, judge: Classifier | None, asked: Sequence[tuple[Rendering, str]]) -> list[Verdict]:
    """The verdicts of one judge of retained concepts; None: no judge has a label for them."""
    if judge is None:
        return [_verdict(judges.judge, each, _FAILED, f"no judge has a label for {name!r}") for each, name in asked]
    try:
        predictions = predict(judge, np.stack([decode(each.image) for each, _ in asked]), [name for _, name in asked])
    except (OSError, ValueError, RuntimeError) as error:
        if len(asked) > 1:
            return [verdict for each in asked for verdict in _judged(judges, judge, [each])]
        return [_verdict(judge, asked[0][0], _FAILED, (str(error) or type(error).__name__).splitlines()[0])]
    return [_verdict(judge, each, found) for (each, _), found in zip(asked, predictions, strict=True)]


def _subjects(pairs: StageSet) -> dict[str, str]:
    """Record id → the retained concept of its prompt, of the records of the retain split."""
    return {
        record.record_id: record.retained_concept
        for record in pairs.records(PromptPair)
        if record.split == "retain" and record.retained_concept is not None
    }


def _combine(ensemble: Ensemble, members: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """The ensemble's verdicts, from its members' verdicts on the same images; if one failed, the ensemble fails."""
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


def measure_bounds(
    images: StageSet,
    verdicts: StageSet,
    judge: Judge,
    bounds: Bounds,
    encoder: "Encoder | None",
    device: str,
    retained: RetainedJudges | None = None,
) -> dict[str, Any]:
    """The bounds as settings of an acceptance set, after rendering, judging and measuring what they need."""
    from ecgvf.render import render, render_options

    settings: dict[str, Any] = {}
    if bounds.seeds > 1:
        by_seed = [verdicts]
        for offset in range(1, bounds.seeds):
            rendered = render(
                images.run,
                **render_options(images) | {"seed": images.settings["seed"] + offset},
                device=device,
                batch_size=images.circumstances["batch_size"],
                set_id=images.settings["pairs"],
                current=False,
            )
            by_seed.append(judge_images(rendered.images, judge, retained=retained, current=False))
        settings |= {"share": bounds.share, "verdicts": [seed.fingerprint for seed in by_seed]}
    if encoder is not None:
        settings |= {"clip_floor": bounds.clip_floor, "likeness": measure_clip_scores(images, encoder).fingerprint}
    if bounds.most_change is not None:
        settings["most_change"] = bounds.most_change
    return settings


def _summary(verdicts: StageSet) -> dict[str, int]:
    rows = [row for table in verdicts.tables() for row in table.select(["present", "failure"]).to_pylist()]
    return {
        "pictures": len(rows),
        "present": sum(row["present"] for row in rows),
        "failed": sum(row["failure"] is not None for row in rows),
    }
