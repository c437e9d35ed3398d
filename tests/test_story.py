"""The whole story, typed as users type it, against a Hub on loopback: build, publish, change, publish, load, erase.

Pictures are drawn by a tiny Janus of random weights, which no judge would accept: the judge here is a stand-in that
says what the pairs mean. With nano's weights, `tests/test_job.py` types the same job with the real judge.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ecgvf.core.concepts import Concept
from ecgvf.core.records import Rendering, Verdict
from ecgvf.filter import stage as filter_stage
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.render import stage as render_stage
from tests.ecgvf.conftest import PORT, use_hub
from tests.hub_server import Hub
from tests.random_janus import build


class Trusting:
    """Sees in a picture what its prompt asked for: the stand-in for a judge."""

    name = "nano-object-a"
    weights_hash = "0"
    criterion = Criterion(label_set="nano", accepted=("church",), top_k=1)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        raise AssertionError("asked through `look` of the stage")


def trust(judge: Trusting, renderings: Sequence[Rendering]) -> list[Verdict]:
    return [
        Verdict(
            record_id=one.record_id,
            role=one.role,
            judge=judge.name,
            judge_hash=judge.weights_hash,
            label_set=judge.criterion.label_set,
            present=one.role == "target",
            score=float(one.role == "target"),
            top_labels=(("church", float(one.role == "target")),),
        )
        for one in renderings
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("janus")))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(tmp_path / "hub", PORT).running() as running:
        use_hub(tmp_path / "hf", monkeypatch)
        yield running


@pytest.fixture(autouse=True)
def _drawn_by_random_weights(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model is the random one, and the default judge the stand-in; nothing else differs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE")
    draw = render_stage.render
    monkeypatch.setattr(render_stage, "render", lambda *a, **options: draw(*a, **{"model": model, **options}))
    monkeypatch.setattr(
        filter_stage, "create_judge", lambda concept, *_: Trusting() if isinstance(concept, Concept) else None
    )
    monkeypatch.setattr(filter_stage, "look", trust)


def typed(line: str) -> str:
    """What a command line says on standard output."""
    script, *words = shlex.split(line)
    result = CliRunner().invoke({"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}[script], words)
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result.stdout


@pytest.mark.slow
def test_the_four_commands_of_the_mission_typed_verbatim_in_this_order(hub: Hub, tmp_path: Path) -> None:
    typed("ecgvf generate --concept church")
    typed("ecgvf filter")
    typed("ecgvf push-to-hub")
    typed("ear train --dataset ecgvf/church")
    assert list(hub.repos["owner/ecgvf"].tags) == ["v1.0.0"]
    assert len([*(tmp_path / "ecgvf-store").glob("church/ear/*/adapter.safetensors")]) == 1


@pytest.mark.slow
def test_build_push_change_push_load_both_diff_and_train_from_the_tag(hub: Hub, model: str, tmp_path: Path) -> None:
    typed("ecgvf generate --concept church --pairs 6 --tests 2")
    typed("ecgvf filter")
    typed("ecgvf push-to-hub --concept church --repo my-org/ecgvf --version 1.0.0")
    typed("ecgvf generate --concept church --pairs 8 --tests 2")
    typed("ecgvf filter")
    typed("ecgvf push-to-hub --repo my-org/ecgvf --version 1.1.0")

    sizes = [
        len(datasets.load_dataset("my-org/ecgvf", "church", revision=tag)["train"]) for tag in ("v1.0.0", "v1.1.0")
    ]
    assert sizes == [6, 8]
    [church] = json.loads(typed("ecgvf diff my-org/ecgvf@v1.0.0 my-org/ecgvf@v1.1.0 --json"))["concepts"]
    assert len(church["added"]) - len(church["removed"]) == 2 and "pairs.train.pairs: 6 → 8" in church["settings"]
    assert "v1.1.0" in typed("ecgvf versions my-org/ecgvf")

    told = typed(f"ear train --dataset my-org/ecgvf/church@v1.0.0 --model {model} --store elsewhere")
    assert "my-org/ecgvf/church@v1.0.0" in told and hub.repos["my-org/ecgvf"].tags["v1.0.0"][:12] in told
    [adapter] = (tmp_path / "elsewhere").glob("church/ear/*/adapter.safetensors")
    assert adapter.is_file()
