import dataclasses
import re

import pytest

from ear.method.recipe import SETTINGS, Recipe, setting_descriptions
from ear.method.recipes import DEFAULT, ESD, ON_POLICY, PAPER, PAPER_IN_ROWS, PER_PATCH, PUBLISHED, RECIPES, find
from ecgvf.core.errors import RecipeError
from ecgvf.core.shard_set import fingerprint


def test_the_papers_recipe_is_section_6_1_with_the_modules_of_its_weights() -> None:
    assert (PAPER.loss, PAPER.guidance, PAPER.threshold, PAPER.learning_rate) == ("mse", 1.0, 0.05, 1e-4)
    assert (PAPER.layers, PAPER.modules, PAPER.window, PAPER.retention) == (5, "attention", None, 0)
    resolved = PAPER.resolve(tokens=576, depth=30, concept_window=48)
    assert (resolved.window, resolved.layers) == (48, 5)


def test_window_and_depth_follow_the_model() -> None:
    nano = PAPER.resolve(tokens=256, depth=6, concept_window=48)
    assert (nano.window, nano.layers) == (21, 1)
    everything = dataclasses.replace(PAPER, window=576, layers=30).resolve(tokens=256, depth=6, concept_window=48)
    assert (everything.window, everything.layers) == (256, 6)
    assert PAPER.resolve(tokens=4, depth=2, concept_window=1).window == 1


def test_windows_of_whole_rows_are_as_many_as_the_papers() -> None:
    def window(recipe: Recipe, tokens: int, length: int) -> int:
        return recipe.resolve(tokens=tokens, depth=4, concept_window=length).window

    assert [window(PAPER_IN_ROWS, 256, length) for length in (12, 24, 48, 100, 576)] == [16, 16, 32, 64, 256]
    assert [window(PAPER_IN_ROWS, 576, length) for length in (24, 48, 100)] == [24, 48, 96]
    assert [window(PAPER, 256, length) for length in (12, 24, 48, 100, 256, 576)] == [5, 11, 21, 44, 114, 256]
    assert window(PER_PATCH, 256, 48) == window(ESD, 256, 48) == 1


def test_a_threshold_per_position_does_not_depend_on_the_window() -> None:
    per_position = dataclasses.replace(PAPER, threshold=0.002, threshold_per="position")
    resolved = per_position.resolve(tokens=576, depth=30, concept_window=48)
    assert [resolved.threshold(length) for length in (1, 48)] == [0.002, 0.096]
    assert PAPER.resolve(tokens=576, depth=30, concept_window=48).threshold(48) == 0.05


def test_the_last_layers_can_be_tuned_instead() -> None:
    last = dataclasses.replace(PAPER, layers=15, layer_choice="last").resolve(tokens=256, depth=4, concept_window=48)
    assert last.layer_range == range(2, 4)
    assert PAPER.resolve(tokens=256, depth=4, concept_window=48).layer_range == range(0, 1)


def test_a_style_may_have_its_own_depth() -> None:
    recipe = dataclasses.replace(PAPER, layers=30, style_layers=22)
    layers = [
        recipe.resolve(tokens=256, depth=4, concept_window=48, style=style).layer_range for style in (False, True)
    ]
    assert layers == [range(0, 4), range(1, 4)]
    assert PAPER.resolve(tokens=256, depth=4, concept_window=48, style=True).layer_range == range(0, 1)


def test_a_style_may_have_its_own_guidance() -> None:
    recipe = dataclasses.replace(PAPER, style_guidance=0.5)
    guidance = [recipe.resolve(tokens=256, depth=4, concept_window=48, style=style).guidance for style in (False, True)]
    assert guidance == [1.0, 0.5]
    assert PAPER.resolve(tokens=256, depth=4, concept_window=48, style=True).guidance == 1.0


def test_a_name_keeps_its_meaning() -> None:
    """The hashes are those of adapters and outcomes."""
    assert {name: fingerprint(recipe.settings()) for name, recipe in RECIPES.items()} == {
        "on-policy": "f4dd646e8989",
        "on-policy-words": "4cac16131332",
        "windowed-kl": "8dcec5e5bab1",
        "windowed-kl-half": "d89dbb93b245",
        "windowed-kl-tuned": "960a1ef41a72",
        "paper": "14765144c57a",
        "paper-rows": "492d3509343c",
        "published": "598a457cf256",
        "per-patch": "e9a16a60bd88",
        "esd": "da992b540686",
        "negative-prompt": "fafa367d1357",
        "prompt-rewrite": "649e626f66c7",
    }


def test_every_setting_and_recipe_is_explained() -> None:
    described = setting_descriptions()
    assert [*described] == [*SETTINGS]
    assert all(text.endswith(".") for text in described.values())
    assert all("." in recipe.description for recipe in RECIPES.values())
    for recipe in RECIPES.values():
        if isinstance(recipe, Recipe):
            assert re.search(r"(windows?|threshold)\b.*\btakes? effect", recipe.description, re.IGNORECASE)


def test_recipes_are_found_by_name() -> None:
    assert find("default") is DEFAULT
    assert all(find(name) is recipe and recipe.name == name for name, recipe in RECIPES.items())
    known = "use default, or one of on-policy, on-policy-words, windowed-kl, windowed-kl-half, windowed-kl-tuned"
    with pytest.raises(RecipeError, match=f"unknown recipe 'papper': {known}"):
        find("papper")


def test_settings_are_changed_by_text_or_by_value() -> None:
    changed = DEFAULT.with_options(
        {"guidance": "0.8", "window": "none", "modules": "qkv", "loss": "mse", "passes": "2"}
    )
    assert (changed.guidance, changed.window, changed.modules) == (0.8, None, "qkv")
    assert (changed.loss, changed.passes) == ("mse", 2)
    assert changed.name == "on-policy"
    values = {"guidance": 0.8, "window": None, "modules": "qkv", "loss": "mse", "passes": 2}
    assert DEFAULT.with_options(values) == changed


def test_equal_recipes_have_equal_fingerprints() -> None:
    assert fingerprint(dataclasses.replace(PAPER, guidance=1).settings()) == fingerprint(PAPER.settings())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"guidance": 0.8}, (0.8, 22, "last")),
        ({"guidance": 0.8, "style_guidance": 0.3}, (0.3, 22, "last")),
        ({"layers": 15}, (0.5, 15, "first")),
        ({"layer_choice": "last"}, (0.5, 30, "last")),
        ({"layers": 15, "style_layers": 5}, (0.5, 5, "last")),
    ],
)
def test_what_is_set_is_what_styles_have_too(options: dict[str, object], expected: tuple[float, int, str]) -> None:
    resolved = ON_POLICY.with_options(options).resolve(tokens=576, depth=30, concept_window=24, style=True)
    assert (resolved.guidance, resolved.layers, resolved.layer_choice) == expected


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("colour", "red", "no setting 'colour'"),
        ("name", "mine", "no setting 'name'"),
        ("guidance", "lots", "--option guidance=lots: it must be a number$"),
        ("window", "12.5", "--option window=12.5: it must be a whole number$"),
        ("max_steps", "None", "--option max_steps=None: it must be a whole number"),
        ("passes", 1.5, "it must be a whole number"),
        ("layers", [], "it must be a whole number"),
        ("loss", "l1", "it must be 'mse' or 'kl'"),
        ("guidance", "nan", "--option guidance=nan: it must be a finite number$"),
        ("window", "0", "--option window=0: it must be at least 1$"),
        ("layers", "31", "it must be at most 30$"),
        ("rollouts", "0", "rollouts must be above 0 with trajectory=rollout, and 0 otherwise"),
        ("modules", "q,x", "modules"),
        ("learning_rate", "0", "learning_rate"),
        ("threshold", "-1", "threshold"),
        ("rehearsed", "0", "needs rehearsed"),
        ("rehearsed_concepts", "some", "it must be 'all' or 'half' or it must be a whole number"),
    ],
)
def test_an_invalid_setting_is_named(option: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DEFAULT.with_options({option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("loss", "l1", "recipe on-policy: loss is 'l1', but it must be 'mse' or 'kl'"),
        ("layers", "two", "layers is 'two', but it must be a whole number"),
        ("modules", ["qkv"], "modules is"),
        ("passes", 1.5, "passes is 1.5, but it must be a whole number"),
        ("name", "paper/high-lr", "'paper/high-lr' cannot name a recipe: use lower-case letters"),
        ("name", "../../x", "cannot name a recipe"),
    ],
)
def test_a_recipe_from_python_is_checked(option: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        dataclasses.replace(DEFAULT, **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("windows", "random", "all"),
        ("schedule", "linear", "constant"),
        ("mixed_precision", "bf16", "no"),
        ("checkpointing", "layers", "no"),
        ("rollout_epochs", 2, 1),
        ("loss", "kl", "mse"),
        ("rank", 4, 16),
        ("rehearsed", 200, 0),
        ("rehearsal_noise", 0.5, 0),
        ("rehearsed_concepts", "half", "all"),
    ],
)
def test_a_setting_that_the_released_loop_does_not_read_is_refused(option: str, value: object, allowed: object) -> None:
    message = rf"{option} is {value}, but the trajectory streams \(the released loop\) allows {allowed} only"
    with pytest.raises(RecipeError, match=message):
        PUBLISHED.with_options({option: value})


def test_a_recipe_is_random_if_its_seed_decides_anything() -> None:
    assert not PAPER.depends_on_seed and not PUBLISHED.depends_on_seed
    assert ESD.depends_on_seed and DEFAULT.depends_on_seed
    assert PUBLISHED.with_options({"order": "shuffled"}).depends_on_seed


def test_the_summary_shows_the_resolved_recipe() -> None:
    summary = dict(DEFAULT.resolve(tokens=256, depth=6, concept_window=48).summary())
    assert summary["window"].startswith("256 of 256 image tokens")
    assert "own images" in summary["objective"] and "falling to 0" in summary["steps"]
    assert summary["steps"].endswith("20 passes over at most 50 pairs")
    once = dataclasses.replace(PAPER, pairs=1).resolve(tokens=256, depth=6, concept_window=48)
    assert dict(once.summary())["steps"].endswith("1 pass over at most 1 pair")
    assert "first 6 of 6 layers" in summary["tuned"]
    rehearsed = "weight 60, 4 images per step, drawn from 200 images of half of the other concepts"
    assert summary["retention"] == rehearsed
    assert "retention" not in dict(PAPER.resolve(tokens=256, depth=6, concept_window=48).summary())
