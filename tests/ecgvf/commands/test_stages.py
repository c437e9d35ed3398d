"""``render``, ``filter`` and ``status`` as a user types them."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.render import stage as render_stage
from tests.ecgvf.small_run import Oracle, church_pairs, write_pairs
from tests.random_janus import build

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("janus")))


@pytest.fixture
def store() -> Store:
    store = Store()
    write_pairs(store, church_pairs())
    return store


def answer(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = Oracle([True, False, False, False, True, True, True, False])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: oracle)


def test_render_filter_status_in_words(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 0 and "church: 8 pictures" in result.stdout and "(8 new)" in result.stdout
    result = runner.invoke(app, ["filter"])
    assert result.exit_code == 0 and "church: oracle accepts 1 of 3 pairs and 1 of 2 test prompts" in result.stdout
    assert "2 × target_absent" in result.stdout and "1 × concept_leaked" in result.stdout
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0
    for part in ("pairs", "pictures", "verdicts", "acceptance", "current", "target_absent"):
        assert part in result.stdout


def test_render_filter_status_in_json(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    rendered = json.loads(runner.invoke(app, ["render", "--model", model, "--json"]).stdout)
    assert (rendered["concept"], rendered["pictures"], rendered["new"], rendered["failed"]) == ("church", 8, 8, 0)
    filtered = json.loads(runner.invoke(app, ["filter", "--json"]).stdout)
    assert (filtered["accepted_pairs"], filtered["judge"]) == (1, "oracle")
    status = json.loads(runner.invoke(app, ["status", "--json"]).stdout)
    assert [entry["stage"] for entry in status["sets"]] == ["pairs", "pictures", "verdicts", "acceptance"]
    assert all(entry["current"] and entry["finished"] for entry in status["sets"])
    assert status["sets"][0]["counts"] == {"pairs": 3, "tests": 2}
    assert status["sets"][3]["reasons"] == {"target_absent": 2, "concept_leaked": 1}


def test_filter_alone_draws_first_and_json_stays_one_object(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch)
    monkeypatch.setattr(render_stage, "DEFAULT_MODEL", model)
    original = render_stage.render
    monkeypatch.setattr(render_stage, "render", lambda *args, **options: original(*args, **{"model": model, **options}))
    result = runner.invoke(app, ["filter", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pairs"] == 3
    assert "Not drawn yet" in result.stderr


def test_status_lists_older_and_unfinished_sets(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(StageSet, "write_shard", interrupted)
        result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 130 and "Run the same command again" in result.stderr
    write_pairs(store, church_pairs(train=1))
    result = runner.invoke(app, ["status", "--json"])
    sets = json.loads(result.stdout)["sets"]
    assert [entry["current"] for entry in sets if entry["stage"] == PAIRS] == [False, True]
    assert [entry["finished"] for entry in sets if entry["stage"] == IMAGES] == [False]
    assert "unfinished" in runner.invoke(app, ["status"]).stdout


@pytest.mark.faults
@pytest.mark.parametrize("command", ["render", "filter", "status"])
def test_an_empty_store_is_one_line(command: str) -> None:
    result = runner.invoke(app, [command])
    assert result.exit_code == 2
    assert "ecgvf generate" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.faults
@pytest.mark.parametrize("command", ["render", "filter", "status"])
def test_a_store_of_another_version_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "store.json").write_text('{"format": 0}')
    result = runner.invoke(app, [command, "--store", str(tmp_path)])
    assert result.exit_code == 2
    assert "format 0" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.faults
def test_a_hand_edited_shard_is_one_line(store: Store, model: str) -> None:
    file = ConceptRun.load(store, "church").current(PAIRS).shards()[0]
    file.write_bytes(file.read_bytes() + b"x")
    result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 2
    assert file.name in result.stderr and result.stderr.count("\n") == 1


def typed(*arguments: str) -> list[str]:
    """The command line of a user, in a process of its own."""
    return [sys.executable, "-c", "from ecgvf.cli import main; main()", *arguments]


def wait_for_a_shard(folder: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob("*/shard-*.parquet")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_cut_off_while_drawing_and_run_again_it_gives_the_same_bytes(
    store: Store, tmp_path: Path, model: str, how: signal.Signals
) -> None:
    pairs = church_pairs(train=80, test=0)
    write_pairs(store, pairs)
    command = typed("render", "--model", model, "--batch-size", "1", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_a_shard(store.folder("church", IMAGES), process)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130, errors
        assert "Interrupted. Run the same command again to go on." in errors and "Traceback" not in errors
        assert not list(store.root.rglob("*.tmp"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["new"] <= 160 - 64
    other = Store(tmp_path / "undisturbed")
    write_pairs(other, pairs)
    whole = render_stage.render(other, other.concept(), model=model, batch_size=1).images
    assert [file.read_bytes() for file in ConceptRun.load(store, "church").current(IMAGES).shards()] == [
        file.read_bytes() for file in whole.shards()
    ]


@pytest.mark.faults
def test_a_full_disk_while_drawing_is_one_line_and_the_run_goes_on(store: Store, model: str) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = typed("render", "--model", model)
    full = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=small_files)
    assert full.returncode == 2, full.stderr
    assert "no space left to write" in full.stderr and full.stderr.count("\n") == 1
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
