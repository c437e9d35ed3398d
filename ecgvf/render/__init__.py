"""Stage 2: the model under test renders both prompts of each pair with one seed.

pairs ──tasks──▶ shards of ``RenderTask``s ──batches──▶ images (``Rendering`` rows; ``ear`` trains on their VQ ids)
"""

from ecgvf.render.batches import RenderedImage, fill_with_images, refuse_failures
from ecgvf.render.stage import RenderResult, load_renderer, render, render_missing, render_options, rendering_model

__all__ = [
    "RenderResult",
    "RenderedImage",
    "fill_with_images",
    "load_renderer",
    "refuse_failures",
    "render",
    "render_missing",
    "render_options",
    "rendering_model",
]
