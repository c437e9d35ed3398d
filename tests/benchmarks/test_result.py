"""How a benchmark ends: its last line, its file, its exit code."""

import json
from pathlib import Path

import pytest
import typer

from benchmarks.result import finish


@pytest.mark.parametrize("met", [True, None])
def test_the_last_line_is_the_result_and_the_file_may_hold_more(
    met: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print("a table")
    finish({"ratio": 2.0, "met": met}, file := tmp_path / "result.json", also_in_file={"rows": [1]})
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"ratio": 2.0, "met": met}
    assert json.loads(file.read_text()) == {"ratio": 2.0, "met": met, "rows": [1]}


def test_a_missed_goal_is_printed_and_written_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as end:
        finish({"ratio": 0.5, "met": False}, file := tmp_path / "result.json")
    assert end.value.exit_code == 1
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) == {"ratio": 0.5, "met": False}
