import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from ecgvf.core.errors import DeviceFailed, EcgvfError, HubError, ModelError, SettingsError
from ecgvf.janus import MODELS, JanusModel, absolute_name, load, loading
from tools.tiny_janus import build


def test_a_folder_loads_in_float32_whatever_its_dtype(tiny_path: Path, tmp_path: Path) -> None:
    saved = load(str(tiny_path), device="cpu")
    saved.model.to(torch.bfloat16).save_pretrained(tmp_path)
    saved.processor.save_pretrained(tmp_path)
    loaded = load(str(tmp_path), device="cpu")
    assert loaded.dtype == torch.float32
    assert load(str(tmp_path), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert (loaded.image_tokens, loaded.depth, loaded.name) == (16, 3, str(tmp_path))


def test_a_folder_in_the_home_folder_is_recorded_by_its_path(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_path.parent))
    assert absolute_name(f"~/{tiny_path.name}") == str(tiny_path.resolve())
    assert absolute_name("~no-such-user/x") == "~no-such-user/x"


def test_the_fingerprint_depends_on_the_content_alone(tiny_janus: JanusModel, tiny_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_path, copy)
    assert load(str(copy), device="cpu").fingerprint == tiny_janus.fingerprint
    assert load(str(build(tmp_path / "other", seed=1)), device="cpu").fingerprint != tiny_janus.fingerprint


def test_a_file_is_hashed_again_only_if_it_has_changed(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    janus = load(str(shutil.copytree(tiny_path, tmp_path / "copy")), device="cpu")
    before = janus.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert replace(janus, negative_prompt="a castle").fingerprint == before
    (janus.path / "config.json").write_text("{}")
    assert replace(janus, negative_prompt="a castle").fingerprint != before


@pytest.mark.parametrize("name", ["janus-giga", "./nowhere", "/nowhere/at/all", "", "~no-such-user/x", "x" * 300])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError, match=r"unknown model .*janus-nano, janus-pro-1b, janus-pro-7b"):
        load(name, device="cpu")


@pytest.mark.parametrize(("width", "converted"), [(2048, "janus-pro-1b"), (4096, "janus-pro-7b")])
def test_the_original_layout_is_refused_with_the_converted_model(tmp_path: Path, width: int, converted: str) -> None:
    config = {"model_type": "multi_modality", "language_config": {"hidden_size": width}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"original layout.*use {converted} \\({MODELS[converted]}\\)"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"model_type": "llama"}', "'llama', not 'janus'"), ("{", "cannot read"), ("[]", "JSON object")],
)
def test_a_config_of_another_model_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        load(str(tmp_path), device="cpu")


def test_an_empty_folder_and_an_incomplete_one_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(tmp_path), device="cpu")
    shutil.copy(tiny_path / "config.json", tmp_path)
    with pytest.raises(ModelError, match="cannot load the model"):
        load(str(tmp_path), device="cpu")


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    file = Path(shutil.copytree(tiny_path, tmp_path / "cut")) / "model.safetensors"
    weights = load_file(file)
    del weights["model.generation_embeddings.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"cut lacks weights \(model.generation_embeddings.weight\), which would be"):
        load(str(file.parent), device="cpu")


def test_weights_that_the_fingerprint_does_not_cover_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    file = Path(shutil.copytree(tiny_path, tmp_path / "pickled")) / "model.safetensors"
    torch.save(load_file(file), file.with_name("pytorch_model.bin"))
    file.unlink()
    with pytest.raises(
        ModelError, match=r"pickled has its weights in \.bin files: save it again with `save_pretrained`"
    ):
        load(str(file.parent), device="cpu")


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\ndetails"), SettingsError, "enough memory to load .*: use a"),
        (torch.AcceleratorError("CUDA error: busy\ndetails"), DeviceFailed, "cpu failed: CUDA error: busy$"),
    ],
)
def test_a_device_that_cannot_take_the_weights_is_one_line(
    tiny_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: type[EcgvfError],
    message: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loading, "join_projections", fail)
    with pytest.raises(expected, match=message):
        load(str(tiny_path), device="cpu")


@pytest.mark.parametrize("name", ["janus-pro-7b", "somebody/some-janus"])
def test_hub_errors_name_the_repository(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(loading, "hf_hub_download", unreachable)
    with pytest.raises(HubError, match=f"cannot be reached for {MODELS.get(name, name)}: .*janus-nano"):
        load(name, device="cpu")


def test_an_unusable_checkpoint_is_refused_before_its_weights_are_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "multi_modality"}')
    monkeypatch.setattr(loading, "hf_hub_download", lambda *_: str(tmp_path / "config.json"))
    monkeypatch.setattr(loading, "snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(ModelError, match="deepseek-ai/Janus-Pro-1B is Janus in DeepSeek's original layout"):
        load("deepseek-ai/Janus-Pro-1B", device="cpu")


def test_an_unknown_dtype_is_refused(tiny_path: Path) -> None:
    with pytest.raises(ModelError, match="int3"):
        load(str(tiny_path), dtype="int3")


def test_the_dtype_is_what_the_chosen_gpu_has_in_hardware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[object] = []

    def has_bfloat16(including_emulation: bool = True) -> bool:
        calls.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(device.index))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", has_bfloat16)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(str(tmp_path), device="cuda:1")
    assert calls == [1, False]
    assert loading.resolve_dtype("auto", torch.device("cuda:1")) == torch.float16
