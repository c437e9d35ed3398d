import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.janus import Sampling, load
from ecgvf.janus.roofline import Roofs
from ecgvf.render import bench
from ecgvf.render.bench import measure_speed


def test_the_speed_of_each_batch_size_is_measured_against_the_roof(model: str) -> None:
    roofs, speeds = measure_speed(load(model), [1, 4], runs=2)
    assert roofs.bytes_per_second > 0
    assert [speed.batch_size for speed in speeds] == [1, 4]
    assert 0 < speeds[0].roof_seconds < speeds[1].roof_seconds
    for speed in speeds:
        assert len(speed.seconds) == 2
        assert speed.share_of_roof * statistics.median(speed.seconds) == pytest.approx(speed.roof_seconds)
        assert speed.images_per_second * speed.ms_per_token * 16 == pytest.approx(1000 * speed.batch_size)
        assert speed.peak_memory > 10_000_000


def test_the_peak_memory_on_a_gpu_is_that_of_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = [0]

    def use(amount: int) -> None:
        peak.append(max(peak[-1], amount))

    def roofs(*_: object) -> Roofs:
        use(1000)
        return Roofs(1.0, 1.0)

    monkeypatch.setattr(bench, "measure_roofs", roofs)
    monkeypatch.setattr(bench, "render_images", lambda *_, batch_size: use(batch_size))
    monkeypatch.setattr(bench, "batch_cost", lambda *_, **__: SimpleNamespace(seconds=lambda roofs: 1.0))
    monkeypatch.setattr(bench, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peak.append(0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peak[-1])
    gpu: Any = SimpleNamespace(
        name="tiny", device=torch.device("cuda"), dtype=torch.float16, image_tokens=16, sampling=Sampling()
    )
    assert [speed.peak_memory for speed in measure_speed(gpu, [8, 4])[1]] == [8, 4]


def test_the_command_prints_a_line_per_batch_size(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgvf.render.bench.measure_roofs", lambda *_: Roofs(1e10, 1e11))
    result = CliRunner().invoke(app, ["bench", "--model", model, "--batch-size", "2", "--runs", "1"])
    assert result.exit_code == 0
    assert "images/s" in result.stdout
    assert "of the roof" in " ".join(result.stdout.split())
    result = CliRunner().invoke(app, ["bench", "--model", model, "--runs", "1", "--json"])
    printed = json.loads(result.stdout)
    assert [speed["batch_size"] for speed in printed["speeds"]] == [1, 64]
    assert printed["tflops"] > 0


@pytest.mark.parametrize(
    ("function", "task"),
    [
        ("render_images", "render 9 images of {model} at once: use a smaller --batch-size"),
        ("measure_roofs", "measure its roofs: use"),
    ],
)
def test_what_does_not_fit_is_one_line(model: str, monkeypatch: pytest.MonkeyPatch, function: str, task: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench, function, full)
    result = CliRunner().invoke(app, ["bench", "--model", model, "--batch-size", "9"])
    assert result.exit_code == 2
    assert f"does not have enough memory to {task.format(model=model)}" in " ".join(result.stderr.split())


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--model", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "unknown model" in result.stderr
