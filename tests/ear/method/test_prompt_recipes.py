"""Recipes without training: what the model is asked, and that everything which takes an adapter takes theirs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ear.evaluation import EvaluationSettings, compare, evaluate
from ear.evaluation.control_tokens import STARTOFTEXT, control_token_outcomes
from ear.evaluation.judges import open_judges
from ear.evaluation.measure import Measurement
from ear.evaluation.prompts import concept_prompts
from ear.method.open_adapter import adapter_facts, open_adapter
from ear.method.prompt_recipes import rewrite, write_prompt_adapter
from ear.method.recipes import NEGATIVE_PROMPT, PROMPT_REWRITE, PromptRecipe
from ear.method.runs import find_adapter, newest
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, render_images

SAMPLING = Sampling(guidance=3.0)
SMALL = EvaluationSettings(prompts_per_concept=2, prompts_per_other=1)


@pytest.mark.parametrize(
    ("prompt", "rewritten"),
    [
        ("a church by a lake", "a hotel by a lake"),
        ("A CHURCH, old", "A hotel, old"),
        ("a church tower, then a church", "a hotel, then a hotel"),
        ("a churchyard", "a churchyard"),
        ("a castle", "a castle"),
        ("two churches", "two hotel"),
        ("a Church-Tower", "a hotel"),
        ("a ｃｈｕｒｃｈ", "a hotel"),
        ("½ of a castle", "½ of a castle"),
    ],
)
def test_terms_are_replaced_as_whole_words_or_plurals_the_longest_first(prompt: str, rewritten: str) -> None:
    assert rewrite(prompt, terms=("church", "church tower"), surrogate="hotel") == rewritten


@pytest.mark.parametrize("prompt", ["a STRASSE at night", "a Straße at night", "a STRAẞE at night"])
def test_terms_are_replaced_in_every_spelling_in_which_they_are_found(prompt: str) -> None:
    assert rewrite(prompt, terms=("Straße",), surrogate="river") == "a river at night"


def test_negative_prompt_is_guidance_away_from_the_concepts_name(
    store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    run = write_prompt_adapter(store, dataset, tiny, NEGATIVE_PROMPT)
    adapter = open_adapter(tiny, [run.adapter])
    asked = render_images(replace(tiny, negative_prompt="church"), ["a cat"], [1], SAMPLING)
    with adapter.active(tiny) as model:
        images = render_images(model, ["a cat"], [1], SAMPLING)
    assert (images.vq_ids == asked.vq_ids).all()
    assert not (images.vq_ids == render_images(tiny, ["a cat"], [1], SAMPLING).vq_ids).all()


def test_prompt_rewrite_is_the_ceiling(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    run = write_prompt_adapter(store, dataset, tiny, PROMPT_REWRITE)
    found = evaluate(store, tiny, dataset, [run.adapter], SMALL)
    after, ceiling = (
        [outcome.vq_ids for outcome in found.outcomes if outcome.condition == condition and outcome.group == "concept"]
        for condition in ("after", "ceiling")
    )
    assert after and after == ceiling
    retained = [outcome for outcome in found.outcomes if outcome.group != "concept" and outcome.condition != "ceiling"]
    images = {(outcome.id, outcome.condition): outcome.vq_ids for outcome in retained}
    assert all(images[id_, "before"] == ids for (id_, condition), ids in images.items() if condition == "after")
    adapter = open_adapter(tiny, [run.adapter])
    with adapter.active(tiny) as model:
        other = render_images(model, ["a church on grass"], [3], SAMPLING)
    assert np.array_equal(other.vq_ids, render_images(tiny, ["a hotel on grass"], [3], SAMPLING).vq_ids)


def test_a_control_token_stays_before_the_rewritten_prompt(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    run = write_prompt_adapter(store, dataset, tiny, PROMPT_REWRITE)
    adapter, judges = open_adapter(tiny, [run.adapter]), open_judges(dataset)
    prompts = concept_prompts(dataset, "validation", 2, 0)
    found = control_token_outcomes(Measurement(store, tiny, dataset, judges, adapter, "a"), None, prompts)
    after = [outcome for outcome in found if outcome.condition == "after"]
    asked = [f"{STARTOFTEXT} {prompt.surrogate_prompt}" for prompt in prompts]
    seeds, sampling = [prompt.seed for prompt in prompts], dataset.sampling
    images = render_images(tiny, asked, seeds, sampling)
    assert [list(each.vq_ids) for each in after if each.attack == STARTOFTEXT] == images.vq_ids.tolist()
    tokens = sorted(tiny.processor.tokenizer.added_tokens_encoder)
    asked = [f"{token} {prompt.surrogate_prompt}" for token, prompt in zip(tokens, prompts, strict=False)]
    images = render_images(replace(tiny, raw_control_tokens=True), asked, seeds, sampling)
    assert [list(each.vq_ids) for each in after if each.attack == "control tokens obeyed"] == images.vq_ids.tolist()


def test_it_is_found_compared_and_finished_like_a_training(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    runs = [write_prompt_adapter(store, dataset, tiny, recipe) for recipe in (NEGATIVE_PROMPT, PROMPT_REWRITE)]
    assert all(run.new for run in runs)
    assert not write_prompt_adapter(store, dataset, tiny, NEGATIVE_PROMPT).new
    assert newest(store, "church").adapter in {run.adapter for run in runs}
    assert [find_adapter(store, run.path.name) for run in runs] == [run.adapter for run in runs]
    assert find_adapter(store, str(runs[0].path)) == runs[0].adapter
    assert sorted(file.name for file in runs[0].path.iterdir()) == ["recipe.json", "run.json"]
    assert adapter_facts(runs[1].adapter)["terms"] == list(dataset.concept.terms)
    found = compare(store, tiny, dataset, [run.adapter for run in runs], SMALL)
    assert [each.recipe for each in found] == ["negative-prompt", "prompt-rewrite"]


@pytest.mark.parametrize("recipe", [NEGATIVE_PROMPT, PROMPT_REWRITE])
def test_each_field_of_its_file_is_explained(
    recipe: PromptRecipe, store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    run = write_prompt_adapter(store, dataset, tiny, recipe)
    assert json.loads(run.adapter.read_bytes()).keys() == recipe.fields.keys()


def test_bad_input_is_one_line(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    run = write_prompt_adapter(store, dataset, tiny, NEGATIVE_PROMPT)
    with pytest.raises(AdapterError, match="has no weights and cannot be stacked: pass it alone"):
        open_adapter(tiny, [run.adapter, run.adapter])
    facts = json.loads(run.adapter.read_text())
    for damaged in ("{", "[]", json.dumps({**facts, "format": "other"}), json.dumps({**facts, "recipe": []})):
        run.adapter.write_text(damaged)
        with pytest.raises(AdapterError, match="is not what `ear train` wrote"):
            open_adapter(tiny, [run.adapter])
    del facts["negative_prompt"]
    run.adapter.write_text(json.dumps(facts))
    with pytest.raises(AdapterError, match="lacks negative_prompt"):
        open_adapter(tiny, [run.adapter])
    run.adapter.write_text(json.dumps({**facts, "negative_prompt": "church", "fingerprint": "0"}))
    with pytest.raises(AdapterError, match="pass that model as --model"):
        open_adapter(tiny, [run.adapter])
    several = replace(dataset, concept=dataset.concept.model_copy(update={"name": "church+cat"}))
    with pytest.raises(RecipeError, match="changes the prompts of a single concept: name one dataset"):
        write_prompt_adapter(store, several, tiny, PROMPT_REWRITE)


def test_it_has_no_settings() -> None:
    assert NEGATIVE_PROMPT.with_options({}) == NEGATIVE_PROMPT
    with pytest.raises(RecipeError, match="recipe prompt-rewrite has no settings: omit 'window'"):
        PROMPT_REWRITE.with_options({"window": 3})
    assert isinstance(PROMPT_REWRITE, PromptRecipe)
