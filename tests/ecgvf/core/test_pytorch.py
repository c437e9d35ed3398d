"""Waiting for PyTorch."""

import io
import sys

import pytest
from rich.console import Console

from ecgvf.core import console, pytorch


@pytest.mark.parametrize(("terminal", "shown"), [(True, "loading PyTorch"), (False, "")])
def test_a_terminal_shows_that_pytorch_is_imported(monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: str) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=terminal))
    monkeypatch.delitem(sys.modules, "transformers.models.llama.modeling_llama", raising=False)
    imported: list[str] = []
    monkeypatch.setattr(pytorch, "import_module", imported.append)
    pytorch.import_pytorch()
    assert imported == ["transformers.models.llama.modeling_llama"]
    assert shown in stream.getvalue() and bool(stream.getvalue()) == terminal


def test_nothing_is_shown_after_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=True))
    monkeypatch.setitem(sys.modules, "transformers.models.llama.modeling_llama", pytorch)
    pytorch.import_pytorch()
    assert stream.getvalue() == ""
