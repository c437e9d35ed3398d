"""The declaration of a suite."""

from pathlib import Path

import pytest

from ear.suite import Cell, Suite, read_spec
from ear.suite.cells import cells_of
from ear.suite.submission import parse_submissions
from ecgvf.core.errors import EcgvfError

ROOT = Path(__file__).parents[3]


def test_the_declared_benchmark_measures_the_first_seeds_of_everything_first_and_the_full_figures_last() -> None:
    suite = Suite(read_spec(ROOT / "benchmarks" / "nano.yaml"), Path("store"), Path("results"))
    assert len(suite.cells) == 4 * (5 + 5 + 3 + 3)
    first, last = suite.cells[:12], suite.cells[-12:]
    assert {(cell.run_seed, cell.training_seed) for cell in first} == {(0, 0)}
    assert {cell.figures for cell in last} == {"full"}
    assert [cell.name for cell in suite.cells[:2]] == ["church-on-policy-r0-t0", "church-windowed-kl-r0-t0"]


def test_a_recipe_without_randomness_is_trained_once_per_run_seed() -> None:
    spec = read_spec(None, {"concepts": ["church"], "recipes": ["paper", "default"], "training_seeds": [0, 1]})
    assert cells_of(spec, "church", "paper") == [Cell("church", "paper", 0, 0), Cell("church", "paper", 0, 0, "full")]
    assert [cell.training_seed for cell in cells_of(spec, "church", "on-policy")] == [0, 1, 0]


def test_names_of_several_concepts_and_default_are_resolved() -> None:
    spec = read_spec(None, {"concepts": ["imagenette", "church"], "recipes": ["default", "on-policy"]})
    assert len(spec.concepts) == 10 and "tench" in spec.concepts
    assert spec.recipes == ("on-policy",)
    assert len(read_spec(None, {"concepts": ["painters"]}).concepts) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concepts: [", "is not YAML"),
        ("- church", "is no suite"),
        ("name: x", "no concepts"),
        ("concepts: [church]\nrecipe: paper", "recipe: Extra inputs"),
        ("concepts: [curch]", "unknown concept 'curch'"),
        ("concepts: [church]\nrecipes: [papr]", "unknown recipe 'papr'"),
        ("concepts: [church]\npairs: 0", "pairs: Input should be greater"),
        ("concepts: [church]\ngoals: paper", "goals: paper is not among"),
        ("concepts: [church]\nwriters: gpt\nrun_seeds: [0, 1]", "LLM writers have no seed"),
        ("concepts: [church]\nname: ../x", "name: String should match"),
    ],
)
def test_a_wrong_declaration_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    with pytest.raises(EcgvfError, match=message):
        read_spec(file)
    with pytest.raises(EcgvfError, match="there is no file"):
        read_spec(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["mine", "mine=", "=x", "a/b=x", "paper=x", "original=x"])
def test_a_wrong_submission_is_one_line(text: str) -> None:
    with pytest.raises(EcgvfError, match="--submit"):
        parse_submissions([text], ("paper",))
