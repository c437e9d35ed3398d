"""Several concepts in one adapter: what is trained on, what is retained, and how its evaluation finds its way."""

from dataclasses import replace

import pytest

import ear
from ear.evaluation import EvaluationSettings, evaluate
from ear.method.erase import resolve
from ear.method.recipes import ON_POLICY, ON_POLICY_WORDS, PAPER
from ear.method.several import combine, pairs_in_all
from ear.retained_concepts import retained_concepts
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, RecipeError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling


@pytest.fixture
def cat(dataset: Dataset) -> Dataset:
    """A dataset of another concept, with the images of the first, of which it has fewer."""
    records = [
        replace(record, pair=replace(record.pair, record_id=f"cat-{index}", target="a cat", surrogate="a turtle"))
        for index, record in enumerate(dataset.train[:2])
    ]
    return replace(dataset, concept=concepts.find("cat"), fingerprint="cat", train=tuple(records))


def test_pairs_come_by_turns_and_nothing_erased_is_retained(dataset: Dataset, cat: Dataset) -> None:
    both = combine([dataset, cat])
    assert both.concept.name == "church+cat"
    assert [record.pair.target == "a cat" for record in both.train] == [False, True, False, True, False]
    assert len({dataset.fingerprint, cat.fingerprint, both.fingerprint}) == 3
    retained = {concept.name: concept for concept in retained_concepts(both)}
    assert not retained.keys() & {"church", "cat"}
    assert retained["castle"].neighbour and retained["hotel"].surrogate and retained["turtle"].surrogate
    assert combine([dataset]) is dataset


def test_what_one_adapter_erases_is_not_retained_under_another_name(
    dataset: Dataset, store: Store, tiny: JanusModel
) -> None:
    fort = concepts.find("castle").model_copy(update={"name": "fort", "terms": ("fort",)})
    files = [
        ear.train(each, replace(PAPER, pairs=1), store=store, device="cpu").adapter
        for each in (dataset, replace(dataset, concept=fort, fingerprint="fort"))
    ]
    found = evaluate(store, tiny, dataset, files, EvaluationSettings(prompts_per_concept=1, family="building"))
    assert "bank" in found.families and "castle" not in found.families


def test_one_adapter_erases_both_and_is_measured_on_each(
    dataset: Dataset, cat: Dataset, store: Store, tiny: JanusModel
) -> None:
    run = ear.train([dataset, cat], replace(PAPER, pairs=3), store=store, device="cpu")
    assert run.path.parent == store.root / "church+cat" / "ear"
    assert len(run.facts["pairs"]) == 5 and store.last_concept() == "church"
    found = evaluate(store, tiny, dataset, [run.adapter], EvaluationSettings(prompts_per_concept=1))
    assert found.concept == "church" and "cat" not in found.families
    assert ear.train([dataset, cat], replace(PAPER, pairs=3), store=store, device="cpu") == run


def test_each_concept_has_up_to_the_recipes_pairs(
    dataset: Dataset, cat: Dataset, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    one_cat = replace(cat, train=cat.train[:1])
    run = ear.train([dataset, one_cat], replace(PAPER, pairs=2), store=store, device="cpu")
    expected = [dataset.train[0], one_cat.train[0], dataset.train[1]]
    assert run.facts["pairs"] == [record.pair.record_id for record in expected]
    noted = " ".join(capsys.readouterr().err.split())
    assert "training on 1 pair of cat, all that its dataset has" in noted and "pairs of church" not in noted
    assert pairs_in_all([dataset, cat], 2) == 4 and pairs_in_all([dataset], 50) == 50


def test_windows_that_differ_are_not_those_of_the_first_concept(
    dataset: Dataset, cat: Dataset, tiny: JanusModel
) -> None:
    short = replace(cat, concept=cat.concept.model_copy(update={"window": 24}))
    for datasets in ([dataset, short], [short, dataset]):
        with pytest.raises(RecipeError, match="recipe paper takes each concept's own window, and these have 24 and 48"):
            resolve(PAPER, datasets, tiny)
        assert resolve(PAPER.with_options({"window": 72}), datasets, tiny).window == 2
    assert resolve(PAPER, [dataset, cat], tiny).window == 1


def test_words_are_rehearsed_only_if_the_datasets_have_one_judge(
    dataset: Dataset, cat: Dataset, tiny: JanusModel
) -> None:
    other = replace(cat, judge_options={"top_k": 3})
    with pytest.raises(RecipeError, match=r"on-policy-words looks .* differ in name or options: .* rehearsed_words=0"):
        resolve(ON_POLICY_WORDS, [dataset, other], tiny)
    assert resolve(ON_POLICY_WORDS, [dataset, cat], tiny).recipe.rehearsed_words
    assert not resolve(ON_POLICY, [dataset, other], tiny).recipe.rehearsed_words


def test_what_one_concept_erases_is_no_near_miss_of_another(dataset: Dataset, cat: Dataset) -> None:
    castle = replace(dataset, concept=concepts.find("castle"))
    near = cat.concept.model_copy(update={"near_labels": {"imagenet": ("castle", "lynx")}})
    for datasets in ([castle, replace(cat, concept=near)], [replace(cat, concept=near), castle]):
        both = combine(datasets).concept
        assert set(both.near_labels["imagenet"]) == {"palace", "monastery", "lynx"}


def test_what_cannot_be_combined_is_one_line(dataset: Dataset, cat: Dataset) -> None:
    with pytest.raises(DatasetError, match="names 'church' twice"):
        combine([dataset, dataset])
    with pytest.raises(DatasetError, match="different models or sampling"):
        combine([dataset, replace(cat, sampling=Sampling(guidance=9.0))])
    painter = replace(cat, concept=concepts.find("van-gogh"))
    with pytest.raises(DatasetError, match=r"'van-gogh' is a style and 'church' is not.* stack them"):
        combine([dataset, painter])
    hotel = cat.concept.model_copy(update={"name": "hotel", "terms": ("hotel",)})
    to_kitten = replace(dataset.train[0], pair=replace(dataset.train[0].pair, surrogate_term="two kittens"))
    with pytest.raises(
        DatasetError, match=r"'church' is to become 'two kittens', which is erased .* --surrogates single"
    ):
        combine([replace(dataset, train=(*dataset.train[1:], to_kitten)), cat])
    with pytest.raises(
        DatasetError, match=r"'church' is to become 'hotel', which is erased .* name another first surrogate"
    ):
        combine([dataset, replace(cat, concept=hotel)])
