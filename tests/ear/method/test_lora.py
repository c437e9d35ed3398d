"""LoRA adapters: PEFT loads them without this package, and they go wherever full weights go."""

import json
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ear.dataset import find_dataset
from ear.evaluation import EvaluationSettings, evaluate
from ear.method import adapter as adapters
from ear.method import lora
from ear.method.adapter import new_adapter
from ear.method.erase import erase
from ear.method.open_adapter import files_hash
from ear.method.recipes import ON_POLICY, PUBLISHED
from ear.method.runs import TrainingRun, find_adapter
from ear.prompt_images import PromptTask, render_to_folder
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, RecipeError, SettingsError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, hidden_states, load, render_images

RECIPE = replace(
    ON_POLICY,
    rollouts=2,
    images_per_step=2,
    passes=3,
    rehearsed=4,
    rehearsed_per_step=2,
    adapter="lora",
    rank=4,
    learning_rate=0.01,
)
IDS = torch.arange(16)[None] % 7


def states(model: JanusModel) -> Tensor:
    return hidden_states(model, ["a church"], IDS).detach()


@pytest.fixture(scope="module")
def trained(filtered: Path, tiny: JanusModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a store with the training; each test gets a copy."""
    root = tmp_path_factory.mktemp("lora") / "store"
    shutil.copytree(filtered, root)
    store = Store(root)
    erase(store, [find_dataset(store, "ecgvf/church")[0]], tiny, RECIPE, [0])
    return root


@pytest.fixture
def run(store: Store, trained: Path) -> TrainingRun:
    shutil.copytree(trained, store.root, dirs_exist_ok=True)
    [path] = store.folder("church", "ear").glob("*-s0")
    return TrainingRun(path)


def test_it_changes_nothing_before_the_first_step_and_draws_by_its_seed(tiny: JanusModel) -> None:
    made = [new_adapter(tiny, range(2), "attention", rank=3, seed=seed) for seed in (0, 0, 1)]
    before = states(tiny)
    with made[0].active(tiny):
        assert torch.equal(states(tiny), before)
    first, same, other = (adapter.parameters["layers.0.self_attn.q_proj.lora_A"] for adapter in made)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert first.shape == (3, 32) and len(made[0].weights) == 2 * 4 * 2
    assert not new_adapter(tiny, range(1), "all", rank=3).modules.keys() & {"layers.0.input_layernorm"}


def test_peft_loads_the_folder_alone(run: TrainingRun, tiny: JanusModel, tiny_path: Path) -> None:
    from peft import PeftModel

    assert sorted(file.name for file in run.path.iterdir()) == [lora.CONFIG, lora.LORA_FILE, "loss.svg", "run.json"]
    frozen = states(tiny)
    with adapters.load(tiny, run.adapter).active(tiny):
        ours = states(tiny)
    assert not torch.allclose(ours, frozen, atol=1e-3)
    other = load(str(tiny_path), device="cpu")
    PeftModel.from_pretrained(other.model, str(run.path))  # puts its layers into the model's own
    torch.testing.assert_close(states(other), ours, rtol=1e-5, atol=1e-5)


def test_peft_finds_the_base_model_by_itself(run: TrainingRun, tiny: JanusModel, tmp_path: Path) -> None:
    from peft import AutoPeftModel

    with adapters.load(tiny, run.adapter).active(tiny):
        ours = states(tiny)
    found = AutoPeftModel.from_pretrained(str(run.path))  # the tiny model's folder is its name
    torch.testing.assert_close(states(replace(tiny, model=found.base_model.model)), ours, rtol=1e-5, atol=1e-5)
    modules = adapters.load(tiny, run.adapter).low_rank
    for name, base in (
        ("janus-pro-1b", "deepseek-community/Janus-Pro-1B"),
        ("janus-pro-7b", "deepseek-community/Janus-Pro-7B"),
        ("somebody/janus", "somebody/janus"),
        ("janus-nano", "janus-nano"),  # has no Hub id
    ):
        lora.write_config(tmp_path, name, modules)
        assert json.loads((tmp_path / lora.CONFIG).read_text())["base_model_name_or_path"] == base


def test_it_renders_as_its_merged_weights_do(run: TrainingRun, tiny: JanusModel) -> None:
    adapter = adapters.load(tiny, run.adapter)
    merged = adapters.stack(tiny, [run.adapter, run.adapter])
    assert not merged.low_rank and merged.modules.keys() == adapter.modules.keys()
    name, module = next(iter(adapter.low_rank.items()))
    frozen = tiny.language_model.get_submodule(name).weight
    torch.testing.assert_close(merged.modules[name].weight - frozen, 2 * (module.weight - frozen))
    before = render_images(tiny, ["a church"] * 8, range(8), Sampling())
    with adapter.active(tiny):
        after = render_images(tiny, ["a church"] * 8, range(8), Sampling())
    assert (before.vq_ids != after.vq_ids).any()


def test_stacked_changes_are_rounded_together(tiny_path: Path, tmp_path: Path) -> None:
    model = load(str(tiny_path), device="cpu", dtype="bfloat16")
    saved = {"concept": "church", "model": model.name, "fingerprint": model.fingerprint, "sampling": {}, "recipe": {}}
    files = [tmp_path / str(number) / lora.LORA_FILE for number in range(2)]
    for seed, file in enumerate(files):
        made = new_adapter(model, range(1), "attention", rank=2, seed=seed)
        for module in made.low_rank.values():
            torch.nn.init.normal_(module.lora_B, std=0.01, generator=torch.Generator().manual_seed(seed))
        file.parent.mkdir()
        made.save(file, saved, torch.bfloat16)
    loaded = [adapters.load(model, file).low_rank for file in files]
    for name, module in adapters.stack(model, files).modules.items():
        frozen = model.language_model.get_submodule(name).weight.float()
        changes = [each[name].lora_B.float() @ each[name].lora_A.float() for each in loaded]
        assert torch.equal(module.weight, (frozen + changes[0] + changes[1]).bfloat16())


def test_it_is_measured_found_and_trained_once_like_any_other(
    run: TrainingRun, store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    assert run.adapter.name == lora.LORA_FILE
    assert find_adapter(store, str(run.path)) == find_adapter(store, run.path.name) == run.adapter
    assert not erase(store, [dataset], tiny, RECIPE, [0])[0].new
    found = evaluate(store, tiny, dataset, [run.adapter], EvaluationSettings(prompts_per_concept=1))
    assert found.recipe == "on-policy"


def test_an_interrupted_training_ends_with_the_same_bytes(
    run: TrainingRun, store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run.adapter.read_bytes()
    for file in run.path.iterdir():
        file.unlink()
    monkeypatch.setattr("ear.method.train.CHECKPOINT_SECONDS", 0.0)
    real, calls = TrainingRun.save_checkpoint, iter(range(2))

    def interrupt(self: TrainingRun, state: dict[str, object]) -> None:
        real(self, state)
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingRun, "save_checkpoint", interrupt)
        erase(store, [dataset], tiny, RECIPE, [0])
    [resumed] = erase(store, [dataset], tiny, RECIPE, [0])
    assert resumed.adapter.read_bytes() == whole


def test_a_damaged_or_foreign_folder_is_one_line(run: TrainingRun, tiny: JanusModel) -> None:
    config = json.loads((run.path / lora.CONFIG).read_text())
    for change, message in (
        ({"peft_type": "LOHA"}, "only plain LoRA is supported"),
        ({"use_dora": True}, "only plain LoRA is supported"),
        ({"alpha_pattern": {"q_proj": 8}}, "only plain LoRA is supported"),
        ({"rank_pattern": {"q_proj": 8}}, "only plain LoRA is supported"),
        ({"r": "four"}, "is not a configuration that PEFT wrote"),
        ({"r": 0}, "is not a configuration that PEFT wrote"),
    ):
        (run.path / lora.CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises(AdapterError, match=message):
            adapters.load(tiny, run.adapter)
    (run.path / lora.CONFIG).unlink()
    with pytest.raises(AdapterError, match="is not a configuration that PEFT wrote"):
        adapters.load(tiny, run.adapter)


def test_a_renamed_file_is_one_line_that_says_its_name(run: TrainingRun, tiny: JanusModel, tmp_path: Path) -> None:
    renamed = shutil.copy(run.adapter, tmp_path / "church.safetensors")
    with pytest.raises(AdapterError, match=f"keep its name {re.escape(lora.LORA_FILE)}"):
        adapters.load(tiny, Path(renamed))


def test_another_scaling_is_another_adapter(run: TrainingRun, tiny: JanusModel, tmp_path: Path) -> None:
    tasks = [PromptTask("1", "a church", 0, "images/1.png")]
    render_to_folder(tiny, tasks, tmp_path / "out", adapters=[run.adapter])
    trained = files_hash([run.adapter])
    assert trained == sha256(sha256(run.adapter.read_bytes()).digest()).hexdigest()[:16]  # as it always was
    config = json.loads((run.path / lora.CONFIG).read_text())
    (run.path / lora.CONFIG).write_text(json.dumps({**config, "lora_alpha": 2 * config["lora_alpha"]}))
    assert files_hash([run.adapter]) != trained
    with pytest.raises(SettingsError, match="has images of other settings"):
        render_to_folder(tiny, tasks, tmp_path / "out", adapters=[run.adapter])


def test_what_lora_cannot_do_is_one_line() -> None:
    with pytest.raises(RecipeError, match="adapter is lora, but the trajectory streams"):
        replace(PUBLISHED, adapter="lora")
    with pytest.raises(RecipeError, match="rank is 0"):
        replace(RECIPE, rank=0)
