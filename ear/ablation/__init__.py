"""Ablations: one setting at a time around a base recipe, all trained and measured alike.

factors ──variants (options, data)──▶ trainings per seed ──evaluation──▶ tidy table ──▶ plots
"""

from ear.ablation.ablate import Ablation, ablate
from ear.ablation.factors import FACTORS

__all__ = ["FACTORS", "Ablation", "ablate"]
