"""Render the prompts of a pairs set, shard by shard.

An image depends on model, prompt, seed and sampling. Batches are fixed slices of a shard in record order; their size
and the thread count are recorded with the set and reused on resume, so that equal shapes give exactly equal token ids.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import ConceptError, SettingsError, StageMissing
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.janus import JanusModel, Sampling, load
from ecgvf.render.batches import fill_with_images
from ecgvf.render.tasks import render_tasks, rendering_table

DEFAULT_MODEL = "janus-nano"
SHARD_RECORDS = 32


@dataclass(frozen=True, slots=True)
class RenderResult:
    """A finished image set."""

    images: StageSet
    rendered: int
    """Images that this run rendered; 0 if all existed."""


def render(
    run: ConceptRun,
    *,
    model: str | JanusModel = DEFAULT_MODEL,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    raw_control_tokens: bool = False,
    set_id: str | None = None,
    current: bool = True,
) -> RenderResult:
    """Render the images of the current pairs set, or of the one whose fingerprint starts with ``set_id``.

    ``model`` is a name, a folder, a Hub id, or a model that is loaded already; the latter has its own ``device``,
    ``dtype`` and ``raw_control_tokens``.

    ``guidance``, ``temperature`` and ``batch_size`` default to the model's own. ``raw_control_tokens`` lets the model
    obey control tokens that a prompt spells; otherwise they are text. A record that fails gets a ``Rendering`` with a
    ``failure``. With ``current`` False, which is for further seeds, the current image set stays as it is. Raises
    ``StageMissing`` without pairs, and as ``load_renderer`` does.
    """
    pairs = run.open(PAIRS, set_id)
    records = [pair for pair in pairs.records(PromptPair) if pair.reason is None]
    janus, sampling = load_renderer(
        run.concept,
        model=model,
        guidance=guidance,
        temperature=temperature,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        raw_control_tokens=raw_control_tokens,
    )
    settings = {
        "pairs": pairs.fingerprint,
        "model": janus.name,
        "renderer": janus.fingerprint,
        "dtype": str(janus.dtype).removeprefix("torch."),
        "sampling": asdict(sampling),
        "seed": seed,
        "shard_records": SHARD_RECORDS,
    }
    images = run.stage_set(IMAGES, settings | ({"raw_control_tokens": True} if janus.raw_control_tokens else {}))
    shards = [records[start : start + SHARD_RECORDS] for start in range(0, len(records), SHARD_RECORDS)]
    further: dict[str, Any] = {} if current else {"further_seed": True}
    rendered = fill_with_images(
        images,
        [render_tasks(shard, seed) for shard in shards],
        janus,
        sampling,
        partial(rendering_table, janus),
        description="rendering",
        batch_size=batch_size,
        **further,
    )
    images.finish({} if images.finished else _summary(images), current=current)
    return RenderResult(images, rendered)


def load_renderer(
    concept: Concept,
    *,
    model: str | JanusModel = DEFAULT_MODEL,
    guidance: float | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    raw_control_tokens: bool = False,
) -> tuple[JanusModel, Sampling]:
    """The model, loaded unless it is already, and its sampling, as ``render`` uses them.

    Raises ``ConceptError`` for a concept that janus-nano cannot render, ``SettingsError`` for a value out of range, and
    ``ModelError`` and ``HubError`` as ``ecgvf.janus.load`` does.
    """
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"--batch-size is {batch_size}: it must be at least 1")
    name = model.name if isinstance(model, JanusModel) else model
    if name == DEFAULT_MODEL and not concept.labels("nano"):
        raise ConceptError(
            f"janus-nano cannot render {concept.name!r}, which has no judge_labels of nano: use --model janus-pro-1b, "
            "or a concept of nano's world (church, castle, cat, van-gogh); if yours is in it, add the label to its file"
        )
    if isinstance(model, JanusModel):
        janus = model
    else:
        janus = load(model, device=device, dtype=dtype, raw_control_tokens=raw_control_tokens)
    return janus, janus.sampling.override(guidance, temperature)


def render_missing(
    run: ConceptRun, *, device: str = "auto", set_id: str | None = None, batch_size: int | None = None
) -> RenderResult:
    """The image set that the next stage reads, rendered first if the current pairs have none.

    If there are images of other pairs, or unfinished ones, their model, sampling and seed are reused; otherwise the
    defaults. ``set_id`` names an image set instead, which is not resumed.
    """
    if set_id is not None:
        return RenderResult(run.open(IMAGES, set_id), 0)
    if (images := _current_images(run)) is not None:
        return RenderResult(images, 0)
    if (previous := _previous_images(run)) is None:
        console.print(f"No images yet: rendering with {DEFAULT_MODEL} first.")
        return render(run, device=device, batch_size=batch_size)
    console.print(f"Images are missing: rendering with {console.escape(previous.settings['model'])} first.")
    return render(run, **render_options(previous), device=device, batch_size=batch_size)


def render_options(images: StageSet) -> dict[str, Any]:
    """The options of ``render`` that decide the images of a set."""
    settings = images.settings
    return {
        "model": settings["model"],
        "guidance": settings["sampling"]["guidance"],
        "temperature": settings["sampling"]["temperature"],
        "seed": settings["seed"],
        "dtype": settings["dtype"],
        "raw_control_tokens": settings.get("raw_control_tokens", False),
    }


def rendering_model(run: ConceptRun, set_id: str | None = None) -> str:
    """Name of the model of the images that ``render_missing`` returns, without rendering any."""
    images = run.open(IMAGES, set_id) if set_id is not None else _current_images(run) or _previous_images(run)
    return DEFAULT_MODEL if images is None else str(images.settings["model"])


def _current_images(run: ConceptRun) -> StageSet | None:
    """The current image set if it is of the current pairs."""
    try:
        images = run.current(IMAGES)
    except StageMissing:
        return None
    return images if images.settings["pairs"] == run.current(PAIRS).fingerprint else None


def _previous_images(run: ConceptRun) -> StageSet | None:
    """The image set whose settings are reused: the last of the current pairs, else the current one, else the last.

    A set of a further seed (``ecgvf filter --seeds``) is never the run's own.
    """
    sets = [images for images in run.sets(IMAGES) if not images.circumstances.get("further_seed")]
    pairs = run.current(PAIRS).fingerprint
    if of_pairs := [images for images in sets if images.settings["pairs"] == pairs]:
        return of_pairs[-1]
    try:
        return run.current(IMAGES)
    except StageMissing:
        return sets[-1] if sets else None


def _summary(images: StageSet) -> dict[str, Any]:
    reasons = [reason for table in images.tables() for reason in table["failure"].to_pylist()]
    failures = Counter(reason for reason in reasons if reason is not None)
    return {"pictures": len(reasons), "failed": failures.total(), "failures": dict(failures.most_common(3))}
