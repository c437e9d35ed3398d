"""What docs/train.json says of Janus-Pro is what the code counts."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import train
from ear.method.recipe import Recipe
from ear.method.recipes import DEFAULT, RECIPES

PUBLISHED = Path(__file__).parents[2] / "docs" / "train.json"


def test_counting_anew_changes_nothing_and_keeps_what_was_measured(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, file := tmp_path / "train.json")
    before = json.loads(file.read_text())
    result = CliRunner().invoke(train.app, ["--count", str(file)])
    assert result.exit_code == 0, result.output
    after = json.loads(file.read_text())
    assert {**after, "counted_by": None} == {**before, "counted_by": None}
    assert json.loads(result.stdout.splitlines()[-1]) == after and after["met"]
    trained = [recipe.name for recipe in RECIPES.values() if isinstance(recipe, Recipe)]
    for model, card in (("janus-pro-1b", 24), ("janus-pro-7b", 80)):
        rows = [row for row in after["memory"] if row["model"] == model]
        assert [row["recipe"] for row in rows] == [*trained, DEFAULT.name, DEFAULT.name]
        assert all(row["card_gb"] == card and row["fits"] == (row["gb"] < 0.9 * card) for row in rows)


@pytest.mark.parametrize("change", [{"ratio": 7.9}, {"ratio_7b": 19.9}, {"quickstart": 1.01}, {"memory": None}])
def test_a_missed_goal_is_missed(change: dict[str, object]) -> None:
    result = json.loads(PUBLISHED.read_text())
    assert train.met(result)
    if change.get("memory", 0) is None:
        change = {"memory": [{**row, "fits": row["recipe"] != DEFAULT.name} for row in result["memory"]]}
    assert not train.met({**result, **change})
