"""LLMs write pairs: the real SDKs over real HTTP, against a server on loopback that may misbehave."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.concepts import find
from ecgvf.core.paths import data_dir
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.llm import retry as retrying
from ecgvf.llm.clients import Failed, open_writer, within
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import Entry, Named, Rates
from ecgvf.pairs import parsing
from ecgvf.pairs.llm_writers import planned
from tests.llm_server import MALFORMED, SIX, Asked, LlmServer, chaos

ALL = ",".join(SIX)
SDKS = {"gpt": "openai", "claude": "anthropic", "gemini": "gemini", "kimi": "openai (JSON mode)"}

KEYS = {
    f"{name}_API_KEY": f"sk-{name.lower()}-very-secret-0123456789"
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MOONSHOT", "ARK", "DEEPSEEK")
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.01)


@pytest.fixture
def server(keys: None) -> Iterator[LlmServer]:
    with LlmServer().running() as running:
        yield running


@pytest.fixture
def run(server: LlmServer, tmp_path: Path) -> Callable[..., Any]:
    def typed(*arguments: str, **fields: Any) -> Any:
        registry = str(server.registry(tmp_path, **fields))
        words = ["generate", "--concept", "church", "--registry", registry, *arguments]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    return typed


def pairs_set() -> StageSet:
    return ConceptRun.load(Store(), "church").current(PAIRS)


def rows() -> list[PromptPair]:
    return pairs_set().records(PromptPair)


def ledger() -> Ledger:
    return Ledger(Ledger.of(ConceptRun.load(Store(), "church")))


def summary() -> dict[str, Any]:
    return pairs_set().summary


def scripted(*behaviours: str) -> Callable[[Asked], str]:
    """Each model's first requests are met with these, in their order; the rest is fine."""
    return lambda asked: behaviours[asked.number] if asked.number < len(behaviours) else "fine"


# The paper's protocol


def test_six_families_give_ten_pairs_in_each_of_three_calls(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run("--writers", ALL)
    assert result.exit_code == 0, result.output
    assert Counter(asked.model for asked in server.asked).values() and len(server.asked) == 18
    assert set(Counter(asked.model for asked in server.asked).values()) == {3}
    kept = [row for row in rows() if row.reason is None]
    assert {row.writer for row in kept} == set(SIX)
    assert len(kept) > 160
    assert all(row.surrogate and "hotel" in row.surrogate for row in kept)
    assert {row.template for row in kept} == {"object/pairs@3"}
    assert summary()["writers"]["gpt"]["asked"] == 30
    assert Decimal(summary()["spent"]["dollars"]) == server.charged == ledger().spent().cost
    assert server.charged > 0


def test_each_sdk_asks_for_structure_by_its_own_means(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt,claude,gemini,kimi", "--iterations", "1")
    body = {asked.model.split("-")[0]: asked.body for asked in server.asked}
    assert body["gpt"]["response_format"]["json_schema"]["strict"] is True
    assert body["claude"]["output_config"]["format"]["type"] == "json_schema"
    assert body["gemini"]["generationConfig"]["responseMimeType"] == "application/json"
    assert "pairs" in json.dumps(body["gemini"]["generationConfig"]["responseSchema"])
    assert body["kimi"]["response_format"] == {"type": "json_object"}
    assert body["gpt"]["max_completion_tokens"] == body["kimi"]["max_tokens"] == body["claude"]["max_tokens"] == 16000


def test_gemini_speaks_v1_too(server: LlmServer, run: Callable[..., Any]) -> None:
    assert run("--writers", "gemini", "--iterations", "1", api_version="v1").exit_code == 0
    assert server.asked[0].path.startswith("/gemini/v1/")


def test_each_key_goes_to_its_own_provider(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", ALL, "--iterations", "1")
    for asked in server.asked:
        sent = " ".join(asked.headers.values())
        assert sum(key in sent for key in KEYS.values()) == 1


def test_a_writer_is_told_what_it_gave_before_and_never_what_another_gave(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    run("--writers", "gpt,kimi", "--iterations", "2")
    second = {asked.model: asked.prompt for asked in server.asked if asked.number == 1}
    for row in rows():
        if row.iteration == 0 and row.reason is None:
            for model, prompt in second.items():
                assert (row.target[:90] in prompt) is (model == row.model_asked)


def test_test_prompts_are_shared_out_and_the_pairs_stay(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt,claude", "--iterations", "1")
    before = [row for row in rows() if row.split == "train"]
    result = run("--writers", "gpt,claude", "--split", "test", "--count", "25")
    assert result.exit_code == 0, result.output
    asked = [int(found[1]) for one in server.asked if (found := re.search(r"Write (\d+) prompts", one.prompt))]
    assert sorted(asked) == [2, 3, 10, 10]
    after = rows()
    assert [row for row in after if row.split == "train"] == before
    assert all(row.surrogate is None for row in after if row.split == "test")
    assert sum(row.split == "test" for row in after) == 25


def test_any_compatible_server_can_write_and_gets_no_providers_key(server: LlmServer, run: Callable[..., Any]) -> None:
    server.prices["mine"] = server.prices["gpt-6.2-sol"]
    result = run("--writer-url", f"{server.url}/openai/v1", "--writer-model", "mine", "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert {row.writer for row in rows()} == {"own"}
    assert server.asked[0].headers["authorization"] == "Bearer none"
    assert "Paid $0.0000." in result.stdout and "worst case" not in result.stdout
    assert server.charged > 0 == ledger().spent().total


@pytest.mark.parametrize(
    ("refuses", "forms"),
    [
        (set(), ["json_schema"] * 3),
        ({"json_schema"}, ["json_schema", *["json_object"] * 3]),
        ({"json_schema", "json_object"}, ["json_schema", "json_object", *[None] * 3]),
    ],
)
def test_a_server_of_ones_own_is_asked_with_a_schema_and_then_with_what_it_takes(
    server: LlmServer, run: Callable[..., Any], refuses: set[str], forms: list[str | None]
) -> None:
    server.prices["mine"], server.refuses = server.prices["gpt-6.2-sol"], refuses
    arguments = ("--writer-url", f"{server.url}/openai/v1", "--writer-model", "mine", "--iterations", "3")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert [(asked.body.get("response_format") or {}).get("type") for asked in server.asked] == forms
    assert sum(row.reason is None for row in rows()) >= 27
    assert result.stderr.count("own refuses") == len(refuses)
    asked_as = [
        {"schema": "json_schema", "json": "json_object"}.get(one.intent["structure"]) for one in ledger().attempts()
    ]
    assert asked_as == forms and ledger().spent().open == 0
    run(*arguments)
    assert len(server.asked) == len(forms)


def test_a_server_that_refuses_every_form_is_set_aside_with_its_own_words(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    server.behave = lambda _: "400"
    result = run("--writer-url", f"{server.url}/openai/v1", "--writer-model", "gpt-6.2-sol")
    assert result.exit_code == 2 and "something is wrong" in result.stderr and len(server.asked) == 3


def test_a_json_schema_that_is_no_help_is_repaired_once(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("chatter")
    run("--writer-url", f"{server.url}/openai/v1", "--writer-model", "gpt-6.2-sol", "--iterations", "1")
    assert len(server.asked) == 2 and sum(row.reason is None for row in rows()) >= 9


def test_a_price_that_is_not_known_is_called_counted_and_not_paid(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run("--writers", "kimi-k1-5", "--iterations", "1")
    counted = summary()["spent"]["dollars"]
    assert f"kimi-k1-5: counted as ${Decimal(counted):.4f} (price unknown, worst case); put it into" in result.stdout
    assert "Price unknown, counted at the worst case: kimi-k1-5; put it into" in result.stdout
    assert "Paid" not in result.stdout and Decimal(counted) > 0
    shown = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "80"}).stdout
    assert "(worst case)" in shown and " paid" not in shown


def test_a_free_server_in_ones_own_registry_costs_nothing(
    server: LlmServer, run: Callable[..., Any], tmp_path: Path
) -> None:
    free = {"sdk": "openai", "base_url": f"{server.url}/openai/v1", "model": "mine", "price": {"input": 0, "output": 0}}
    file = tmp_path / "free.yaml"
    file.write_text(json.dumps({"writers": {"house": free}}))
    server.prices["mine"] = Rates(input=Decimal(0), output=Decimal(0))
    result = run("--registry", str(file), "--writers", "house", "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert "Paid $0.0000." in result.stdout and "worst case" not in result.stdout


# Paid once


def test_a_second_run_sends_nothing_and_writes_the_same_set(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", ALL)
    sent, first = len(server.asked), pairs_set().fingerprint
    result = run("--writers", ALL)
    assert len(server.asked) == sent and pairs_set().fingerprint == first
    assert "0 calls for about $0.0000" in result.output


def test_more_iterations_pay_for_the_new_ones_alone(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt", "--iterations", "1")
    run("--writers", "gpt,kimi", "--iterations", "2")
    assert Counter(asked.model for asked in server.asked) == {"gpt-6.2-sol": 2, "kimi-k2.6": 2}


def test_fresh_asks_everything_anew_in_another_round(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt", "--iterations", "1")
    first = pairs_set().fingerprint
    run("--writers", "gpt", "--iterations", "1", "--fresh")
    assert len(server.asked) == 2
    assert pairs_set().fingerprint != first
    run("--writers", "gpt", "--iterations", "1")
    assert len(server.asked) == 2


def test_fresh_is_about_the_writers_and_the_split_that_were_asked(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt,kimi", "--iterations", "1")
    run("--writers", "gpt", "--split", "test", "--count", "10")
    run("--writers", "gpt", "--iterations", "1", "--fresh")
    sent = len(server.asked)
    run("--writers", "kimi", "--iterations", "1")
    run("--writers", "gpt", "--split", "test", "--count", "10")
    assert len(server.asked) == sent


def test_the_other_splits_cost_stays_in_sight(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt,kimi", "--iterations", "1")
    run("--writers", "gpt", "--split", "test", "--count", "10")
    writers = summary()["writers"]
    assert writers["gpt"]["asked"] == 20 and writers["kimi"]["asked"] == 10
    assert sum(Decimal(one["dollars"]) for one in writers.values()) == server.charged
    assert Decimal(summary()["spent"]["dollars"]) == server.charged
    assert run("--reparse").exit_code == 0 and summary()["writers"]["gpt"]["asked"] == 20


def test_a_set_that_is_there_tells_what_its_last_run_cost(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "kimi", "--iterations", "1")
    server.behave = lambda _: "cut"
    told = json.loads(run("--writers", "kimi", "--iterations", "2", "--json").stdout)
    assert "kimi" in told["set_aside"] and Decimal(told["spent"]["possibly"]) == ledger().spent().open > 0


def test_a_changed_concept_says_what_it_leaves_out(server: LlmServer, run: Callable[..., Any], tmp_path: Path) -> None:
    church = tmp_path / "mine.yaml"
    shipped = (data_dir() / "concepts" / "church.yaml").read_text()
    church.write_text(shipped)
    run("--concept", str(church), "--writers", "gpt", "--split", "test", "--count", "10")
    church.write_text(re.sub("description: .*", "description: Another.", shipped))
    result = run("--concept", str(church), "--writers", "gpt", "--iterations", "1")
    assert result.exit_code == 0 and "--split test" in result.stderr


def test_two_servers_with_one_models_name_are_two(server: LlmServer, run: Callable[..., Any]) -> None:
    with LlmServer().running() as other:
        for one in (server, other):
            run("--writer-url", f"{one.url}/openai/v1", "--writer-model", "gpt-6.2-sol", "--iterations", "1")
        assert len(server.asked) == len(other.asked) == 1


def test_a_newer_parser_reads_old_answers_without_a_call(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--writers", "gpt,claude", "--iterations", "2")
    first, before, sent = pairs_set().fingerprint, rows(), len(server.asked)
    assert run("--reparse").exit_code == 0
    assert pairs_set().fingerprint == first
    monkeypatch.setattr(parsing, "VERSION", 99)
    result = run("--reparse")
    assert result.exit_code == 0 and "parser: 5 → 99" in result.output
    assert (rows(), len(server.asked)) == (before, sent)


def test_there_is_nothing_to_reparse_where_no_llm_wrote(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "offline", "--pairs", "5", "--tests", "1")
    result = run("--reparse")
    assert result.exit_code == 2 and "no LLM's" in result.stderr


# What comes back


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize("behaviour", ["fence", "prose", "slow"])
def test_what_stands_around_the_json_does_not_matter(
    server: LlmServer, run: Callable[..., Any], writer: str, behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    assert run("--writers", writer, "--iterations", "1").exit_code == 0
    assert sum(row.reason is None for row in rows()) >= 9 and len(server.asked) == 1


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("length", "cut off at the token limit"),
        ("refusal", "refused"),
        ("filter", "filter|refused"),
        ("empty", "empty answer"),
    ],
)
def test_answers_that_are_none_are_told_apart_and_never_asked_again(
    server: LlmServer, run: Callable[..., Any], writer: str, behaviour: str, said: str
) -> None:
    server.behave = scripted(behaviour)
    assert run("--writers", writer, "--iterations", "1").exit_code == 0
    rejects = [row for row in rows() if row.reason is not None]
    if (writer, behaviour) == ("gemini", "refusal"):  # Gemini has a filter and no refusal
        said = "filter"
    assert rejects and rejects[-1].reason == "malformed" and re.search(said, rejects[-1].detail or "")
    assert len(server.asked) == 1


@pytest.mark.parametrize("writer", SDKS)
def test_a_content_filter_that_answers_with_an_error_status_stops_one_prompt_and_not_the_writer(
    server: LlmServer, run: Callable[..., Any], writer: str
) -> None:
    server.behave = scripted("filter-status")
    arguments = ("--writers", writer, "--iterations", "2")
    result = run(*arguments)
    assert result.exit_code == 0 and "set aside" not in result.output
    stopped = [row for row in rows() if row.reason is not None]
    assert [row.reason for row in stopped] == ["malformed"] and "content filter" in (stopped[0].detail or "")
    assert sum(row.reason is None for row in rows()) >= 9
    assert run(*arguments).exit_code == 0 and len(server.asked) == 2


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize("behaviour", MALFORMED)
def test_a_body_that_is_no_answer_is_kept_possibly_paid_and_sent_again(
    server: LlmServer, run: Callable[..., Any], writer: str, behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    assert run("--writers", writer, "--iterations", "1").exit_code == 0
    assert len(server.asked) == 2 and sum(row.reason is None for row in rows()) >= 9
    first, second = ledger().attempts()
    assert first.open and first.raw and not first.answered and second.answered
    assert first.intent["call"] == second.intent["call"]
    spent = ledger().spent()
    assert spent.open == first.reserved and spent.cost < server.charged <= spent.total


def test_a_body_that_is_no_answer_is_sent_again_within_the_budget_and_by_the_next_run(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    server.behave = lambda asked: "garbage" if asked.number >= 1 else "fine"
    arguments = ("--writers", "gpt", "--iterations", "2", "--budget-usd")
    assert "status 200 without an answer" in run(*arguments, "5").stderr
    assert len(server.asked) == 2 + retrying.ALLOWED["faulty"]
    result = run(*arguments, str(ledger().spent().total + Decimal("0.001")))
    assert "budget" in result.stderr and len(server.asked) == 2 + retrying.ALLOWED["faulty"]
    server.behave = lambda _: "fine"
    assert "1 calls for about" in run(*arguments, "5").stdout
    assert len(server.asked) == 3 + retrying.ALLOWED["faulty"] and summary()["set_aside"] == {}
    assert {row.iteration for row in rows() if row.reason is None} == {0, 1}


@pytest.mark.faults
def test_a_chaotic_network_loses_no_call_and_hides_no_cost(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = chaos(seed=1)
    result = run("--writers", ALL, "--iterations", "10", "--budget-usd", "1000")
    assert result.exit_code == 0, result.output
    faults = Counter(server.behave(asked) for asked in server.asked)
    assert faults["fine"] == 60 and min(faults["drop"], faults["cut"], faults["429"]) > 0
    assert sum(faults[behaviour] for behaviour in MALFORMED) > 0
    assert summary()["set_aside"] == {} and all(one["calls"] == 10 for one in summary()["writers"].values())
    assert {(row.writer, row.iteration) for row in rows() if row.reason is None} == {
        (writer, iteration) for writer in SIX for iteration in range(10)
    }
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total
    sent = len(server.asked)
    run("--writers", ALL, "--iterations", "10", "--budget-usd", "1000")
    assert len(server.asked) == sent


def test_before_the_cut_all_is_kept(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("length")
    run("--writers", "gpt", "--iterations", "1")
    assert sum(row.reason is None for row in rows()) >= 5


@pytest.mark.parametrize("behaviour", ["wrong-schema", "chatter"])
def test_bad_json_is_repaired_once_by_a_call_that_says_what_was_wrong(
    server: LlmServer, run: Callable[..., Any], behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    run("--writers", "kimi", "--iterations", "1")
    assert len(server.asked) == 2
    assert "could not be used" in server.asked[1].prompt and server.asked[0].prompt.strip() in server.asked[1].prompt
    assert sum(row.reason is None for row in rows()) >= 9


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_copy_of_the_templates_example_is_no_pair(server: LlmServer, run: Callable[..., Any], split: str) -> None:
    run("--writers", "offline", "--pairs", "5", "--tests", "1")
    server.behave = scripted("copy")
    asked = ["--iterations", "2"] if split == "train" else ["--split", "test", "--count", "20"]
    assert run("--writers", "gpt", *asked).exit_code == 0
    written = [row for row in rows() if row.split == split]
    assert [(row.reason, (row.detail or "")[:24]) for row in written if row.iteration == 0] == [
        ("malformed", "copied from the example:")
    ]
    assert sum(row.reason is None for row in written) >= 9
    assert "A violin" not in server.asked[1].prompt.split("Answer with")[0]


def test_a_copy_of_the_example_is_asked_again_where_no_schema_holds_the_answer(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    server.behave = scripted("copy")
    run("--writers", "kimi", "--iterations", "1")
    assert len(server.asked) == 2 and "could not be used: copied from the example" in server.asked[1].prompt
    assert sum(row.reason is None for row in rows()) >= 9


@pytest.mark.parametrize("structure", ["json", "text"])
def test_a_refusal_in_plain_words_is_one_and_not_asked_again(
    server: LlmServer, run: Callable[..., Any], structure: str
) -> None:
    server.behave = scripted("refusal-in-words")
    run("--writers", "kimi,claude", "--iterations", "1", structure=structure)
    assert len(server.asked) == 2
    assert all(summary()["writers"][name]["outcomes"] == {"refusal": 1} for name in ("kimi", "claude"))
    assert "1 answers: refusal" in CliRunner().invoke(app, ["status"], env={"COLUMNS": "200"}).stdout


def test_a_repair_that_fails_is_not_repaired_again_and_a_schema_needs_none(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    server.behave = lambda _: "chatter"
    run("--writers", "kimi,gpt", "--iterations", "1")
    assert Counter(asked.model for asked in server.asked) == {"kimi-k2.6": 2, "gpt-6.2-sol": 1}
    assert {row.reason for row in rows()} == {"malformed"}


def test_thirty_pairs_instead_of_ten_are_ten(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("thirty")
    run("--writers", "gpt", "--iterations", "1")
    assert sum(row.reason is None for row in rows()) == 10
    assert summary()["writers"]["gpt"]["written"] == 30


def test_rejects_stay_with_their_reason(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("leak", "duplicates")
    run("--writers", "gpt", "--iterations", "2")
    assert Counter(row.reason for row in rows()) == {"malformed": 10, "duplicate": 9, None: 1}
    why = summary()["writers"]["gpt"]["why_not"]
    assert why == {"malformed: the surrogate names the concept": 10, "duplicate: like another": 9}


def test_another_model_that_answers_is_recorded_and_told(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("other-model")
    result = run("--writers", "claude", "--iterations", "1")
    assert "asked for claude-sonnet-5-5, answered by some-other-model" in result.stderr
    assert {(row.model_asked, row.model_answered) for row in rows()} == {("claude-sonnet-5-5", "some-other-model")}


@pytest.mark.parametrize("behaviour", ["html", "escapes", "jinja", "markup", "huge"])
def test_hostile_text_is_text(server: LlmServer, run: Callable[..., Any], behaviour: str) -> None:
    server.behave = scripted(behaviour)
    result = run("--writers", "gpt", "--iterations", "2")
    assert result.exit_code == 0, result.output
    assert "\x1b[2J" not in result.output and len(result.output) < 100_000
    if behaviour == "jinja":
        assert "{{ 7 * 7 }}" in server.asked[1].prompt
    if behaviour == "escapes":
        assert {row.reason for row in rows() if row.iteration == 0} == {"malformed"}
    assert all(len(row.detail or "") < 11_000 for row in rows())


# What goes wrong


@pytest.mark.faults
@pytest.mark.parametrize("writer", ["gpt", "claude", "gemini"])
@pytest.mark.parametrize("fault", ["429", "429-bare", "408", "409", "500", "503", "529", "cut"])
def test_passing_faults_are_tried_again(server: LlmServer, run: Callable[..., Any], writer: str, fault: str) -> None:
    server.behave = scripted(fault)
    result = run("--writers", writer, "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert len(server.asked) == 2
    spent = ledger().spent()
    assert spent.cost <= server.charged <= spent.cost + spent.open
    assert (spent.open > 0) is (fault == "cut")


@pytest.mark.faults
@pytest.mark.parametrize("writer", ["gpt", "claude", "gemini"])
@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_call_that_hangs_or_drips_times_out_and_is_possibly_paid(
    server: LlmServer, run: Callable[..., Any], writer: str, behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    assert run("--writers", writer, "--iterations", "1", timeout_s=0.4).exit_code == 0
    assert len(server.asked) == 2 and ledger().spent().open > 0


@pytest.mark.faults
@pytest.mark.parametrize("sdk", ["openai", "anthropic", "google-genai"])
def test_a_server_that_nobody_reaches_times_out_and_is_not_possibly_paid(sdk: Any) -> None:
    with ExitStack() as open_files, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [open_files.enter_context(socket.socket()) for _ in range(4)]
        for one in waiting:  # they fill the queue: the next one is not even connected
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        entry = Entry(sdk=sdk, base_url=f"http://127.0.0.1:{port}", model="m", timeout_s=0.6)
        call = planned(find("church"), [Named("m", entry, Rates(input=Decimal(1), output=Decimal(1)), True)])

        async def send() -> None:
            writer = open_writer(call.seats[0].writer)
            try:
                await within(entry.timeout_s, writer.send(call.call(call.seats[0], 0)))
            finally:
                await writer.close()

        with pytest.raises(Failed) as raised:
            asyncio.run(send())
        assert raised.value.kind == "faulty" and not raised.value.lost


@pytest.mark.faults
def test_retry_after_is_waited_for(server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 100.0)  # what would be waited without it
    server.behave = scripted("429", "429", "429")
    assert run("--writers", "gpt,claude,gemini", "--iterations", "1").exit_code == 0
    assert len(server.asked) == 12


@pytest.mark.faults
def test_rate_limits_and_faults_have_allowances_of_their_own(server: LlmServer, run: Callable[..., Any]) -> None:
    busy, faulty = retrying.ALLOWED["busy"], retrying.ALLOWED["faulty"]
    server.behave = scripted(*["429", "500"] * faulty, *["429"] * (busy - faulty))
    assert run("--writers", "gpt", "--iterations", "1").exit_code == 0
    assert len(server.asked) == busy + faulty + 1


@pytest.mark.faults
@pytest.mark.parametrize(("fault", "calls"), [("500", 5), ("401", 1), ("404", 1), ("purse", 1)])
def test_a_writer_that_keeps_failing_is_set_aside_and_the_others_finish(
    server: LlmServer, run: Callable[..., Any], fault: str, calls: int
) -> None:
    server.behave = lambda asked: fault if asked.model.startswith("kimi") else "fine"
    result = run("--writers", "gpt,kimi", "--iterations", "2")
    assert result.exit_code == 0, result.output
    assert "kimi was set aside" in result.stderr and "kimi" in summary()["set_aside"]
    assert Counter(asked.model for asked in server.asked) == {"gpt-6.2-sol": 2, "kimi-k2.6": calls}
    server.behave = lambda _: "fine"
    run("--writers", "gpt,kimi", "--iterations", "2")
    assert {row.writer for row in rows()} == {"gpt", "kimi"} and summary()["set_aside"] == {}


@pytest.mark.faults
def test_ctrl_c_sends_nothing_more_keeps_what_is_in_flight_and_says_how_to_go_on(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background

    def interrupted(asked: Asked) -> str:
        if asked.number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return "slow" if asked.number == 1 else "fine"

    server.behave = interrupted
    try:
        result = run("--writers", "gpt")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130 and "Run the same command again" in result.stderr
    assert len(server.asked) == 2 and ledger().spent().cost == server.charged and ledger().spent().open == 0
    server.behave = lambda _: "fine"
    assert run("--writers", "gpt").exit_code == 0
    assert len(server.asked) == 3


@pytest.mark.faults
def test_where_nobody_answers_it_is_one_line(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = lambda _: "401"
    result = run("--writers", "gpt,claude,gemini")
    assert result.exit_code == 2 and "no writer answered" in result.stderr
    assert all(name in result.stderr for name in ("gpt", "claude", "gemini"))


# Money


def test_the_budget_is_a_hard_stop_before_each_call(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run("--writers", "gpt", "--iterations", "3", "--budget-usd", "0.17")
    assert result.exit_code == 0, result.output
    assert server.charged < Decimal("0.17") and 1 <= len(server.asked) < 3
    assert "gpt was set aside" in result.stderr and "budget" in result.stderr
    run("--writers", "gpt", "--iterations", "3", "--budget-usd", "0.17")
    sent = len(server.asked)
    run("--writers", "gpt", "--iterations", "3", "--budget-usd", "1")
    assert sent < len(server.asked) == 3


def test_a_writer_that_was_set_aside_without_a_row_has_its_reason_in_the_summary_and_in_status(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    result = run("--writers", "gpt,kimi-k1-5", "--iterations", "1", "--budget-usd", "1")
    assert result.exit_code == 0 and {row.writer for row in rows()} == {"gpt"}
    why = summary()["writers"]["kimi-k1-5"]["set_aside"]
    assert "may cost $2." in why and "price unknown: worst case" in why
    assert why in result.stdout and "kimi-k1-5: counted as" not in result.stdout
    shown = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "250"}).stdout
    assert "kimi-k1-5" in shown and "set aside: budget" in shown


def test_calls_in_flight_are_reserved_for(server: LlmServer, run: Callable[..., Any]) -> None:
    server.latency = 0.1
    run("--writers", ALL, "--iterations", "1", "--budget-usd", "0.2")
    assert server.charged <= Decimal("0.2")
    assert len(server.asked) >= 4  # each waits for the one before it, and does not give up


def test_without_writers_the_user_is_told_and_asked(server: LlmServer, run: Callable[..., Any]) -> None:
    result = run()
    assert result.exit_code == 2 and "--yes" in result.stderr and not server.asked
    assert "18 calls for about $" in result.output
    assert run("--yes", "--iterations", "1").exit_code == 0
    assert len(server.asked) == 6


def test_where_standard_input_is_closed_nobody_can_agree(server: LlmServer, tmp_path: Path) -> None:
    code = "from ecgvf.cli import app; app()"
    words = [
        sys.executable,
        "-c",
        code,
        "generate",
        "--concept",
        "church",
        "--registry",
        str(server.registry(tmp_path)),
    ]
    done = subprocess.run(["sh", "-c", '"$0" "$@" <&-', *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "add --yes" in done.stderr and "Traceback" not in done.stderr
    assert not server.asked


def test_without_a_key_the_offline_writer_writes_and_says_so(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    result = run("--pairs", "5", "--tests", "1")
    assert result.exit_code == 0 and "the offline writer wrote" in result.stderr
    assert {row.writer for row in rows()} == {"offline"}


def test_a_dry_run_sends_nothing_writes_nothing_and_shows_the_exact_prompts(
    server: LlmServer, run: Callable[..., Any]
) -> None:
    shown = json.loads(run("--dry-run", "--writers", ALL, "--json").stdout)
    assert len(shown["calls"]) == 18 and not server.asked and not Store().root.exists()
    run("--writers", ALL)
    first = {asked.model: asked.prompt for asked in server.asked if asked.number == 0}
    for call in shown["calls"]:
        if call["exact"]:
            assert first[call["model"]] == call["prompt"]
    assert Decimal(shown["likely_usd"]) < Decimal(shown["most_usd"]) and server.charged <= Decimal(shown["most_usd"])
    result = run("--dry-run", "--writers", "gpt")
    assert "Nothing was sent." in result.stdout and "3 answered before" in result.stdout


def test_a_dry_run_of_the_offline_writer_is_an_object_for_machines_too(run: Callable[..., Any]) -> None:
    shown = json.loads(run("--dry-run", "--writers", "offline", "--json").stdout)
    assert shown["calls"] == [] and shown["most_usd"] == "0" and not Store().root.exists()


def test_a_dry_run_needs_no_key(server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    result = run("--dry-run")
    assert result.exit_code == 0 and "deepseek" in result.stdout
    result = run("--dry-run", "--writers", "paper")
    assert result.exit_code == 0 and "gpt-4o-2024-08-06" in result.stdout and not server.asked
    (line,) = result.stderr.strip().splitlines()
    assert all(name in line for name in KEYS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--writers", "gpt", "--budget-usd", "0"], "--budget-usd"),
        (["--writers", "gpt", "--budget-usd", "nan"], "--budget-usd"),
        (["--reparse", "--dry-run"], "--dry-run"),
        (["--writer-url", "http://localhost:abc/v1", "--writer-model", "m"], "--writer-url"),
        (["--writer-url", "http://me:hunter2@x/v1", "--writer-model", "m"], "password"),
        (["--writers", "gpt", "--iterations", "0"], "--iterations"),
        (["--writers", "gpt,offline"], "writes alone"),
        (["--writers", "nobody"], "unknown writer"),
        (["--writer-url", "http://x"], "go together"),
        (["--writer-url", "x", "--writer-model", "m"], "--writer-url"),
        (["--writers", "gpt", "--writer-url", "http://x", "--writer-model", "m"], "name one of them"),
        (["--writers", "offline", "--fresh"], "--fresh"),
        (["--writers", "gpt", "--templates", "nowhere"], "cannot read the template"),
        (["--writers", "kimi", "--batch"], "no batch"),
        (["--writers", "gpt", "--count", "84"], "--split test --count 84"),
        (["--yes", "--pairs", "5", "--tests", "7"], "--split test --count 7"),
        (["--writers", "gpt", "--split", "test", "--pairs", "5"], "--count N"),
        (["--writers", "gpt", "--split", "test", "--iterations", "2"], "--count N"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_sent(
    server: LlmServer, run: Callable[..., Any], arguments: list[str], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr and not server.asked
    assert result.stderr.strip().splitlines()[-1].startswith("error ")


# Secrets


@pytest.mark.parametrize("key", ["sk-first\nsecond", "sk-…", "two words"])
def test_a_key_that_no_header_can_carry_is_named_and_not_shown(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    result = run("--writers", "gpt")
    assert result.exit_code == 2 and "OPENAI_API_KEY" in result.stderr and not server.asked
    assert not any(word in result.output for word in key.split())


@pytest.mark.parametrize("key", ["a", "church", "EMPTY"])
def test_a_short_key_changes_no_prompt_and_is_said_once(
    server: LlmServer, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    assert "too short" not in run("--writers", "doubao", "--iterations", "1").stderr
    written = [(row.target, row.surrogate) for row in rows()]
    monkeypatch.setenv("ARK_API_KEY", key)
    result = run("--writers", "doubao", "--iterations", "1", "--fresh", "--json")
    assert result.exit_code == 0, result.output
    assert [(row.target, row.surrogate) for row in rows()] == written
    (warning,) = [line for line in result.stderr.splitlines() if "too short" in line]
    assert warning.startswith("warning") and warning.endswith(": ARK_API_KEY") and json.loads(result.stdout)
    assert "[ARK_API_KEY]" not in Ledger.of(ConceptRun.load(Store(), "church")).read_text()


def test_no_key_is_in_any_file_or_any_byte_printed(server: LlmServer, run: Callable[..., Any]) -> None:
    """Not even where a provider repeats the key that it refuses."""
    printed = run("--writers", ALL, "--iterations", "1", "--dry-run").output
    for behaviour, more in (("fine", []), ("echo-key", []), ("echo-key", ["--json"]), ("cut", []), ("garbage", [])):
        server.asked, server.behave = [], scripted(behaviour)
        printed += run("--writers", "gpt,claude,gemini", "--iterations", "2", "--fresh", *more).output
    printed += CliRunner().invoke(app, ["status", "--concept", "church"]).output
    printed += CliRunner().invoke(app, ["writers"]).output
    held = b"".join(file.read_bytes() for file in Store().root.rglob("*") if file.is_file())
    assert all(f"[{name}]".encode() in held for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"))
    for key in KEYS.values():
        assert key not in printed and key.encode() not in held


def test_status_shows_each_writers_yield(server: LlmServer, run: Callable[..., Any]) -> None:
    server.behave = scripted("leak")
    run("--writers", "gpt,kimi", "--iterations", "2")
    shown = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "250"}).stdout
    assert "gpt" in shown and "the surrogate names the concept" in shown and "distinct" in shown
    (entry,) = json.loads(CliRunner().invoke(app, ["status", "--concept", "church", "--json"]).stdout)["sets"]
    gpt = entry["writers"]["gpt"]
    assert gpt["asked"] == 20 and gpt["kept"] >= 9 and Decimal(gpt["dollars"]) > 0
    assert 0 < gpt["distinct_2"] <= 1 and 0 < gpt["self_similarity"] < 1 and gpt["tokens"]["output"] > 0


def table_rows(shown: str, first: str) -> list[list[str]]:
    """The cells of a printed table's rows, from the header that begins with ``first``."""
    found = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in shown.splitlines()]
    begin = next(place for place, cells in enumerate(found) if cells and cells[0] == first)
    return [cells for cells in found[begin:] if cells]


NARROW = ["writer", "asked", "parsed", "kept", "$", "why not"]
WIDE = ["writer", "asked", "parsed", "kept", "$", "in", "out", "-1", "-2", "similarity", "why not"]


@pytest.mark.parametrize(("columns", "header"), [("80", NARROW), ("140", WIDE)])
def test_status_gives_each_figure_a_column_and_fits_the_terminal(
    server: LlmServer, run: Callable[..., Any], columns: str, header: list[str]
) -> None:
    server.behave = scripted("leak")
    run("--writers", ALL, "--iterations", "2")
    result = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": columns})
    head, first = table_rows(result.stdout, "writer")[:2]
    figures = summary()["writers"]["gpt"]
    assert head == header
    assert first[:4] == ["gpt", "20", "20", str(figures["kept"])] and first[4] == f"{Decimal(figures['dollars']):.4f}"
    if header is WIDE:
        assert first[5:7] == [str(figures["tokens"][way]) for way in ("input", "output")]
        assert first[7:10] == [f"{figures[key]:.2f}" for key in ("distinct_1", "distinct_2", "self_similarity")]
    printed = [line for line in result.stdout.splitlines() if line[:1] in "┏┃┡│└"]
    assert printed and max(map(len, printed)) <= int(columns)
    assert ("shown from 140 columns on" in result.stderr) == (header is NARROW)


def test_status_in_a_pipe_shows_every_figure(server: LlmServer, run: Callable[..., Any]) -> None:
    run("--writers", "gpt", "--iterations", "1")
    shown = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": None}).stdout
    assert table_rows(shown, "writer")[0] == WIDE
