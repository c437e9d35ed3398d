from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.pairs.neighbours import neighbour_warnings


def church(*neighbours: str) -> Concept:
    return concepts.find("church").model_copy(update={"neighbours": neighbours})


@pytest.mark.parametrize("name", concepts.names())
def test_all_neighbours_of_shipped_concepts_are_known(name: str) -> None:
    assert neighbour_warnings(concepts.find(name)) == []


def test_a_misspelt_neighbour_of_nanos_world_gives_a_warning_with_what_it_may_mean() -> None:
    [warning] = neighbour_warnings(church("mosque", "casle"))
    assert "neighbour 'casle' of 'church' is unknown (did you mean castle" in warning


def test_neighbours_are_known_by_any_word_and_by_the_captions_for_other_models() -> None:
    assert neighbour_warnings(church("a school", "Palace", "cottage", "CD player")) == []
    assert len(neighbour_warnings(church("bell cote"))) == 1
    assert neighbour_warnings(concepts.find("nudity").model_copy(update={"neighbours": ("swimware",)})) == []


def test_commands_that_take_a_concept_file_print_the_warning(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(church("casle").model_dump(mode="json")), encoding="utf-8")
    for command in (["concepts", "explain", str(file)], ["generate", "--concept", str(file), "--dry-run"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith("warning neighbour 'casle'")
