"""The whole job with Janus-nano and a Hub on loopback: build, publish, change, publish again, load, erase.

``tests/test_job.py`` trains a tenth of the recipe's steps and measures them, without the Hub.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ear.dataset import find_dataset
from ecgvf.core.store import Store
from tests.ecgvf.conftest import PORT, use_hub
from tests.hub_server import Hub

pytestmark = pytest.mark.slow

SHORT = "--option pairs=1 --option passes=1 --option retention=0"
"""A training of a few steps."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE")
    with Hub(tmp_path / "hub", PORT).running() as running:
        use_hub(tmp_path / "hf", monkeypatch)
        yield running


def shell(line: str) -> str:
    """Standard output of a command line."""
    script, *arguments = shlex.split(line)
    result = CliRunner().invoke({"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}[script], arguments)
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result.stdout


def filter_and_count() -> int:
    """``ecgvf filter``, and the pairs that it accepts."""
    accepted: int = json.loads(shell("ecgvf filter --json"))["accepted_pairs"]
    return accepted


def check_training(store: Path, dataset: str) -> None:
    """The training in ``store`` has changed the model, by a few steps on this dataset."""
    [file] = store.glob("church/ear/*/adapter_model.safetensors")
    weights = load_file(file)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)  # zero before training
    facts = json.loads((file.parent / "run.json").read_text(encoding="utf-8"))
    assert facts["dataset"] == find_dataset(Store(store), dataset)[0].fingerprint
    assert (facts["recipe"]["pairs"], facts["recipe"]["passes"], facts["recipe"]["retention"]) == (1, 1, 0)


def test_a_published_dataset_changes_and_trains_from_its_tag(hub: Hub, tmp_path: Path) -> None:
    shell("ecgvf generate --concept church --pairs 3 --validation 1 --tests 1")
    sizes = [filter_and_count()]
    shell("ecgvf push-to-hub")
    assert list(hub.repos["owner/ecgvf"].tags) == ["v1.0.0"]
    shell("ecgvf push-to-hub --concept church --repo my-org/ecgvf --version 1.0.0")
    shell("ecgvf generate --concept church --pairs 5 --validation 1 --tests 1")
    sizes += [filter_and_count()]
    shell("ecgvf push-to-hub --repo my-org/ecgvf --version 1.1.0")

    assert sizes[1] > sizes[0] > 0
    loaded = [datasets.load_dataset("my-org/ecgvf", "church", revision=tag) for tag in ("v1.0.0", "v1.1.0")]
    assert [len(version["train"]) for version in loaded] == sizes
    [church] = json.loads(shell("ecgvf diff my-org/ecgvf@v1.0.0 my-org/ecgvf@v1.1.0 --json"))["concepts"]
    assert len(church["added"]) - len(church["removed"]) == sizes[1] - sizes[0]
    assert "pairs.train.pairs: 3 → 5" in church["settings"]
    assert "v1.1.0" in shell("ecgvf versions my-org/ecgvf")

    output = shell(f"ear train --dataset my-org/ecgvf/church@v1.0.0 --store elsewhere {SHORT}")
    assert "my-org/ecgvf/church@v1.0.0" in output and hub.repos["my-org/ecgvf"].tags["v1.0.0"][:12] in output
    check_training(tmp_path / "elsewhere", "my-org/ecgvf/church@v1.0.0")
