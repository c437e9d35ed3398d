"""From a dataset and a recipe to finished runs: what is trained, and what a user gets to know."""

import json
from dataclasses import replace

import pytest
import torch

from ear.method import retention
from ear.method.erase import erase
from ear.method.log import TrainingLog
from ear.method.recipe import Recipe
from ear.method.recipes import DEFAULT, PAPER, PUBLISHED
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import JudgeError, RecipeError, SettingsError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.judges import JudgeOptions
from ecgvf.pairs import captions
from ecgvf.render import batches
from tests.ear.conftest import AgreeingJudge

SMALL = replace(DEFAULT, rollouts=2, rollout_epochs=1, images_per_step=2, passes=1, rehearsed=4, rehearsed_per_step=2)


def test_the_default_recipe_trains_on_policy_and_records_what_it_rehearsed(
    store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    [run] = erase(store, [dataset], tiny, SMALL, [0])
    assert run.path.name.startswith("on-policy-")
    assert run.facts["steps"] == 2 and "church" not in run.facts["rehearsed_concepts"]
    assert run.facts["recipe"]["trajectory"] == "rollout"
    assert erase(store, [dataset], tiny, SMALL, [0]) == [run]


def test_a_judge_of_words_that_cannot_be_opened_is_found_before_anything_is_rendered(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered"))
    painted = replace(dataset, concept=concepts.find("van-gogh"), judge="style")
    with pytest.raises(JudgeError, match="judge style needs"):
        erase(store, [painted], tiny, replace(SMALL, rehearsed_words=2), [0])


@pytest.mark.parametrize(("model", "filter_judge"), [(None, "resnet50"), ("janus-nano", "clip")])
def test_other_weights_of_the_judge_of_words_train_another_adapter(
    model: str | None,
    filter_judge: str,
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[str, str | None, str]] = []

    def create_judge(concept: Concept, model: str, name: str, options: JudgeOptions, device: str) -> AgreeingJudge:
        opened.append((name, options.weights, device))
        judge = AgreeingJudge([False] * 2)
        judge.weights_hash = str(options.weights)
        return judge

    monkeypatch.setattr(retention, "create_judge", create_judge)
    monkeypatch.setattr(retention, "vocabulary", lambda _: ["gadget"])
    filtered = replace(dataset, model=model or dataset.model, judge=filter_judge)
    words = replace(SMALL, rehearsed_words=2)
    first, again, other = (
        erase(store, [filtered], tiny, words, [0], weights=weights)[0] for weights in ("V1", "V1", "V2")
    )
    assert again == first and not again.new and other.path != first.path
    assert opened == [(filter_judge, "V1", "cpu")] * 2 + [(filter_judge, "V2", "cpu")]


def test_outside_nanos_world_other_captions_train_another_adapter(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ear.method.erase._Erasure.train_seed", lambda _, run, seed: run)

    def names(recipe: Recipe) -> list[str]:
        return [erase(store, [each], tiny, recipe, [0])[0].path.name for each in (dataset, outside)]

    outside = replace(dataset, judge="resnet50")
    before, unrehearsed = names(SMALL), names(PAPER)
    monkeypatch.setattr(captions, "file_hash", lambda: "edited")
    after = names(SMALL)
    assert after[0] == before[0] and after[1] != before[1]
    assert names(PAPER) == unrehearsed


def test_a_run_records_its_log(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    [run] = erase(store, [dataset], tiny, SMALL, [0])
    facts = json.loads((run.path / "run.json").read_bytes())
    assert run.facts == facts
    assert facts["retention_loss_last"] == pytest.approx(facts["log"]["retention_loss"][-1])
    assert TrainingLog.from_json(facts["log"]).json() == facts["log"]


def test_a_recipe_without_randomness_is_trained_once(
    store: Store, dataset: Dataset, tiny: JanusModel, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = erase(store, [dataset], tiny, PAPER, [3, 1, 2])
    assert [run.facts["seed"] for run in runs] == [3]
    assert "recipe paper is deterministic: only seed 3 is trained" in " ".join(capsys.readouterr().err.split())


def test_a_training_without_a_step_says_so(
    store: Store, dataset: Dataset, tiny: JanusModel, capsys: pytest.CaptureFixture[str]
) -> None:
    [run] = erase(store, [dataset], tiny, replace(SMALL, threshold=1e9), [0])
    assert run.facts["steps"] == 0
    assert "no step was taken, and the adapter changes nothing" in " ".join(capsys.readouterr().err.split())


def test_a_model_with_other_layers_is_one_line(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ear.method.adapter.module_names", lambda *_: ["layers.0.mixer.in_proj"])
    with pytest.raises(RecipeError, match=r"has no layer layers\.0\.mixer\.in_proj: recipes tune modules"):
        erase(store, [dataset], tiny, SMALL, [0])


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (SMALL, "--option checkpointing=layers, --option rollouts=1, "),
        (replace(SMALL, adapter="full", checkpointing="layers"), "--option adapter=lora, --option rollouts=1, "),
        (PUBLISHED, ""),
    ],
    ids=["lora", "full", "published"],
)
def test_a_training_that_does_not_fit_in_memory_names_the_options_that_need_less(
    recipe: Recipe, options: str, store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("ear.method.erase.training_loop", full)
    with pytest.raises(SettingsError, match=f"memory to train: use {options}a smaller model or another --device$"):
        erase(store, [dataset], tiny, recipe, [0])
    recipe.with_options(dict(option.removeprefix("--option ").split("=") for option in options.split(", ") if option))
