"""Answers of LLMs: refusals, filters, cuts, bad JSON, copies, and hostile text."""

import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf import Run
from ecgvf.cli import app
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import WriterError
from ecgvf.core.records import Split
from ecgvf.core.store import Store
from ecgvf.llm import retry
from ecgvf.llm.registry import Registry
from ecgvf.pairs import answer_reader, answers
from ecgvf.pairs.generation_plan import plan_generation
from ecgvf.pairs.llm_writers import NothingUsable, generate_with_llms
from ecgvf.pairs.parsing import Draft
from tests import llm_server
from tests.llm_run import ALL, SDKS, ledger, pairs_set, rows, scripted, summary
from tests.llm_server import MALFORMED, SIX, LlmServer, chaos


@pytest.mark.parametrize("run_before", [False, True])
def test_a_run_parses_each_answer_once(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, run_before: bool
) -> None:
    """For the estimate, the digest of earlier prompts, the repair and the records together."""
    server.behave = scripted("chatter")
    arguments = ("--writers", "gpt,kimi", "--iterations", "2")
    if run_before:
        generate(*arguments)
    read: list[str] = []

    def read_answer(concept: Concept, text: str, *more: Any, **options: Any) -> list[Draft]:
        read.append(text)
        return answers.read_answer(concept, text, *more, **options)

    monkeypatch.setattr(answer_reader, "read_answer", read_answer)
    assert generate(*arguments).exit_code == 0
    assert len(read) == len(server.requests) == 5


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize("behaviour", ["fence", "prose", "slow"])
def test_text_around_the_json_does_not_matter(
    server: LlmServer, generate: Callable[..., Any], writer: str, behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    assert generate("--writers", writer, "--iterations", "1").exit_code == 0
    assert sum(row.reason is None for row in rows()) >= 9 and len(server.requests) == 1


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        ("length", "cut off at the token limit"),
        ("refusal", "refused"),
        ("filter", "filter|refused"),
        ("empty", "empty answer"),
    ],
)
def test_answers_without_pairs_get_their_own_fault_and_no_repair(
    server: LlmServer, generate: Callable[..., Any], writer: str, behaviour: str, fault: str
) -> None:
    server.behave = scripted(behaviour)
    assert generate("--writers", writer, "--iterations", "1").exit_code == (0 if behaviour == "length" else 2)
    rejects = [row for row in rows() if row.reason is not None]
    if (writer, behaviour) == ("gemini", "refusal"):  # Gemini has a filter and no refusal
        fault = "filter"
    assert rejects and rejects[-1].reason == "malformed" and re.search(fault, rejects[-1].detail or "")
    assert len(server.requests) == 1


@pytest.mark.parametrize("writer", SDKS)
def test_a_content_filter_with_an_error_status_stops_one_prompt_and_not_the_writer(
    server: LlmServer, generate: Callable[..., Any], writer: str
) -> None:
    server.behave = scripted("filter-status")
    arguments = ("--writers", writer, "--iterations", "2")
    result = generate(*arguments)
    assert result.exit_code == 0 and "stopped" not in result.output
    stopped = [row for row in rows() if row.reason is not None]
    assert [row.reason for row in stopped] == ["malformed"] and "content filter" in (stopped[0].detail or "")
    assert sum(row.reason is None for row in rows()) >= 9
    assert generate(*arguments).exit_code == 0 and len(server.requests) == 2


@pytest.mark.parametrize("writer", SDKS)
@pytest.mark.parametrize("behaviour", MALFORMED)
def test_a_body_that_is_not_an_answer_is_kept_and_sent_again(
    server: LlmServer, generate: Callable[..., Any], writer: str, behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    assert generate("--writers", writer, "--iterations", "1").exit_code == 0
    assert len(server.requests) == 2 and sum(row.reason is None for row in rows()) >= 9
    first, second = ledger().attempts()
    assert first.charge_unknown and first.raw and not first.answered and second.answered
    assert first.intent["call"] == second.intent["call"]
    spent = ledger().spent()
    assert spent.possible == first.reserved and spent.cost < server.charged <= spent.total


def test_a_body_that_is_not_an_answer_is_sent_again_within_the_budget_and_by_the_next_run(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = lambda request: "garbage" if request.number >= 1 else "fine"
    arguments = ("--writers", "gpt", "--iterations", "2", "--budget-usd")
    assert "status 200 without an answer" in generate(*arguments, "5").stderr
    assert len(server.requests) == 2 + retry.ALLOWED["faulty"]
    result = generate(*arguments, str(ledger().spent().total + Decimal("0.001")))
    assert "budget" in result.stderr and len(server.requests) == 2 + retry.ALLOWED["faulty"]
    server.behave = lambda _: "fine"
    assert "1 call for about" in generate(*arguments, "5").stdout
    assert len(server.requests) == 3 + retry.ALLOWED["faulty"] and summary()["set_aside"] == {}
    assert {row.iteration for row in rows() if row.reason is None} == {0, 1}


@pytest.mark.faults
def test_a_chaotic_network_loses_no_call_and_hides_no_cost(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = chaos(seed=1)
    result = generate("--writers", ALL, "--iterations", "10", "--budget-usd", "1000")
    assert result.exit_code == 0, result.output
    faults = Counter(server.behave(request) for request in server.requests)
    assert faults["fine"] == 60 and min(faults["drop"], faults["cut"], faults["429"]) > 0
    assert sum(faults[behaviour] for behaviour in MALFORMED) > 0
    assert summary()["set_aside"] == {} and all(stats["calls"] == 10 for stats in summary()["writers"].values())
    assert {(row.writer, row.iteration) for row in rows() if row.reason is None} == {
        (writer, iteration) for writer in SIX for iteration in range(10)
    }
    spent = ledger().spent()
    assert spent.cost < server.charged <= spent.total
    sent = len(server.requests)
    generate("--writers", ALL, "--iterations", "10", "--budget-usd", "1000")
    assert len(server.requests) == sent


def test_pairs_before_a_cut_are_kept(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("length")
    generate("--writers", "gpt", "--iterations", "1")
    assert sum(row.reason is None for row in rows()) >= 5


@pytest.mark.parametrize("behaviour", ["wrong-schema", "chatter"])
def test_bad_json_gets_one_repair_call_that_states_the_fault(
    server: LlmServer, generate: Callable[..., Any], behaviour: str
) -> None:
    server.behave = scripted(behaviour)
    generate("--writers", "kimi", "--iterations", "1")
    assert len(server.requests) == 2
    assert (
        "could not be used" in server.requests[1].prompt
        and server.requests[0].prompt.strip() in server.requests[1].prompt
    )
    assert sum(row.reason is None for row in rows()) >= 9


def test_a_repair_may_give_the_pairs_that_the_first_answer_only_thought_of(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    thought = {"target": "A church by a lake.", "target_term": "church"}
    thought |= {"surrogate": "A hotel by a lake.", "surrogate_term": "hotel"}
    monkeypatch.setattr(llm_server, "prompts", lambda *_: [thought])
    server.behave = scripted("thinking")
    assert generate("--writers", "kimi", "--iterations", "1", "--pairs", "1").exit_code == 0
    assert len(server.requests) == 2 and "Which kind of church" in server.requests[1].prompt
    assert [row.target for row in rows() if row.reason is None] == ["A church by a lake."]


def test_a_repair_allows_no_more_captions_of_a_concept_than_were_requested(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(request: llm_server.Request, _: str) -> str:
        first = re.findall(r"^- (.+)$", request.prompt, re.MULTILINE)[0]
        if "could not be used" not in request.prompt:
            return f"- {first}\n- {first}\n"
        captions = [{"target": f"A {first} by a {place}.", "retained_concept": first} for place in ("lake", "road")]
        return json.dumps({"prompts": captions})

    monkeypatch.setattr(llm_server, "text", text)
    assert generate("--writers", "kimi", "--split", "retain", "--count", "1").exit_code == 0
    repaired = [row for row in rows() if row.target]
    assert Counter((row.target.rsplit(maxsplit=1)[1], row.reason) for row in repaired) == {
        ("lake.", None): len(server.requests) // 2,
        ("road.", "malformed"): len(server.requests) // 2,
    }
    assert "a concept that was not requested again" in str(repaired[1].detail)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_copy_of_the_templates_example_is_rejected(
    server: LlmServer, generate: Callable[..., Any], split: str
) -> None:
    generate("--writers", "offline", "--pairs", "5", "--tests", "1")
    server.behave = scripted("copy")
    arguments = ["--iterations", "2"] if split == "train" else ["--split", "test", "--count", "20"]
    assert generate("--writers", "gpt", *arguments).exit_code == 0
    written = [row for row in rows() if row.split == split]
    assert [(row.reason, (row.detail or "")[:24]) for row in written if row.iteration == 0] == [
        ("malformed", "copied from the example:")
    ]
    assert sum(row.reason is None for row in written) >= 9
    assert "A violin" not in server.requests[1].prompt.split("Answer with")[0]


def test_a_copy_of_the_example_gets_a_repair_call_without_a_schema(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = scripted("copy")
    generate("--writers", "kimi", "--iterations", "1")
    assert len(server.requests) == 2 and "could not be used: copied from the example" in server.requests[1].prompt
    assert sum(row.reason is None for row in rows()) >= 9


@pytest.mark.parametrize("structure", ["json", "text"])
def test_a_refusal_in_plain_words_gets_no_repair_call(
    server: LlmServer, generate: Callable[..., Any], structure: str
) -> None:
    server.behave = scripted("refusal-in-words")
    generate("--writers", "kimi,claude", "--iterations", "1", structure=structure)
    assert len(server.requests) == 2
    assert all(summary()["writers"][name]["outcomes"] == {"refusal": 1} for name in ("kimi", "claude"))
    assert "1 answer: refusal" in CliRunner().invoke(app, ["status"], env={"COLUMNS": "200"}).stdout


def test_a_repair_is_not_repaired_and_a_schema_needs_no_repair(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = lambda _: "chatter"
    generate("--writers", "kimi,gpt", "--iterations", "1")
    assert Counter(request.model for request in server.requests) == {"kimi-k2.6": 2, "gpt-6.2-sol": 1}
    assert {row.reason for row in rows()} == {"malformed"}


def test_answers_without_a_usable_pair_are_a_one_line_error(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = lambda _: "leak"
    result = generate("--writers", "gpt", "--iterations", "1", "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["train"]["accepted"] == 0
    assert "error no usable pairs: rejected 10 malformed, 0 duplicate; " in result.stderr
    assert result.stderr.endswith("the current set has none until then\n") and not any(
        row.reason is None for row in rows()
    )
    assert "Next:" not in result.output


def test_the_error_about_answers_without_a_usable_pair_has_the_set(server: LlmServer, tmp_path: Path) -> None:
    server.behave = lambda _: "leak"
    run = Run("church")
    plans = plan_generation(run.concept, Registry(server.registry(tmp_path)).select("gpt"), iterations=1)
    with pytest.raises(NothingUsable, match="no usable pairs: rejected 10 malformed") as caught:
        generate_with_llms(run, plans)
    assert caught.value.stage_set.summary["train"] == {"accepted": 0, "malformed": 10, "duplicate": 0}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_set_without_a_usable_pair_does_not_become_current(
    server: LlmServer, generate: Callable[..., Any], tmp_path: Path, split: Split
) -> None:
    words = ("--split", split, "--writers")
    generate(*words, "gpt")
    good, last = pairs_set().fingerprint, ("--concept", "cat", "--writers", "offline", "--pairs", "1", "--tests", "1")
    generate(*last)
    server.behave = lambda _: "leak"
    for _ in range(2):
        failed = generate(*words, "claude")
        assert failed.exit_code == 2 and f"the current set stays {good}" in failed.stderr
        assert pairs_set().fingerprint == good and Store().last_concept() == "cat"
    sent = len(server.requests)
    with pytest.raises(WriterError, match=f"--concept church` has the reasons: .* the current set stays {good}"):
        Run("church").generate_with_llms(Registry(server.registry(tmp_path)).select("claude"), split=split)
    assert len(server.requests) == sent
    shown = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "200"}).stdout
    assert shown.count("writers of ") == 2 and "names the concept" in shown


def test_of_thirty_pairs_the_requested_ten_are_kept(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("thirty")
    generate("--writers", "gpt", "--iterations", "1")
    assert sum(row.reason is None for row in rows()) == 10
    assert summary()["writers"]["gpt"]["written"] == 30


def test_rejects_keep_their_reason(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("leak", "duplicates")
    generate("--writers", "gpt", "--iterations", "2")
    assert Counter(row.reason for row in rows()) == {"malformed": 10, "duplicate": 9, None: 1}
    why = summary()["writers"]["gpt"]["why_not"]
    assert why == {"malformed: the surrogate names the concept": 10, "duplicate: like another": 9}


def test_a_substituted_model_is_recorded_with_a_warning(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("other-model")
    result = generate("--writers", "claude", "--iterations", "1")
    assert "asked for claude-sonnet-5-5, answered by some-other-model" in result.stderr
    assert {(row.model_asked, row.model_answered) for row in rows()} == {("claude-sonnet-5-5", "some-other-model")}


@pytest.mark.parametrize("behaviour", ["html", "escapes", "jinja", "markup", "huge"])
def test_hostile_text_is_text(server: LlmServer, generate: Callable[..., Any], behaviour: str) -> None:
    server.behave = scripted(behaviour)
    result = generate("--writers", "gpt", "--iterations", "2")
    assert result.exit_code == 0, result.output
    assert "\x1b[2J" not in result.output and len(result.output) < 100_000
    if behaviour == "jinja":
        assert "{{ 7 * 7 }}" in server.requests[1].prompt
    if behaviour == "escapes":
        assert {row.reason for row in rows() if row.iteration == 0} == {"malformed"}
    assert all(len(row.detail or "") < 11_000 for row in rows())
