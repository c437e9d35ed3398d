"""An adapter on the Hub: its card has its figures, and everything that takes an adapter takes it from there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from torch import Tensor
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation import EvaluationSettings, evaluate
from ear.method.adapter import Adapter
from ear.method.erase import erase
from ear.method.lora import CONFIG as LORA_CONFIG
from ear.method.lora import LORA_FILE
from ear.method.open_adapter import adapter_facts, open_adapter
from ear.method.recipe import Recipe
from ear.method.recipes import PAPER, PROMPT_REWRITE, AnyRecipe
from ear.method.runs import ADAPTER_FILE, TrainingRun, adapter_name, find_adapter, newest
from ear.publish import CARD, SHEET, card, push
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, HubError, SettingsError
from ecgvf.core.png import decode
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.render import batches
from tests.ear.evaluation.small_outcomes import erased, evaluation
from tests.ecgvf.conftest import use_hub
from tests.hub_server import Hub

REPO = "owner/no-church"
FULL = replace(PAPER, threshold=0.0, learning_rate=0.01)
SMALL = EvaluationSettings(prompts_per_concept=2, prompts_per_other=1)


@pytest.fixture
def published(tiny: JanusModel) -> JanusModel:
    """The tiny model as the Hub would name it."""
    return replace(tiny, name="owner/tiny-janus")


def trained(store: Store, dataset: Dataset, tiny: JanusModel, recipe: Recipe = FULL) -> TrainingRun:
    return erase(store, [dataset], tiny, recipe, [0])[0]


@pytest.mark.parametrize("recipe", [FULL, replace(FULL, adapter="lora")], ids=["full", "lora"])
def test_what_is_published_is_found_by_its_name(
    recipe: Recipe,
    store: Store,
    dataset: Dataset,
    published: JanusModel,
    hub: Hub,
) -> None:
    run = trained(store, dataset, published, recipe)
    run.finish({**run.facts, "versions": {"torch": "2.6.1"}})  # of the machine that trained
    evaluation = evaluate(store, published, dataset, [run.adapter], SMALL)
    commit = push(evaluation, REPO)
    repo = hub.repos[REPO]
    assert repo.head == commit and repo.private
    found = find_adapter(store, f"hub:{REPO}")
    assert found.read_bytes() == run.adapter.read_bytes()
    assert (adapter_name(found), adapter_name(run.adapter)) == (f"hub:{REPO}", run.path.name)
    header, page = hub.text(REPO, CARD).split("---\n", 2)[1:]
    fields = yaml.safe_load(header)
    assert fields["library_name"] == ("peft" if recipe.adapter == "lora" else "ear") and fields["license"] == "other"
    assert "church erased from" in page and "shows its surrogate" in page and f"hub:{REPO}" in page
    assert (
        "turns church into a surrogate in its images" in " ".join(page.split())
        and "Openings of the test split so far: 0." in page
    )
    assert str(evaluation.erasure.after.n) in page and dataset.fingerprint in page
    assert '"versions": {\n    "torch": "2.6.1"\n  }' in page
    head = repo.at("main")
    assert head is not None
    assert decode(hub.data(head.files[SHEET])).ndim == 3
    if recipe.adapter == "lora":
        assert json.loads(hub.text(REPO, "adapter_config.json"))["peft_type"] == "LORA"


def test_what_is_published_last_is_what_is_found(
    store: Store, dataset: Dataset, published: JanusModel, hub: Hub
) -> None:
    full, lora = (trained(store, dataset, published, recipe) for recipe in (FULL, replace(FULL, adapter="lora")))
    for run, files in ((full, {ADAPTER_FILE}), (lora, {LORA_FILE, LORA_CONFIG}), (full, {ADAPTER_FILE})):
        push(evaluate(store, published, dataset, [run.adapter], SMALL), REPO)
        assert find_adapter(store, f"hub:{REPO}").read_bytes() == run.adapter.read_bytes()
        head = hub.repos[REPO].at("main")
        assert head is not None and head.files.keys() - {".gitattributes"} == {*files, CARD, SHEET}


def test_an_adapter_of_another_name_is_published_under_its_own(
    store: Store, dataset: Dataset, published: JanusModel, hub: Hub, tmp_path: Path
) -> None:
    renamed = tmp_path / "no-church.safetensors"
    renamed.write_bytes(trained(store, dataset, published).adapter.read_bytes())
    push(evaluate(store, published, dataset, [renamed], SMALL), REPO)
    assert find_adapter(store, f"hub:{REPO}").read_bytes() == renamed.read_bytes()
    assert "full weights of the tuned modules" in hub.text(REPO, CARD)


@pytest.mark.parametrize(
    "recipe", [FULL, replace(FULL, adapter="lora"), PROMPT_REWRITE], ids=["full", "lora", "prompts"]
)
def test_no_local_path_is_published(
    recipe: AnyRecipe, store: Store, dataset: Dataset, tiny: JanusModel, hub: Hub
) -> None:
    run = erase(store, [dataset], tiny, recipe, [0])[0]
    measured = evaluate(store, tiny, dataset, [run.adapter], SMALL)
    push(replace(measured, judge=f"hf:{tiny.path}"), REPO)
    head = hub.repos[REPO].at("main")
    assert head is not None
    assert not [name for name, file in head.files.items() if str(tiny.path.parent).encode() in hub.data(file)]
    assert f"judged by `hf:{tiny.path.name}`" in hub.text(REPO, CARD)
    found = find_adapter(store, f"hub:{REPO}")
    assert adapter_facts(found) == {**adapter_facts(run.adapter), "model": tiny.path.name}
    for uploaded, trained_here in zip(weights(tiny, found), weights(tiny, run.adapter), strict=True):
        assert uploaded.equal(trained_here)


def weights(model: JanusModel, file: Path) -> list[Tensor]:
    """The tuned weights in ``file``; none of a recipe of prompts."""
    adapter = open_adapter(model, [file])
    return adapter.weights if isinstance(adapter, Adapter) else []


def test_the_command_measures_what_has_not_been_measured(
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    trained(store, dataset, tiny)
    words = ["push-to-hub", "--repo", REPO, "--prompts-per-concept", "1", "--public", "--store", str(store.root)]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["commit"] == hub.repos[REPO].head and not hub.repos[REPO].private
    again = CliRunner().invoke(app, words)
    assert f"Use it: ear generate --adapter hub:{REPO} --model {tiny.path} --prompt …" in again.stdout
    comparing = ["compare", f"hub:{REPO}", newest(store, "church").path.name, "--prompts-per-concept", "1", "--json"]
    compared = CliRunner().invoke(app, [*comparing, "--store", str(store.root)])
    assert [each["name"] for each in json.loads(compared.stdout)["evaluations"]] == comparing[1:3]
    assert f"ear generate --adapter hub:{REPO} --model FOLDER" in hub.text(REPO, CARD)
    generating = ["generate", "--adapter", f"hub:{REPO}", "--model", str(tiny.path), "--prompt", "a church"]
    shown = CliRunner().invoke(app, [*generating, "--store", str(store.root)])
    assert shown.exit_code == 0 and "before | after" in shown.stdout
    assert len(list(tmp_path.glob("before-after-*.png"))) == 1  # and none in the Hub's cache


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repo", "nowhere"], "--repo nowhere: write OWNER/NAME"),
        (["--repo", REPO, "--adapter", "{adapter}", "--adapter", "{adapter}"], "publish each alone"),
        (["--repo", REPO, "--captions", "20"], "--captions is for --figures paper: add it"),
    ],
)
def test_what_cannot_be_published_is_refused_before_it_is_measured(
    words: list[str],
    message: str,
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trained(store, dataset, tiny)
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    filled = [word.format(adapter=run.adapter) for word in words]
    unknown = ("--model", "janus-giga")  # nor is a model loaded
    result = CliRunner().invoke(app, ["push-to-hub", *filled, *unknown, "--store", str(store.root)])
    assert result.exit_code == 2 and message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_expired", "the Hub does not know your token"),
        (None, "the Hub needs a token"),
        ("hf_read_only", "the token of owner is read-only"),
        ("hf_owner", "HF_HUB_OFFLINE"),
    ],
)
def test_token_and_hub_are_checked_before_a_model_is_loaded(
    token: str | None,
    message: str,
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trained(store, dataset, tiny)
    use_hub(tmp_path / "hf", monkeypatch, token)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", token == "hf_owner")
    words = ["--repo", REPO, "--adapter", str(run.adapter), "--model", "janus-giga", "--store", str(store.root)]
    result = CliRunner().invoke(app, ["push-to-hub", *words])
    assert result.exit_code == 2 and message in result.stderr and "janus-" not in result.stderr.splitlines()[-1]


def test_bad_input_is_one_line(
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    hub: Hub,
    tmp_path: Path,
) -> None:
    run = trained(store, dataset, tiny)
    evaluation = evaluate(store, tiny, dataset, [run.adapter], SMALL)
    with pytest.raises(SettingsError, match="--repo nowhere: write OWNER/NAME"):
        push(evaluation, "nowhere")
    with pytest.raises(AdapterError, match="publish each alone"):
        push(replace(evaluation, adapters=(run.adapter, run.adapter)), REPO)
    with pytest.raises(AdapterError, match="is a whole model and no adapter"):
        push(replace(evaluation, adapters=(tmp_path / "model.safetensors",)), REPO)
    with pytest.raises(HubError):
        push(evaluation, "reader/other")
    with pytest.raises(AdapterError, match="write hub:OWNER/NAME"):
        find_adapter(store, "hub:nowhere")
    with pytest.raises(AdapterError, match="the Hub has no adapter owner/none"):
        find_adapter(store, "hub:owner/none")
    hub.fail("POST", "/commit/", 500, times=9)
    with pytest.raises(HubError, match="run the same command again"):
        push(evaluation, REPO)


def test_names_that_others_chose_are_text_in_the_card() -> None:
    hostile = replace(evaluation(erased(2)), concept="a\n# b <c> ~~d~~", judge="e`<b>\nf_g")
    page = card(hostile, {"concept": hostile.concept, "recipe": {}}, REPO, [ADAPTER_FILE], None)
    assert "# a \\# b &lt;c&gt; \\~\\~d\\~\\~ erased from" in page and "judged by `e <b> f_g`" in page


def test_the_card_names_every_concept_that_the_adapter_erases() -> None:
    facts = {"concept": "church+castle", "recipe": {}}
    page = " ".join(card(evaluation(erased(2)), facts, REPO, [ADAPTER_FILE], None).split())
    assert "# church and castle erased from" in page and "turns church and castle into surrogates" in page
    assert "Measured on church, on the" in page
