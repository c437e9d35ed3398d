"""The table of phrases in docs/decisions/0012-splits.md."""

from pathlib import Path

import pytest

from benchmarks import splits

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0012-splits.md"


def test_the_pages_rows_of_church_are_those_that_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(splits, "CONCEPTS", ("church",))
    splits.main(pairs=60, evaluation=600, out=None)
    printed = capsys.readouterr().out.splitlines()[:-1]
    assert len(printed) == 2 + len(splits.WORDINGS)
    assert set(printed) <= set(PAGE.read_text(encoding="utf-8").splitlines())
