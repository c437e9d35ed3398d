"""Stage 3: a judge looks at every picture, and the rule accepts or rejects every record."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgvf.core import console
from ecgvf.core.png import decode
from ecgvf.core.records import Rendering, Verdict, from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS, StageSet
from ecgvf.filter import clip_score as likeness
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.decide import FilterResult, decide
from ecgvf.judges import judge as judges
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import JudgeOptions, create_judge, crossing
from ecgvf.judges.judge import Judge, Prediction
from ecgvf.render import render, render_missing, rendering_model

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder


def filter_images(
    run: ConceptRun,
    *,
    judge: str | Judge | None = None,
    options: JudgeOptions | None = None,
    rule: Bounds | None = None,
    device: str = "auto",
    chosen: str | None = None,
) -> FilterResult:
    """Judge the current pictures (or those of the set that starts with ``chosen``) and decide on every record.

    ``judge`` is a name, or a ``Judge``; None: see ``create_judge``. What is not yet drawn is
    drawn first, the further seeds that ``rule`` asks for too. Raises ``JudgeError``, and whatever ``render`` raises.
    """
    said = replace(options if options is not None else JudgeOptions(), device=device)
    model = rendering_model(run, chosen)
    # Before hours of drawing, so that a wrong name or a file that is not there costs none.
    looking = ready(create_judge(run.concept, model, judge, said)) if judge is None or isinstance(judge, str) else judge
    encoder = encoder_of(rule, device)
    pictures = render_missing(run, device=device, set_id=chosen).images
    if (doubt := crossing(looking, model)) is not None:
        console.note(console.escape(doubt))
    verdicts = judge_images(run, pictures, looking, said)
    bounds = _bounds(run, pictures, verdicts, looking, rule if rule is not None else Bounds(), encoder, device)
    pictures.finish({})  # a set that was chosen is what comes next
    return decide(run, pictures, verdicts, bounds)


def ready(judge: Judge) -> Judge:
    """``judge``, once its weights were found. Raises ``JudgeError`` where they are not there."""
    judges.settings(judge)  # holds the weights' hash
    return judge


def encoder_of(rule: Bounds | None, device: str) -> "Encoder | None":
    """The CLIP that the rule's floor asks for. Raises ``JudgeError`` where it cannot be loaded."""
    if rule is None or rule.clip_floor is None:
        return None
    from ecgvf.janus.loading import resolve_device
    from ecgvf.judges.clip import DEFAULT, Encoder

    return Encoder(rule.clip if rule.clip is not None else DEFAULT, resolve_device(device))


def judge_images(
    run: ConceptRun,
    pictures: StageSet,
    judge: Judge,
    said: JudgeOptions | None = None,
    *,
    current: bool = True,
) -> StageSet:
    """The finished verdicts of a judge on a set of pictures; of several judges, each one's are kept for themselves.

    ``said`` is what opened the judge: it is kept beside the verdicts, so that who measures can ask the same.
    ``current`` as in ``render``.
    """
    settings: dict[str, Any] = {"pictures": pictures.fingerprint, **judges.settings(judge)}
    parts: list[StageSet] = []
    if isinstance(judge, Ensemble):
        parts = [judge_images(run, pictures, one, current=False) for one in judge.judges]
        settings |= {"combine": judge.combine, "parts": [part.fingerprint for part in parts]}
    verdicts = run.stage_set(VERDICTS, settings)
    if not verdicts.finished:
        verdicts.record_circumstances(options=(said or JudgeOptions()).told())
        for moved in verdicts.changed_settings if not verdicts.shards() and not parts else []:
            console.print(f"New set of verdicts, {console.escape(moved)}")
        count = len(pictures.shards())
        there = [verdicts.done(index) for index in range(count)]
        with console.progress(f"{judge.name} looks", count, sum(there)) as bar:
            for index in range(count):
                if not there[index]:
                    if isinstance(judge, Ensemble):
                        rows = _together(judge, [from_table(Verdict, part.read_shard(index)) for part in parts])
                    else:
                        rows = judge_renderings(judge, from_table(Rendering, pictures.read_shard(index)))
                    verdicts.write_shard(index, to_table(Verdict, rows))
                    bar.advance()
    verdicts.finish({} if verdicts.finished else _seen(verdicts), current=current)
    return verdicts


def judge_renderings(judge: Judge, renderings: Sequence[Rendering]) -> list[Verdict]:
    """One verdict per picture that was drawn, in their order; a picture that the judge fails on says so."""
    drawn = [rendering for rendering in renderings if rendering.failure is None]
    try:
        readings: list[Prediction | str] = list(_readings(judge, drawn))
    except (OSError, ValueError, RuntimeError) as error:
        if len(drawn) == 1:
            readings = [(str(error) or type(error).__name__).splitlines()[0]]
        else:
            # One of them spoils the batch: alone, each tells for itself.
            return [verdict for rendering in drawn for verdict in judge_renderings(judge, [rendering])]
    return [_verdict(judge, rendering, reading) for rendering, reading in zip(drawn, readings, strict=True)]


def _readings(judge: Judge, drawn: Sequence[Rendering]) -> list[Prediction]:
    return judge.predict(np.stack([decode(rendering.image) for rendering in drawn])) if drawn else []


def _together(judge: Ensemble, seen: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """The verdicts of several judges on the same pictures as one: it fails where one of them failed."""
    rows = []
    for verdicts in zip(*seen, strict=True):
        readings = [Prediction(one.present, one.score, one.top_labels, one.boxes) for one in verdicts]
        failed = next((f"{one.judge}: {one.failure}" for one in verdicts if one.failure is not None), None)
        rows.append(_verdict(judge, verdicts[0], failed if failed is not None else judge.agree(readings)))
    return rows


def _verdict(judge: Judge, of: Rendering | Verdict, reading: Prediction | str) -> Verdict:
    failure = reading if isinstance(reading, str) else None
    seen = Prediction(present=False, score=0.0, top_labels=()) if isinstance(reading, str) else reading
    return Verdict(
        record_id=of.record_id,
        role=of.role,
        judge=judge.name,
        judge_hash=judge.weights_hash,
        label_set=judge.criterion.label_set,
        threshold=judge.criterion.threshold,
        present=seen.present,
        score=seen.score,
        top_labels=seen.top_labels,
        boxes=seen.boxes,
        failure=failure,
    )


def _bounds(
    run: ConceptRun,
    pictures: StageSet,
    verdicts: StageSet,
    judge: Judge,
    rule: Bounds,
    encoder: "Encoder | None",
    device: str,
) -> dict[str, Any]:
    """The rule's optional bounds as settings of the decision, after looking at what they need."""
    bounds: dict[str, Any] = {}
    if rule.seeds > 1:
        looks = [verdicts]
        for further in range(1, rule.seeds):
            told = pictures.settings
            again = render(
                run,
                model=told["model"],
                guidance=told["sampling"]["guidance"],
                temperature=told["sampling"]["temperature"],
                seed=told["seed"] + further,
                dtype=told["dtype"],
                device=device,
                batch_size=pictures.manifest["circumstances"]["batch_size"],
                set_id=told["pairs"],
                current=False,
            )
            looks.append(judge_images(run, again.images, judge, current=False))
        bounds |= {"share": rule.share, "verdicts": [one.fingerprint for one in looks]}
    if encoder is not None:
        measured = likeness.measure(run, pictures, encoder)
        bounds |= {"clip_floor": rule.clip_floor, "likeness": measured.fingerprint}
    if rule.most_change is not None:
        bounds["most_change"] = rule.most_change
    return bounds


def _seen(verdicts: StageSet) -> dict[str, int]:
    rows = [row for table in verdicts.tables() for row in table.select(["present", "failure"]).to_pylist()]
    return {
        "pictures": len(rows),
        "present": sum(row["present"] for row in rows),
        "failed": sum(row["failure"] is not None for row in rows),
    }
