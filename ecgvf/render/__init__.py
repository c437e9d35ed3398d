"""Stage 2: the model under test renders both prompts of each pair with one seed.

pairs ──tasks──▶ shards of ``RenderTask``s ──batches──▶ images (``Rendering`` rows; ``ear`` trains on their VQ ids)
"""

from ecgvf.render.batches import (
    ImageWorker,
    RenderedImage,
    fill_with_images,
    image_fill_plan,
    refusal,
    refuse_failures,
)
from ecgvf.render.missing import existing_images, image_facts, missing_options, render_options, rendering_model
from ecgvf.render.stage import RenderOptions, RenderResult, check_renderer, finish_images, render

__all__ = [
    "ImageWorker",
    "RenderOptions",
    "RenderResult",
    "RenderedImage",
    "check_renderer",
    "existing_images",
    "fill_with_images",
    "finish_images",
    "image_facts",
    "image_fill_plan",
    "missing_options",
    "refusal",
    "refuse_failures",
    "render",
    "render_options",
    "rendering_model",
]
