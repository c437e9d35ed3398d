"""Where the files that travel with the package are.

In a source checkout (and so in an editable install) ``data/`` and ``prompts_templates/`` stand beside the packages; in
a wheel the build puts them inside, as ``ecgvf/_data`` and ``ecgvf/_prompts_templates`` (pyproject.toml, force-include).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The folder with ``concepts/``, ``nano/`` and the finished dataset."""
    return _shipped("data")


def templates_dir() -> Path:
    """The folder of the Jinja2 templates that the LLM writers fill."""
    return _shipped("prompts_templates")


def _shipped(name: str) -> Path:
    inside = _PACKAGE / f"_{name}"
    return inside if inside.is_dir() else _PACKAGE.parent / name
