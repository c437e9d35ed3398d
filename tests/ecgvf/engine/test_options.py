"""Options of engines, refused before any worker starts."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ear.cli import app as ear_app
from ecgvf.cli import app
from ecgvf.core.errors import SettingsError
from ecgvf.core.store import Store
from ecgvf.engine.cluster import RayEngine
from tests.ecgvf.small_run import church_pairs, write_pairs


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "spark"], "--engine spark: use local, ray, or ray://HOST:PORT"),
        (["--engine", "ray", "--max-workers", "0"], "--max-workers 0: it must be at least --min-workers (1)"),
        (["--engine", "ray", "--retries", "-1"], "--retries -1: it must be 0 or more"),
        (["--engine", "ray://127.0.0.1:1"], "no Ray cluster answers at ray://127.0.0.1:1"),
        (["--engine", "ray://head"], "ray://head: the address of a Ray cluster is HOST:PORT"),
        (["--engine", "ray://head:port"], "ray://head:port: the address of a Ray cluster is HOST:PORT"),
        (["--retries", "1"], "are for --engine ray"),
        (["--max-workers", "0"], "--max-workers 0"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    write_pairs(Store(tmp_path / "store"), church_pairs(train=1, test=0))
    result = CliRunner().invoke(app, ["render", "--store", str(tmp_path / "store"), *options])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_engine_options_need_a_file_of_prompts() -> None:
    result = CliRunner().invoke(ear_app, ["generate", "--prompt", "a church", "--engine", "ray"])
    assert result.exit_code == 2 and "--prompts FILE" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_workers": 0}, "--min-workers 0: it must be at least 1"),
        ({"min_workers": 3, "max_workers": 2}, "--max-workers 2: it must be at least --min-workers (3)"),
        ({"retries": -1}, "--retries -1: it must be 0 or more"),
        ({"gpus_per_worker": -0.5}, "--gpus-per-worker -0.5: it must be 0 or more"),
        ({"gpus_per_worker": float("nan")}, "--gpus-per-worker nan: it must be 0 or more"),
        ({"gpus_per_worker": float("inf")}, "--gpus-per-worker inf: it must be 0 or more"),
    ],
)
def test_numbers_of_workers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        RayEngine(**options)
