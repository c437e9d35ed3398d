"""Stage 2: the model under test renders both prompts of each pair with one seed.

pairs ──stage──▶ shards of ``RenderTask``s ──shard──▶ images (``Rendering`` rows; ``ear`` trains on their VQ ids)
"""

from ecgvf.render.stage import RenderResult, load_renderer, render, render_missing, rendering_model

__all__ = ["RenderResult", "load_renderer", "render", "render_missing", "rendering_model"]
