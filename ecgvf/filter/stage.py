"""Stage 3: a judge classifies every image, and every record is accepted or rejected."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ecgvf.core import console
from ecgvf.core.changes import changes
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import ModelError
from ecgvf.core.files import JSON
from ecgvf.core.pytorch import import_pytorch
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.engine import Engine, FillPlan, Pool, Setup, ThisProcess, local_engine
from ecgvf.filter.acceptance import FilterResult, write_acceptance
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.clip_score import measure_clip_scores
from ecgvf.filter.verdicts import VerdictWorker
from ecgvf.judges.domain import domain_warning
from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import RETAINED_JUDGE, JudgeOptions, create_judge, weights_by_judge
from ecgvf.judges.judge import Judge
from ecgvf.judges.judge import settings as judge_settings
from ecgvf.judges.predictions import load_judge
from ecgvf.judges.retained import RetainedJudges
from ecgvf.world.domain import in_nano_world

if TYPE_CHECKING:
    from ecgvf.janus import JanusModel
    from ecgvf.judges.clip import Encoder
    from ecgvf.render import RenderOptions


def filter_images(
    run: ConceptRun,
    *,
    judge: str | Judge | None = None,
    options: JudgeOptions | None = None,
    bounds: Bounds | None = None,
    encoder: "Encoder | None" = None,
    model: "JanusModel | None" = None,
    device: str = "auto",
    set_id: str | None = None,
    current: bool = True,
    engine: Engine | None = None,
) -> FilterResult:
    """Judge the current images, or those of the set that starts with ``set_id``, and accept or reject every record.

    ``judge`` is a name, or a ``Judge``; None: see ``create_judge``. Missing images, including those of the further
    seeds in ``bounds``, are rendered first, and each shard is judged as soon as it is rendered. ``encoder`` is the CLIP
    model that ``bounds`` need; None: it is opened. ``model`` is the one that renders, if it is loaded already; then all
    is done in this process. With ``current`` False, the current sets stay as they are. ``engine`` None is
    ``local_engine(device)``. Raises ``JudgeError``, and as ``render`` does.
    """
    import_pytorch()
    from ecgvf.render import check_renderer, existing_images, rendering_model

    bounds = bounds or Bounds()
    engine = ThisProcess() if model is not None else engine or local_engine(device)
    renderer, images = rendering_model(run, set_id), existing_images(run, set_id)
    if images is None:
        check_renderer(run.concept, model or renderer, None)
    # Before hours of rendering, so that a wrong name or a missing file costs none.
    opened = OpenJudges(run.concept, renderer, judge, options or JudgeOptions(), device)
    encoder = encoder if encoder is not None else open_encoder(bounds, device)
    pairs = run.current(PAIRS) if set_id is None else run.open(IMAGES, set_id).source(PAIRS)
    opened.retained.settings(sorted(set(_retained_concepts(pairs).values())))
    if (warning := domain_warning(opened.judge, renderer)) is not None:
        console.note(warning)
    rendering = _render_options(run, images, model, device)
    setups = _setups(opened, _retained_concepts(pairs))
    if images is None or bounds.seeds > 1:
        setups[IMAGES.name] = rendering.setup(run.concept)
    with engine.open(setups) as pool:
        images, verdicts = _render_and_judge(pairs, images, rendering, opened, pool, current=current)
        by_seed = [verdicts, *_judge_further_seeds(images, pairs, rendering, bounds.seeds - 1, opened, pool)]
    measured = measure_bounds(images, by_seed, bounds, encoder, current=current)
    if current:
        images.make_current()  # it may be another, selected by ``set_id``
    return write_acceptance(images, verdicts, measured, current=current)


def open_encoder(bounds: Bounds, device: str) -> "Encoder | None":
    """The CLIP model that ``bounds`` need, if any. Raises ``JudgeError``."""
    if bounds.clip_floor is None:
        return None
    from ecgvf.judges.clip import Encoder

    return Encoder(bounds.clip, device, option="--clip")


class OpenJudges:
    """The concept's judge and the judges of retained concepts, opened for ``filter_images``.

    Pickling keeps only the arguments: the process that unpickles it opens the judges again, on its own device.
    Raises ``JudgeError``.
    """

    def __init__(
        self, concept: Concept, model: str, judge: str | Judge | None, options: JudgeOptions, device: str
    ) -> None:
        self._arguments = (concept, model, judge, options, device)
        self.judge = open_judge(concept, model, judge, options, device)
        photographs = not in_nano_world(model, self.judge.name)
        weights = weights_by_judge(options.weights).get(RETAINED_JUDGE)
        self.retained = RetainedJudges(self.judge, photographs=photographs, weights=weights, device=device)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenJudges, self._arguments


def open_judge(concept: Concept, model: str, judge: str | Judge | None, options: JudgeOptions, device: str) -> Judge:
    """The judge called ``judge`` (None: the default, see ``create_judge``), or ``judge`` itself if it is one.

    Raises ``JudgeError`` also if its weights are missing, and as ``device_errors`` does.
    """
    if judge is None or isinstance(judge, str):
        from ecgvf.core.device import device_errors

        with device_errors("the device of the judge", "load it"):
            judge = create_judge(concept, model, judge, options, device)
    judge_settings(judge)  # hashes the weights, which must be there
    return judge


@dataclass(frozen=True)
class VerdictSetup:
    """Opens the worker of one verdict set, its judges loaded: the first opens before anything is rendered."""

    opened: OpenJudges
    retained_concepts: Mapping[str, str]
    """Record id → the concept that the record retains (retain split only). Empty for an ensemble's members."""
    member: int | None = None
    """Which judge of an ensemble; None: the judge itself."""

    @contextmanager
    def __call__(self) -> Iterator[VerdictWorker]:
        judge = self.opened.judge
        if self.member is not None and isinstance(judge, Ensemble):
            judge = judge.judges[self.member]
        retained = map(self.opened.retained.of, sorted(set(self.retained_concepts.values())))
        judges = [*([] if isinstance(judge, Ensemble) else [judge]), *filter(None, retained)]
        for each in {id(each): each for each in judges}.values():
            load_judge(each)
        yield VerdictWorker(judge, self.opened.retained, self.retained_concepts)


def _render_options(
    run: ConceptRun, images: StageSet | None, model: "JanusModel | None", device: str
) -> "RenderOptions":
    """How ``images`` were rendered; if they are None, how they are to be."""
    from ecgvf.render import RenderOptions, missing_options, render_options

    if images is None:
        options = missing_options(run, device=device)
    else:
        options = RenderOptions(**render_options(images), device=device)
    return options if model is None else replace(options, model=model)


def _render_and_judge(
    pairs: StageSet,
    images: StageSet | None,
    rendering: "RenderOptions",
    opened: OpenJudges,
    pool: Pool,
    *,
    current: bool = True,
) -> tuple[StageSet, StageSet]:
    """Render ``images`` if they are None (as ``rendering`` says) and judge them; return both sets, finished.

    ``current`` as in ``filter_images``.
    """
    plans = []
    if images is None:
        images = rendering.image_set(pairs.run, pairs, pool.describe(IMAGES.name).facts)
        plans.append(rendering.fill_plan(images, pairs))
    shards = len(plans[0].sizes) if plans else len(images.shards())
    sets = _verdict_sets(images, opened, _retained_concepts(pairs))
    pool.fill(*plans, *_plans(images, shards, sets))
    if plans:
        from ecgvf.render import finish_images

        finish_images(images, current=current)
    for verdicts in sets:
        verdicts.finish(partial(_summary, verdicts), current=current and verdicts is sets[-1])
    return images, sets[-1]


def _judge_further_seeds(
    images: StageSet, pairs: StageSet, rendering: "RenderOptions", seeds: int, opened: OpenJudges, pool: Pool
) -> Iterator[StageSet]:
    """The verdicts on the images of each of the ``seeds`` seeds after that of ``images``, which ``rendering`` made.

    Raises ``ModelError`` if images are missing, and the model is another now.
    """
    from ecgvf.render import image_facts

    batch_size = images.circumstances.get("batch_size")  # an empty set has none
    for offset in range(1, seeds + 1):
        further = replace(rendering, further_seed=rendering.further_seed + offset, batch_size=batch_size)
        # A finished set needs no model to be found.
        known = _merged(further.image_set(images.run, pairs, image_facts(images)))
        if not known.finished:
            _check_same_model(images, pool.describe(IMAGES.name).facts)
        yield _render_and_judge(pairs, known if known.finished else None, further, opened, pool, current=False)[1]


def _merged(images: StageSet) -> StageSet:
    """The finished set of these settings that a build has merged from its rounds; ``images`` if there is none."""
    if images.finished or "gathered" not in images.source(PAIRS).settings:
        return images
    for each in images.run.sets(IMAGES):
        settings = {key: value for key, value in each.settings.items() if key != "gathered"}
        if each.finished and settings == images.settings:
            return each
    return images


def _check_same_model(images: StageSet, facts: JSON) -> None:
    """Raise ``ModelError`` unless workers with ``facts`` render as those of ``images`` did."""
    from ecgvf.render import image_facts

    rendered = image_facts(images)
    differences = changes(rendered, {name: facts[name] for name in rendered})
    if differences:
        listed = ", ".join(f"{key}: {was} → {is_now}" for key, was, is_now in differences)
        raise ModelError(
            f"{rendered['name']} is not the model that rendered the images of the first seed ({listed}): restore it, "
            "or run `ecgvf render` again"
        )


# Each member of an ensemble has a verdict set of its own, before the set of the judge itself


def _members(judge: Judge) -> Sequence[Judge]:
    return judge.judges if isinstance(judge, Ensemble) else ()


def _setup_name(member: int | None) -> str:
    return VERDICTS.name if member is None else f"{VERDICTS.name} of judge {member}"


def _setups(opened: OpenJudges, retained_concepts: Mapping[str, str]) -> dict[str, Setup]:
    members = range(len(_members(opened.judge)))
    setups: dict[str, Setup] = {_setup_name(member): VerdictSetup(opened, {}, member) for member in members}
    return setups | {_setup_name(None): VerdictSetup(opened, retained_concepts)}


def _verdict_sets(images: StageSet, opened: OpenJudges, retained_concepts: Mapping[str, str]) -> list[StageSet]:
    """The verdict sets of the ensemble's members, and of the judge."""
    run, judge = images.run, opened.judge
    settings: dict[str, Any] = {"pictures": images.fingerprint, **judge_settings(judge)}
    if retained_concepts:
        settings["retained"] = opened.retained.settings(sorted(set(retained_concepts.values())))
    sets = [
        run.stage_set(VERDICTS, {"pictures": images.fingerprint, **judge_settings(member)})
        for member in _members(judge)
    ]
    if isinstance(judge, Ensemble):
        settings |= {"combine": judge.combine, "parts": [member.fingerprint for member in sets]}
    return [*sets, run.stage_set(VERDICTS, settings)]


def _plans(images: StageSet, shards: int, sets: Sequence[StageSet]) -> Iterator[FillPlan]:
    *members, verdicts = sets
    to_fill: list[tuple[int | None, StageSet, tuple[StageSet, ...]]] = [
        *((number, member, (images,)) for number, member in enumerate(members)),
        (None, verdicts, (images, *members)),
    ]
    for member, shard_set, inputs in to_fill:
        yield FillPlan(
            setup=_setup_name(member),
            shard_set=shard_set,
            tasks=partial(_read_shards, inputs),
            sizes=[1] * shards,
            description=f"verdicts of {shard_set.settings['judge']}",
            after=inputs,
        )


def _read_shards(sets: Sequence[StageSet], index: int) -> list[pa.Table]:
    return [stage_set.read_shard(index) for stage_set in sets]


def _retained_concepts(pairs: StageSet) -> dict[str, str]:
    """Record id → the concept that the record retains, for the records of the retain split."""
    rows = pairs.read().select(["record_id", "split", "retained_concept"])
    retained = rows.filter((pc.field("split") == "retain") & pc.field("retained_concept").is_valid())
    return dict(zip(retained["record_id"].to_pylist(), retained["retained_concept"].to_pylist(), strict=True))


def measure_bounds(
    images: StageSet, by_seed: Sequence[StageSet], bounds: Bounds, encoder: "Encoder | None", *, current: bool = True
) -> dict[str, Any]:
    """Measure what ``bounds`` need; return them as settings of an acceptance set.

    ``by_seed`` are the verdicts on ``images``, then those on the images of the further seeds.
    ``current`` as in ``filter_images``.
    """
    settings: dict[str, Any] = {}
    if bounds.seeds > 1:
        settings |= {"share": bounds.share, "verdicts": [verdicts.fingerprint for verdicts in by_seed]}
    if encoder is not None:
        scores = measure_clip_scores(images, encoder, current=current)
        settings |= {"clip_floor": bounds.clip_floor, "likeness": scores.fingerprint}
    if bounds.most_change is not None:
        settings["most_change"] = bounds.most_change
    return settings


def _summary(verdicts: StageSet) -> dict[str, int]:
    rows = [row for table in verdicts.tables(["present", "failure"]) for row in table.to_pylist()]
    return {
        "pictures": len(rows),
        "present": sum(row["present"] for row in rows),
        "failed": sum(row["failure"] is not None for row in rows),
    }
