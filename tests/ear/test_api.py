"""``import ear``: the job in two calls, and misuse in one line. tests/test_api.py locks the public names."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ear
from ear.method.recipes import DEFAULT
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, DatasetError, EcgvfError, JudgeError, ModelError, RecipeError, SettingsError
from ecgvf.core.store import Store

FAST = {"passes": 1, "rollouts": 2, "images_per_step": 2, "rehearsed": 4, "rehearsed_per_step": 2}


def test_the_public_names_are_listed_and_are_those_of_what_they_name() -> None:
    assert set(ear.__all__) <= set(dir(ear))
    assert all(getattr(ear, name).__name__ == name for name in ear.__all__)


def test_train_and_evaluate(store: Store, tmp_path: Path) -> None:
    dataset = ear.load_dataset("ecgvf/church", store=store.root)
    adapter = ear.train(dataset, store=store, options=FAST, seed=1, device="cpu")
    assert adapter.new
    assert adapter.adapter.is_file()
    assert adapter.facts["seed"] == 1
    again = ear.train("ecgvf/church", replace(DEFAULT, **FAST), store=store, seed=1, device="cpu")
    assert again == adapter
    assert not again.new

    settings: dict[str, Any] = {"store": store.root, "prompts_per_concept": 2, "family": "building", "device": "cpu"}
    evaluation = ear.evaluate(dataset, adapter, **settings)
    assert isinstance(evaluation, ear.Evaluation)
    assert evaluation.adapters == (adapter.adapter,)
    assert evaluation.erasure.after.n == 2
    assert "neighbours" in str(evaluation)
    assert evaluation.save_contact_sheet(tmp_path / "sheet.png").is_file()
    # The newest of the store, and by the run's name: the same adapter.
    assert ear.evaluate("ecgvf/church", **settings) == evaluation
    assert ear.evaluate("ecgvf/church", adapter.path.name, **settings) == evaluation
    assert ear.evaluate(dataset, [adapter, adapter.path], **settings).adapters == (adapter.adapter,) * 2


def test_without_a_store_the_default_one_is_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGVF_STORE", str(store.root))
    adapter = ear.train("ecgvf/church", options=FAST, device="cpu")
    assert adapter.path.is_relative_to(store.root)


def test_a_training_of_another_recipe_is_another_run(store: Store, dataset: Dataset) -> None:
    fast = replace(DEFAULT, **FAST)
    first = ear.train(dataset, fast, store=store, device="cpu")
    second = ear.train(dataset, fast, options={"guidance": 0.5}, store=store, device="cpu")
    assert first != second
    assert second.facts["recipe"]["guidance"] == 0.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda dataset, store: ear.load_dataset(3), DatasetError, "3 is not a dataset: pass an ecgvf.Dataset, or"),
        (
            lambda dataset, store: ear.train("church", store=store),
            DatasetError,
            "there is no dataset, folder or file 'church'",
        ),
        (lambda dataset, store: ear.train(None, store=store), DatasetError, "None is not a dataset"),
        (lambda dataset, store: ear.train([], store=store), DatasetError, "there is no dataset to train on"),
        (lambda dataset, store: ear.train(dataset, "papr", store=store), RecipeError, "unknown recipe 'papr'"),
        (
            lambda dataset, store: ear.train(dataset, 3, store=store),
            RecipeError,
            "3 is not a recipe: pass an ear.Recipe",
        ),
        (
            lambda dataset, store: ear.train(dataset, replace(DEFAULT, name="my-ablation"), store=store),
            RecipeError,
            "recipe my-ablation: .* choose a name without -ablation",
        ),
        (lambda dataset, store: ear.train(dataset, options={"colour": 1}), RecipeError, "no setting 'colour'"),
        (
            lambda dataset, store: ear.train(dataset, seed=-1, store=store),
            SettingsError,
            "--seed -1: it must be a whole",
        ),
        (lambda dataset, store: ear.train(dataset, model="janus-giga", store=store), ModelError, "unknown model"),
        (
            lambda dataset, store: ear.train(dataset, "on-policy-words", weights="V1", store=store, device="cpu"),
            JudgeError,
            "judge nano-object-a has built-in weights",
        ),
        (lambda dataset, store: ear.train(dataset, device="gpu", store=store), EcgvfError, "gpu"),
        (lambda dataset, store: ear.evaluate(dataset, store=store), AdapterError, "run `ear train"),
        (lambda dataset, store: ear.evaluate(dataset, "nowhere", store=store), AdapterError, "no adapter at nowhere"),
        (lambda dataset, store: ear.evaluate(dataset, 3, store=store), AdapterError, "3 is not an adapter"),
        (lambda dataset, store: ear.evaluate(dataset, [], store=store), AdapterError, r"\[\] is not an adapter"),
        (
            lambda dataset, store: ear.evaluate(dataset, prompts_per_concept=0),
            SettingsError,
            "--prompts-per-concept 0: it must be at least 1",
        ),
    ],
)
def test_misuse_raises_one_line(
    store: Store, dataset: Dataset, call: Any, error: type[EcgvfError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        call(dataset, store)
    assert "\n" not in str(raised.value)
