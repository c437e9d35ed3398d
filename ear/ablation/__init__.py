"""Ablations: one setting at a time around a base recipe, all trained and measured alike.

factors ──variants (options, data)──▶ trainings per seed ──evaluation──▶ tidy table ──▶ plots
"""

from ear.ablation.ablation import Ablation, ablate, base_name, check_minutes
from ear.ablation.factors import all_variants

__all__ = ["Ablation", "ablate", "all_variants", "base_name", "check_minutes"]
