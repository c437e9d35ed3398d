"""A store on S3, served by moto on loopback: what works there, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from typer.testing import CliRunner

import ear.cli
from ecgvf import Run
from ecgvf.cli import app
from ecgvf.core import openings
from ecgvf.core.errors import StoreCorrupt, StoreError
from ecgvf.core.files import open_path, write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter import decisions
from ecgvf.render import RenderOptions, render, stage
from tests.llm_run import KEYS
from tests.llm_server import LlmServer


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """URL of a store in a bucket of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/store"


def contents(root: Path) -> dict[str, bytes]:
    timed = {"settings.json", "log.jsonl", "manifest.json"}
    files = [file for file in root.rglob("*") if file.is_file() and file.name not in timed]
    return {str(file).removeprefix(str(root)): file.read_bytes() for file in files}


@pytest.mark.slow
@pytest.mark.faults
def test_an_interrupted_run_is_resumed_on_s3_with_the_bytes_of_a_disk(
    store: str, tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_RECORDS", 4)
    disk, remote = Run("church", tmp_path / "disk"), Run("church", store)
    for run in (disk, remote):
        run.generate(pairs=10, validation=0, tests=0)
    render(disk, RenderOptions(model=str(tiny_path)))
    disk.filter(judge="nano-object-a")
    write_shard = StageSet.write_shard

    def interrupted(self: StageSet, index: int, table: object) -> None:
        if self.stage == IMAGES and index == 1:
            raise KeyboardInterrupt
        write_shard(self, index, table)

    with monkeypatch.context() as patch:
        patch.setattr(StageSet, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            render(remote, RenderOptions(model=str(tiny_path)))
    resumed = Run.load(store=store)
    assert render(resumed, RenderOptions(model=str(tiny_path))).rendered < 20
    resumed.filter(judge="nano-object-a")
    assert contents(resumed.store.root) == contents(disk.store.root)
    assert resumed.current(VERDICTS).read().num_rows == 20


def test_the_commands_take_a_url(store: str) -> None:
    runner = CliRunner()
    options = ["--pairs", "5", "--validation", "0", "--tests", "0", "--writers", "offline"]
    result = runner.invoke(app, ["generate", "--concept", "church", *options, "--store", store, "--json"])
    assert result.exit_code == 0, result.stderr
    result = runner.invoke(app, ["status", "--store", store, "--json"])
    assert [entry["stage"] for entry in json.loads(result.stdout)["sets"]] == ["pairs"]


@pytest.mark.faults
def test_a_changed_object_is_named(store: str) -> None:
    run = Run("church", store)
    run.generate(pairs=5, validation=0, tests=0)
    file = run.current(PAIRS).shards()[0]
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is not what was written"):
        ConceptRun(run.store, run.store.concept()).current(PAIRS).read()


def test_what_needs_locks_or_appends_is_refused(store: str) -> None:
    run = Run("church", store)
    with pytest.raises(StoreError, match="on object storage, which cannot hold decisions of several reviewers"):
        decisions.append(run, reviewer="a", pictures="0", record_id="0", accepted=True)
    run.generate(pairs=2, validation=0, tests=0)
    result = CliRunner().invoke(app, ["review", "--store", store])  # before the page is served
    assert result.exit_code == 2 and "decisions of several reviewers" in result.stderr
    with pytest.raises(StoreError, match="on object storage, which cannot hold the files of a push"):
        run.push_to_hub("my-org/ecgvf")
    with pytest.raises(StoreError, match="on object storage, which cannot hold the record of who opened the test"):
        openings.record(run, dataset="0", adapter="0", recipe="paper")
    assert not run.store.root.joinpath("church", openings.FILE).exists()


def test_llm_writers_are_refused_before_anything_is_sent(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEYS["OPENAI_API_KEY"])
    with LlmServer().running() as llm:
        options = ["--writers", "gpt", "--registry", str(llm.registry(tmp_path)), "--store", store]
        result = CliRunner().invoke(app, ["generate", "--concept", "church", *options])
    assert result.exit_code == 2 and "which cannot hold the ledger of paid calls" in result.stderr.replace("\n", " ")
    assert not llm.requests and "Whatever would cost more" not in result.output  # nor is a cost confirmed
    assert not (open_path(store) / "church").exists()


def test_a_training_is_refused(store: str) -> None:
    result = CliRunner().invoke(ear.cli.app, ["train", "--dataset", "ecgvf/church", "--store", store])
    assert result.exit_code == 2, result.output
    assert "which cannot hold checkpoints and adapters" in result.stderr.replace("\n", " ")


@pytest.mark.faults
def test_a_bucket_that_is_not_there_is_one_line(store: str) -> None:
    result = CliRunner().invoke(app, ["generate", "--concept", "church", "--store", "s3://no-such-bucket/store"])
    assert result.exit_code == 2
    assert "there is no bucket no-such-bucket" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "Could not connect"),
        ("AWS_ACCESS_KEY_ID", "", "credentials"),
    ],
)
def test_a_storage_that_cannot_be_read_is_one_line(
    store: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()  # which has read the environment before
    result = CliRunner().invoke(app, ["status", "--store", store])
    S3FileSystem.clear_instance_cache()
    assert result.exit_code == 2
    assert f"cannot open {store}" in result.stderr and message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.faults
def test_a_storage_that_is_lost_while_writing_is_one_error(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = open_path(store)
    monkeypatch.setattr(type(path), "write_bytes", lambda *_: (_ for _ in ()).throw(PermissionError("token expired")))
    with pytest.raises(StoreError, match="token expired; run the same command again to resume"):
        write_atomic(path / "file", b"")
