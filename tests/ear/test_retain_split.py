"""Outside nano's world a concept of each kind has a retain split without a key: rendered, judged, rehearsed, measured.

Janus is tiny and random, and so are the judges; a strong bias lets each classifier see one class, so that some prompts
are accepted and most are not.
"""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from transformers import AutoImageProcessor, AutoModelForImageClassification

from ear.dataset import find_dataset
from ear.evaluation import EvaluationSettings, evaluate
from ear.evaluation.prompts import retained_prompts
from ear.method.erase import erase
from ear.method.recipes import WINDOWED_KL_HALF
from ear.retained_concepts import rehearsal_prompts, retained_concepts
from ecgvf import Run
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import Acceptance, PromptPair
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS
from ecgvf.filter import decisions
from ecgvf.janus import JanusModel
from ecgvf.judges import JudgeOptions, retained
from ecgvf.judges.factory import create_judge
from ecgvf.judges.judge import Judge
from ecgvf.pairs.captions import captioned_concepts
from ecgvf.review.cases import Cases
from ecgvf.review.server import app
from tests.random_vit import save_vit

SEEN = "beacon"
"""The class that every classifier sees, near no shipped concept."""

RECIPE = replace(WINDOWED_KL_HALF, window=288, passes=1, rehearsed=4, rehearsed_per_step=2)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ViT with ImageNet's classes and WikiArt's painters, saved as judges of transformers are."""
    from torchvision.models import ResNet50_Weights

    painters = [label for name in concepts.names() for label in concepts.find(name).labels("wikiart")]
    labels = dict(enumerate([*dict.fromkeys(ResNet50_Weights.DEFAULT.meta["categories"]), *painters]))
    return save_vit(tmp_path_factory.mktemp("classifier"), labels, seen=SEEN)


@pytest.fixture(scope="module", autouse=True)
def _small_resnet(classifier: str) -> Iterator[None]:
    """The tiny classifier in the place of ResNet-50, whose real shape the judges' own tests cover; read only once."""

    def create(concept: Concept | None, model: str | None, name: str, options: JudgeOptions, device: str) -> Judge:
        return create_judge(concept, model, f"hf:{classifier}", device="cpu")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retained, "create_judge", create)
        for loader in (AutoImageProcessor, AutoModelForImageClassification):
            patch.setattr(loader, "from_pretrained", cache(loader.from_pretrained))
        yield


def filtered_run(name: str, store: Path, model: Path, classifier: str, captions: int = 2) -> Run:
    """Imported pairs and the captions that ship, rendered and filtered; a reviewer accepts the pairs."""
    run = Run(name, store)
    concept = run.concept
    term, surrogate = concept.training_terms[0], concept.surrogates[0]
    pairs_file = store.parent / "pairs.csv"
    with pairs_file.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "target", "surrogate"])
        for split, place in (("train", "by a lake"), ("train", "in a city"), ("validation", "at night")):
            writer.writerow([split, f"a picture of {term} {place}", f"a picture of {surrogate} {place}"])
    run.import_pairs(pairs_file, licence="CC0-1.0")
    pairs = run.generate(split="retain", retained=captions)
    assert pairs.settings["source"]["licence"] == "CC0-1.0"
    run.render(model=str(model), device="cpu")
    judge = {"object": f"hf:{classifier}", "style": "style", "nudity": "nudenet"}[concept.kind]
    weights = classifier if concept.kind == "style" else None
    result = run.filter(judge=judge, options=JudgeOptions(weights=weights), device="cpu")
    pictures = result.acceptance.source(IMAGES).fingerprint
    for record in pairs.records(PromptPair):
        if record.split != "retain":
            decisions.append(run, reviewer="r", pictures=pictures, record_id=record.record_id, accepted=True)
    return run


@pytest.fixture(scope="module")
def tench_once(tiny_path: Path, classifier: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the store of a tench's ``filtered_run``."""
    root = tmp_path_factory.mktemp("tench") / "store"
    filtered_run("tench", root, tiny_path, classifier)
    return root


@pytest.fixture
def tench(tench_once: Path, tmp_path: Path) -> Run:
    """A tench's ``filtered_run`` in a store of its own."""
    shutil.copytree(tench_once, tmp_path / "store")
    return Run("tench", tmp_path / "store")


@pytest.mark.parametrize("name", ["church", "van-gogh", "nudity"])
def test_a_concept_of_each_kind_has_something_to_keep(
    name: str,
    tmp_path: Path,
    tiny: JanusModel,
    tiny_path: Path,
    classifier: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = filtered_run(name, tmp_path / "store", tiny_path, classifier)
    dataset = run.dataset()
    assert {record.pair.retained_concept for record in dataset.retain} == {SEEN}
    acceptance = {row.record_id: row for row in run.current(ACCEPTANCE).records(Acceptance)}
    records = [record for record in run.current(PAIRS).records(PromptPair) if record.split == "retain"]
    reasons = {acceptance[record.record_id].reason for record in records if record.retained_concept != SEEN}
    assert reasons <= {"target_absent", "judge_failed", "duplicate"} and "target_absent" in reasons

    [trained] = erase(run.store, [dataset], tiny, RECIPE, [0])
    assert trained.facts["rehearsed_concepts"] == [SEEN]
    assert "1 image to rehearse; the recipe takes up to 4" in " ".join(capsys.readouterr().err.split())
    settings = EvaluationSettings(
        prompts_per_concept=1, prompts_per_other=1, weights=classifier if dataset.concept.kind == "style" else None
    )
    found = evaluate(run.store, tiny, dataset, [trained.adapter], settings)
    assert {row.group for row in found.retention_by_group} == {"rehearsed", "pooled"}
    # A detector measures no retained concept, so nothing says how confident it is of an intact image.
    confident = dataset.concept.kind != "nudity"
    assert ("shows_something" in {row.figure for row in found.replacement}) == confident
    assert ("neighbours", "no prompt about it was accepted") in {
        (each.group, each.reason) for each in found.not_measured
    }
    left_out = {"neighbours", "surrogates", "unrehearsed"} | (set() if confident else {"concept"})
    assert {row["group"] for row in found.json()["not_measured"]} == left_out
    assert "Not measured: neighbours" in " ".join(str(found).split())


def test_without_a_retain_split_the_captions_that_ship_are_rehearsed_and_measured(tench: Run, tiny: JanusModel) -> None:
    dataset = replace(tench.dataset(), retain=None)
    [trained] = erase(tench.store, [dataset], tiny, RECIPE, [0])
    others = [each.name for each in captioned_concepts(dataset.concept) if each.shipped and not each.neighbour]
    assert trained.facts["rehearsed_concepts"] == sorted(sorted(others, key=str.casefold)[::2][:4])
    settings = EvaluationSettings(prompts_per_concept=1, prompts_per_other=1)
    found = evaluate(tench.store, tiny, dataset, [trained.adapter], settings)
    assert {row.group for row in found.retention_by_group} >= {"neighbours", "rehearsed", "unrehearsed", "pooled"}


def test_rehearsed_and_measured_captions_differ(tench: Run) -> None:
    dataset = replace(tench.dataset(), retain=None)
    for concept in retained_concepts(dataset):
        uses = [{text for _, text in concept.prompts(10, 0, use)} for use in ("rehearse", "validation", "test")]
        # What has no captions of its own is not rehearsed unseen: template captions are for the retain split.
        assert [len(each) for each in uses] == ([3, 1, 1] if concept.captions else [0, 0, 0])
        assert len(set.union(*uses)) == len(concept.captions or ())
    assert not {concept.name for concept, _ in rehearsal_prompts(dataset, 500)} & {*dataset.concept.neighbours, "tench"}


def test_a_concept_without_a_caption_for_a_use_has_no_prompts_for_it(tench: Run, tiny: JanusModel) -> None:
    dataset = tench.dataset()
    assert dataset.retain is not None
    [beacon] = (each for each in retained_concepts(dataset) if each.name == SEEN)
    uses = {use: beacon.prompts(3, 0, use) for use in ("rehearse", "validation", "test")}
    assert [len({text for _, text in prompts}) for prompts in uses.values()] == [1, 1, 0]
    [rehearsed], [validation] = (
        [each for each in dataset.retain if each.pair.target == uses[use][0][1]] for use in ("rehearse", "validation")
    )
    # The only caption of a concept is for rehearsal or for validation, not for both.
    assert rehearsal_prompts(replace(dataset, retain=(validation,)), 9) == []
    only = replace(dataset, retain=(rehearsed,))
    [trained] = erase(tench.store, [only], tiny, RECIPE, [0])
    settings = EvaluationSettings(prompts_per_concept=1, prompts_per_other=1)
    found = evaluate(tench.store, tiny, only, [trained.adapter], settings)
    assert trained.facts["rehearsed_concepts"] == [SEEN] and SEEN not in found.families
    assert {each.reason for each in found.not_measured if SEEN in each.concepts} == {"too few accepted captions"}


def test_a_published_retain_split_is_read_back(tench: Run, tmp_path: Path) -> None:
    from datasets import load_dataset

    dataset = tench.dataset()
    tench.export(tmp_path / "out")
    published = find_dataset(tench.store, str(tmp_path / "out"))[0]
    assert [(each.pair, each.target.vq_ids) for each in published.retain] == [
        (replace(each.pair, seed=None), each.target.vq_ids)
        for each in sorted(dataset.retain, key=lambda record: record.pair.record_id)
    ]
    rows = load_dataset(str(tmp_path / "out"), "tench", split="retain", cache_dir=str(tmp_path / "cache"))
    assert set(rows["retained_concept"]) == {SEEN} and set(rows["concept"]) == {"tench"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "retained_concept" in (tmp_path / "out" / "croissant.json").read_text()
    assert "| tench | object | 2 | 1 | 0 | 2 |" in card and "`retain` has prompts of other concepts" in card
    assert sum(stage["counts"].get("retained", 0) for stage in tench.status() if stage["stage"] == "acceptance") > 100


def test_a_published_retain_split_is_imported_again(tench: Run, tmp_path: Path) -> None:
    tench.export(tmp_path / "out")
    [file] = (tmp_path / "out" / "tench").glob("retain-*.parquet")
    imported = Run("tench", tmp_path / "other").import_pairs(file).stage.records(PromptPair)
    assert {(each.split, each.retained_concept, each.surrogate) for each in imported} == {("retain", SEEN, None)}
    (tmp_path / "nameless.csv").write_text("split,target\nretain,a lighthouse at dusk\n")
    [nameless] = Run("tench", tmp_path / "third").import_pairs(tmp_path / "nameless.csv").stage.records(PromptPair)
    assert nameless.reason == "malformed" and "names no retained_concept" in str(nameless.detail)


def test_a_retain_split_without_an_accepted_prompt_is_not_replaced_by_unjudged_captions(
    tench: Run, tiny: JanusModel
) -> None:
    dataset = replace(tench.dataset(), retain=())
    with pytest.raises(DatasetError, match="nothing to rehearse"):
        erase(tench.store, [dataset], tiny, RECIPE, [0])
    assert not [prompt for concept in retained_concepts(dataset) for prompt in concept.prompts(2, 0, "test")]


def test_a_captions_use_depends_neither_on_order_nor_on_what_else_is_accepted(
    tmp_path: Path, tiny_path: Path, classifier: str
) -> None:
    dataset = filtered_run("tench", tmp_path / "store", tiny_path, classifier, captions=5).dataset()
    assert dataset.retain is not None and len(dataset.retain) == 5
    for records in (dataset.retain[::-1], dataset.retain[1:]):
        for use in ("rehearse", "validation", "test"):
            found, expected = (
                {text for _, text in next(each for each in concepts if each.name == SEEN).prompts(9, 0, use)}
                for concepts in (retained_concepts(replace(dataset, retain=some)) for some in (records, dataset.retain))
            )
            assert found <= expected and found
    measured = retained_prompts([c for c in retained_concepts(dataset) if c.name == SEEN], "validation", 8, 0)
    assert len({prompt.id for prompt in measured}) == 1 and len({prompt.seed for prompt in measured}) == 8


def test_reviewers_see_what_must_stay(tench: Run) -> None:
    page = TestClient(app(Cases(tench), "ada", "t0ken"), base_url="http://127.0.0.1")
    record = next(each for each in Cases(tench).by_id.values() if each.pair.retained_concept == SEEN)
    shown = page.get(f"/t0ken/?at={record.pair.record_id}").text
    assert f"must stay: <b>{SEEN}</b>" in shown and f"<dt>{SEEN}</dt>" in shown
