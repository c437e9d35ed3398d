"""Ablations: one setting at a time around a base recipe, all trained and measured alike.

factors ──variants (options, data)──▶ trainings per seed ──evaluation──▶ tidy table ──▶ plots
"""

from ear.ablation.ablation import Ablation, ablate, base_name, check_minutes

__all__ = ["Ablation", "ablate", "base_name", "check_minutes"]
