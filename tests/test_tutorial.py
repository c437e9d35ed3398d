"""The tutorial's notebook runs from its first cell to its last, in a small form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
SMALL = {
    "pairs, validation, tests": "6, 3, 1",
    "prompts, others": "1, 0",
    "options": '{"pairs": 1, "passes": 1, "rehearsed": 8}',
}
"""What the cell with the tag `parameters` sets → a small form."""


def test_the_tutorial_runs_in_a_small_form(tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    [sizes] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())]
    assert [line.split(" = ")[0] for line in sizes["source"]] == list(SMALL)
    sizes["source"] = [f"{names} = {values}\n" for names, values in SMALL.items()]
    small = tmp_path / "tutorial.ipynb"
    small.write_text(json.dumps(notebook), encoding="utf-8")

    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", small.name]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

    cells = json.loads(small.read_text(encoding="utf-8"))["cells"]
    printed = "".join(text for cell in cells for output in cell.get("outputs", ()) for text in output.get("text", ()))
    assert "nano-object-a accepts" in printed and "shows its surrogate" in printed
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
