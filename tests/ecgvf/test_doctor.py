import importlib.metadata
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers import JanusForConditionalGeneration
from typer.testing import CliRunner

from ecgvf import doctor
from ecgvf.cli import app
from tests.ecgvf.conftest import use_hub
from tests.hub_server import Hub
from tools.janus_pro import SHAPES, config

SECRET = "sk-never-shown"


def checks(store: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.diagnose(store)}


def test_janus_nano_runs_here_without_a_key(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    content = json.loads(result.stdout)
    assert (result.exit_code, content["ok"]) == (0, True)
    states = {check["name"]: check["state"] for check in content["checks"]}
    assert states["janus-nano"] == states["offline"] == states["cores"] == states["memory"] == "ok"
    assert states["janus-pro-7b"] == states["login"] == states["gpt"] == "absent"


def test_keys_are_found_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("GEMINI_API_KEY", f"{SECRET} and more")
    result = CliRunner().invoke(app, ["doctor"])
    assert "OPENAI_API_KEY is set" in result.stdout
    assert "GEMINI_API_KEY holds a line break, a space" in result.stdout
    assert "export ANTHROPIC_API_KEY=" in result.stdout
    assert SECRET not in result.output


def test_writers_of_the_users_own_are_those_of_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "writers.yaml"
    monkeypatch.setenv("ECGVF_WRITERS", str(own))
    own.write_text("writers: {gpt: {key: MY_API_KEY}, kimi: {base_url: 'http://127.0.0.1:1/v1', key: null}}\n")
    found = checks(tmp_path)
    assert found["gpt"].found == "MY_API_KEY is not set" and found["kimi"].state == "ok"
    own.write_text("writers: [gpt]\n")
    found = checks(tmp_path)
    assert str(own) in found["LLMs"].advice and found["offline"].state == "ok"
    own.unlink()  # the command has no --registry
    assert "name another in $ECGVF_WRITERS" in checks(tmp_path)["LLMs"].advice


def test_a_full_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    result = CliRunner().invoke(app, ["doctor", "--store", str(tmp_path / "not" / "yet")])
    assert result.exit_code == 1
    assert "put the store elsewhere: --store" in result.stdout


def test_a_missing_package_comes_with_the_command_that_adds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    ray = checks(tmp_path)["ray"]
    assert ray.state == "absent"
    assert "-m pip install 'ray[client]>=" in ray.advice


def test_every_extra_for_users_is_checked() -> None:
    extras = set(importlib.metadata.metadata("ecgvf").get_all("Provides-Extra") or ())
    assert extras - {"dev", "docs", "nano"} == set(doctor.EXTRAS)
    for extra in doctor.EXTRAS:
        assert doctor.requirements(extra), extra


def test_a_gpu_is_compared_with_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="a card", total_memory=8_000_000_000)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    found = checks(tmp_path)
    assert found["GPU"].found == "a card, 8.0 GB"
    assert found["janus-pro-1b"].advice == "hf download deepseek-community/Janus-Pro-1B"
    assert "a GPU with more than 14.0 GB" in found["janus-pro-7b"].advice


def test_a_model_is_downloaded_once_all_of_its_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--deepseek-community--Janus-Pro-7B"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}})
    for file, content in (("config.json", "{}"), ("model.safetensors.index.json", index), (shards[0], "")):
        (snapshot / file).write_text(content)
        assert checks(tmp_path)["janus-pro-7b"].found.endswith("; not downloaded")
    (snapshot / shards[1]).touch()
    assert checks(tmp_path)["janus-pro-7b"].found.endswith("; downloaded")


@pytest.mark.parametrize("size", SHAPES)
def test_parameters_are_those_of_the_configuration(size: str) -> None:
    full: Any = config(size)
    full.vision_config.num_hidden_layers = 24
    with torch.device("meta"):
        model = JanusForConditionalGeneration(full)
    assert sum(weight.numel() for weight in model.parameters()) == doctor.PARAMETERS[f"janus-pro-{size}"]


def test_the_hub_login_is_checked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks(tmp_path)["login"].found == "as owner"
    use_hub(tmp_path / "other", monkeypatch, token="hf_unknown")
    refused = checks(tmp_path)["login"]
    assert refused.state == "absent"
    assert "the Hub does not know your token" in refused.advice
    assert "hf_unknown" not in refused.found + refused.advice
