"""The tutorial's notebook runs from its first cell to its last, in a small form."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
SMALL = """
pairs, validation, tests = 6, 3, 1
prompts, others = 1, 1
options = {"pairs": 1, "passes": 1, "rehearsed": 8}
"""


def test_the_tutorial_runs_in_a_small_form(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [sizes] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert {line.split(" = ")[0] for line in SMALL.split("\n")[1:-1]} == {
        line.split(" = ")[0] for line in sizes.source.split("\n")
    }
    sizes.source = SMALL
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=str(tmp_path / "kernel.json"))
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, km=kernel, timeout=500, resources=resources).execute()
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "nano-object-a accepts" in printed and "shows its surrogate" in printed
