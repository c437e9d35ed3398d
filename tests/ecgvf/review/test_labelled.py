"""The 200 labelled images in docs/labels: the agreement that the documentation reports follows from them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from ecgvf.cli import app

FOLDER = Path(__file__).parents[3] / "docs" / "labels"


def test_the_agreement_follows_from_the_labels() -> None:
    files = ["--images", str(FOLDER / "church.parquet"), "--out", str(FOLDER / "church.labels.jsonl")]
    result = CliRunner().invoke(app, ["review", *files, "--json"])
    assert result.exit_code == 0, result.output
    expected = json.loads((FOLDER / "agreement.json").read_text())
    found = json.loads(result.stdout)
    assert found["agreement"] == expected["agreement"] and found["shares"] == expected["shares"]
    pooled = {row["judge"]: row for row in found["agreement"] if row["condition"] == "pooled"}
    assert {row["agreement"]["n"] for row in pooled.values()} == {200}
