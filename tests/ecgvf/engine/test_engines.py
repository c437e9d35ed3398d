"""Real stages by two processes, and by two actors of a real Ray: the bytes of this process, even if workers die."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from ear.cli import app as ear_app
from ear.prompt_images import read_prompts, render_to_folder
from ecgvf.core import console
from ecgvf.core.errors import DeviceFailed, EngineError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, VERDICTS, StageSet
from ecgvf.core.store import Store
from ecgvf.engine import Engine, Pool, Processes, Setup, ThisProcess, Worker, cluster
from ecgvf.engine.cluster import RayEngine
from ecgvf.filter import filter_images
from ecgvf.render import RenderOptions, render, stage
from tests.contents import contents
from tests.ecgvf.engine.squares import fill, setup, squares
from tests.ecgvf.small_run import church_pairs, write_pairs

pytestmark = pytest.mark.slow

PROCESSES = Processes([{}, {}])
RAY = RayEngine(max_workers=2)


@pytest.fixture(params=["processes", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "processes":
        return PROCESSES
    request.getfixturevalue("ray")
    return RAY


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 2)


def new_run(folder: Path) -> ConceptRun:
    return write_pairs(Store(folder), church_pairs(train=9, test=3)).run


class Mortal:
    """An engine of whose workers the first that has made a shard is killed before it answers."""

    def __init__(self, engine: Engine, killed: Path) -> None:
        self.engine, self.killed = engine, killed

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        killed = self.killed

        class MortalWorker:
            def __init__(self, worker: Worker) -> None:
                self.worker, self.description = worker, worker.description

            def __call__(self, *arguments: Any) -> Any:
                table = self.worker(*arguments)
                with suppress(FileExistsError):
                    killed.touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
                return table

        def mortal(setup: Setup) -> Setup:
            @contextmanager
            def opened() -> Iterator[Worker]:
                with setup() as worker:
                    yield MortalWorker(worker)

            return opened

        with self.engine.open({name: mortal(setup) for name, setup in setups.items()}) as pool:
            yield pool


def interrupt_after(shards: int, patch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when the image set has that many shards and is to get another."""
    write_shard = StageSet.write_shard

    def interrupted(self: StageSet, shard: int, table: Any) -> None:
        if self.stage == IMAGES and len(self.shards()) == shards:
            raise KeyboardInterrupt
        write_shard(self, shard, table)

    patch.setattr(StageSet, "write_shard", interrupted)


@pytest.mark.faults
def test_a_run_changes_between_this_process_and_workers_of_which_one_is_killed(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Begun here, gone on with by workers, finished here."""
    expected, run = new_run(tmp_path / "expected"), new_run(tmp_path / "run")
    render(expected, RenderOptions(model=str(tiny_path), batch_size=3))
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            render(run, RenderOptions(model=str(tiny_path), batch_size=3))
    with monkeypatch.context() as patch:
        interrupt_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            render(run, RenderOptions(model=str(tiny_path)), engine=Mortal(PROCESSES, tmp_path / "killed"))
    assert "another worker takes over" in capsys.readouterr().err
    result = render(run, RenderOptions(model=str(tiny_path)))
    assert 0 < result.rendered < 17
    assert result.images.circumstances["batch_size"] == 3
    assert contents(run.store.root) == contents(expected.store.root)


@pytest.mark.faults
def test_a_worker_whose_gpu_fails_is_replaced(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = tmp_path / "failed"

    def behave(*_: Any) -> None:
        if not failed.exists():
            failed.touch()
            raise DeviceFailed("cuda:0 failed")

    fill(ThisProcess(), squares(tmp_path / "expected"))
    assert fill(engine, squares(tmp_path / "set"), squares=setup(behave)) == [10]
    assert failed.exists() and contents(tmp_path / "set") == contents(tmp_path / "expected")
    assert "(cuda:0 failed): another worker takes over" in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.usefixtures("ray")
def test_an_actor_that_is_killed_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ThisProcess(), squares(tmp_path / "expected"))
    assert fill(Mortal(RAY, tmp_path / "killed"), squares(tmp_path / "set")) == [10]
    assert (tmp_path / "killed").exists() and contents(tmp_path / "set") == contents(tmp_path / "expected")
    assert "another worker takes over" in capsys.readouterr().err


@pytest.mark.faults
@pytest.mark.usefixtures("ray")
def test_a_client_whose_server_starts_too_late_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    late = ConnectionAbortedError("Initialization failure from server:\nTraceback\nRuntimeError: Proxy failed")
    answers: list[Exception | None] = [late, late, None, late, late, late, None]

    def init(**_: Any) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(cluster, "_PAUSE", 0)
    monkeypatch.setattr(cluster, "_check_reachable", lambda _: None)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with cluster.connected("ray://head:10001") as may_grow:
        assert may_grow
    with (
        pytest.raises(EngineError, match=r"cannot connect to Ray at ray://head:10001: .* RuntimeError: Proxy failed"),
        cluster.connected("ray://head:10001"),
    ):
        pass
    assert answers == [None]


@pytest.mark.faults
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("loss", [ConnectionError("Client is shutting down."), grpc.RpcError()])
def test_a_cluster_that_is_lost_is_one_error(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Exception
) -> None:
    def lost(*_: Any, **options: Any) -> None:
        raise loss

    monkeypatch.setattr("ray.wait", lost)
    with pytest.raises(EngineError, match="lost the connection to Ray"):
        render(new_run(tmp_path / "run"), RenderOptions(model=str(tiny_path)), engine=RAY)


@pytest.mark.usefixtures("ray")
def test_a_ray_of_this_run_alone_without_room_is_an_error(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "connected", lambda _: nullcontext(False))
    with pytest.raises(EngineError, match="room for 0 of 1 worker: each needs 1 GPU and 1 CPU"):
        render(new_run(tmp_path / "run"), RenderOptions(model=str(tiny_path)), engine=RayEngine(gpus_per_worker=1))


@pytest.mark.usefixtures("ray")
def test_a_cluster_without_room_is_not_waited_for_in_silence(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    def note(message: str) -> None:
        notes.append(message)
        if message.startswith("waiting for workers"):
            raise KeyboardInterrupt

    monkeypatch.setattr(console, "note", note)
    monkeypatch.setattr(cluster, "connected", lambda _: nullcontext(True))
    monkeypatch.setattr(cluster, "_PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt):
        render(new_run(tmp_path / "run"), RenderOptions(model=str(tiny_path)), engine=RayEngine(gpus_per_worker=1))
    assert "Ray has room for 0 of 1 worker: each needs 1 GPU and 1 CPU. Waiting for machines to join" in notes
    assert notes[-1] == "waiting for workers: 0 of 1 are there, each needs 1 GPU and 1 CPU"


def test_missing_images_are_rendered_and_judged_as_they_finish(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, run = new_run(tmp_path / "expected"), new_run(tmp_path / "run")
    render(expected, RenderOptions(model=str(tiny_path)))
    filter_images(expected, judge="nano-object-a")
    with monkeypatch.context() as patch:  # one shard is there already, and only judged
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            render(run, RenderOptions(model=str(tiny_path)))
    written: list[str] = []
    write_shard = StageSet.write_shard

    def noted(self: StageSet, shard: int, table: Any) -> None:
        written.append(self.stage.name)
        write_shard(self, shard, table)

    monkeypatch.setattr(StageSet, "write_shard", noted)
    filter_images(run, judge="nano-object-a", engine=PROCESSES)
    assert contents(run.store.root) == contents(expected.store.root)
    assert (written.count(IMAGES.name), written.count(VERDICTS.name)) == (5, 6)
    last_image = len(written) - 1 - written[::-1].index(IMAGES.name)
    # Of more than the shard that was there: shards were judged while others were still rendered.
    assert written[:last_image].count(VERDICTS.name) >= 2


@pytest.mark.usefixtures("ray")
def test_ear_generate_renders_a_file_of_prompts_on_ray_and_prints_one_json_object(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ear.prompt_images.SHARD", 2)
    file, folders = tmp_path / "prompts.txt", (tmp_path / "here", tmp_path / "there")
    file.write_text("a church on a hill\na cat\na house\n" + "long " * 5000 + "\na castle", encoding="utf-8")
    here = render_to_folder(str(tiny_path), read_prompts(file), folders[0])
    arguments = ["generate", "--prompts", str(file), "--out", str(folders[1]), "--model", str(tiny_path)]
    result = CliRunner().invoke(ear_app, [*arguments, "--engine", "ray", "--max-workers", "1", "--json"])
    there = json.loads(result.stdout)
    assert (there["images"], there["failed"], there["new"]) == (here.images, here.failed, here.new) == (4, 1, 5)
    assert contents(folders[0]) == contents(folders[1])
