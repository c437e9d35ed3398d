"""Stage 2: the model under test draws both prompts of each pair, with one seed.

pairs ──stage──▶ pictures (``Rendering`` rows; their VQ ids are the trajectories that ``ear`` trains on)
"""

from ecgvf.render.stage import RenderResult, model_that_draws, opened, render, render_missing

__all__ = ["RenderResult", "model_that_draws", "opened", "render", "render_missing"]
