from dataclasses import replace
from typing import Any

import pytest
import torch

from ear.method import retention, stored_tokens
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, WINDOWED_KL
from ear.method.retention import RehearsalSet, count_rendered, rehearsal_set
from ear.method.vocabulary import word_prompts, words_of
from ear.retained_concepts import RetainedConcept, rehearsal_prompts
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError, JudgeError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, PromptNoise, hidden_states, num_threads
from ecgvf.render import batches
from tests.ear.conftest import AgreeingJudge, interrupted_after


def rehearsing(images: int, **settings: Any) -> Recipe:
    """A recipe that rehearses ``images`` images of all retained concepts."""
    return replace(WINDOWED_KL, rehearsed=images, **settings)


def test_the_rehearsal_set_is_rendered_once(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_tokens, "SHARD", 3)
    first = rehearsal_set(store, tiny, dataset, rehearsing(7))
    assert list(first.prompts) == [prompt for _, prompt in rehearsal_prompts(dataset, 7)]
    assert first.vq_ids.shape == (7, 16)
    assert first.frozen_states.shape == (7, 16, 32)
    expected = hidden_states(tiny, first.prompts[:1], first.vq_ids[:1])
    torch.testing.assert_close(first.frozen_states[:1], expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    again = rehearsal_set(store, tiny, dataset, rehearsing(7))
    assert torch.equal(first.vq_ids, again.vq_ids)
    assert torch.equal(first.frozen_states, again.frozen_states)


def test_an_interrupted_rehearsal_set_resumes_in_its_circumstances(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rehearsal_set(store, tiny, replace(dataset, run_seed=1), rehearsing(6))
    monkeypatch.setattr(stored_tokens, "SHARD", 2)
    render = batches.render_images
    monkeypatch.setattr(batches, "render_images", interrupted_after(2, render))
    second = replace(dataset, run_seed=2)
    monkeypatch.setattr(JanusModel, "default_batch_size", lambda _: 2)
    with num_threads(1), pytest.raises(KeyboardInterrupt):
        rehearsal_set(store, tiny, second, rehearsing(6))
    circumstances: list[tuple[object, int]] = []

    def recorded(*args: object, **settings: object) -> object:
        circumstances.append((settings["batch_size"], torch.get_num_threads()))
        return render(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "render_images", recorded)
    monkeypatch.setattr(JanusModel, "default_batch_size", lambda _: 1)
    with num_threads(2):  # differs, as does the batch size, and does not count any more
        assert rehearsal_set(store, tiny, second, rehearsing(6)).vq_ids.shape == whole.vq_ids.shape
    assert circumstances == [(2, 1)]


def test_outside_nano_the_captions_that_ship_are_rehearsed(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    outside = replace(dataset, judge="resnet50")
    found = rehearsal_set(store, tiny, outside, rehearsing(6, rehearsed_concepts="half"))
    assert found.prompts == tuple(prompt for _, prompt in rehearsal_prompts(outside, 6, "half"))


def test_of_a_retain_split_the_accepted_images_are_rehearsed(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))

    def about(name: str, number: int) -> AcceptedRecord:
        record = dataset.train[number]
        pair = replace(record.pair, split="retain", target=f"{name} {number}", retained_concept=name, surrogate=None)
        return AcceptedRecord(pair, record.target, None)

    retain = (about("beacon", 0), about("beacon", 1), about("castle", 2))
    outside = replace(dataset, judge="resnet50", retain=retain)
    found = rehearsal_set(store, tiny, outside, rehearsing(200))
    (prompt,) = found.prompts  # the other is for validation, and castle is a neighbour
    index = int(prompt.removeprefix("beacon "))
    assert found.vq_ids.tolist() == [list(dataset.train[index].target.vq_ids)]
    with pytest.raises(DatasetError, match="nothing to rehearse"):
        rehearsal_set(store, tiny, replace(outside, retain=retain[2:]), rehearsing(200))


def test_accepted_images_without_tokens_are_rendered_again(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    record = dataset.train[0]
    kept = AcceptedRecord(
        replace(record.pair, split="retain", retained_concept="beacon", surrogate=None), record.target, None
    )
    without = replace(kept, target=replace(kept.target, vq_ids=()))
    found = [
        rehearsal_set(store, tiny, replace(dataset, judge="resnet50", retain=(each,)), rehearsing(4)).vq_ids
        for each in (kept, without)
    ]
    assert found[0].tolist() == [list(record.target.vq_ids)] and torch.equal(found[0], found[1])


def test_of_the_prompts_with_other_words_those_that_show_the_concept_are_left_out(
    store: Store, tiny: JanusModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = AgreeingJudge([True, False, True, False, False, False])
    words = ["gadget", "ripple", "between"]
    # The tiny model's are bytes. Castles and mosques are measured without rehearsal.
    monkeypatch.setattr(retention, "vocabulary", lambda _: ["Castles", *words, "mosque"])
    texts = word_prompts(words, [record.pair for record in dataset.train], 6, dataset.run_seed)
    assert len(texts) == 6
    whole = rehearsal_set(store, tiny, dataset, rehearsing(4, rehearsed_words=6), judge)
    without = rehearsal_set(store, tiny, dataset, rehearsing(4))
    assert whole.prompts == (*without.prompts, texts[1], *texts[3:])
    assert torch.equal(whole.vq_ids[:4], without.vq_ids)
    assert whole.frozen_states.shape == (8, 16, 32)


def test_prompts_that_name_the_concept_are_left_out_whatever_the_judge_sees(
    store: Store, tiny: JanusModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = AgreeingJudge([False] * 12)
    words = ["gadget", "Basilica", "churches"]  # one of them is an unseen term
    monkeypatch.setattr(retention, "vocabulary", lambda _: words)
    texts = word_prompts(words, [record.pair for record in dataset.train], 12, dataset.run_seed)
    found = rehearsal_set(store, tiny, dataset, rehearsing(4, rehearsed_words=12), judge).prompts[4:]
    assert found == tuple(text for text in texts if "gadget" in text) and 0 < len(found) < 12


def test_an_image_that_the_judge_fails_on_is_one_line(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("judge nano-object-a returned NaN or infinity")

    judge = AgreeingJudge()
    monkeypatch.setattr(judge, "predict", fail)
    monkeypatch.setattr(retention, "vocabulary", lambda _: ["gadget"])
    with pytest.raises(JudgeError, match=r"judge nano-object-a fails on the image of '.*gadget.*': .* returned NaN"):
        rehearsal_set(store, tiny, dataset, rehearsing(4, rehearsed_words=1), judge)


def test_no_word_names_what_is_measured_without_rehearsal() -> None:
    concepts = [RetainedConcept(name, "building", neighbour=True) for name in ("church", "mosque", "school", "house")]
    words = set[str]().union(*map(words_of, concepts))
    assert {"church", "cathedral", "basilica", "mosque", "school", "house", "iglesia"} <= words
    assert {"pencil", "sketch"} <= words_of(RetainedConcept("pencil-sketch", "style", neighbour=True))
    assert words_of(RetainedConcept("golden retriever", "animal", True, captions=("a dog",))) == {"golden", "retriever"}


def test_batches_depend_on_seed_and_step_alone() -> None:
    images = RehearsalSet(tuple("abcdefgh"), torch.zeros(8, 1), torch.zeros(8, 1, 1))
    assert images.batch(1, 2, 3) == images.batch(1, 2, 3)
    assert sorted(images.batch(1, 2, 8)) == list(range(8))
    assert len({tuple(images.batch(seed, step, 8)) for seed in range(2) for step in range(2)}) == 4


def test_noise_is_each_images_own_whatever_its_batch(tiny: JanusModel) -> None:
    prompts = ["a cat on grass", "a boat by the sea at night", "a tree"]
    ids = torch.randint(0, 32, (3, 16), generator=torch.Generator().manual_seed(9))
    noise = PromptNoise(1.0, [3, 5, 7])
    together = hidden_states(tiny, prompts, ids, noise=noise)
    for index, prompt in enumerate(prompts):
        alone = hidden_states(tiny, [prompt], ids[index : index + 1], noise=PromptNoise(1.0, [noise.seeds[index]]))
        torch.testing.assert_close(together[index], alone[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, hidden_states(tiny, prompts, ids), atol=1e-3)
    silent = hidden_states(tiny, prompts, ids, noise=PromptNoise(0.0, [1, 2, 3]))
    assert torch.equal(silent, hidden_states(tiny, prompts, ids))


def test_the_frozen_model_sees_the_same_noise(store: Store, tiny: JanusModel, dataset: Dataset) -> None:
    without = rehearsal_set(store, tiny, dataset, rehearsing(20))
    with_noise = rehearsal_set(store, tiny, dataset, rehearsing(20, rehearsal_noise=1.0))
    assert with_noise.prompts == without.prompts and torch.equal(with_noise.vq_ids, without.vq_ids)
    assert not torch.allclose(with_noise.frozen_states, without.frozen_states, atol=1e-3)
    assert with_noise.loss(tiny, [0, 17, 19]).item() < 1e-5  # across batches


def test_images_of_a_retain_split_are_not_rendered(dataset: Dataset) -> None:
    recipe = replace(ON_POLICY, rehearsed=5, rehearsed_words=7)
    outside = replace(dataset, model="janus-pro-1b", judge="resnet50")
    assert count_rendered(replace(outside, retain=()), recipe) == 7
    assert count_rendered(outside, recipe) == count_rendered(replace(dataset, retain=()), recipe) == 12
    assert count_rendered(outside, replace(recipe, retention=0.0)) == 0
