"""The main job, as a user types it: from a concept to an erased model, offline, on a CPU."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def invoke(line: str, folder: Path) -> Result:
    """The result of a command line, run in ``folder``."""
    script, *arguments = line.split()
    with contextlib.chdir(folder):
        result = CliRunner().invoke({"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}[script], arguments)
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result


def run(line: str, folder: Path) -> str:
    """Standard output of a command line, run in ``folder``."""
    return invoke(line, folder).stdout


def run_alone(line: str, folder: Path) -> str:
    """As ``run``, in a process of its own, as a user's."""
    script, *arguments = line.split()
    command = [sys.executable, "-c", f"from {script}.cli import main; main()", *arguments]
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    assert completed.returncode == 0, f"{line}: {completed.stderr}"
    return completed.stdout


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `generate`, `filter` and `ear train` were run, in this order and nothing else."""
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGVF_STORE", raising=False)
        run_alone("ecgvf generate --concept church --pairs 32 --validation 16 --tests 4", folder)
        assert "No images yet" in invoke("ecgvf filter", folder).stderr
        # A tenth of the recipe's steps.
        run("ear train --dataset ecgvf/church --option passes=2 --option rollouts=32 --option rehearsed=32", folder)
    return folder


@pytest.fixture(autouse=True)
def _in_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECGVF_STORE")


def test_generate_filter_and_train_are_enough(erased: Path) -> None:
    sets = json.loads(run("ecgvf status --json", erased))["sets"]
    assert [entry["stage"] for entry in sets] == ["pairs", "pictures", "verdicts", "acceptance"]
    accepted = sets[-1]["counts"]
    assert accepted["pairs"] >= 32  # with the rejects of stage 1
    assert accepted["validation"] >= 16 and accepted["tests"] >= 4
    assert accepted["accepted_pairs"] >= 27
    assert list(erased.glob("ecgvf-store/church/ear/*/adapter_model.safetensors"))


def test_the_church_is_gone_and_the_retained_concepts_are_not(erased: Path) -> None:
    figures = json.loads(run("ear eval --prompts-per-concept 16 --prompts-per-other 1 --json", erased))
    before, after = figures["erasure"]["before"], figures["erasure"]["after"]
    assert set(before) >= {"value", "n", "low", "high"}
    assert before["value"] >= 0.9
    # A tenth of the recipe's steps, measured on words that training never used; all of them do better (README).
    assert after["value"] <= 0.2
    shown = {row["figure"]: row for row in figures["replacement"]}
    assert shown["shows_surrogate"]["after"]["value"] >= 0.25
    rows = figures["retention"]
    assert sum(row["after"]["value"] for row in rows) >= 0.9 * sum(row["before"]["value"] for row in rows)
    assert {row["concept"] for row in rows if row["neighbour"]} >= {"castle", "mosque"}
