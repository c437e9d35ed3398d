"""docs/frontier.json: as many trials of each recipe, and the best of those that erase and of those that retain."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import frontier
from benchmarks.frontier import CONCEPTS, Frontier, Trial, against_usual, key, result, trials
from ear.evaluation import figures
from ear.method.recipe import Recipe
from ear.method.recipes import RECIPES, find
from ear.report.frontier import best_of
from ecgvf.core import concepts
from ecgvf.core.errors import RecipeError
from ecgvf.core.files import pretty_json
from tests.ear.evaluation.small_outcomes import both, erased, evaluation, kept

FILE = Path(__file__).parents[2] / "docs" / "frontier.json"


def figure(value: float | None) -> dict[str, Any]:
    ends = (None, None) if value is None else (value - 0.01, value + 0.01)
    return {"value": value, "n": 0 if value is None else 100, "low": ends[0], "high": ends[1]}


def measured(present: float | None, surrogate: float | None, ratio: float | None) -> dict[str, Any]:
    rows = [("concept_present", "concept", present), ("shows_surrogate", "concept", surrogate)]
    rows.append(("retention_ratio", figures.POOLED, ratio))
    return {"figures": [{"figure": name, "group": group, **figure(value)} for name, group, value in rows]}


def test_every_recipe_has_as_many_trials() -> None:
    for name in RECIPES:
        found = trials("church", name)
        assert len({key(trial) for trial in found}) == len(found) == (1 if name == "prompt-rewrite" else 8)
        recipe = find(name)
        if isinstance(recipe, Recipe):
            assert all(recipe.with_options(trial.options) for trial in found)
            assert any(recipe.with_options(trial.options) == recipe for trial in found)


def test_a_key_changes_with_all_that_decides_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trials("church", "esd")[0]
    keys = {key(trial)}
    for name, value in (
        ("SETTINGS", replace(frontier.SETTINGS, seed=1)),
        ("SETTINGS", replace(frontier.SETTINGS, split="test")),
        ("SETTINGS", replace(frontier.SETTINGS, judge="nano-object-a")),
        ("nano_weights", lambda: {"nano-object-a": "other"}),
        ("model_fingerprint", lambda name: "other"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(frontier, name, value)
            frontier._shipped.cache_clear()
            keys.add(key(trial))
    frontier._shipped.cache_clear()
    church = concepts.find("church")
    with monkeypatch.context() as patched:
        patched.setattr(concepts, "find", lambda _: church.model_copy(update={"surrogates": ("hotel",)}))
        keys.add(key(trial))
    assert len(keys) == 7


def test_the_frontier_is_the_best_of_the_trials_that_qualify() -> None:
    own = [measured(0.05, 0.5, 0.9), measured(0.5, 0.9, 0.99), measured(0.08, 0.6, 0.96)]
    own += [{"figures": None}, {"figures": None, "failed": "the loss is not finite"}]
    found = best_of(own)
    assert found == {
        "measured": 3,
        "failed": 1,
        "trials": 5,
        "retention_at_erasure": figure(0.96),
        "replacement_at_retention": figure(0.9),
    }
    assert best_of([measured(0.5, 0.9, 0.5)])["retention_at_erasure"] is None


def test_an_undefined_figure_takes_no_part_in_the_frontier() -> None:
    own = [measured(None, 0.9, 0.99), measured(0.05, None, 0.98), measured(0.05, 0.6, None)]
    found = best_of(own)
    assert found["measured"] == 3
    assert found["retention_at_erasure"] == figure(0.98)
    assert found["replacement_at_retention"] == figure(0.9)


def test_the_guidance_of_a_trial_is_not_that_of_the_original_model() -> None:
    usual = evaluation([*erased(4, 4), *kept("castle", "neighbours", 4)])
    at_10 = [replace(each, guidance=10.0) for each in (*erased(4, 1), *kept("castle", "neighbours", 4, lost=2))]
    # At a guidance of 10, the original model itself shows neither church nor castle.
    changed = [each if each.condition == "after" else replace(each, judges=both("hotel")) for each in at_10]
    found = against_usual(usual, evaluation(changed))
    assert (found.replacement[0].before.value, found.replacement[0].after.value) == (1, 0.25)
    assert figures.retention_ratio(found.outcomes).value == 0.5
    assert "nll_frozen" in {row.figure for row in usual.scene} - {row.figure for row in found.scene}


def test_what_has_not_run_is_not_measured() -> None:
    trial = trials("church", "esd")[0]
    done = {key(trial): {**trial.json(), "key": key(trial), "seconds": 1.0, **measured(0.0, 1.0, 1.0)}}
    content = result(done)
    assert [each["key"] for each in content["trials"] if each["figures"] is not None] == [key(trial)]
    by_recipe = {(each["concept"], each["recipe"]): each for each in content["frontiers"]}
    assert by_recipe["church", "esd"]["measured"] == 1
    assert by_recipe["van-gogh", "esd"]["retention_at_erasure"] is None
    assert {concept for concept, _ in by_recipe} == set(CONCEPTS)


def test_a_training_that_diverges_is_a_failed_trial_which_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any) -> Any:
        raise RecipeError("the loss is not finite")

    monkeypatch.setattr(Frontier, "_measure", diverge)
    trial, file = trials("church", "esd")[0], tmp_path / "frontier.json"
    failed = Frontier(tmp_path, file).measure(trial)
    assert (failed["figures"], failed["failed"]) == (None, "the loss is not finite")
    file.write_bytes(pretty_json(result({key(trial): failed})))
    assert list(Frontier(tmp_path, file).measured()) == [key(trial)]


def test_the_table_tells_what_was_not_measured_from_what_no_setting_reaches(tmp_path: Path) -> None:
    esd, paper, published = (trials("church", name)[0] for name in ("esd", "paper", "published"))
    done = {key(esd): {**esd.json(), "key": key(esd), **measured(0.05, 0.5, 0.9)}}
    done[key(paper)] = {**paper.json(), "key": key(paper), **measured(0.5, 0.5, 0.9)}
    done[key(published)] = {**published.json(), "key": key(published), "figures": None, "failed": "not finite"}
    file = tmp_path / "frontier.json"
    file.write_bytes(pretty_json(result(done)))
    words = ["--recipe", "esd", "--minutes", "0", "--store", str(tmp_path), "--out", str(file)]
    printed = CliRunner().invoke(frontier.app, words).stdout
    head, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line.startswith("| ")
    ]
    found = {(line[0], line[1]): dict(zip(head, line, strict=True)) for line in lines}
    names = ("retention_at_erasure", "replacement_at_retention")

    def best(concept: str, recipe: str) -> list[str]:
        return [found[concept, recipe][name] for name in names]

    assert best("church", "esd") == ["0.900 [0.890, 0.910] of 100", "none"]
    assert best("church", "paper") == best("church", "published") == ["none", "none"]
    assert best("van-gogh", "esd") == ["not measured", "not measured"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "nan"], "--minutes nan: it must be a number of 0 or more"),
        (["--recipe", "papr"], "unknown recipe 'papr'"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_measured(words: list[str], message: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(frontier.app, [*words, "--store", str(tmp_path), "--out", str(tmp_path / "out.json")])
    assert found.exit_code == 2 and message in found.stderr and not [*tmp_path.iterdir()]


def test_trials_of_the_default_recipe_are_kept_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(_: Frontier, trial: Trial) -> dict[str, Any]:
        return {**trial.json(), "key": key(trial), "figures": None, "failed": "it diverged"}

    monkeypatch.setattr(Frontier, "measure", diverged)
    out = tmp_path / "out.json"
    CliRunner().invoke(frontier.app, ["--recipe", "default", "--store", str(tmp_path), "--out", str(out)])
    kept = [each for each in json.loads(out.read_text())["trials"] if "failed" in each]
    assert [each["recipe"] for each in kept] == 16 * ["on-policy"]


def test_the_committed_trials_are_those_of_this_version() -> None:
    """Otherwise `make benchmark-full` would begin anew."""
    content = json.loads(FILE.read_text())
    listed = [Trial(each["concept"], each["recipe"], each["options"]) for each in content["trials"]]
    assert [each["key"] for each in content["trials"]] == [key(trial) for trial in listed]
    finished = {each["key"]: each for each in content["trials"] if each["figures"] is not None or "failed" in each}
    assert result(finished)["frontiers"] == content["frontiers"]
