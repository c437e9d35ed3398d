"""Building in rounds, with a random tiny model and a judge that decides by the record."""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from ecgvf.build import BuildResult, build
from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.errors import ConceptError, EcgvfError, JudgeError, SettingsError, StageMissing
from ecgvf.core.png import encode
from ecgvf.core.records import Acceptance, PromptPair, Rendering, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.core.store import Store
from ecgvf.filter import Bounds, decisions, filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.filter.dataset import load_dataset
from ecgvf.judges import Criterion, JudgeOptions, Prediction, clip
from ecgvf.llm import retry
from ecgvf.llm.ledger import Ledger
from ecgvf.pairs.generation_plan import LISTED_CHARACTERS
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.rounds import OfflineRounds
from ecgvf.pairs.writer import Answer, Request
from tests import random_clip
from tests.llm_server import LlmServer
from tools.tiny_janus import build as build_model

CHURCH = concepts.find("church")


class FickleJudge:
    """Sees the concept in a share of the target images of a run, always the same ones."""

    name = "fickle"
    weights_hash = "0"
    criterion = Criterion(label_set="fickle", accepted=("church",), top_k=1)

    def __init__(self, run: ConceptRun, share: float = 0.45) -> None:
        self.run, self.share = run, share
        self.calls = 0
        self.interrupted_call: int | None = None

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        self.calls += 1
        if self.calls == self.interrupted_call:
            raise KeyboardInterrupt
        renderings = self._renderings([encode(image) for image in images])
        present = [row.role == "target" and int(row.record_id, 16) % 100 < 100 * self.share for row in renderings]
        return [Prediction(present=yes, score=float(yes), top_labels=()) for yes in present]

    def _renderings(self, pngs: list[bytes]) -> list[Rendering]:
        """The rows that the images belong to, of the newest set that has them."""
        for image_set in reversed(self.run.sets(IMAGES)):
            rows = {row.image: row for table in image_set.tables() for row in from_table(Rendering, table)}
            if rows.keys() >= set(pngs):
                return [rows[png] for png in pngs]
        raise AssertionError("images of no set")


class SilentWriter(OfflineWriter):
    """The offline writer, whose answers must all be on disk already."""

    def write(self, request: Request) -> Answer:
        raise AssertionError("requested again")


class Named(OfflineWriter):
    """The offline writer under another name, with prompts of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        object.__setattr__(self, "name", name)

    def settings(self) -> dict[str, str]:
        return {**super().settings(), "name": self.name}

    def write(self, request: Request) -> Answer:
        shift = {"gpt": 1000, "claude": 2000}[self.name]
        return super().write(Request(**{**_fields(request), "seed": request.seed + shift}))


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in Request.__dataclass_fields__}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_model(tmp_path_factory.mktemp("janus"), layers=1))


@pytest.fixture
def judge(run: ConceptRun, monkeypatch: pytest.MonkeyPatch) -> FickleJudge:
    """The judge of ``run``, which the command line creates as well."""
    judge = FickleJudge(run)
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: judge)
    return judge


def shards(run: ConceptRun) -> dict[str, list[bytes]]:
    """Stage → the bytes of its current shards."""
    stages = (PAIRS, IMAGES, VERDICTS, ACCEPTANCE)
    return {stage.name: [file.read_bytes() for file in run.current(stage).shards()] for stage in stages}


def rounds_of(run: ConceptRun) -> list[StageSet]:
    """The pair sets of the rounds, without the merged one."""
    return [pairs for pairs in run.sets(PAIRS) if "gathered" not in pairs.settings]


BUILD: dict[str, Any] = {"accepted": 5, "validation": 2, "tests": 3, "rounds": 40}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, model: str) -> tuple[ConceptRun, BuildResult]:
    """A build that took several rounds."""
    run = ConceptRun(Store(tmp_path_factory.mktemp("built") / "store"), CHURCH)
    run.store.remember(CHURCH.model_copy(update={"description": "Another."}))
    result = build(run, **BUILD, model=model, judge=FickleJudge(run))
    assert result.rounds > 1
    return run, result


def test_exactly_n_pairs_are_accepted_and_each_round_requests_the_missing_ones(
    built: tuple[ConceptRun, BuildResult],
) -> None:
    run, result = built
    assert result.reached and result.filtered.accepted["train"] == 5
    sets = rounds_of(run)
    assert [pairs.settings.get("round", 0) for pairs in sets] == list(range(result.rounds))
    requested = [pairs.settings["train"]["pairs"] for pairs in sets]
    assert requested[0] == 5 and requested == sorted(requested, reverse=True)
    assert [pairs.settings["validation"]["validation"] for pairs in sets] == [2] + [0] * (result.rounds - 1)
    assert [pairs.settings["test"]["tests"] for pairs in sets] == [3] + [0] * (result.rounds - 1)
    assert (result.filtered.counts["validation"], result.filtered.counts["test"]) == (2, 3)


def test_ear_reads_a_build_as_one_dataset(built: tuple[ConceptRun, BuildResult]) -> None:
    run, result = built
    dataset = load_dataset(run)
    assert dataset.concept == run.store.concept() == CHURCH
    assert len(dataset.train) == 5 and dataset.fingerprint == result.filtered.acceptance.fingerprint
    assert all(record.target.record_id == record.pair.record_id for record in dataset.train)
    rows = run.current(PAIRS).records(PromptPair)
    targets = [row.target for row in rows if row.reason is None]
    assert len(targets) == len(set(targets))
    assert len(rows) == len(run.current(ACCEPTANCE).records(Acceptance))


def test_a_round_is_part_of_a_calls_identity(built: tuple[ConceptRun, BuildResult]) -> None:
    run, _ = built
    first, *later = rounds_of(run)
    calls = {row.call_id for row in first.records(PromptPair)}
    assert later and {row.call_id for row in run.current(PAIRS).records(PromptPair)} > calls


def test_a_repeated_build_gives_the_same_bytes_and_requests_nothing(
    built: tuple[ConceptRun, BuildResult], model: str
) -> None:
    run, _ = built
    before, judge = shards(run), FickleJudge(run)
    build(run, **BUILD, model=model, judge=judge, writers=[OfflineRounds(SilentWriter())])
    assert shards(run) == before and judge.calls == 0


def test_an_interrupted_build_resumes_to_the_same_bytes(
    built: tuple[ConceptRun, BuildResult], run: ConceptRun, model: str
) -> None:
    judge = FickleJudge(run)
    judge.interrupted_call = 2
    with pytest.raises(KeyboardInterrupt):
        build(run, **BUILD, model=model, judge=judge)
    assert len(rounds_of(run)) == 2
    for stage in (PAIRS, IMAGES, VERDICTS, ACCEPTANCE):
        with pytest.raises(StageMissing):
            run.current(stage)  # a finished round is no dataset
    build(run, **BUILD, model=model, judge=judge)
    assert shards(run) == shards(built[0])


def test_the_writers_have_equal_shares(run: ConceptRun, judge: FickleJudge, model: str) -> None:
    writers = [OfflineRounds(Named("gpt")), OfflineRounds(Named("claude"))]
    result = build(run, accepted=5, validation=0, tests=2, rounds=40, writers=writers, model=model, judge=judge)
    assert result.reached
    assert {name: writer.accepted for name, writer in result.writers.items()} == {"gpt": 3, "claude": 2}
    assert sorted(record.pair.writer for record in load_dataset(run).train) == ["claude"] * 2 + ["gpt"] * 3


@pytest.fixture
def llms(
    run: ConceptRun, judge: FickleJudge, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LlmServer, Any]]:
    """A server of LLMs, and the command `ecgvf build` with two of them."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-anthropic-0123456789")
    command = ["build", "--concept", "church", "--writers", "gpt,claude", "--model", model]
    command += ["--store", str(run.store.root), "--json"]
    with LlmServer().running() as server:
        registry = str(server.registry(tmp_path))

        def build_by_llms(*options: str) -> Any:
            return CliRunner().invoke(app, [*command, "--registry", registry, *options], env={"COLUMNS": "200"})

        yield server, build_by_llms


def test_each_round_requests_the_missing_pairs_from_the_llms(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge
) -> None:
    server, build_by_llms = llms
    judge.share = 0.7
    options = ("--accepted", "7", "--validation", "2", "--tests", "4", "--rounds", "12")
    result = build_by_llms(*options)
    assert result.exit_code == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["reached"] and output["accepted_pairs"] == 7
    assert {name: writer["accepted"] for name, writer in output["writers"].items()} == {"gpt": 4, "claude": 3}
    calls = len(server.requests)
    # A later round lists for each writer what it wrote in the earlier ones.
    first, *later = rounds_of(run)
    earlier = [row.target for row in first.records(PromptPair) if row.reason is None and row.split == "train"]
    assert later and any(
        all(prompt[:LISTED_CHARACTERS] in call.prompt for prompt in earlier) for call in server.requests
    )
    rows = run.current(PAIRS).records(PromptPair)
    assert sum(row.split == "test" and row.reason is None for row in rows) == 4
    # The ledger's figures of each writer are added up over the rounds.
    summary = run.current(PAIRS).summary
    assert Decimal(summary["spent"]["dollars"]) == Ledger.load(run).spent().cost > 0
    assert sum(writer["calls"] for writer in summary["writers"].values()) == calls
    # A second run sends nothing.
    assert build_by_llms(*options).exit_code == 0 and len(server.requests) == calls


def test_a_round_that_a_fault_cut_short_is_completed_before_the_next_one_begins(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge
) -> None:
    server, build_by_llms = llms
    judge.share = 1.0
    server.behave = lambda request: "500" if 1 <= request.number <= 1 + retry.ALLOWED["faulty"] else "fine"
    options = ("--writers", "gpt", "--accepted", "12", "--validation", "0", "--tests", "0")
    first = build_by_llms(*options)
    assert first.exit_code == 1 and "stopped after" in first.stderr
    assert json.loads(first.stdout)["writers"]["gpt"]["reasons"]["no_answer"] > 0
    assert json.loads(build_by_llms(*options).stdout)["reached"]
    before, sent = shards(run), len(server.requests)
    assert build_by_llms(*options).exit_code == 0
    assert shards(run) == before and len(server.requests) == sent


def test_the_answers_of_several_rounds_cannot_be_parsed_again_at_once(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge, tmp_path: Path
) -> None:
    server, build_by_llms = llms
    judge.share = 1.0
    options = ("--validation", "0", "--tests", "0")
    store = ("--concept", "church", "--store", str(run.store.root))

    def refuses_to_reparse() -> bool:
        before = run.current(PAIRS).fingerprint
        result = CliRunner().invoke(app, ["generate", "--reparse", *store])
        assert result.exit_code == 2 and "gathered by `ecgvf build`" in result.stderr, result.output
        return run.current(PAIRS).fingerprint == before

    assert build_by_llms("--accepted", "2", *options).exit_code == 0
    assert refuses_to_reparse()
    command = ["generate", *store, "--registry", str(tmp_path / "writers.yaml"), "--writers", "gpt"]
    assert CliRunner().invoke(app, [*command, "--split", "test", "--count", "1"]).exit_code == 0
    assert refuses_to_reparse()  # the pairs were kept
    # Those of a single round and writer can.
    assert build_by_llms("--accepted", "1", "--writers", "gpt", *options).exit_code == 0
    before, sent = run.current(PAIRS).records(PromptPair), len(server.requests)
    assert CliRunner().invoke(app, ["generate", "--reparse", *store]).exit_code == 0
    assert (run.current(PAIRS).records(PromptPair), len(server.requests)) == (before, sent)


def test_a_build_without_budget_sends_nothing(llms: tuple[LlmServer, Any]) -> None:
    server, build_by_llms = llms
    result = build_by_llms("--accepted", "4", "--validation", "0", "--tests", "0", "--budget-usd", "0.000001")
    assert result.exit_code == 2 and not server.requests
    assert "budget" in result.stderr and "--budget-usd" in result.stderr and "Traceback" not in result.output
    nothing = build_by_llms("--accepted", "4", "--validation", "0", "--tests", "0", "--budget-usd", "nan")
    assert nothing.exit_code == 2 and "--budget-usd" in nothing.stderr and "Round" not in nothing.stderr


@pytest.mark.parametrize("calls", [("--iterations", "1"), ("--split", "retain", "--count", "1")])
def test_calls_of_another_command_do_not_count_toward_a_builds_budget(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge, tmp_path: Path, calls: tuple[str, ...]
) -> None:
    server, build_by_llms = llms
    judge.share = 1.0
    server.behave = lambda _: "cut"  # possibly paid
    command = ["generate", "--concept", "church", "--store", str(run.store.root), *calls]
    command += ["--registry", str(server.registry(tmp_path)), "--writers", "gpt", "--budget-usd", "0.17"]
    assert CliRunner().invoke(app, command).exit_code == 2
    assert Ledger.load(run).spent().possible > Decimal("0.1")
    server.behave = lambda _: "fine"
    options = ("--accepted", "2", "--validation", "0", "--tests", "0", "--budget-usd", "0.17")
    result = build_by_llms("--writers", "gpt", *options)
    assert result.exit_code == 0, result.output


def test_calls_of_a_build_do_not_count_toward_the_budget_of_generate(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge, tmp_path: Path
) -> None:
    server, build_by_llms = llms
    judge.share = 1.0
    server.behave = lambda _: "cut"  # possibly paid
    options = ("--accepted", "2", "--validation", "0", "--tests", "0", "--budget-usd", "0.17")
    assert build_by_llms("--writers", "gpt", *options).exit_code == 2
    assert Ledger.load(run).spent().possible > Decimal("0.1")
    server.behave = lambda _: "fine"
    command = ["generate", "--concept", "church", "--store", str(run.store.root), "--iterations", "1"]
    command += ["--registry", str(server.registry(tmp_path)), "--writers", "gpt", "--budget-usd", "0.17"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output


def test_calls_of_another_writer_in_an_interrupted_build_count_toward_the_budget_of_the_next(
    llms: tuple[LlmServer, Any], run: ConceptRun, judge: FickleJudge
) -> None:
    server, build_by_llms = llms
    judge.share = 1.0
    server.behave = lambda request: "500" if request.model == "gpt-6.2-sol" else "cut"  # the latter is possibly paid
    options = ("--accepted", "4", "--validation", "0", "--tests", "0", "--budget-usd", "0.3")
    assert build_by_llms(*options).exit_code == 2
    assert Ledger.load(run).spent().possible > Decimal("0.15")
    server.requests, server.behave = [], lambda _: "fine"
    result = build_by_llms(*options)
    assert result.exit_code == 2 and "budget" in result.stderr and not server.requests


@pytest.mark.parametrize("share", [1.0, 0.45], ids=["one round", "several"])
def test_pairs_that_reviewers_reject_are_replaced(
    run: ConceptRun, judge: FickleJudge, model: str, share: float
) -> None:
    judge.share = share
    acceptance = build(run, accepted=4, validation=0, tests=0, rounds=40, model=model, judge=judge).filtered.acceptance
    rejected = [record.pair.record_id for record in load_dataset(run).train][:2]
    pictures = acceptance.settings["pictures"]
    for record_id in rejected:
        decisions.append(run, reviewer="ada", pictures=pictures, record_id=record_id, accepted=False)
    assert len(load_dataset(run).train) == 2
    again = build(run, accepted=4, validation=0, tests=0, rounds=40, model=model, judge=judge)
    kept = {record.pair.record_id for record in load_dataset(run).train}
    assert again.reached and len(kept) == 4 and not kept & set(rejected)


def test_an_unknown_judge_fails_before_anything_is_written(run: ConceptRun, model: str) -> None:
    with pytest.raises(JudgeError, match="crystal-ball"):
        build(run, model=model, judge="crystal-ball")
    assert not run.sets(PAIRS)


def test_weights_that_cannot_be_read_fail_before_anything_is_written(
    run: ConceptRun, model: str, tmp_path: Path
) -> None:
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(JudgeError, match=r"cannot read the weights in .*noise\.pth"):
        build(run, model=model, judge="resnet50", options=JudgeOptions(weights=str(tmp_path / "noise.pth")))
    assert not run.sets(PAIRS)


def test_a_build_that_fails_says_why(run: ConceptRun, judge: FickleJudge, model: str) -> None:
    judge.share = 0
    result = build(run, accepted=2, validation=0, tests=0, rounds=3, model=model, judge=judge)
    assert not result.reached and result.rounds == 3
    assert result.writers["offline"].reasons == {"target_absent": 6}
    assert "seldom sees the concept" in result.advice
    command = [
        *["build", "--concept", "church", "--accepted", "2", "--validation", "0", "--tests", "0", "--rounds", "3"],
        "--model",
        model,
    ]
    shown = CliRunner().invoke(app, [*command, "--store", str(run.store.root)])
    assert shown.exit_code == 1
    assert "6 target_absent" in shown.stdout and "0 of 2 pairs after 3 of 3 rounds" in shown.stderr


def test_build_command(run: ConceptRun, judge: FickleJudge, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [
        *["build", "--concept", "church", "--accepted", "2", "--validation", "0", "--tests", "1", "--rounds", "40"],
        "--model",
        model,
    ]
    with monkeypatch.context() as patch:  # the model of the build renders the further seeds, too
        patch.setattr("ecgvf.render.stage.load", lambda *_, **__: pytest.fail("a second copy of the model"))
        result = CliRunner().invoke(app, [*command, "--seeds", "2", "--store", str(run.store.root), "--json"])
    assert result.exit_code == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["reached"] and output["accepted_pairs"] == 2 and output["writers"]["offline"]["accepted"] == 2
    bounds = run.current(ACCEPTANCE).settings["bounds"]
    assert bounds["share"] == 1 and len(bounds["verdicts"]) == 2
    # Images merged from several rounds can be rendered from further seeds.
    assert output["rounds"] > 1
    sets = len(run.sets(IMAGES))
    assert filter_images(run, judge=judge, bounds=Bounds(seeds=2), device="cpu").accepted["train"] == 2
    assert len(run.sets(IMAGES)) == sets  # those of the second seed are found
    assert filter_images(run, judge=judge, bounds=Bounds(seeds=3), device="cpu").accepted["train"] == 2


class Wordless(Named):
    """Answers without a pair."""

    def write(self, request: Request) -> Answer:
        return replace(super().write(request), text="no pair")


def test_a_round_without_a_pair_has_no_images(run: ConceptRun, model: str) -> None:
    writers = [OfflineRounds(writer) for writer in (Wordless("gpt"), OfflineWriter())]
    bounds, judge = Bounds(seeds=2), FickleJudge(run, share=1.0)
    small: dict[str, Any] = {"accepted": 2, "validation": 0, "tests": 0, "rounds": 1}
    result = build(run, **small, writers=writers, model=model, judge=judge, bounds=bounds, device="cpu")
    assert {name: each.accepted for name, each in result.writers.items()} == {"gpt": 0, "offline": 1}
    first, *_ = run.sets(IMAGES)
    assert not first.shards() and run.current(IMAGES).circumstances["batch_size"]


def test_clip_is_opened_once_for_all_rounds(
    run: ConceptRun, judge: FickleJudge, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str | None] = []

    class Counted(clip.Encoder):
        def __init__(self, weights: str | None, device: str, **options: str) -> None:
            opened.append(weights)
            super().__init__(weights, device, **options)

    monkeypatch.setattr(clip, "Encoder", Counted)
    weights = str(random_clip.build(tmp_path / "clip"))
    judge.share = 0.0
    small: dict[str, Any] = {"accepted": 1, "validation": 0, "tests": 0, "rounds": 2}
    bounds = Bounds(clip_floor=-1, clip=weights)
    assert build(run, **small, model=model, judge=judge, bounds=bounds, device="cpu").rounds == 2
    assert opened == [weights]


@pytest.mark.parametrize("wrong", [{"model": "nosuch/janus"}, {"guidance": -3.0}, {"batch_size": 0}])
def test_settings_that_cannot_render_fail_before_anything_is_written(
    run: ConceptRun, judge: FickleJudge, model: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(EcgvfError):
        build(run, accepted=2, judge=judge, **{"model": model, **wrong})
    assert not run.sets(PAIRS)


def test_a_concept_that_nano_cannot_render_is_refused_before_the_judge_is_opened(run: ConceptRun) -> None:
    tench = ConceptRun(run.store, concepts.find("tench"))
    with pytest.raises(ConceptError, match="janus-nano cannot render 'tench'"):
        build(tench, accepted=2)


def test_two_writers_of_one_name_are_refused(run: ConceptRun, judge: FickleJudge) -> None:
    writers = [OfflineRounds(Named(name)) for name in ("gpt", "claude", "gpt")]
    with pytest.raises(SettingsError, match="several writers are called 'gpt'"):
        build(run, accepted=6, writers=writers, judge=judge)


@pytest.mark.parametrize("wrong", [{"accepted": 0}, {"rounds": 0}, {"tests": -1}])
def test_numbers_out_of_range_are_refused(run: ConceptRun, judge: FickleJudge, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        build(run, judge=judge, **wrong)
