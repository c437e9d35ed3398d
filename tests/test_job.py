"""The main job, as a user types it: from a concept to an erased model, offline, on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def typed(line: str, folder: Path) -> str:
    """Standard output of a command line, typed in ``folder``."""
    script, *arguments = line.split()
    command = [sys.executable, "-c", f"from {script}.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `generate`, `filter`, `ear train` were typed, in this order and with nothing else."""
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ECGVF_STORE", raising=False)
        typed("ecgvf generate --concept church", folder)
        said = typed("ecgvf filter", folder)
        assert "Not drawn yet" in said
        typed("ear train --dataset ecgvf/church", folder)
    return folder


@pytest.fixture(autouse=True)
def _in_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECGVF_STORE")


def test_generate_filter_train_work_with_nothing_else_typed(erased: Path) -> None:
    sets = json.loads(typed("ecgvf status --json", erased))["sets"]
    assert [entry["stage"] for entry in sets] == ["pairs", "pictures", "verdicts", "acceptance"]
    accepted = sets[-1]["counts"]
    assert accepted["pairs"] >= 60 and accepted["tests"] >= 100  # and the rejects of stage 1
    assert accepted["accepted_pairs"] >= 50
    assert list(erased.glob("ecgvf-store/church/ear/*/adapter.safetensors"))


def test_the_church_is_gone_and_the_rest_of_the_world_is_not(erased: Path) -> None:
    figures = json.loads(typed("ear eval --prompts-per-concept 32 --prompts-per-other 4 --json", erased))
    before, after = figures["erasure"]["before"], figures["erasure"]["after"]
    assert set(before) >= {"value", "n", "low", "high"}
    assert before["value"] >= 0.9 and after["value"] <= 0.2
    kept = figures["retention"]
    assert sum(one["after"]["value"] for one in kept) >= 0.9 * sum(one["before"]["value"] for one in kept)
    assert {one["concept"] for one in kept if one["neighbour"]} >= {"castle", "mosque"}
