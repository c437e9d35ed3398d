"""Draw what the pairs say, shard by shard.

A record's picture depends on model, prompt, seed and sampling. Batches are fixed slices of a shard in record order;
their size and the thread count are recorded with the set and reused when it is resumed, so that equal shapes give equal
token ids exactly.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import ConceptError, EcgvfError, ModelError, SettingsError, StageMissing
from ecgvf.core.png import encode
from ecgvf.core.records import PromptPair, Rendering, Role, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.seeds import derive
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, StageSet
from ecgvf.janus import JanusModel, Sampling, chat, draw, generation_ids, load, threads

DEFAULT_MODEL = "janus-nano"
SHARD_RECORDS = 32


@dataclass(frozen=True, slots=True)
class RenderResult:
    """What a run of the stage did."""

    stage: StageSet
    fresh: int
    """Pictures drawn by this run; 0 where all were there."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One picture to draw."""

    record_id: str
    role: Role
    prompt: str
    seed: int


def render(
    run: ConceptRun,
    *,
    model: str = DEFAULT_MODEL,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    chosen: str | None = None,
    current: bool = True,
) -> RenderResult:
    """Draw the pictures of a pairs set: the current one, or the one whose fingerprint starts with ``chosen``.

    ``guidance`` and ``temperature`` None take the model's own. A record that cannot be drawn gets a ``Rendering`` with
    a ``failure``. ``current`` False: the next stage goes on to read what it read before. Raises ``StageMissing``
    without pairs, and as ``opened`` does.
    """
    pairs = run.open(PAIRS, chosen)
    records = [pair for pair in pairs.records(PromptPair) if pair.reason is None]
    janus, sampling = opened(
        run.concept,
        model=model,
        guidance=guidance,
        temperature=temperature,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    stage = run.stage_set(
        IMAGES,
        {
            "pairs": pairs.fingerprint,
            "model": janus.name,
            "renderer": janus.fingerprint,
            "dtype": str(janus.dtype).removeprefix("torch."),
            "sampling": asdict(sampling),
            "seed": seed,
            "shard_records": SHARD_RECORDS,
        },
    )
    fresh = 0 if stage.finished else _draw_missing(stage, janus, sampling, records, seed, batch_size)
    stage.finish(_summary(stage), current=current)
    return RenderResult(stage, fresh)


def opened(
    concept: Concept,
    *,
    model: str = DEFAULT_MODEL,
    guidance: float | None = None,
    temperature: float | None = None,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
) -> tuple[JanusModel, Sampling]:
    """The model that draws, and how. Raises ``ConceptError`` for a concept that is not in nano's world, ``ModelError``,
    ``SettingsError``."""
    if batch_size < 1:
        raise SettingsError(f"--batch-size is {batch_size}: it must be at least 1")
    if model == DEFAULT_MODEL and not concept.labels("nano"):
        raise ConceptError(
            f"janus-nano cannot draw {concept.name!r}, its small world has none: draw with --model janus-pro-1b, "
            f"or choose a concept of nano's (church, castle, cat, van-gogh)"
        )
    janus = load(model, device=device, dtype=dtype)
    own = janus.sampling
    return janus, replace(
        own,
        guidance=own.guidance if guidance is None else guidance,
        temperature=own.temperature if temperature is None else temperature,
    )


def render_missing(
    run: ConceptRun, *, device: str = "auto", chosen: str | None = None, batch_size: int = 16
) -> RenderResult:
    """The pictures that the next stage reads, after drawing what is not yet drawn of the current pairs.

    Where some were drawn before, the same model, sampling and seed go on; otherwise the defaults. ``chosen`` picks a
    set of pictures, which must then be finished.
    """
    last = _last(run, chosen)
    if last is None:
        console.print(f"Not drawn yet: drawing with {DEFAULT_MODEL} first.")
        return render(run, device=device, batch_size=batch_size)
    drawn = _drawn(run)
    if chosen is not None or (drawn is not None and drawn.fingerprint == last.fingerprint):
        return RenderResult(last, 0)
    settings = last.settings
    console.print(f"Not all drawn yet: drawing with {console.escape(settings['model'])} first.")
    return render(
        run,
        model=settings["model"],
        guidance=settings["sampling"]["guidance"],
        temperature=settings["sampling"]["temperature"],
        seed=settings["seed"],
        dtype=settings["dtype"],
        device=device,
        batch_size=batch_size,
    )


def model_that_draws(run: ConceptRun, chosen: str | None = None) -> str:
    """The model of the pictures that ``render_missing`` would give, before any is drawn."""
    last = _last(run, chosen)
    return DEFAULT_MODEL if last is None else str(last.settings["model"])


def _last(run: ConceptRun, chosen: str | None) -> StageSet | None:
    """The pictures of the current pairs, or those whose settings the next ones take; None where there are none."""
    if chosen is not None:
        return run.open(IMAGES, chosen)
    if (drawn := _drawn(run)) is not None:
        return drawn
    pairs = run.current(PAIRS)
    before = run.sets(IMAGES)
    if begun := [stage for stage in before if stage.settings["pairs"] == pairs.fingerprint]:
        # Of several seeds (``ecgvf filter --seeds``) the run's own is the one that was decided on.
        decided = {one.settings["pictures"] for one in run.sets(ACCEPTANCE)}
        return next((stage for stage in reversed(begun) if stage.fingerprint in decided), begun[-1])
    try:
        return run.current(IMAGES)
    except StageMissing:
        return before[-1] if before else None


def _drawn(run: ConceptRun) -> StageSet | None:
    """The current pictures where they are of the current pairs."""
    try:
        current = run.current(IMAGES)
    except StageMissing:
        return None
    return current if current.settings["pairs"] == run.current(PAIRS).fingerprint else None


def _draw_missing(
    stage: StageSet, janus: JanusModel, sampling: Sampling, records: Sequence[PromptPair], seed: int, batch_size: int
) -> int:
    for moved in stage.changed_settings if not stage.shards() else []:
        console.print(f"New set of pictures, {console.escape(moved)}")
    kept = stage.record_circumstances(batch_size=batch_size, threads=torch.get_num_threads(), device=janus.device.type)
    if kept["batch_size"] != batch_size:
        console.print(f"This set was begun in batches of {kept['batch_size']}: it goes on in these.")
    shards = [records[start : start + SHARD_RECORDS] for start in range(0, len(records), SHARD_RECORDS)]
    tasks = [_tasks(shard, seed) for shard in shards]
    there = [stage.done(index) for index in range(len(shards))]
    total, before = sum(map(len, tasks)), sum(len(todo) for todo, done in zip(tasks, there, strict=True) if done)
    with threads(kept["threads"]), console.progress("drawing", total, before) as bar:
        for index, todo in enumerate(tasks):
            if not there[index]:
                rows = _draw_shard(janus, todo, sampling, kept["batch_size"], bar.advance)
                stage.write_shard(index, to_table(Rendering, rows))
    return total - before


def _tasks(records: Sequence[PromptPair], seed: int) -> list[_Task]:
    return [
        _Task(pair.record_id, role, prompt, derive(seed, pair.record_id, "render") if pair.seed is None else pair.seed)
        for pair in records
        for role, prompt in pair.prompts()
    ]


def _draw_shard(
    janus: JanusModel, tasks: Sequence[_Task], sampling: Sampling, batch_size: int, drawn: Callable[[int], None]
) -> list[Rendering]:
    refused = {place: why for place, task in enumerate(tasks) if (why := _refusal(janus, task.prompt))}
    renderings = {place: _failed(janus, tasks[place], why) for place, why in refused.items()}
    drawn(len(refused))
    left = [place for place in range(len(tasks)) if place not in refused]
    for start in range(0, len(left), batch_size):
        batch = left[start : start + batch_size]
        made = _draw_batch(janus, [tasks[place] for place in batch], sampling)
        renderings.update(zip(batch, made, strict=True))
        drawn(len(batch))
    return [renderings[place] for place in range(len(tasks))]


def _refusal(janus: JanusModel, prompt: str) -> str | None:
    """Why the model cannot be asked for this prompt, found before it spoils a batch; None where it can."""
    try:
        generation_ids(janus, [prompt])
    except ModelError as error:
        return str(error)
    return None


def _draw_batch(janus: JanusModel, tasks: Sequence[_Task], sampling: Sampling) -> list[Rendering]:
    try:
        return _draw(janus, tasks, sampling)
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"{janus.device} has no memory for {len(tasks)} pictures at once: run again with a smaller --batch-size"
        ) from error
    except (RuntimeError, ValueError, EcgvfError) as error:
        if len(tasks) == 1:
            return [_failed(janus, tasks[0], (str(error) or type(error).__name__).splitlines()[0])]
        # One of them spoils the batch: alone, each tells for itself.
        return [rendering for task in tasks for rendering in _draw_batch(janus, [task], sampling)]


def _draw(janus: JanusModel, tasks: Sequence[_Task], sampling: Sampling) -> list[Rendering]:
    drawing = draw(
        janus, [task.prompt for task in tasks], [task.seed for task in tasks], sampling, batch_size=len(tasks)
    )
    return [
        Rendering(
            record_id=task.record_id,
            role=task.role,
            seed=task.seed,
            renderer=janus.fingerprint,
            prompt_sent=chat(janus, task.prompt),
            image=encode(pixels),
            vq_ids=tuple(ids.tolist()),
        )
        for task, ids, pixels in zip(tasks, drawing.vq_ids, drawing.pixels, strict=True)
    ]


def _failed(janus: JanusModel, task: _Task, why: str) -> Rendering:
    return Rendering(
        record_id=task.record_id,
        role=task.role,
        seed=task.seed,
        renderer=janus.fingerprint,
        prompt_sent=chat(janus, task.prompt),
        image=b"",
        vq_ids=(),
        failure=why,
    )


def _summary(stage: StageSet) -> dict[str, Any]:
    if stage.finished:
        return {}
    failures = [why for table in stage.tables() for why in table["failure"].to_pylist()]
    known = Counter(why for why in failures if why is not None)
    return {"pictures": len(failures), "failed": known.total(), "failures": dict(known.most_common(3))}
