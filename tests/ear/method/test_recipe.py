import dataclasses

import pytest

from ear.method.recipe import DEFAULT, PAPER, RECIPES, find
from ecgvf.core.errors import RecipeError


def test_the_papers_recipe_is_section_6_1() -> None:
    assert (PAPER.loss, PAPER.guidance, PAPER.threshold, PAPER.learning_rate) == ("mse", 1.0, 0.05, 1e-4)
    assert (PAPER.layers, PAPER.projections, PAPER.window, PAPER.retention) == (5, ("q", "k", "v", "o"), None, 0)
    resolved = PAPER.resolve(tokens=576, depth=30, concept_window=48)
    assert (resolved.window, resolved.layers) == (48, 5)


def test_window_and_depth_follow_the_model() -> None:
    nano = PAPER.resolve(tokens=256, depth=6, concept_window=48)
    assert (nano.window, nano.layers) == (21, 1)
    everything = dataclasses.replace(PAPER, window=576, layers=30).resolve(tokens=256, depth=6, concept_window=48)
    assert (everything.window, everything.layers) == (256, 6)
    assert PAPER.resolve(tokens=4, depth=2, concept_window=1).window == 1


def test_recipes_are_found_by_name() -> None:
    assert find("default") is DEFAULT
    assert set(RECIPES) == {"on-policy", "windowed-kl", "windowed-kl-half", "paper"}
    known = "use default, or one of on-policy, windowed-kl, windowed-kl-half, paper"
    with pytest.raises(RecipeError, match=f"unknown recipe 'papper': {known}"):
        find("papper")


def test_settings_are_changed_by_text_or_by_value() -> None:
    changed = DEFAULT.with_options(
        {"guidance": "0.8", "window": "none", "projections": "q,v", "loss": "mse", "passes": "2"}
    )
    assert (changed.guidance, changed.window, changed.projections) == (0.8, None, ("q", "v"))
    assert (changed.loss, changed.passes) == ("mse", 2)
    assert changed.name == "on-policy"
    values = {"guidance": 0.8, "window": None, "projections": ("q", "v"), "loss": "mse", "passes": 2}
    assert DEFAULT.with_options(values) == changed


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("colour", "red", "no setting 'colour'"),
        ("name", "mine", "no setting 'name'"),
        ("guidance", "lots", "a number is needed"),
        ("window", "12.5", "an integer is needed"),
        ("passes", 1.5, "an integer is needed"),
        ("layers", [], "an integer is needed"),
        ("loss", "l1", "choose one of mse, kl"),
        ("guidance", "nan", "guidance is nan"),
        ("window", "0", "window is 0"),
        ("layers", "31", "layers is 31"),
        ("projections", "q,x", "projections"),
        ("learning_rate", "0", "learning_rate"),
        ("threshold", "-1", "threshold"),
        ("rehearsed", "0", "needs rehearsed"),
    ],
)
def test_an_invalid_setting_is_named(option: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DEFAULT.with_options({option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("loss", "l1", "loss is 'l1', use one of mse, kl"),
        ("layers", "two", "layers is 'two', it must be 1 to 30"),
        ("projections", [[]], "projections is"),
    ],
)
def test_a_recipe_from_python_is_checked(option: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        dataclasses.replace(DEFAULT, **{option: value})  # type: ignore[arg-type]


def test_the_summary_shows_the_resolved_recipe() -> None:
    summary = dict(DEFAULT.resolve(tokens=256, depth=6, concept_window=48).summary())
    assert summary["window"].startswith("256 of 256 image tokens")
    assert "own images" in summary["objective"] and "falling to 0" in summary["steps"]
    assert "first 6 of 6 layers" in summary["tuned"]
    assert "retention" in summary
    assert "retention" not in dict(PAPER.resolve(tokens=256, depth=6, concept_window=48).summary())
