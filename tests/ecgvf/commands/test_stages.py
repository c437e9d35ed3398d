"""The commands ``render``, ``filter`` and ``status``."""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ecgvf.build
import ecgvf.run
from ecgvf.cli import app, main
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import ShardSet
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.render import RenderOptions, render, stage
from tests.ecgvf.small_run import ScriptedJudge, church_pairs, write_pairs

FORK = multiprocessing.get_context("fork")  # a child that imports nothing

runner = CliRunner()


@pytest.fixture
def run() -> ConceptRun:
    """Three pairs and two test prompts, not rendered."""
    return write_pairs(Store(), church_pairs()).run


@pytest.fixture
def scripted_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge of the commands: one pair and one test prompt are accepted."""
    judge = ScriptedJudge([True, False, False, False, True, True, True, False])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: judge)


@pytest.mark.usefixtures("run", "scripted_judge")
def test_render_filter_status_in_words(model: str) -> None:
    result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 0 and "church: 8 images" in result.stdout and "(8 new)" in result.stdout
    result = runner.invoke(app, ["filter"])
    assert (
        result.exit_code == 0
        and "church: scripted accepts 1 of 3 pairs, 0 of 0 validation prompts, 1 of 2 test prompts" in result.stdout
    )
    assert "2 × target_absent" in result.stdout and "1 × concept_leaked" in result.stdout
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0
    for part in ("pairs", "pictures", "verdicts", "acceptance", "current", "target_absent"):
        assert part in result.stdout
    cells = [line.split("│")[3].strip() for line in result.stdout.splitlines() if line.startswith("│")]
    written = ["3 pairs", "0 validation prompts", "2 test prompts"]
    accepted = ["1 of 3 pairs", "0 of 0 validation prompts", "1 of 2 test prompts"]
    assert cells == [*written, "8 images", "concept seen in 4 of 8 images", *accepted]


@pytest.mark.usefixtures("scripted_judge")
def test_the_next_command_names_the_store_and_concept_that_the_user_named(tmp_path: Path, model: str) -> None:
    store = str(tmp_path / "my store")
    write_pairs(Store(store), church_pairs())
    named = ["--store", store]
    result = runner.invoke(app, ["render", "--concept", "church", "--model", model, *named])
    assert f"Next: ecgvf filter --concept church --store '{store}'\n" in result.stdout
    result = runner.invoke(app, ["filter", *named])
    assert f"Next: ear train --dataset ecgvf/church --store '{store}'\n" in result.stdout
    result = runner.invoke(app, ["generate", "--concept", "cat", "--split", "train", "--pairs", "1", *named])
    assert f"Next: ecgvf generate --split validation --store '{store}'\n" in result.stdout


def test_a_concept_that_nano_cannot_render_is_rendered_by_another_model(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a naked man\n")
    result = runner.invoke(app, ["import", str(tmp_path / "prompts.txt"), "--concept", "nudity"])
    assert "Next: ecgvf render --model janus-pro-1b\n" in result.stdout
    result = runner.invoke(app, ["filter"])
    assert result.exit_code == 2
    assert "janus-nano cannot render 'nudity', which has no judge_labels of nano: use --model jan" in result.stderr


@pytest.mark.usefixtures("run")
def test_more_pairs_are_rendered_by_the_model_of_the_first(tmp_path: Path, model: str) -> None:
    assert runner.invoke(app, ["render", "--model", model]).exit_code == 0
    (tmp_path / "prompts.txt").write_text("a church by a lake\n")
    result = runner.invoke(app, ["import", str(tmp_path / "prompts.txt"), "--concept", "church"])
    assert "Next: ecgvf filter\n" in result.stdout


@pytest.mark.usefixtures("run", "scripted_judge")
def test_render_filter_status_in_json(model: str) -> None:
    rendered = json.loads(runner.invoke(app, ["render", "--model", model, "--json"]).stdout)
    assert (rendered["concept"], rendered["pictures"], rendered["new"], rendered["failed"]) == ("church", 8, 8, 0)
    filtered = json.loads(runner.invoke(app, ["filter", "--json"]).stdout)
    assert (filtered["accepted_pairs"], filtered["judge"]) == (1, "scripted")
    status = json.loads(runner.invoke(app, ["status", "--json"]).stdout)
    assert [entry["stage"] for entry in status["sets"]] == ["pairs", "pictures", "verdicts", "acceptance"]
    assert all(entry["current"] and entry["finished"] for entry in status["sets"])
    assert status["sets"][0]["counts"] == {"pairs": 3, "validation": 0, "tests": 2}
    assert status["sets"][3]["reasons"] == {"target_absent": 2, "concept_leaked": 1}


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "arguments", ["render --guidance", "render --temperature", "build --writers offline --guidance"]
)
def test_a_sampling_setting_out_of_range_is_an_error_before_anything_is_loaded(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecgvf.run, "import_pytorch", pytest.fail)
    monkeypatch.setattr(ecgvf.build, "import_pytorch", pytest.fail)
    result = runner.invoke(app, [*arguments.split(), "-1"])
    assert result.exit_code == 2
    assert f"{arguments.split()[-1]} -1: it must be a number of 0 or more" in result.stderr


@pytest.mark.usefixtures("run", "scripted_judge")
def test_filter_renders_first_and_prints_one_json_object() -> None:
    result = runner.invoke(app, ["filter", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pairs"] == 3
    assert "janus-nano" in result.stderr  # the user reads which model renders


def test_status_lists_older_and_unfinished_sets(run: ConceptRun, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(StageSet, "write_shard", interrupted)
        result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 130 and "Run the same command again" in result.stderr
    write_pairs(run.store, church_pairs(train=1))
    result = runner.invoke(app, ["status", "--json"])
    sets = json.loads(result.stdout)["sets"]
    assert [entry["current"] for entry in sets if entry["stage"] == PAIRS.name] == [False, True]
    assert [entry["finished"] for entry in sets if entry["stage"] == IMAGES.name] == [False]
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
def test_a_hand_edited_shard_is_one_line(run: ConceptRun, model: str) -> None:
    file = run.current(PAIRS).shards()[0]
    file.write_bytes(file.read_bytes() + b"x")
    result = runner.invoke(app, ["render", "--model", model])
    assert result.exit_code == 2
    assert file.name in result.stderr and result.stderr.count("\n") == 1


def ended_after_a_shard(ending: signal.Signals, errors: Path, *arguments: str) -> int | None:
    """Exit code of ``ecgvf`` in a process of its own, which gets a signal when it has written its first shard, however
    busy the machine is; its standard error goes to ``errors``."""

    def child() -> None:
        write_shard = ShardSet.write_shard

        def write(*shard: Any) -> None:
            write_shard(*shard)
            os.kill(os.getpid(), ending)

        ShardSet.write_shard = write  # type: ignore[method-assign]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background processes ignore it
        sys.stderr = errors.open("w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), 2)
        sys.argv = ["ecgvf", *arguments]
        main()

    process = FORK.Process(target=child, daemon=True)
    process.start()
    process.join(300)
    return process.exitcode


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_and_interrupted_render_resumes_to_the_same_bytes(
    run: ConceptRun, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)
    pairs = church_pairs(train=5, test=0)  # shards of 4, 4 and 2 images
    write_pairs(run.store, pairs)
    arguments = ["render", "--model", model, "--batch-size", "1", "--json"]
    errors = tmp_path / "errors.txt"
    assert ended_after_a_shard(signal.SIGKILL, errors, *arguments) == -signal.SIGKILL, errors.read_text()
    assert ended_after_a_shard(signal.SIGINT, errors, *arguments) == 130, errors.read_text()
    assert "Run the same command again" in errors.read_text() and "Traceback" not in errors.read_text()
    assert not list(run.store.root.rglob("*.tmp"))
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["new"] == 2
    undisturbed = write_pairs(Store(tmp_path / "undisturbed"), pairs).run
    whole = render(undisturbed, RenderOptions(model=model, batch_size=1)).images
    assert [file.read_bytes() for file in run.current(IMAGES).shards()] == [
        file.read_bytes() for file in whole.shards()
    ]
