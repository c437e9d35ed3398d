"""Paths of the files that ship with the package.

In a checkout, ``data/`` and ``prompts_templates/`` are beside the packages; in a wheel they are inside, as
``ecgvf/_data`` and ``ecgvf/_prompts_templates`` (see pyproject.toml).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The folder with ``concepts/``, ``nano/``, ``datasets/``, ``retained_concepts.yaml``, ``writers.yaml`` and
    ``new_concept.yaml``."""
    return _shipped("data")


def templates_dir() -> Path:
    """The folder of the Jinja2 templates for the LLM writers."""
    return _shipped("prompts_templates")


def _shipped(name: str) -> Path:
    inside = _PACKAGE / f"_{name}"
    return inside if inside.is_dir() else _PACKAGE.parent / name
