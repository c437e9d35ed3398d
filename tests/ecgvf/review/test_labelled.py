"""The labelled images in docs/labels: the agreement that the documentation reports follows from them."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app

FOLDER = Path(__file__).parents[3] / "docs" / "labels"


@pytest.mark.parametrize("name", ["agreement", "church-on-policy"])
def test_the_agreement_follows_from_the_labels_by_the_command_that_the_file_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parents[1])
    expected = json.loads((FOLDER / f"{name}.json").read_text())
    result = CliRunner().invoke(app, shlex.split(expected["command"])[1:])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == {key: value for key, value in expected.items() if key != "description"}
    pooled = {row["judge"]: row for row in found["agreement"] if row["condition"] == "pooled"}
    assert {row["agreement"]["n"] for row in pooled.values()} == {200}
