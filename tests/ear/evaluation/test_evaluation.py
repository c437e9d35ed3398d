"""Before and after with one seed per prompt, judged by another judge than the filter's."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ear.dataset import find_dataset
from ear.evaluation import Evaluation, EvaluationSettings, compare, evaluate, images, robustness
from ear.evaluation import evaluation as evaluation_module
from ear.evaluation import judges as evaluation_judges
from ear.evaluation import prompts as prompts_module
from ear.evaluation.attacks.kinds import KINDS
from ear.evaluation.comparison import same_tasks
from ear.evaluation.contact_sheets import write_contact_sheet
from ear.evaluation.figures import GROUPS
from ear.evaluation.judges import EvaluationJudges, open_judges
from ear.evaluation.measure import Measurement
from ear.evaluation.outcomes import selected
from ear.evaluation.prompts import EvaluationPrompt, concept_prompts, prompts_by_seed
from ear.evaluation.questions import nano_questions
from ear.evaluation.teacher_forcing import negative_log_likelihood
from ear.evaluation.understanding import Answer
from ear.method.open_adapter import AnyAdapter, files_hash, open_adapter
from ear.retained_concepts import rehearsed_concepts, retained_concepts
from ecgvf import judges
from ecgvf.core import concepts, openings, seeds
from ecgvf.core.contact_sheet import GAP, HEADER, SIDE, TEXT_WIDTH
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, DatasetError, JudgeError, SettingsError
from ecgvf.core.png import decode
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.janus import JanusModel, Sampling, num_threads
from ecgvf.judges import Criterion, JudgeOptions
from ecgvf.judges.judge import Prediction
from ecgvf.publish.export import export
from ecgvf.render import batches
from tests.ear.conftest import AgreeingJudge, BrightnessJudge, brightness_judge, interrupted_after
from tests.ear.random_adapter import random_adapter, save_adapter
from tests.ecgvf.judges.photographs import photograph

SMALL = EvaluationSettings(prompts_per_concept=2, prompts_per_other=1)


def test_evaluation_seeds_are_never_those_of_the_filter(dataset: Dataset) -> None:
    filtered = {record.target.seed for record in (*dataset.train, *dataset.validation, *dataset.test)}
    prompts = concept_prompts(dataset, "validation", 5, seed=0)
    assert [prompt.prompt for prompt in prompts] == [f"a church by lake {number}" for number in (3, 4, 3, 4, 3)]
    assert len({prompt.seed for prompt in prompts}) == 5
    assert not filtered & {prompt.seed for prompt in prompts}
    assert prompts[:2] == concept_prompts(dataset, "validation", 2, seed=0)
    assert prompts[0].seed == seeds.derive(0, f"{dataset.validation[0].pair.record_id}/0", "evaluate")


@pytest.mark.parametrize(("count", "different"), [(1, 1), (2, 2), (5, 2)])
def test_every_prompt_that_is_measured_is_measured_with_as_many_seeds(
    dataset: Dataset, count: int, different: int
) -> None:
    main, more = (
        concept_prompts(dataset, "validation", count, seed=0),
        prompts_by_seed(dataset, "validation", count, 4, seed=0),
    )
    assert len(more) == len({prompt.seed for prompt in more}) == 4 * different
    assert {prompt.id for prompt in more} == {prompt.id for prompt in main}
    assert all(prompt in more for prompt in main)


@pytest.mark.parametrize("task", ["evaluate", "attack"])
def test_a_device_without_memory_is_one_line(
    task: str, store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    measured = evaluation_module if task == "evaluate" else robustness
    monkeypatch.setattr(measured, "open_adapter", full)
    with pytest.raises(SettingsError, match=f"cpu does not have enough memory to {task}: use a smaller model or"):
        if task == "evaluate":
            evaluate(store, tiny, dataset, [Path("adapter")])
        else:
            robustness.attack(store, tiny, dataset, [Path("adapter")], robustness.AttackSettings(budgets={"prefix": 1}))


def test_validation_is_measured_unless_test_is_asked_for(dataset: Dataset) -> None:
    of_test = concept_prompts(dataset, "test", 2, seed=0)
    assert [prompt.prompt for prompt in of_test] == [f"a church by lake {number}" for number in (5, 6)]
    with pytest.raises(DatasetError, match=r"'church' has no accepted validation prompt: .* --split test"):
        concept_prompts(replace(dataset, validation=()), "validation", 5, seed=0)
    with pytest.raises(
        DatasetError, match="no accepted test prompt: run `ecgvf generate --concept church --split test`"
    ):
        concept_prompts(replace(dataset, test=()), "test", 5, seed=0)
    with pytest.raises(DatasetError, match="no accepted validation prompt"):
        concept_prompts(replace(dataset, validation=(), test=()), "validation", 5, seed=0)
    with pytest.raises(SettingsError, match="measure on validation or test"):
        EvaluationSettings(split="train")  # type: ignore[arg-type]


def test_opening_test_is_recorded_and_counted_in_every_report(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ConceptRun(store, dataset.concept)
    before = evaluate(store, tiny, dataset, [adapter], SMALL)
    assert (before.split, before.test_openings) == ("validation", 0) and not openings.openings_file(run).exists()
    on_test = evaluate(store, tiny, dataset, [adapter], replace(SMALL, split="test"))
    assert (on_test.split, on_test.test_openings, on_test.json()["test_openings"]) == ("test", 1, 1)
    for_thresholds = [each for each in on_test.outcomes if each.sample == "threshold"]
    assert {each.prompt for each in for_thresholds} == {
        each.prompt for each in before.outcomes if each.group != "concept"
    }
    assert {each.condition for each in for_thresholds} == {"before"}
    noted = " ".join(capsys.readouterr().err.split())
    assert "measuring on the test split of church; this is recorded. Openings of the test split so far: 1." in noted
    [opening] = openings.openings(run)
    assert (opening.dataset, opening.recipe, len(opening.adapter)) == (dataset.fingerprint, "default", 16)
    after = evaluate(store, tiny, dataset, [adapter], SMALL)
    assert after.test_openings == 1 and "Openings of the test split so far: 1." in " ".join(str(after).split())
    assert find_dataset(store, "ecgvf/church")[0].fingerprint == dataset.fingerprint
    compare(store, tiny, dataset, [adapter, adapter], replace(SMALL, split="test"))
    assert len(openings.openings(run)) == 3


@pytest.mark.parametrize("task", ["evaluate", "attack"])
def test_opening_test_is_recorded_before_anything_is_measured(
    task: str, store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Measurement, "outcomes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        if task == "evaluate":
            evaluate(store, tiny, dataset, [adapter], replace(SMALL, split="test"))
        else:
            settings = robustness.AttackSettings(budgets={"prefix": 1}, prompts=2, split="test")
            robustness.attack(store, tiny, dataset, [adapter], settings)
    assert len(openings.openings(ConceptRun(store, dataset.concept))) == 1


def test_a_dataset_brings_the_openings_that_were_published_with_it(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    run = ConceptRun(store, dataset.concept)
    openings.record(run, dataset="d", adapter="a", recipe="default")
    export(run, tmp_path / "out")
    published = find_dataset(store, str(tmp_path / "out"))[0]
    elsewhere = Store(tmp_path / "elsewhere")
    assert evaluate(elsewhere, tiny, published, [adapter], SMALL).test_openings == 1
    assert evaluate(store, tiny, published, [adapter], SMALL).test_openings == 1
    assert evaluate(elsewhere, tiny, published, [adapter], replace(SMALL, split="test")).test_openings == 2


def test_the_default_judge_is_not_the_one_that_filtered(dataset: Dataset) -> None:
    assert open_judges(dataset).concept_judge == "nano-object-b"
    assert open_judges(replace(dataset, judge="nano-object-b")).concept_judge == "nano-object-a"
    assert open_judges(replace(dataset, judge="mean-of-two", model="janus-nano")).concept_judge == "nano-object-b"
    assert open_judges(replace(dataset, judge="resnet50")).concept_judge == "resnet50"


def test_things_are_judged_as_things_also_if_a_style_is_erased(dataset: Dataset) -> None:
    of_style = open_judges(replace(dataset, concept=concepts.find("van-gogh"), judge="nano-style"))
    thing = next(each for each in retained_concepts(of_style.dataset) if each.family != "style")
    own, of_thing = (EvaluationPrompt(id="1", prompt="x", seed=0, retained=retained) for retained in (None, thing))
    scene = {"nano-companion", "nano-ground", "nano-sky"}
    assert {each["judge"] for each in of_style.settings([own])} == {"nano-style", "nano-style-b"} | scene
    assert {each["judge"] for each in of_style.settings([of_thing])} == {"nano-object-b", "nano-object-c"} | scene


def test_the_user_may_name_the_judge_of_the_concept(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[tuple[str | None, str, str | None]] = []

    def create_judge(concept: Any, model: Any, name: str, options: Any, device: str) -> BrightnessJudge:
        assert device == "cpu"  # as the model
        created.append((concept.name if concept else None, name, options.weights if options else None))
        return brightness_judge(concept, model, name, options, device)

    monkeypatch.setattr(evaluation_judges, "create_judge", create_judge)
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, judge="clip", weights="folder"))
    assert result.judge == "clip"
    # The one that is named, and the second judge, which tells whether an image shows something.
    assert created[:2] == [("church", "clip", "folder"), ("church", "nano-object-c", None)]
    assert {weights for _, _, weights in created[2:]} == {None}
    assert result.outcomes[0].judges[0].judge == "clip"


@pytest.mark.parametrize(
    ("judge", "measured"), [(None, True), ("nano-object-a", True), ("nano-object-c", True), ("clip", False)]
)
def test_a_named_judge_of_things_measures_retained_things_too_and_so_has_a_threshold(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, judge: str | None, measured: bool
) -> None:
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, judge=judge))
    retained = {tuple(each.judge for each in row.judges) for row in result.outcomes if row.group != "concept"}
    first = judge if judge is not None and measured else "nano-object-b"
    second = "nano-object-b" if first == "nano-object-c" else "nano-object-c"
    assert retained == {(first, second)}
    assert {tuple(each.judge for each in row.judges) for row in result.outcomes if row.group == "concept"} == {
        (judge or first, second)
    }
    assert ("shows_something" in {row.figure for row in result.replacement}) == measured
    reasons = [str(each) for each in result.not_measured if each.group == "concept"]
    expected = (
        "concept: church (shows something: no image of a retained concept gives clip and nano-object-c a threshold)"
    )
    assert reasons == ([] if measured else [expected])


def test_an_evaluation_knows_the_weights_of_its_judges(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, prompts_per_other=0)
    first = evaluate(store, tiny, dataset, [adapter], settings)
    assert [(each["judge"], each["judge_hash"]) for each in first.origin["judges"]][:2] == [
        ("nano-object-b", "0"),
        ("nano-object-c", "0"),
    ]
    seen = Prediction(present=True, score=0.25, top_labels=(("church", 0.25),))
    monkeypatch.setattr(BrightnessJudge, "weights_hash", "1")
    monkeypatch.setattr(BrightnessJudge, "predict", lambda _, images: [seen] * len(images))
    second = evaluate(store, tiny, dataset, [adapter], settings)
    assert {each.judges[0].score for each in second.outcomes} == {0.25}
    with pytest.raises(DatasetError, match="second was judged by another nano-companion than first"):
        same_tasks([first, second], ["first", "second"])


def test_a_judge_object_may_judge_the_concept(store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path) -> None:
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, judge=AgreeingJudge([True, False])))
    assert result.judge == "nano-object-a"
    assert (result.erasure.before.value, result.erasure.before.n) == (0.5, 2)


def test_the_filters_labels_apply_also_in_an_exported_dataset(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[tuple[str, JudgeOptions]] = []

    def create_judge(concept: Any, model: Any, name: str, options: JudgeOptions, device: str) -> BrightnessJudge:
        created.append((name, options))
        return brightness_judge(concept, model, name, options, device)

    monkeypatch.setattr(evaluation_judges, "create_judge", create_judge)
    judge = AgreeingJudge()
    judge.criterion = Criterion(label_set="given", accepted=("church", "mosque"), top_k=1, threshold=0.4)
    run = ConceptRun(store, concepts.find("church"))
    filter_images(run, judge=judge)
    export(run, tmp_path / "out")
    for name in ("ecgvf/church", str(tmp_path / "out")):
        dataset, _ = find_dataset(store, name)
        open_judges(dataset)
        open_judges(dataset, "nano-object-c")
        open_judges(dataset, "resnet50")
    filtered_by = JudgeOptions(labels=("church", "mosque"), top_k=1, threshold=0.4)
    second = ("nano-object-c", filtered_by)
    first, photographs = ("nano-object-b", filtered_by), ("resnet50", JudgeOptions())
    expected = [first, second, second, first, photographs, second]
    assert created == expected * 2


def test_an_unknown_judge_is_refused_before_anything_is_rendered(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_judges, "create_judge", judges.create_judge)
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    with pytest.raises(JudgeError, match="unknown judge 'nobody'"):
        evaluate(store, tiny, dataset, [adapter], replace(SMALL, judge="nobody"))


def test_a_model_whose_logits_are_not_finite_ends_the_evaluation_in_one_line(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path
) -> None:
    broken = random_adapter(tiny, 1, float("nan"))
    facts = {"concept": "church", "model": tiny.name, "fingerprint": tiny.fingerprint, "sampling": {}}
    broken.save(tmp_path / "adapter.safetensors", {**facts, "recipe": {"name": "default"}}, tiny.dtype)
    with pytest.raises(
        DatasetError, match=r"'a church by lake \d' cannot be rendered: the model's logits or pixels are not finite"
    ):
        evaluate(store, tiny, dataset, [tmp_path / "adapter.safetensors"], SMALL)


def test_what_attacks_need_is_checked_before_test_is_opened(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    settings = replace(SMALL, figures="full", split="test")
    with pytest.raises(SettingsError, match="--budget 8: it must be below 4, the rows of an image"):
        evaluate(store, tiny, dataset, [adapter], settings)
    monkeypatch.setattr(KINDS["prefix"], "default_budget", 1)
    with pytest.raises(DatasetError, match="no accepted pair"):
        evaluate(store, tiny, replace(dataset, train=()), [adapter], settings)
    assert not openings.openings_file(ConceptRun(store, dataset.concept)).exists()


def test_a_detector_measures_a_concept_that_no_classifier_knows(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NudeNet, its real weights, on a photograph of a face: a user's concept by a detector's labels."""
    concept = concepts.parse(
        {
            "name": "face",
            "kind": "object",
            "description": "A face.",
            "terms": ["face"],
            "surrogates": ["tree"],
            "judge_labels": {"nudenet": ["FACE_FEMALE"]},
        },
        "test",
    )
    monkeypatch.setattr(evaluation_judges, "create_judge", judges.create_judge)
    detector = open_judges(replace(dataset, concept=concept, judge="nudenet", judge_options={}))
    astronaut = photograph("astronaut")
    prompts = concept_prompts(dataset, "validation", 2, seed=0)
    judged = detector.judge_images(prompts, np.stack([astronaut, np.zeros_like(astronaut)]))
    assert [[each.present for each in image] for image in judged] == [[True], [False]]
    assert (judged[0][0].judge, judged[0][0].score > 0.5, judged[1][0].label) == ("nudenet", True, None)


def test_the_concept_and_the_retained_ones_are_measured_before_and_after(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path
) -> None:
    result = evaluate(store, tiny, dataset, [adapter], EvaluationSettings(prompts_per_concept=4, prompts_per_other=2))
    content = result.json()
    assert content["concept"] == "church"
    assert content["adapter"] == str(adapter)
    # The unit of an interval is the prompt, and these are two prompts with two seeds each.
    assert content["erasure"]["before"]["n"] == content["erasure"]["after"]["n"] == 2
    assert len([each for each in result.outcomes if each.group == "concept" and each.condition == "after"]) == 4
    retention = content["retention"]
    assert {row["concept"] for row in retention} == {concept.name for concept in retained_concepts(dataset)}
    assert {row["concept"] for row in retention if row["neighbour"]} == {"castle", "mosque", "house", "school"}
    assert all(row["before"]["n"] == 2 for row in retention)
    changes = [row["after"]["value"] - row["before"]["value"] for row in retention]
    assert changes == sorted(changes)
    assert content["neighbours"]["before"]["n"] == 8
    assert content["unrelated"]["before"]["n"] == 2 * (len(retention) - 4)
    by_group = {row["group"]: row["after"]["n"] for row in content["groups"] if row["figure"] == "retention"}
    assert by_group == {"neighbours": 8, "surrogates": 12, "unrehearsed": 2 * len(retention) - 20, "pooled": 62}


def test_an_outcome_says_what_every_judge_saw_in_one_image(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EvaluationJudges, "clip_cosines", lambda _, prompts, __: [(0.25, 0.75)] * len(prompts))
    result = evaluate(store, tiny, dataset, [adapter], SMALL)
    first = result.outcomes[0]
    record = dataset.validation[0].pair
    assert (first.id, first.prompt, first.surrogate_prompt) == (record.record_id, record.target, record.surrogate)
    assert (first.concept, first.group, first.wording, first.term) == ("church", "concept", "explicit", "church")
    assert (first.surrogate, first.guidance, first.temperature) == ("hotel", 2.0, 1.0)
    assert [judge.judge for judge in first.judges] == ["nano-object-b", "nano-object-c"]
    assert [each.attribute for each in first.attributes] == ["sky", "ground", "companion", "style"]
    assert len(first.vq_ids) == tiny.image_tokens and decode(first.image).shape == (tiny.image_size,) * 2 + (3,)
    likelihood = negative_log_likelihood(tiny, [str(record.surrogate)], np.array([first.vq_ids]))
    assert first.nll_frozen == pytest.approx(likelihood[0], rel=1e-5)
    assert (first.clip_surrogate, first.clip_target) == (0.25, 0.75)
    retained = [each for each in result.outcomes if each.group != "concept"]
    assert {each.surrogate_prompt for each in retained} == {None}
    assert {each.condition for each in retained} == {"before", "after"}
    assert {each.token_agreement is None for each in selected(retained, "before")} == {True}
    agreement = [each.token_agreement for each in selected(retained, "after")]
    assert all(share is not None and 0 <= share < 1 for share in agreement)
    assert {each.adapter for each in selected(result.outcomes, "after")} != {None}
    assert {each.adapter for each in result.outcomes if each.condition != "after"} == {None}


def test_the_ceiling_is_the_frozen_model_given_the_surrogate_prompt_with_the_same_seed(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path
) -> None:
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, prompts_per_other=0))
    before, ceiling = (selected(result.outcomes, condition) for condition in ("before", "ceiling"))
    assert [each.prompt for each in ceiling] == [each.surrogate_prompt for each in before]
    assert [each.task for each in ceiling] == [each.task for each in before]
    assert [each.image for each in ceiling] != [each.image for each in before]
    of_test = evaluate(store, tiny, dataset, [adapter], replace(SMALL, prompts_per_other=0, split="test"))
    assert selected(of_test.outcomes, "ceiling") == []  # its records have no surrogate prompt
    assert {row.ceiling for row in of_test.replacement} == {None}


def test_groups_are_disjoint_and_follow_what_was_rehearsed(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path
) -> None:
    rehearsed = rehearsed_concepts(dataset, 12)
    rehearsing = save_adapter(tiny, tmp_path / "adapter.safetensors", rehearsed=rehearsed)
    result = evaluate(store, tiny, dataset, [rehearsing], replace(SMALL, prompts_per_concept=1))
    groups = {each.concept: each.group for each in result.outcomes if each.group != "concept"}
    assert {groups[name] for name in ("castle", "mosque", "house", "school")} == {"neighbours"}
    # Surrogates come first among the rehearsed ones, and are a group of their own.
    assert groups["hotel"] == "surrogates"
    assert set(groups.values()) == set(GROUPS)


def test_the_groups_and_neighbours_may_have_other_numbers_of_prompts(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path
) -> None:
    settings = replace(SMALL, prompts_per_group=8, prompts_per_neighbour=1, family="building")
    result = evaluate(store, tiny, dataset, [adapter], settings)
    count = {row.group: row.after.n for row in result.retention_by_group if row.figure == "retention"}
    assert count["neighbours"] == 4 and all(n >= 8 for group, n in count.items() if group != "neighbours")


def test_without_prompts_a_share_is_not_measured(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path
) -> None:
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, prompts_per_other=0))
    content = result.json()
    assert content["unrelated"]["before"] == {"value": None, "n": 0, "low": None, "high": None}
    assert "in fewer images" not in " ".join(str(result).split())
    assert content["retention"] == content["groups"] == [] and content["retention_ratio"]["value"] is None
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_an_evaluation_prints_as_a_table(store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path) -> None:
    result = evaluate(store, tiny, dataset, [adapter], replace(SMALL, family="building"))
    text = str(result)
    assert f"church erased from {tiny.name}" in text.splitlines()[0]
    for row in (*result.replacement, *result.retention_by_group):
        assert str(row.after) in text
    for name in ("shows the concept", "shows its surrogate", "neighbours: shows its concept", "castle"):
        assert name in text
    assert "judge nano-object-b" in " ".join(text.split()) and "not measured" in text  # agreement before erasing
    assert "\x1b" not in text and "nan]" not in text


def test_concepts_that_stacked_adapters_erase_are_not_retained(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    files = [adapter, save_adapter(tiny, tmp_path / "cat.safetensors", "cat")]
    animals = replace(SMALL, prompts_per_concept=1, family="animal")
    result = evaluate(store, tiny, dataset, files, animals, also_erased={"dog"})
    assert result.concept == "church"
    expected = {concept.name for concept in retained_concepts(dataset) if concept.family == "animal"} - {"cat", "dog"}
    assert {row.group for row in result.retention_by_concept} == expected


def test_compared_adapters_are_measured_on_the_same_concepts(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    files = [adapter, save_adapter(tiny, tmp_path / "cat.safetensors", "church+cat", seed=1)]
    first, second = compare(store, tiny, dataset, files, replace(SMALL, family="animal"))
    assert first.erasure.before == second.erasure.before
    assert {row.group for row in first.retention_by_concept} == {row.group for row in second.retention_by_concept}
    assert "cat" not in {row.group for row in first.retention_by_concept}
    assert (first.adapters, second.adapters) == ((files[0],), (files[1],))


def test_an_adapter_of_another_model_is_refused_before_the_first_is_compared(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def recorded(model: JanusModel, files: Sequence[Path]) -> AnyAdapter:
        opened.extend(files)
        return open_adapter(model, files)

    monkeypatch.setattr(evaluation_module, "open_adapter", recorded)
    files = [adapter, save_adapter(tiny, tmp_path / "second.safetensors", seed=1)]
    compare(store, tiny, dataset, files, replace(SMALL, prompts_per_other=0))
    assert opened == files
    monkeypatch.setattr(Measurement, "outcomes", lambda *_: pytest.fail("something was rendered"))
    other = tmp_path / "other.safetensors"
    facts = {"concept": "church", "model": "another", "fingerprint": "other", "sampling": {}, "recipe": {}}
    random_adapter(tiny, 1, 0.1).save(other, facts, tiny.dtype)
    with pytest.raises(AdapterError, match=r"other\.safetensors was trained on .* \(other\), which is not"):
        compare(store, tiny, dataset, [adapter, other], SMALL)


def test_a_contact_sheet_has_a_column_per_adapter_and_one_of_the_ceiling(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path
) -> None:
    files = [adapter, save_adapter(tiny, tmp_path / "second.safetensors", seed=1)]
    results = [evaluate(store, tiny, dataset, [file], replace(SMALL, prompts_per_other=0)) for file in files]
    page = decode(write_contact_sheet(results, ["first", "second"], tmp_path / "sheet.png").read_bytes())
    assert page.shape[1] == TEXT_WIDTH + 2 * GAP + 4 * (SIDE + GAP)
    row = page[2 * HEADER :][:SIDE]
    lefts = [TEXT_WIDTH + 2 * GAP + index * (SIDE + GAP) for index in range(4)]
    columns = [row[:, left : left + SIDE] for left in lefts]
    wanted = [selected(results[0].outcomes, condition)[0].image for condition in ("before", "after", "ceiling")]
    wanted.insert(2, selected(results[1].outcomes, "after")[0].image)
    for column, image in zip(columns, map(decode, wanted), strict=True):
        step = SIDE // len(image)
        assert (column[step // 2 :: step, step // 2 :: step] == image).all()
    assert (columns[1] != columns[2]).any()
    alone = results[0].save_contact_sheet(str(tmp_path / "alone.png"))
    assert (decode(alone.read_bytes())[2 * HEADER :, : lefts[2] - GAP] == page[2 * HEADER :, : lefts[2] - GAP]).all()


def test_evaluation_images_are_rendered_and_judged_once(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EvaluationSettings(prompts_per_concept=4, prompts_per_other=1, family="building")
    first = evaluate(store, tiny, dataset, [adapter], settings)
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    with monkeypatch.context() as patch:
        patch.setattr(EvaluationJudges, "judge_images", lambda *_, **__: pytest.fail("judged again"))
        assert evaluate(store, tiny, dataset, [adapter], settings) == first
    # Another judge looks at the same images.
    by_clip = evaluate(store, tiny, dataset, [adapter], replace(settings, judge="clip"))
    assert by_clip.judge == "clip"
    assert {each.judges[0].judge for each in by_clip.outcomes if each.group == "concept"} == {"clip"}


def test_images_before_erasing_are_rendered_once_whatever_an_adapter_rehearsed(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsed = rehearsed_concepts(dataset, 100, "half")
    rehearsing = save_adapter(tiny, tmp_path / "rehearsing.safetensors", seed=1, rehearsed=rehearsed)
    first = evaluate(store, tiny, dataset, [adapter], SMALL)
    render, rendered = batches.render_images, list[str]()

    def counted(model: JanusModel, texts: Any, *arguments: Any, **options: Any) -> Any:
        rendered.extend(texts)
        return render(model, texts, *arguments, **options)

    monkeypatch.setattr(batches, "render_images", counted)
    second = evaluate(store, tiny, dataset, [rehearsing], SMALL)
    assert len(rendered) == len(selected(second.outcomes, "after"))
    before = [[each.image for each in selected(result.outcomes, "before")] for result in (first, second)]
    assert before[0] == before[1]
    groups = [{each.concept: each.group for each in result.outcomes} for result in (first, second)]
    assert {name for name in groups[0] if groups[0][name] != groups[1][name]} & set(rehearsed)


def test_full_figures_render_only_what_the_others_lack(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts_module, "PROMPTS_PER_WORDING", 6)
    questions = nano_questions(dataset.concept)[:3]
    monkeypatch.setattr(evaluation_module, "nano_questions", lambda _: questions)
    answer = evaluation_module.kept_answers

    def right_before(*arguments: Any, **options: Any) -> list[Answer]:
        answers = zip(questions, answer(*arguments, **options), strict=True)
        frozen = options.get("adapter") is None
        return [replace(each, yes=question.answer is frozen) for question, each in answers]

    monkeypatch.setattr(evaluation_module, "kept_answers", right_before)
    for attack in KINDS.values():
        monkeypatch.setattr(attack, "default_budget", 1)
    settings = replace(SMALL, prompts_per_other=0)
    default = evaluate(store, tiny, dataset, [adapter], settings)
    rendered: list[tuple[str, int, Sampling]] = []
    render = batches.render_images

    def counted(model: JanusModel, texts: Any, seeds: Any, sampling: Sampling, **options: Any) -> Any:
        rendered.extend((text, seed, sampling) for text, seed in zip(texts, seeds, strict=True))
        return render(model, texts, seeds, sampling, **options)

    monkeypatch.setattr(batches, "render_images", counted)
    full = evaluate(store, tiny, dataset, [adapter], replace(settings, figures="full"))
    assert full.outcomes[: len(default.outcomes)] == default.outcomes
    assert (full.replacement, full.scene) == (default.replacement, default.scene)
    assert default.understanding == [] and [(each.before, each.after) for each in full.answered] == [(True, False)] * 3
    before = selected(full.outcomes, "before")
    by_sample = {name: [each for each in before if each.sample == name] for name in ("wording", "seeds", "sampling")}
    # 2 prompts with 4 seeds each: 2 images are among the main ones, 4 among those of the wording.
    assert [len(each) for each in by_sample.values()] == [4, 2, 2 * 3]
    changed = {(each.guidance, each.temperature) for each in by_sample["sampling"]}
    assert changed == {(1.0, 1.0), (1.25, 1.0), (2.0, 0.5)}
    of_attacks = 2 * (len(KINDS) + 2 * 3)  # under each attack; each class of control tokens before and after
    assert len(rendered) == 3 * sum(map(len, by_sample.values())) + of_attacks == 36 + len(full.attacked)
    assert len({(each.task, each.sample == "sampling") for each in before}) == len(before)
    content = full.json()
    assert [row["attack"] for row in content["attacks"]] == [
        *KINDS,
        "<|startoftext|>",
        "control tokens as text",
        "control tokens obeyed",
    ]
    assert Evaluation.load(full.save(tmp_path / "full.parquet")) == full
    assert {row["class"] for row in content["by_wording"]} == {"explicit"}
    assert [row["after"]["n"] for row in content["in_any_seed"]] == [2]
    rendered.clear()
    assert evaluate(store, tiny, dataset, [adapter], replace(settings, figures="full")) == full and not rendered


def test_an_interrupted_evaluation_resumes_in_its_circumstances(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SHARD", 2)
    prompts, sampling = concept_prompts(dataset, "validation", 6, seed=1), dataset.sampling
    render = batches.render_images
    monkeypatch.setattr(batches, "render_images", interrupted_after(1, render))
    with num_threads(1), pytest.raises(KeyboardInterrupt):
        images.evaluation_images(store, tiny, dataset, prompts, sampling, batch_size=2)
    circumstances: list[tuple[int, object, int]] = []

    def recorded(*args: Any, **settings: Any) -> object:
        circumstances.append((len(args[1]), settings["batch_size"], torch.get_num_threads()))
        return render(*args, **settings)

    monkeypatch.setattr(batches, "render_images", recorded)
    with num_threads(2):  # differs, as does the batch size, and does not count any more
        resumed = images.evaluation_images(store, tiny, dataset, prompts, sampling, batch_size=1)
    assert circumstances == [(2, 2, 1)] * 2
    assert resumed.finished and resumed.read()["seed"].to_pylist() == [prompt.seed for prompt in prompts]


def test_interrupted_judging_resumes_with_the_same_number_of_threads(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SHARD", 1)
    judge_images, threads = EvaluationJudges.judge_images, list[int]()

    def judged(*args: Any) -> Any:
        if len(threads) == 1:
            threads.append(0)
            raise KeyboardInterrupt
        threads.append(torch.get_num_threads())
        return judge_images(*args)

    monkeypatch.setattr(EvaluationJudges, "judge_images", judged)
    measurement = Measurement(
        store, tiny, dataset, open_judges(dataset), open_adapter(tiny, [adapter]), files_hash([adapter])
    )
    prompts = concept_prompts(dataset, "validation", 2, seed=1)
    with num_threads(1), pytest.raises(KeyboardInterrupt):
        measurement.for_thresholds(prompts)
    with num_threads(2):  # differs, and does not count any more
        measurement.for_thresholds(prompts)
    assert threads == [1, 0, 1]


def test_wrong_settings_are_named(store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path) -> None:
    with pytest.raises(SettingsError, match=r"no retained concept of family 'fungi': the families are .*building"):
        evaluate(store, tiny, dataset, [adapter], EvaluationSettings(family="fungi"))
    with pytest.raises(SettingsError, match="--prompts-per-concept 0: it must be at least 1"):
        EvaluationSettings(prompts_per_concept=0)
    with pytest.raises(SettingsError, match="--prompts-per-other -1: it must be 0 or more"):
        EvaluationSettings(prompts_per_other=-1)
    with pytest.raises(SettingsError, match="prompts per group: -5, but it must be at least 1"):
        EvaluationSettings(prompts_per_group=-5)
    with pytest.raises(SettingsError, match="prompts per neighbour: 0, but it must be at least 1"):
        EvaluationSettings(prompts_per_neighbour=0)
    with pytest.raises(SettingsError, match="batch size: 0, but it must be at least 1"):
        EvaluationSettings(batch_size=0)
    with pytest.raises(SettingsError, match="--figures some: use default, full or paper"):
        EvaluationSettings(figures="some")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("per_concept", "per_other", "expected"),
    [(None, None, (100, 3)), (5, None, (5, 5)), (None, 7, (100, 7)), (5, 0, (5, 0))],
)
def test_the_number_of_prompts_of_retained_concepts_does_not_follow_that_of_the_concept(
    per_concept: int | None, per_other: int | None, expected: tuple[int, int]
) -> None:
    settings = EvaluationSettings(prompts_per_concept=per_concept, prompts_per_other=per_other)
    assert (settings.concept_count, settings.retained_count) == expected


def test_a_wrong_file_of_questions_is_refused_before_anything_is_rendered(
    store: Store, dataset: Dataset, tiny: JanusModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    settings = replace(SMALL, figures="full", questions=tmp_path / "nowhere.parquet")
    with pytest.raises(DatasetError, match="cannot read questions from"):
        evaluate(store, tiny, dataset, [adapter], settings)
    with pytest.raises(SettingsError, match="are answered with --figures full"):
        EvaluationSettings(questions=tmp_path / "questions.parquet")
