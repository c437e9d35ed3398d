"""Building in rounds, with a random tiny model and a judge that answers by the record."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf import build as building
from ecgvf.build import Looking, build
from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.errors import EcgvfError, JudgeError, SettingsError
from ecgvf.core.records import Acceptance, PromptPair, Rendering, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import dataset, decisions
from ecgvf.filter import stage as filter_stage
from ecgvf.filter.bounds import Bounds
from ecgvf.judges import Criterion, JudgeOptions
from ecgvf.llm.dispatch import DIGEST_LETTERS
from ecgvf.llm.ledger import Ledger
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.rounds import Free
from ecgvf.pairs.writer import Answer, Request
from tests.llm_server import LlmServer
from tests.random_janus import build as build_model

CHURCH = concepts.find("church")


class Fickle:
    """A judge that sees the concept in a share of the target pictures, always the same ones."""

    name = "fickle"
    weights_hash = "0"
    criterion = Criterion(label_set="fickle", accepted=("church",), top_k=1)

    def __init__(self, share: float = 0.45) -> None:
        self.share = share

    def predict(self, renderings: Sequence[Rendering]) -> list[Verdict]:
        seen = [one.role == "target" and int(one.record_id, 16) % 100 < 100 * self.share for one in renderings]
        return [
            Verdict(
                record_id=one.record_id,
                role=one.role,
                judge=self.name,
                judge_hash=self.weights_hash,
                present=present,
                score=float(present),
                top_labels=(),
            )
            for one, present in zip(renderings, seen, strict=True)
        ]


class Named(OfflineWriter):
    """The offline writer under another name, with words of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

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
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    fickle(monkeypatch, Fickle())
    return Store(tmp_path / "store")


def fickle(monkeypatch: pytest.MonkeyPatch, judge: Fickle) -> None:
    monkeypatch.setattr(building, "create_judge", lambda *_: judge)
    monkeypatch.setattr(filter_stage, "look", lambda _, renderings: judge.predict(renderings))


def bytes_of(store: Store) -> dict[str, list[bytes]]:
    stages = (PAIRS, IMAGES, VERDICTS, ACCEPTANCE)
    return {
        stage: [file.read_bytes() for file in ConceptRun.load(store, "church").current(stage).shards()]
        for stage in stages
    }


def test_exactly_so_many_pairs_hold_and_each_round_asks_for_what_is_missing(store: Store, model: str) -> None:
    done = build(ConceptRun(store, CHURCH), accepted=5, tests=3, rounds=40, looking=Looking(model=model))
    assert done.reached and done.filtered.accepted_pairs == 5 and done.rounds > 1
    sets = [one for one in ConceptRun.load(store, "church").sets(PAIRS) if "gathered" not in one.settings]
    assert [one.settings.get("round", 0) for one in sets] == list(range(done.rounds))
    wanted = [one.settings["train"]["pairs"] for one in sets]
    assert wanted[0] == 5 and wanted == sorted(wanted, reverse=True)
    assert [one.settings["test"]["tests"] for one in sets] == [3] + [0] * (done.rounds - 1)
    # What `ear` reads is one dataset, with every picture in its place.
    loaded = dataset.load(store)
    assert len(loaded.train) == 5 and loaded.fingerprint == done.filtered.stage.fingerprint
    assert all(one.target.record_id == one.pair.record_id for one in loaded.train)
    pairs = ConceptRun.load(store, "church").current(PAIRS).records(PromptPair)
    kept = [pair.target for pair in pairs if pair.reason is None]
    assert len(kept) == len(set(kept))
    assert len(pairs) == len(ConceptRun.load(store, "church").current(ACCEPTANCE).records(Acceptance))


def test_a_round_is_part_of_a_calls_identity(store: Store, model: str) -> None:
    build(ConceptRun(store, CHURCH), accepted=3, tests=1, rounds=30, looking=Looking(model=model))
    pairs = ConceptRun.load(store, "church").current(PAIRS).records(PromptPair)
    first, *later = [one for one in ConceptRun.load(store, "church").sets(PAIRS) if "gathered" not in one.settings]
    calls = {row.call_id for row in first.records(PromptPair)}
    assert later and {row.call_id for row in pairs} > calls


def test_run_again_it_gives_the_same_bytes_and_asks_nothing(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(ConceptRun(store, CHURCH), accepted=4, tests=2, rounds=30, looking=Looking(model=model))
    before = bytes_of(store)
    with monkeypatch.context() as patch:
        patch.setattr(OfflineWriter, "write", lambda *_: pytest.fail("asked again"))
        patch.setattr(Fickle, "look", lambda *_: pytest.fail("looked again"))
        build(ConceptRun(store, CHURCH), accepted=4, tests=2, rounds=30, looking=Looking(model=model))
    assert bytes_of(store) == before
    # Cut off in the middle of the second round, and run again.
    other = Store(tmp_path / "other")
    calls = 0
    original = building.render

    def cut_off(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return original(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "render", cut_off)
        build(other, CHURCH, accepted=4, tests=2, rounds=30, looking=Looking(model=model))
    build(other, CHURCH, accepted=4, tests=2, rounds=30, looking=Looking(model=model))
    assert bytes_of(other) == before


def test_the_writers_shares_are_balanced(store: Store, model: str) -> None:
    writers = [Free(Named("gpt")), Free(Named("claude"))]
    done = build(
        ConceptRun(store, CHURCH), accepted=5, tests=2, rounds=40, writers=writers, looking=Looking(model=model)
    )
    assert done.reached
    assert {name: one.accepted for name, one in done.writers.items()} == {"gpt": 3, "claude": 2}
    loaded = dataset.load(store)
    assert sorted(one.pair.writer for one in loaded.train) == ["claude"] * 2 + ["gpt"] * 3


@pytest.fixture
def typed(store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LlmServer, Any]]:
    """A server of LLMs, and `ecgvf build` with two of them, as a user types it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-anthropic-0123456789")
    words = ["build", "--concept", "church", "--writers", "gpt,claude", "--model", model, "--store", str(store.root)]
    with LlmServer().running() as server:
        registry = str(server.registry(tmp_path))

        def build_by_llms(*more: str) -> Any:
            return CliRunner().invoke(app, [*words, "--registry", registry, "--json", *more], env={"COLUMNS": "200"})

        yield server, build_by_llms


def test_llms_are_asked_in_rounds_for_what_is_missing(typed: tuple[LlmServer, Any], store: Store) -> None:
    server, build_by_llms = typed
    sized = ("--accepted", "7", "--tests", "4", "--rounds", "12")
    result = build_by_llms(*sized)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["reached"] and told["accepted_pairs"] == 7
    assert {name: one["accepted"] for name, one in told["writers"].items()} == {"gpt": 4, "claude": 3}
    calls = len(server.asked)
    # A later round reminds each writer of what it gave in the earlier ones.
    first, *later = [one for one in ConceptRun.load(store, "church").sets(PAIRS) if "gathered" not in one.settings]
    given = [row.target for row in first.records(PromptPair) if row.reason is None and row.split == "train"]
    assert later and any(all(prompt[:DIGEST_LETTERS] in asked.prompt for prompt in given) for asked in server.asked)
    rows = ConceptRun.load(store, "church").current(PAIRS).records(PromptPair)
    assert sum(row.split == "test" and row.reason is None for row in rows) == 4
    # What the ledger knows of each writer is added up over the rounds.
    summary = ConceptRun.load(store, "church").current(PAIRS).summary
    ledger = Ledger(Ledger.of(store, "church"))
    assert Decimal(summary["spent"]["dollars"]) == ledger.spent().cost > 0
    assert sum(one["calls"] for one in summary["writers"].values()) == calls
    # Run again, nothing is asked; the budget counts what was spent by the whole team.
    assert build_by_llms(*sized).exit_code == 0 and len(server.asked) == calls


def test_where_the_budget_ends_a_build_says_so(typed: tuple[LlmServer, Any]) -> None:
    server, build_by_llms = typed
    result = build_by_llms("--accepted", "4", "--tests", "0", "--budget-usd", "0.000001")
    assert result.exit_code == 2 and not server.asked
    assert "budget" in result.stderr and "--budget-usd" in result.stderr and "Traceback" not in result.output
    nothing = build_by_llms("--accepted", "4", "--tests", "0", "--budget-usd", "nan")
    assert nothing.exit_code == 2 and "more than nothing" in nothing.stderr and "Round" not in nothing.stderr


@pytest.mark.parametrize("share", [1.0, 0.45], ids=["one round", "several"])
def test_what_people_reject_is_made_up_for(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    fickle(monkeypatch, Fickle(share))
    done = build(ConceptRun(store, CHURCH), accepted=4, tests=0, rounds=40, looking=Looking(model=model))
    rejected = [one.pair.record_id for one in dataset.load(store).train][:2]
    pictures = done.filtered.stage.settings["pictures"]
    for record_id in rejected:
        decisions.append(store, "church", reviewer="ada", pictures=pictures, record_id=record_id, accepted=False)
    assert len(dataset.load(store).train) == 2
    again = build(ConceptRun(store, CHURCH), accepted=4, tests=0, rounds=40, looking=Looking(model=model))
    kept = {one.pair.record_id for one in dataset.load(store).train}
    assert again.reached and len(kept) == 4 and not kept & set(rejected)


def test_a_judge_that_cannot_be_is_told_before_anything_is_written(tmp_path: Path, model: str) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(JudgeError, match="crystal-ball"):
        build(ConceptRun(store, CHURCH), looking=Looking(model=model, judge="crystal-ball"))
    assert not ConceptRun.load(store, "church").sets(PAIRS)


def test_where_it_cannot_be_done_it_says_why(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fickle(monkeypatch, Fickle(share=0))
    done = build(ConceptRun(store, CHURCH), accepted=2, tests=0, rounds=3, looking=Looking(model=model))
    assert not done.reached and done.rounds == 3
    assert done.writers["offline"].reasons == {"target_absent": 6}
    assert "seldom draws the concept" in done.advice
    command = ["build", "--concept", "church", "--accepted", "2", "--tests", "0", "--rounds", "3", "--model", model]
    result = CliRunner().invoke(app, [*command, "--store", str(store.root)])
    assert result.exit_code == 1
    assert "6 target_absent" in result.stdout and "0 of 2 pairs after 3 of 3 rounds" in result.stderr


def test_build_as_a_user_types_it(store: Store, model: str) -> None:
    command = ["build", "--concept", "church", "--accepted", "2", "--tests", "1", "--rounds", "40", "--model", model]
    result = CliRunner().invoke(app, [*command, "--seeds", "2", "--store", str(store.root), "--json"])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["reached"] and told["accepted_pairs"] == 2 and told["writers"]["offline"]["accepted"] == 2
    bounds = ConceptRun.load(store, "church").current(ACCEPTANCE).settings["bounds"]
    assert bounds["share"] == 1 and len(bounds["verdicts"]) == 2
    # Gathered of several rounds, the pictures can be drawn again from further seeds.
    assert told["rounds"] > 1
    filter_stage.filter_images(ConceptRun(store, CHURCH), judge=Fickle(), rule=Bounds(seeds=3), device="cpu")


def test_a_build_of_several_rounds_knows_what_its_judge_was_asked_for(store: Store, model: str) -> None:
    asked = JudgeOptions(threshold=0.25)
    done = build(ConceptRun(store, CHURCH), accepted=3, tests=1, rounds=40, looking=Looking(model=model, options=asked))
    assert done.rounds > 1 and dataset.load(store).judge_options.threshold == 0.25


@pytest.mark.parametrize("wrong", [{"model": "nosuch/janus"}, {"guidance": -3.0}, {"batch_size": 0}])
def test_nothing_is_written_for_what_cannot_be_drawn(store: Store, model: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(EcgvfError):
        build(ConceptRun(store, CHURCH), accepted=2, looking=Looking(**{"model": model, **wrong}))
    assert not ConceptRun.load(store, "church").sets(PAIRS)


def test_bad_input(store: Store) -> None:
    for wrong in ({"accepted": 0}, {"rounds": 0}, {"tests": -1}):
        with pytest.raises(SettingsError):
            build(ConceptRun(store, CHURCH), **wrong)
