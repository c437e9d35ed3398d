"""The commands of ``ear``, as users type them."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from torch import distributed
from typer.testing import CliRunner

from ear.cli import app
from ear.commands.options import DEFAULT_RECIPE
from ear.evaluation import Evaluation
from ear.evaluation import judges as evaluation_judges
from ear.evaluation.result import LAST_EVALUATION
from ear.method import steps
from ear.method import train as training
from ear.method.loss_plot import plot_losses
from ear.method.recipe import Recipe
from ear.method.recipes import RECIPES
from ear.method.runs import finished, newest
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES
from ecgvf.core.store import Store
from ecgvf.janus.roofline import Roofs
from ecgvf.judges import create_judge
from ecgvf.publish import dataset_folder
from ecgvf.publish.export import export
from tests.ear.conftest import interrupted_after
from tests.hub_server import Hub
from tools.tiny_janus import build

FAST = [
    word
    for setting in (
        *("passes=1", "rollouts=2", "rollout_epochs=1", "images_per_step=2"),
        *("rehearsed=4", "rehearsed_per_step=2", "window=288"),
    )
    for word in ("--option", setting)
]


def ear(*words: str, store: Store, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--store", str(store.root)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_train_generate_eval(store: Store, tmp_path: Path) -> None:
    trained = ear("train", "--dataset", "ecgvf/church", *FAST, store=store)
    assert "8 of 16 image tokens" in trained
    run = newest(store, "church")
    named = f"--adapter {run.path.name} --dataset ecgvf/church --store {store.root}"
    assert f"Look at it: ear generate --adapter {run.path.name} --store {store.root} --prompt '" in trained
    assert f"ear eval {named}" in trained
    assert run.path.parent == store.root / "church" / "ear"
    assert run.path.name.startswith("on-policy-") and run.path.name.endswith("-s0")
    assert not (run.path / "checkpoint.pt").exists()
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    assert "trained before" in ear("train", "--dataset", "ecgvf/church", *FAST, store=store)
    assert not distributed.is_initialized()  # or PyTorch warns at exit

    rendered = ear("generate", "--prompt", "a church", "--prompt", "a house", store=store)
    assert str(run.adapter) in rendered.replace("\n", "")
    assert len([*run.path.glob("before-after-*.png")]) == 1
    measure = f"Next: ear eval --adapter {run.path.name} --store {store.root} --dataset ecgvf/church\n"
    assert rendered.endswith(measure)

    evaluation = json.loads(
        ear("eval", "--dataset", "ecgvf/church", "--prompts-per-concept", "1", "--json", store=store)
    )
    assert set(evaluation) >= {"concept", "model", "adapter", "erasure", "retention", "sheet"}
    for figures in ("replacement", "scene", "groups"):
        assert all(set(row) >= {"figure", "group", "before", "after", "ceiling"} for row in evaluation[figures])
    assert evaluation["adapter"] == str(run.adapter)
    assert Path(evaluation["sheet"]).is_file()
    shown = ear("eval", "--prompts-per-concept", "1", "--family", "building", store=store)
    assert "neighbours" in shown
    assert "Contact sheet" in shown and shown.endswith(f"Next: ear report --store {store.root}\n")
    command = Evaluation.load(run.path / LAST_EVALUATION).command
    options = ("--adapter", run.path.name, "--prompts-per-concept", "1", "--family", "building")
    assert command == ("ear", "eval", "--dataset", "ecgvf/church", "--store", str(store.root), *options)


def test_the_shipped_dataset_is_enough_to_begin_with(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(ConceptRun(store, store.concept()), tmp_path / "data" / "datasets" / "church")
    monkeypatch.setattr(dataset_folder, "data_dir", lambda: tmp_path / "data")
    elsewhere = Store(tmp_path / "elsewhere")
    model = ConceptRun(store, store.concept("church")).current(IMAGES).settings["model"]
    assert "shipped" in ear("train", "--dataset", "ecgvf/church", "--model", model, *FAST, store=elsewhere)
    rendered = ear("generate", "--prompt", "a church", "--model", model, store=elsewhere)
    assert "before | after" in rendered
    assert f"--model {model} --store {elsewhere.root} --dataset ecgvf/church\n" in rendered
    shown = ear("eval", "--model", model, "--prompts-per-concept", "1", "--family", "building", store=elsewhere)
    assert "Contact sheet" in shown


def test_a_recipe_without_training_is_an_adapter_like_any_other(store: Store) -> None:
    trained = ear("train", "--dataset", "ecgvf/church", "--recipe", "prompt-rewrite", store=store)
    assert "The surrogate takes the concept's place" in " ".join(trained.split())
    run = newest(store, "church")
    assert run.adapter.name == "recipe.json" and run.adapter.name in trained
    assert "before | after" in ear("generate", "--prompt", "a church", store=store)
    shown = json.loads(ear("eval", "--prompts-per-concept", "1", "--family", "building", "--json", store=store))
    assert (shown["recipe"], shown["adapter"]) == ("prompt-rewrite", str(run.adapter))
    folder = store.root / "images"
    (store.root / "prompts.txt").write_text("a church\n")
    ear(
        "generate",
        "--prompts",
        str(store.root / "prompts.txt"),
        "--out",
        str(folder),
        "--adapter",
        run.path.name,
        store=store,
    )
    assert (folder / "index.parquet").is_file()


def test_the_adapter_is_by_default_the_newest_of_the_dataset(
    store: Store, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(tiny_path))

    def adapter(command: str, *words: str) -> Any:
        return json.loads(ear(command, *words, *model, "--json", store=store))["adapter"]

    exported = str(export(ConceptRun(store, store.concept()), tmp_path / "out").folder)
    for name in ("ecgvf/church", exported):
        ear("train", "--recipe", "prompt-rewrite", "--dataset", name, *model, store=store)
    mine, last = (str(run.adapter) for run in finished(store, "church"))
    assert adapter("generate", "--prompt", "x", "--dataset", "ecgvf/church") == [mine]
    assert adapter("generate", "--prompt", "x", "--dataset", exported) == [last]
    assert adapter("generate", "--prompt", "x") == [last]
    measuring = ("--prompts-per-concept", "1", "--prompts-per-other", "0")
    assert adapter("eval", *measuring) == mine and adapter("eval", *measuring, "--dataset", exported) == last
    trained = newest(store, "church").facts["dataset"]
    shutil.rmtree(Path(mine).parent)
    capsys.readouterr()
    assert str(newest(store, "church", "0123").adapter) == last
    noted = " ".join(capsys.readouterr().err.split())
    assert "no adapter for 'church' was trained on this dataset (0123)" in noted
    assert noted.endswith(f"was trained on {trained}")


def test_recipes_are_listed_and_explained() -> None:
    def shown(*words: str) -> str:
        result = CliRunner().invoke(app, ["recipes", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    listed = shown()
    assert all(name in listed for name in RECIPES) and f"{DEFAULT_RECIPE} (default)" in listed
    explained = shown("paper")
    assert "threshold_per" in explained and "the sum of the window's losses" in explained
    assert "Nothing is trained" in shown("negative-prompt")
    assert all(field in shown("prompt-rewrite") for field in ("surrogate", "its first surrogate", "fingerprint"))
    content = json.loads(shown("--json"))
    assert [recipe["name"] for recipe in content["recipes"]] == [*RECIPES]
    assert [recipe["name"] for recipe in content["recipes"] if recipe["default"]] == ["on-policy"]
    assert content["settings"]["window"].startswith("L, the length of a window, for 576 image tokens")
    for recipe in content["recipes"]:
        known = RECIPES[recipe["name"]]
        if isinstance(known, Recipe):
            assert recipe["settings"].keys() == content["settings"].keys()
            assert Recipe(name=known.name, **recipe["settings"]) == known
        else:
            assert recipe["fields"].keys() == known.fields.keys() and not recipe["settings"]
    unknown = CliRunner().invoke(app, ["recipes", "papper"])
    assert unknown.exit_code == 2 and "unknown recipe 'papper'" in unknown.stderr


def test_a_dry_run_counts_and_trains_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgvf.janus.roofline.measure_roofs", lambda *_: Roofs(1e10, 1e11))
    shown = " ".join(ear("train", "--dry-run", *FAST, "--seeds", "0,1", store=store).split())
    assert "2, each of at most 4 steps and 3 rollouts" in shown and "GiB at the peak: weights" in shown
    assert "4 images to render first" in shown and "MiB, tuned weights " in shown
    assert not finished(store, "church") and not (store.root / "church" / "ear").exists()
    counted = json.loads(ear("train", "--dry-run", "--recipe", "paper", "--json", store=store))
    assert counted["rollouts"] == counted["rehearsed"] == 0
    assert counted["peak_bytes"] > sum(counted["memory"].values()) / 2
    parts = {"weights", "tuned_weights", "gradients", "optimizer_state", "activations", "rollout_cache"}
    assert counted["memory"].keys() == parts | {"merged_weights"}
    assert all(isinstance(size, int) for size in (counted["flops"], counted["bytes"], *counted["memory"].values()))
    words = ("--recipe", "on-policy-words", "--option", "rehearsed=10", "--option", "rehearsed_words=20", "--json")
    rehearsing = json.loads(ear("train", "--dry-run", *words, store=store))
    assert rehearsing["rehearsed"] == 30
    assert rehearsing["flops"] > counted["flops"] and rehearsing["bytes"] > counted["bytes"] > 0


def test_a_dry_run_needs_no_weights(
    store: Store, tiny_path: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecgvf.janus.roofline.measure_roofs", lambda *_: Roofs(1e10, 1e11))
    HfApi().create_repo("owner/janus")
    HfApi().upload_folder(repo_id="owner/janus", folder_path=tiny_path)
    words = ("train", "--dry-run", "--json", "--model")
    counted = json.loads(ear(*words, "owner/janus", store=store))
    cached = {file.name for file in (tmp_path / "hf").rglob("*")}
    assert "config.json" in cached and "model.safetensors" not in cached
    # The GPU that such a model needs is not here.
    assert counted == json.loads(ear(*words, str(tiny_path), store=store)) and counted["dtype"] == "bfloat16"
    on_cpu = json.loads(ear(*words, str(tiny_path), "--device", "cpu", store=store))
    assert on_cpu["dtype"] == "float32" and on_cpu["memory"]["weights"] == 2 * counted["memory"]["weights"]
    shown = " ".join(ear(*words[:2], store=store).split())
    assert "counted in bfloat16, as for a GPU" in shown and "bfloat16 compute" in shown


def test_the_judge_that_filtered_looks_at_images_of_words_with_the_weights_that_are_named(store: Store) -> None:
    words = ("train", "--recipe", "on-policy-words", "--weights", "V1")
    assert "judge nano-object-a has built-in weights" in " ".join(ear(*words, store=store, code=2).split())


def test_a_dry_run_refuses_what_a_training_would(store: Store, tmp_path: Path) -> None:
    another = str(build(tmp_path / "another", seed=1))
    for words in (["--dry-run"], []):
        assert "were rendered by" in ear("train", "--model", another, *words, *FAST, store=store, code=2)


def test_previews_and_tracking_on_request(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []
    tracker = SimpleNamespace(
        init=lambda **settings: calls.append(("init", settings["name"])),
        log=lambda values: calls.append(("log", values)),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    monkeypatch.setattr("ear.method.erase.plot_losses", plot_losses)  # drawn, as tests/ear/conftest.py does not
    words = ("train", "--preview-every", "2", "--track", "trackio", "--seeds", "0,1", *FAST)
    runs = [Path(run["adapter"]).parent for run in json.loads(ear(*words, "--json", store=store))["runs"]]
    for run in runs:
        assert sorted(file.name for file in run.glob("preview-*.png")) == ["preview-000002.png", "preview-000004.png"]
        assert "erasing: " in (run / "loss.svg").read_text()
    assert [value for name, value in calls if name == "init"] == [run.name for run in runs]
    assert [name for name, _ in calls].count("finish") == 2 and calls[-1][0] == "finish"
    logged = [value for name, value in calls if name == "log"]
    assert len(logged) == 8 and all(value["loss"] > 0 and value["share_of_windows"] == 1 for value in logged)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "--track wandb: pip install wandb" in ear("train", "--track", "wandb", *FAST, store=store, code=2)


def test_ablate_writes_a_table_and_a_plot_per_factor(store: Store) -> None:
    words = ("ablate", "--recipe", "paper", "--prompts-per-concept", "1", "--family", "building")
    shown = ear(*words, "--over", "order, modules", store=store)
    folder = store.root / "church" / "ablation" / "paper"
    assert "shuffled" in shown and "qkv" in shown and str(folder) in shown.replace("\n", "")
    assert {file.name for file in folder.iterdir()} >= {"ablation.csv", "ablation.parquet", "order.svg", "modules.svg"}
    content = json.loads(ear(*words, "--over", "order", "--json", store=store))
    assert {row["level"] for row in content["rows"]} == {"dataset", "shuffled"}
    again = f"ear ablate --dataset ecgvf/church --store {store.root.name} --over order --recipe paper"
    command = pq.read_schema(folder / "ablation.parquet").metadata[b"command"].decode()
    assert command == f"{again} --prompts-per-concept 1 --family building"
    # Another base has a table of its own.
    changed = ("--option", "threshold=0", "--over", "order", "--minutes", "0", "--json")
    refused = CliRunner().invoke(app, [*words, *changed, "--store", str(store.root)])
    assert refused.exit_code == 2 and "paper, threshold=0" in refused.stderr
    assert "leaves no time" in refused.stderr.replace("\n", " ")


def test_several_seeds_are_several_adapters_and_equal_runs_write_equal_bytes(store: Store) -> None:
    result = json.loads(ear("train", "--seeds", "0,1", *FAST, "--json", store=store))
    assert [run["seed"] for run in result["runs"]] == [0, 1]
    first, second = (Path(run["adapter"]) for run in result["runs"])
    before = first.read_bytes()
    assert before != second.read_bytes()
    (first.parent / "run.json").unlink()
    first.unlink()
    ear("train", "--seed", "0", *FAST, store=store)
    assert first.read_bytes() == before
    assert newest(store, "church").adapter == first
    assert len(finished(store, "church")) == 2
    stacked = ear("generate", "--prompt", "a cat", "--adapter", str(first), "--adapter", str(second), store=store)
    assert "before | after" in stacked
    ear("generate", "--prompt", "a cat", "--adapter", str(second), store=store)
    assert len([*second.parent.glob("before-after-*.png")]) == 2  # of the stack, and of the second alone


def test_adapters_are_compared_by_run_folder_or_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    result = json.loads(ear("train", "--seeds", "0,1", *FAST, "--json", store=store))
    first, second = (Path(run["adapter"]) for run in result["runs"])
    words = ["--prompts-per-concept", "2", "--family", "building"]
    compared = json.loads(ear("compare", first.parent.name, str(second.parent), *words, "--json", store=store))
    assert [evaluation["adapter"] for evaluation in compared["evaluations"]] == [str(first), str(second)]
    assert compared["evaluations"][0]["erasure"]["before"] == compared["evaluations"][1]["erasure"]["before"]
    alone = json.loads(ear("eval", "--adapter", str(second), *words, "--json", store=store))
    assert alone["retention"] == compared["evaluations"][1]["retention"]
    assert Path(compared["sheet"]).is_file()
    monkeypatch.setattr("ecgvf.render.batches.render_images", lambda *_, **__: pytest.fail("rendered again"))
    shown = ear("compare", str(first), str(second), *words, store=store)
    assert "shows the concept" in shown and "Contact sheet" in shown
    names = [first.parent.name, second.parent.name]
    header = ear("compare", str(first), str(second), *words, "--format", "csv", store=store).splitlines()[0]
    assert header.split(",")[1:5] == ["before", *names, "ceiling"]


def test_compared_models_are_called_by_their_folders(store: Store, tiny_path: Path, tmp_path: Path) -> None:
    folders = [shutil.copytree(tiny_path, tmp_path / name) for name in ("first", "second")]
    words = ["--prompts-per-concept", "1", "--prompts-per-other", "0", "--format", "csv"]
    header = ear("compare", *map(str, folders), *words, store=store).splitlines()[0]
    assert header.startswith(",before,first,second,")
    same = shutil.copytree(tiny_path, tmp_path / "elsewhere" / "first")
    header = ear("compare", str(folders[0]), str(same), *words, store=store).splitlines()[0]
    assert header.startswith(f",before,{folders[0]},{same},")


def test_exported_outcomes_are_compared_like_the_adapters(store: Store, tmp_path: Path) -> None:
    ear("train", *FAST, store=store)
    file = tmp_path / "outcomes.parquet"
    words = ["--prompts-per-concept", "2", "--family", "building"]
    measured = json.loads(ear("eval", *words, "--outcomes", str(file), "--json", store=store))
    assert measured["outcomes"] == str(file)
    assert f"Outcomes: {file}" in ear("eval", *words, "--outcomes", str(file), store=store).replace("\n", "")
    [compared] = json.loads(ear("compare", str(file), "--json", store=store))["evaluations"]
    assert compared["name"] == "outcomes"
    assert {key: compared[key] for key in measured if key in compared and key != "sheet"} == {
        key: measured[key] for key in compared if key != "name"
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--recipe", "papr"], "unknown recipe 'papr'"),
        (["train", "--option", "guidance"], "SETTING=VALUE"),
        (["train", "--seeds", "0,x"], "whole numbers"),
        (["train", "--seed", "-1"], "--seed -1: it must be a whole number from 0 up"),
        (["train", "--seeds", f"0,{2**64}"], f"--seeds {2**64}: it must be a whole number from 0 up, below 2**63"),
        (["eval", "--seed", "-1"], "--seed -1: it must be a whole number from 0 up"),
        (["eval", "--prompts-per-other", "-1"], "--prompts-per-other -1: it must be 0 or more"),
        (["train", "--seed", "1", "--seeds", "0,1"], "--seed and --seeds exclude each other"),
        (["train", "--recipe", "prompt-rewrite", "--preview-every", "2"], "prompt-rewrite trains nothing"),
        (
            ["train", "--recipe", "negative-prompt", "--seeds", "0,1"],
            "negative-prompt trains nothing: leave out --seed",
        ),
        (["train", "--dataset", "ecgvf/castle"], "ecgvf generate --concept castle"),
        (["train", "--dataset", "somewhere"], "ecgvf/CONCEPT"),
        (["train", "--model", "janus-giga"], "unknown model"),
        (["eval"], "run `ear train --dataset ecgvf/church` first"),
        (["generate", "--prompt", "x"], "run `ear train --dataset ecgvf/church` first"),
        (["generate", "--prompt", "x", "--seed", "-1"], "--seed -1: it must be a whole number from 0 up"),
        (["train", "--recipe", "negative-prompt", "--option", "window=3"], "recipe negative-prompt has no settings"),
        (["compare", "x", "--json", "--format", "csv"], "--json and --format csv exclude each other"),
        (["ablate", "--over", ""], "--over names no factor"),
        (["ablate", "--over", "order", "--minutes", "nan"], "--minutes nan: it must be a number of 0 or more"),
        (
            ["ablate", "--over", "order", "--recipe", "prompt-rewrite"],
            "prompt-rewrite has no settings to change",
        ),
        (["ablate", "--over", "order", "--seeds", "x"], "whole numbers"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(store: Store, words: list[str], message: str) -> None:
    output = ear(*words, store=store, code=2)
    assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --dataset ecgvf/church,ecgvf/church", "--dataset names 'church' twice"),
        ("train --recipe prompt-rewrite --track wandb", "prompt-rewrite trains nothing"),
        ("train --recipe prompt-rewrite --weights x", "prompt-rewrite trains nothing"),
        ("eval --adapter nowhere.safetensors", "no adapter at nowhere.safetensors"),
        ("attack --kind prefix --adapter nowhere", "no adapter at nowhere"),
        ("memorisation --adapter nowhere", "no adapter at nowhere"),
        ("compare default-0-s0", "no run of that name in"),
        ("push-to-hub --repo owner/name --adapter nowhere", "no adapter at nowhere"),
        ("ablate --over colour", "--over colour: an ablation has the factors window, threshold"),
        ("ablate --over order --minutes -1", "--minutes -1: it must be a number of 0 or more"),
        ("ablate --over order --seed -1", "--seed -1: it must be a whole number from 0 up"),
    ],
)
def test_mistakes_are_found_before_a_model_is_loaded(store: Store, line: str, message: str) -> None:
    assert message in ear(*line.split(), "--model", "janus-giga", store=store, code=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("eval --judge resnet51", "unknown judge 'resnet51'"),
        ("eval --judge nano-object-b --weights x", "nano-object-b has built-in weights: leave --weights out"),
        ("eval --family animals", "no retained concept of family 'animals'"),
        ("eval --figures full --questions nowhere.parquet", "cannot read questions from nowhere.parquet"),
        ("eval --figures full --oracle nowhere", "oracle nowhere: there is no such folder"),
        ("push-to-hub --repo owner/name --judge resnet51", "unknown judge 'resnet51'"),
        ("compare --judge resnet51", "unknown judge 'resnet51'"),
        ("ablate --over order --judge resnet51", "unknown judge 'resnet51'"),
        ("attack --kind prefix --judge resnet51", "unknown judge 'resnet51'"),
        ("attack --kind prefix --oracle nowhere", "oracle nowhere: there is no such folder"),
        ("attack --kind prefix --budget 99", "--budget 99: it must be below 4, the rows of an image"),
    ],
)
def test_what_cannot_be_measured_is_found_before_the_weights_are_loaded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setattr("ecgvf.janus.load", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr(evaluation_judges, "create_judge", create_judge)
    (adapter := tmp_path / "adapter.safetensors").touch()
    command, *options = line.split()
    named = {"ablate": [], "compare": [str(adapter)]}.get(command, ["--adapter", str(adapter)])
    assert message in ear(command, *named, *options, store=store, code=2)


def test_what_cannot_be_trained_is_found_before_the_weights_are_loaded(
    store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: str) -> str:
        return ear("train", *words, store=store, code=2)

    monkeypatch.setattr("ecgvf.janus.load", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "--track wandb: pip install wandb" in refused("--track", "wandb")
    cat = concepts.find("cat").model_copy(update={"window": 96})
    several = [dataset, replace(dataset, concept=cat)]
    monkeypatch.setattr("ear.commands.train.open_datasets", lambda _: (store, several))
    assert "takes each concept's own window" in refused("--recipe", "windowed-kl", "--option", "window=none")
    assert "changes the prompts of a single concept" in refused("--recipe", "prompt-rewrite")
    several[:] = [dataset]
    assert "in float16 Adam" in refused("--recipe", "published", "--dtype", "float16", "--dry-run")
    several[:] = [replace(dataset, train=())]
    assert "has no accepted pair" in refused()


def test_after_ctrl_c_the_next_run_resumes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    position_losses = steps.position_losses
    monkeypatch.setattr(steps, "position_losses", interrupted_after(2, position_losses))
    output = ear("train", *FAST, store=store, code=130)
    assert "Run the same command again to resume" in output
    [checkpoint] = (store.root / "church" / "ear").glob("*/checkpoint.pt")
    with pytest.raises(AdapterError, match="no adapter"):
        newest(store, "church")
    monkeypatch.setattr(steps, "position_losses", position_losses)
    ear("train", *FAST, store=store)
    assert not checkpoint.exists()
    assert newest(store, "church").facts["windows"] == 4
