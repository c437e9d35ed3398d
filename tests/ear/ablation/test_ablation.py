"""An ablation: its variants, what they are trained on, and the table, which a second run does not measure again."""

import csv
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ear.ablation import Ablation, ablate, base_name
from ear.ablation.ablation import COMMAND, MOST_WINDOWS, NOT_MEASURED
from ear.ablation.data import VariantData
from ear.ablation.factors import DATA_FACTORS, FACTORS, WINDOWS, Variant, variants
from ear.ablation.plots import plot_factors
from ear.commands.ablate import _table as ablation_table
from ear.evaluation import EvaluationSettings
from ear.method.erase import erase
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER, PUBLISHED
from ear.method.runs import newest
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, DatasetError, JudgeError, RecipeError, SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.janus import JanusModel, Sampling, load
from ecgvf.judges import JudgeOptions
from tests.ear.conftest import AgreeingJudge, BrightnessJudge

BASE = replace(PAPER, threshold=0.0)
SMALL = EvaluationSettings(prompts_per_concept=2, prompts_per_other=1, family="building")


@pytest.fixture(autouse=True)
def _plain_factor_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a small training: the test that reads the plots draws them."""
    if request.function is not test_a_finished_variant_is_not_measured_again:
        monkeypatch.setattr("ear.ablation.plots.plot_factors", lambda *_: [])


@pytest.fixture
def ablation(store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path) -> Ablation:
    return Ablation(store, tiny, dataset, BASE, SMALL, [0], tmp_path / "out")


@pytest.mark.parametrize("base", [PAPER, ON_POLICY], ids=lambda base: base.name)
def test_every_variant_is_a_valid_recipe_that_changes_one_factor(base: Recipe) -> None:
    for factor in FACTORS:
        levels = variants(factor, base)
        assert len(levels) > 1
        for variant in levels:
            recipe = replace(base, **variant.options)
            names = base.settings().keys() | recipe.settings().keys()
            changed = {name for name in names if base.settings().get(name) != recipe.settings().get(name)}
            assert changed <= {*variant.options, "projections"}
    assert all(not variant.options for factor in DATA_FACTORS for variant in variants(factor, base))


def test_the_levels_of_guidance_and_layers_differ_for_a_style_too() -> None:
    for factor in ("guidance", "layers"):
        recipes = [replace(ON_POLICY, **variant.options) for variant in variants(factor, ON_POLICY)]
        resolved = [recipe.resolve(tokens=256, depth=30, concept_window=24, style=True) for recipe in recipes]
        levels = {(each.guidance, each.layer_range) for each in resolved}
        assert len(levels) == len(recipes)


def test_windows_are_compared_at_equal_pairs_and_at_equal_steps(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = variants("window", BASE)
    assert [variant.equal_steps for variant in levels] == [False] * len(WINDOWS) + [True] * len(WINDOWS)
    assert [variant.level for variant in variants("patch-sampling", BASE) if variant.equal_steps] == [
        "sequential",
        "random",
    ]
    # Of the tiny model's 16 tokens: 1, 4 and 16. The base steps over each of the three images in windows of 4.
    monkeypatch.setattr("ear.ablation.factors.WINDOWS", (36, 144, 576))
    table = ablate(replace(ablation, base=replace(BASE, window=144)), ["window"]).to_pylist()
    assert {row["level"]: row["window"] for row in table} == {"36": 1, "144": 4, "576": 16}
    steps = {(row["equal"], row["level"]): row["steps"] for row in table}
    assert steps == {
        **{("pairs", "36"): 3 * 16, ("pairs", "144"): 3 * 4, ("pairs", "576"): 3},
        **{("steps", level): 3 * 4 for level in ("36", "144", "576")},
    }
    assert all(row["skipped"] == 0 for row in table)


def test_the_windows_in_tokens_of_nano() -> None:
    recipes = [replace(PAPER, **variant.options) for variant in variants("window", PAPER) if not variant.equal_steps]
    windows = [recipe.resolve(tokens=256, depth=4, concept_window=48).window for recipe in recipes]
    assert windows == [1, 5, 11, 21, 32, 44, 114, 256]


def test_trajectories_are_compared_at_equal_steps_too(ablation: Ablation) -> None:
    found = [(variant.level, variant.equal_steps) for variant in variants("trajectory", BASE)]
    names = ("surrogate", "target", "both", "rollout")
    assert found == [(name, equal) for equal in (False, True) for name in names]
    steps = {
        (row["equal"], row["level"]): row["steps"]
        for variant in variants("trajectory", BASE)
        if variant.level in ("surrogate", "both")
        for row in ablation.rows(variant)
    }
    base = ablation.base_steps()
    assert steps == {(equal, name): base * (2 if name == "both" and equal == "pairs" else 1) for equal, name in steps}


@pytest.mark.parametrize("factor", ["rehearsal-noise", "rehearsed-words"])
def test_settings_of_rehearsal_are_compared_with_rehearsal(factor: str) -> None:
    recipes = [replace(PAPER, **variant.options) for variant in variants(factor, PAPER)]
    assert {recipe.retention for recipe in recipes} == {ON_POLICY.retention}
    assert len({(recipe.rehearsal_noise, recipe.rehearsed_words) for recipe in recipes}) == len(recipes)
    # A recipe that rehearses keeps its own.
    assert all(len(variant.options) == 1 for variant in variants(factor, ON_POLICY))


def test_a_factor_whose_levels_train_alike_is_refused_before_anything_is_trained(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a window that is the whole image, there is nothing to draw."""
    monkeypatch.setattr("ear.ablation.ablation.erase", lambda *_, **__: pytest.fail("something was trained"))
    whole = replace(ablation, base=replace(BASE, window=576))
    with pytest.raises(
        SettingsError, match="patch-sampling: all its levels are the same training around paper, window=576"
    ):
        ablate(whole, ["order", "patch-sampling"])
    for factor in {*FACTORS, *DATA_FACTORS} - {"patch-sampling"}:
        whole.check(factor, variants(factor, whole.base))
    ablation.check("patch-sampling", variants("patch-sampling", ablation.base))


def test_prompts_of_unknown_wording_are_no_unseen_wordings(ablation: Ablation) -> None:
    """A dataset of earlier versions has none."""
    validation = [
        replace(each, pair=replace(each.pair, wording=wording))
        for each, wording in zip(ablation.dataset.validation, ("synonym", None), strict=True)
    ]
    rows = replace(ablation, dataset=replace(ablation.dataset, validation=tuple(validation))).rows(
        variants("order", BASE)[0]
    )
    assert [row["n"] for row in rows if row["figure"] in ("concept_present", "concept_present_unseen")] == [2, 1]


def test_its_adapters_are_not_the_newest_of_the_concept(ablation: Ablation, store: Store) -> None:
    ablate(ablation, ["order"])
    with pytest.raises(AdapterError, match="no adapter for 'church'"):
        newest(store, "church")
    run = erase(store, [ablation.dataset], ablation.model, BASE, [0])[0]
    ablate(ablation, ["retention"])
    assert newest(store, "church") == run


def test_a_finished_variant_is_not_measured_again(ablation: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def draw(table: pa.Table, folder: Path) -> list[Path]:
        drawn.append(folder)
        return plot_factors(table, folder)

    monkeypatch.setattr("ear.ablation.plots.plot_factors", draw)
    first = ablate(ablation, ["order", "retention"])
    assert drawn == [ablation.folder]
    names = sorted(file.name for file in ablation.folder.iterdir())
    assert names == ["ablation.csv", "ablation.parquet", "order.svg", "retention.svg", "variants"]
    plots = [(ablation.folder / name).read_bytes() for name in names if name.endswith("svg")]

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr("ear.ablation.ablation.erase", fail)
    assert ablate(ablation, ["order", "retention"]).equals(first)
    assert [(ablation.folder / name).read_bytes() for name in names if name.endswith("svg")] == plots
    assert pq.read_table(ablation.folder / "ablation.parquet").equals(first)
    rows = first.to_pylist()
    assert {row["figure"] for row in rows} >= {"concept_present", "shows_surrogate", "retention_pooled"}
    measured = [row for row in rows if row["low"] is not None]
    assert len(measured) > len(rows) / 2 and all(row["low"] <= row["value"] <= row["high"] for row in measured)


def test_the_base_is_named_with_what_differs_from_its_recipe() -> None:
    assert base_name(PAPER) == "paper"
    changed = ON_POLICY.with_options({"retention": 0.0, "order": "dataset"})
    assert base_name(changed) == "on-policy, order=dataset, retention=0"


def test_another_number_of_prompts_is_another_variant(ablation: Ablation) -> None:
    variant = variants("order", BASE)[0]
    same = replace(ablation, settings=replace(SMALL, prompts_per_concept=SMALL.concept_count))
    others = replace(ablation, settings=replace(SMALL, prompts_per_other=2))
    assert ablation.file(variant) == same.file(variant) != others.file(variant)


def test_another_dtype_or_judge_is_another_variant(ablation: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = variants("order", BASE)[0]
    files = {ablation.file(variant)}
    for owner, name in ((BrightnessJudge, "weights_hash"), (JanusModel, "dtype_name")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, "other")
            files.add(replace(ablation).file(variant))
    assert len(files) == 3


@pytest.mark.parametrize(
    ("base", "dtypes"), [(PAPER, ["float32"] * 2), (ON_POLICY, ["bfloat16", "float32"])], ids=lambda value: str(value)
)
def test_another_compute_dtype_is_another_variant(
    base: Recipe, dtypes: list[str], ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU without AVX-512 trains a recipe of mixed precision in float32."""
    files, found = set(), []
    for capability in ("AVX512", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", partial(str, capability))
        changed = replace(ablation, base=base)
        files.add(changed.file(variants("order", base)[0]))
        found.append(changed._facts["compute_dtype"])
    assert found == dtypes
    assert len(files) == len(set(dtypes))


def test_a_judge_object_is_known_again_by_its_settings(ablation: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = variants("order", BASE)[0]
    first, again = (replace(ablation, settings=replace(SMALL, judge=AgreeingJudge())).file(variant) for _ in range(2))
    assert first == again != ablation.file(variant)
    monkeypatch.setattr(AgreeingJudge, "weights_hash", "other")
    assert replace(ablation, settings=replace(SMALL, judge=AgreeingJudge())).file(variant) != first


def test_a_value_outside_its_interval_by_rounding_is_drawn(tmp_path: Path) -> None:
    row = {"factor": "order", "level": "dataset", "figure": "concept_present", "equal": "pairs", "value": 0.3}
    row |= {"low": 0.1 + 0.2, "high": 0.3, "original": None, "ceiling": None}
    assert [file.name for file in plot_factors(pa.Table.from_pylist([row]), tmp_path)] == ["order.svg"]


@pytest.mark.parametrize(
    ("value", "low", "cell"), [(0.5, 0.25, "0.50 (0.25 to 0.25)"), (0.5, None, "0.50"), (None, None, "")]
)
def test_a_figure_without_an_interval_or_a_value_is_printed_as_such(
    value: float | None, low: float | None, cell: str
) -> None:
    variant = {"factor": "order", "level": "dataset", "equal": "pairs", "steps": 4.0, "skipped": 0.0}
    page = ablation_table([{**variant, "figure": "concept_present", "value": value, "low": low, "high": low}])
    assert list(page.columns[5].cells) == [cell]


def test_a_table_of_other_factors_names_those_that_it_loses(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ablation, "rows", lambda _, variant: [{"factor": variant.factor, "level": variant.level}])
    ablate(ablation, ["order"])
    ablate(ablation, ["order", "modules"])
    assert "the table loses" not in _words(capsys)
    assert set(ablate(ablation, ["modules"])["factor"].to_pylist()) == {"modules"}
    assert "the table loses order: name in --over what it is to keep" in _words(capsys)


def test_it_runs_in_parts(ablation: Ablation, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="--minutes 0 leaves no time"):
        ablate(ablation, ["order"], minutes=0)
    ablation.rows(variants("order", BASE)[0])
    assert set(ablate(ablation, ["order"], minutes=0)["level"].to_pylist()) == {"dataset"}
    printed = _words(capsys)
    assert "measured before: 1 of 2 variants" in printed and "1 variant left" in printed
    table = pq.read_table(ablation.folder / "ablation.parquet")
    assert set(table["level"].to_pylist()) == {"dataset"}
    assert json.loads(table.schema.metadata[NOT_MEASURED]) == ["order shuffled, equal pairs"]
    assert set(ablate(ablation, ["order"])["level"].to_pylist()) == {"dataset", "shuffled"}


def test_a_variant_whose_training_diverges_does_not_stop_the_others(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(*arguments: Any, **more: Any) -> Any:
        if arguments[3].order == "shuffled":
            raise RecipeError("the loss is not finite")
        return erase(*arguments, **more)

    monkeypatch.setattr("ear.ablation.ablation.erase", diverge)
    assert set(ablate(ablation, ["order"])["level"].to_pylist()) == {"dataset"}
    assert "order shuffled is not measured: the loss is not finite" in _words(capsys)


def test_equal_steps_are_not_pursued_for_ever(ablation: Ablation) -> None:
    """A window below the threshold takes no step, so that the number of steps alone would be no bound."""
    most = MOST_WINDOWS * ablation._windows(BASE)
    equal = [variant for variant in variants("window", BASE) if variant.equal_steps]
    assert equal
    for variant in equal:
        recipe = replace(ablation.recipe(variant), max_steps=None)
        assert 0 <= ablation._windows(recipe) - most < ablation._windows(replace(recipe, passes=1))


def test_seeds_are_levels_not_sample_size(store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path) -> None:
    base = replace(BASE, order="shuffled")
    tables = [
        ablate(Ablation(store, tiny, dataset, base, SMALL, seeds, tmp_path / str(len(seeds))), ["modules"]).to_pylist()
        for seeds in ([0], [0, 2])  # 1 happens to shuffle three pairs as 0 does
    ]
    for alone, together in zip(*tables, strict=True):
        assert (alone["seeds"], together["seeds"]) == ([0], [0, 2])
        assert alone["n"] == together["n"]
        assert [alone["value"]] == alone["by_seed"] == together["by_seed"][:1]
    losses = [row for row in tables[1] if row["figure"] == "nll_frozen"]
    assert losses and all(len(set(row["by_seed"])) == 2 for row in losses)
    assert all(row["value"] == pytest.approx(statistics.mean(row["by_seed"])) for row in losses)


def test_each_seed_is_drawn_if_there_are_several(tmp_path: Path) -> None:
    row = {"factor": "order", "level": "dataset", "figure": "concept_present", "equal": "pairs", "value": 0.3}
    row |= {"low": 0.1, "high": 0.5, "original": None, "ceiling": None}
    drawn = []
    for values in ([0.3], [0.2, 0.4]):
        (file,) = plot_factors(pa.Table.from_pylist([row | {"by_seed": values}]), tmp_path)
        drawn.append("each seed" in file.read_text())
    assert drawn == [False, True]


def test_rows_say_what_they_were_measured_on(ablation: Ablation) -> None:
    changed = replace(ablation, seeds=[3, 4], settings=replace(SMALL, split="test"), command="ear ablate --over order")
    table = ablate(changed, ["order"])
    judge = changed._judges.concept_judge
    # The dataset's order needs no randomness, so that further seeds would train the same.
    seeds = {"dataset": [3], "shuffled": [3, 4]}
    for row in table.to_pylist():
        assert (row["concept"], row["base"], row["split"]) == ("church", base_name(BASE), "test")
        assert (row["judge"], row["seeds"]) == (judge, seeds[row["level"]])
    assert pq.read_table(ablation.folder / "ablation.parquet").schema.metadata[COMMAND] == b"ear ablate --over order"
    listed = {row["seeds"] for row in csv.DictReader((ablation.folder / "ablation.csv").read_text().splitlines())}
    assert listed == {"3", "3 4"}


def test_one_word_targets_are_the_bare_term(dataset: Dataset, store: Store) -> None:
    train = VariantData(dataset, store, 3).load("one-word targets").train
    assert {(record.pair.target, record.pair.surrogate) for record in train} == {("church", "hotel")}
    assert len({record.target.seed for record in train}) == 3
    assert all(record.surrogate and record.surrogate.seed == record.target.seed for record in train)
    assert not any(record.target.vq_ids for record in train)  # rendered when they are trained on


def test_written_pairs_have_the_surrogates_that_were_asked_for(dataset: Dataset, store: Store) -> None:
    data = VariantData(dataset, store, 2)
    terms = {
        name: [record.pair.surrogate_term for record in data.load(name).train]
        for name in ("single", "per-term", "free")
    }
    assert all(len(found) == 2 for found in terms.values())
    assert set(terms["single"]) == {"hotel"}
    unfiltered = data.load("unfiltered")
    assert len(unfiltered.train) == 2 and unfiltered.validation == dataset.validation
    assert len({data.load(name).fingerprint for name in ("filtered", "unfiltered", "free", "one-word targets")}) == 4


def test_written_pairs_are_rendered_and_judged_as_the_user_chose(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[tuple[str | None, str]] = []

    def create_judge(concept: Any, model: Any, name: str, options: JudgeOptions, device: str) -> AgreeingJudge:
        created.append((options.weights, device))
        return AgreeingJudge()

    monkeypatch.setattr(filter_stage, "create_judge", create_judge)
    model = load(str(ablation.model.path), device="cpu", dtype="bfloat16")
    chosen = replace(ablation, model=model, settings=replace(SMALL, weights="other.safetensors"))
    written = replace(chosen, base=replace(BASE, pairs=1)).data.load("single")
    images = ConceptRun(Store(ablation.store.root / "ablation" / "single"), ablation.dataset.concept).current(IMAGES)
    assert images.settings["dtype"] == "bfloat16" and set(created) == {("other.safetensors", "cpu")}
    plain = VariantData(ablation.dataset, ablation.store, 1).load("single")
    assert plain.fingerprint == f"{ablation.dataset.fingerprint}-single" != written.fingerprint


def test_more_pairs_are_written_if_too_few_are_accepted(
    dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ear.ablation.data.WRITTEN", (0.5, 2.0))
    assert len(VariantData(dataset, store, 2).load("single").train) == 2


def test_written_pairs_are_rendered_and_filtered_as_the_datasets_own(
    dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[tuple[str, JudgeOptions]] = []

    def create_judge(concept: Any, model: Any, name: str, options: JudgeOptions, device: str) -> AgreeingJudge:
        created.append((name, options))
        return AgreeingJudge()

    monkeypatch.setattr(filter_stage, "create_judge", create_judge)
    other = replace(dataset, judge="nano-object-b", judge_options={"labels": ["church", "mosque"]})
    VariantData(other, store, 1).load("single")
    images = ConceptRun(Store(store.root / "ablation" / "single"), dataset.concept).current(IMAGES)
    assert images.settings["sampling"] == asdict(dataset.sampling) != asdict(Sampling())
    assert {(name, options.labels) for name, options in created} == {("nano-object-b", ("church", "mosque"))}


def test_a_judge_that_cannot_be_created_by_its_name_costs_its_variants_alone(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> None:
        raise JudgeError("unknown judge 'mine'")

    monkeypatch.setattr(filter_stage, "create_judge", none)
    assert {row["level"] for row in ablate(ablation, ["data"]).to_pylist()} == {"filtered", "one-word targets"}
    assert "data free is not measured: unknown judge 'mine'" in _words(capsys)


def test_a_variant_that_cannot_be_trained_does_not_stop_the_others(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ear.ablation.data.in_nano_world", lambda _: False)
    table = ablate(ablation, ["data"]).to_pylist()
    assert {row["level"] for row in table} == {"filtered", "one-word targets"}
    words = _words(capsys)
    assert "data free is not measured: the offline writer writes the pairs 'free', and knows only nano's world" in words
    assert "leave out the factors surrogates and data" in words
    with pytest.raises(DatasetError, match="no variant could be measured"):
        ablate(ablation, ["surrogates"])


def test_a_variant_that_is_no_recipe_does_not_stop_the_others(
    ablation: Ablation, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ablate(replace(ablation, base=replace(PUBLISHED, threshold=0.0)), ["adapter"]).to_pylist()
    assert {row["level"] for row in table} == {"full"}
    assert "adapter lora 4 is not measured: recipe published-ablation: adapter is lora, but" in _words(capsys)


def test_an_unknown_factor_is_one_line(ablation: Ablation) -> None:
    with pytest.raises(SettingsError, match="--over colour: an ablation has the factors window, threshold, layers"):
        ablate(ablation, ["colour"])
    with pytest.raises(DatasetError, match="the kind 'filtered' has only 3 pairs, and each variant needs 9: lower"):
        VariantData(ablation.dataset, ablation.store, 9).load("filtered")


def _words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def _levels(found: Sequence[Variant]) -> list[str]:
    return [variant.level for variant in found]


def test_a_recipe_without_retention_is_given_that_of_on_policy_at_each_weight() -> None:
    recipes = [replace(PAPER, **variant.options) for variant in variants("retention-weight", PAPER)]
    assert [recipe.retention for recipe in recipes] == [0.1, 1, 10]
    assert {recipe.rehearsed_per_step for recipe in recipes} == {ON_POLICY.rehearsed_per_step}


def test_retained_concepts_counts_what_is_rehearsed() -> None:
    assert _levels(variants("retained-concepts", PAPER)) == ["0", "3", "9", "27"]
    recipes = [replace(PAPER, **variant.options) for variant in variants("retained-concepts", PAPER)]
    assert [recipe.retention for recipe in recipes] == [0, *[ON_POLICY.retention] * 3]
