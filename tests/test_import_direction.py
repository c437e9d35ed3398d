"""Data goes one way, and so do imports: ecgvf never imports ear, and a stage never imports a later stage."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each room may import itself and those before it. Janus, the model under test, stands before the pictures it draws.
ORDER = ["concepts", "pairs", "janus", "render", "judges", "review", "publish", "report"]


def imported(file: Path) -> set[str]:
    """Dotted names of the modules that ``file`` imports, anywhere in it."""
    package = file.relative_to(ROOT).with_suffix("").parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return names


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "ecgvf" and len(parts) > 1 and parts[1] in ORDER else None


SOURCES = sorted((ROOT / "ecgvf").rglob("*.py"))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_ecgvf_never_imports_ear_and_a_stage_never_imports_a_later_one(file: Path) -> None:
    names = imported(file)
    assert not {name for name in names if name.split(".")[0] == "ear"}
    own = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
    if own is not None:
        later = {name for name in names if (other := room(name)) and ORDER.index(other) > ORDER.index(own)}
        assert not later, f"{own} comes before what it imports"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_every_room_stands_on_imports_no_room(file: Path) -> None:
    if file.parent.name == "ecgvf" and file.stem in {
        "console",
        "errors",
        "options",
        "paths",
        "records",
        "seeds",
        "store",
    }:
        assert {other for name in imported(file) if (other := room(name))} <= {"concepts"}


def test_the_check_sees_relative_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ecgvf" / "render" / "draw.py"
    file.parent.mkdir(parents=True)
    file.write_text("from ..judges import accept\nimport ear.method.train\n", encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert {"ecgvf.judges", "ecgvf.filter.accept", "ear.method.train"} <= imported(file)
