"""A preview of an adapter: prompts rendered before and after, side by side."""

from collections.abc import Sequence
from pathlib import Path

from ear.method.open_adapter import AnyAdapter
from ecgvf.core import contact_sheet
from ecgvf.janus import JanusModel, Sampling, render_images


def preview(model: JanusModel, adapter: AnyAdapter, prompts: Sequence[str], seed: int, *, blurred: bool) -> bytes:
    """PNG with a row per prompt, rendered by the frozen ``model`` and with ``adapter``; prompt i has ``seed`` + i."""
    seeds = [seed + index for index in range(len(prompts))]
    sampling = Sampling(**adapter.facts["sampling"])
    before = render_images(model, prompts, seeds, sampling)
    with adapter.active(model) as tuned:
        after = render_images(tuned, prompts, seeds, sampling)
    return contact_sheet.comparison(
        [(f"seed {seed}", prompt) for seed, prompt in zip(seeds, prompts, strict=True)],
        [("original", before.pixels), ("erased", after.pixels)],
        title=f"{adapter.facts['concept']} erased from {Path(model.name).name}",
        blurred=[blurred] * len(prompts),
    )
