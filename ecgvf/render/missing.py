"""The images that the next stage reads: those that exist, or how to render them if they are missing."""

from typing import Any

from ecgvf.core import console
from ecgvf.core.errors import StageMissing
from ecgvf.core.files import JSON
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.render.stage import RenderOptions
from ecgvf.world.domain import NANO


def existing_images(run: ConceptRun, set_id: str | None = None) -> StageSet | None:
    """The finished images of the current pairs, None if there are none; or the set that starts with ``set_id``."""
    return run.open(IMAGES, set_id) if set_id is not None else _current_images(run)


def missing_options(run: ConceptRun, *, device: str = "auto") -> RenderOptions:
    """The options to render the current pairs with, if they have no images; prints which model it will be.

    Model, sampling and seed are those of the images rendered before: of an unfinished set of these pairs, or of other
    pairs; without any images, the defaults.
    """
    if (previous := _previous_images(run)) is None:
        console.note(f"No images yet: rendering with {NANO} first.")
        return RenderOptions(device=device)
    console.note(f"Images are missing: rendering with {previous.settings['model']} first.")
    return RenderOptions(**render_options(previous), device=device)


def rendering_model(run: ConceptRun, set_id: str | None = None) -> str:
    """Name of the model that rendered ``existing_images``, or that ``missing_options`` will choose."""
    images = run.open(IMAGES, set_id) if set_id is not None else _current_images(run) or _previous_images(run)
    return NANO if images is None else str(images.settings["model"])


def render_options(images: StageSet) -> dict[str, Any]:
    """The options of ``render`` that decide the images of a set."""
    settings = images.settings
    further = settings.get("further_seed", 0)
    return {
        "model": settings["model"],
        "guidance": settings["sampling"]["guidance"],
        "temperature": settings["sampling"]["temperature"],
        "seed": settings["seed"] - further,
        "further_seed": further,
        "dtype": settings["dtype"],
        "raw_control_tokens": settings.get("raw_control_tokens", False),
    }


def image_facts(images: StageSet) -> JSON:
    """The facts of the worker that rendered a set, as ``RenderOptions.image_set`` takes them."""
    settings = images.settings
    return {
        "name": settings["model"],
        "renderer": settings["renderer"],
        "dtype": settings["dtype"],
        "sampling": settings["sampling"],
        "raw_control_tokens": settings.get("raw_control_tokens", False),
    }


def _current_images(run: ConceptRun) -> StageSet | None:
    """The finished image set of the current pairs: the current one, else the latest."""
    pairs = run.current(PAIRS).fingerprint
    try:
        images: StageSet | None = run.current(IMAGES)
    except StageMissing:
        images = None
    if images is None or images.settings["pairs"] != pairs:  # these pairs may be earlier ones, which became current
        images = _previous_images(run)
    return images if images is not None and images.finished and images.settings["pairs"] == pairs else None


def _previous_images(run: ConceptRun) -> StageSet | None:
    """The image set to take settings from: the latest of the current pairs, else the current one, else the latest.

    Sets that only add a seed (``ecgvf filter --seeds``) do not count.
    """
    sets = [images for images in run.sets(IMAGES) if not images.circumstances.get("further_seed")]
    pairs = run.current(PAIRS).fingerprint
    if of_pairs := [images for images in sets if images.settings["pairs"] == pairs]:
        return of_pairs[-1]
    try:
        return run.current(IMAGES)
    except StageMissing:
        return sets[-1] if sets else None
