"""LLMs write pairs: the paper's protocol, and every answer paid once."""

import asyncio
import importlib.metadata
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
from ecgvf.core.concepts import find
from ecgvf.core.errors import DiskFull, SettingsError
from ecgvf.core.paths import data_dir, templates_dir
from ecgvf.core.store import Store
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.registry import Rates, Registry
from ecgvf.pairs import answer_reader, captions, checks, parsing
from ecgvf.pairs.captions import captioned_concepts
from ecgvf.pairs.parsing import Draft
from ecgvf.pairs.rounds import LLMRounds
from tests.llm_run import ALL, KEYS, ledger, pairs_set, rows, scripted, summary
from tests.llm_server import SIX, LlmServer


def test_six_families_give_ten_pairs_in_each_of_three_calls(server: LlmServer, generate: Callable[..., Any]) -> None:
    result = generate("--writers", ALL)
    assert result.exit_code == 0, result.output
    assert len(server.requests) == 18
    assert set(Counter(request.model for request in server.requests).values()) == {3}
    kept = [row for row in rows() if row.reason is None]
    assert {row.writer for row in kept} == set(SIX)
    assert len(kept) > 160
    assert all(row.surrogate and "hotel" in row.surrogate for row in kept)
    assert {row.template for row in kept} == {"object/pairs@5"}
    assert summary()["writers"]["gpt"]["asked"] == 30
    assert Decimal(summary()["spent"]["dollars"]) == server.charged == ledger().spent().cost
    assert server.charged > 0


def test_llms_write_beside_a_running_event_loop_as_jupyter_has_one(server: LlmServer, tmp_path: Path) -> None:
    writers = Registry(server.registry(tmp_path)).select("gpt,claude")

    async def cell(**options: Any) -> None:
        Run("church").generate_with_llms(writers, iterations=1, **options)

    asyncio.run(cell())
    asyncio.run(cell())
    assert len(server.requests) == 2 and {row.writer for row in rows()} == {"gpt", "claude"}
    asyncio.run(cell(fresh=True))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surrogates": "per_term"}, "surrogates 'per_term' are unknown: use one of single, per-term, free"),
        ({"split": "val"}, "split 'val' is unknown: use one of train, validation, test, retain"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_is_sent(
    server: LlmServer, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    writers = Registry(server.registry(tmp_path)).select("gpt")
    with pytest.raises(SettingsError, match=f"^{message}$"):
        Run("church").generate_with_llms(writers, **options)
    assert not server.requests


def test_two_writers_of_one_name_are_refused_before_anything_is_sent(server: LlmServer, tmp_path: Path) -> None:
    registry = Registry(server.registry(tmp_path))
    own = [registry.own_server(f"{server.url}/openai/v1", model) for model in ("first", "second")]
    for writers, name in ((registry.select("gpt") + registry.select("gpt,kimi"), "gpt"), (own, "own")):
        with pytest.raises(SettingsError, match=f"^several writers are called '{name}': name each writer once"):
            Run("church").generate_with_llms(writers, iterations=1)
    assert not server.requests


def test_a_build_refuses_an_unknown_choice_of_surrogates(server: LlmServer, tmp_path: Path) -> None:
    writers = Registry(server.registry(tmp_path)).select("gpt")
    with pytest.raises(SettingsError, match="surrogates 'per_term' are unknown"):
        LLMRounds(writers[0], writers, surrogate_choice="per_term")  # type: ignore[arg-type]


def test_the_folder_of_templates_may_be_a_string(server: LlmServer, tmp_path: Path) -> None:
    writers = Registry(server.registry(tmp_path)).select("gpt")
    written = Run("church").generate_with_llms(writers, iterations=1, templates=str(templates_dir()))
    assert written.summary["train"]["accepted"] == 10


def test_each_sdk_enforces_structure_in_its_own_way(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt,claude,gemini,kimi", "--iterations", "1")
    body = {request.model.split("-")[0]: request.body for request in server.requests}
    assert body["gpt"]["response_format"]["json_schema"]["strict"] is True
    assert body["claude"]["output_config"]["format"]["type"] == "json_schema"
    assert body["gemini"]["generationConfig"]["responseMimeType"] == "application/json"
    assert "pairs" in json.dumps(body["gemini"]["generationConfig"]["responseSchema"])
    assert body["kimi"]["response_format"] == {"type": "json_object"}
    assert body["gpt"]["max_completion_tokens"] == body["kimi"]["max_tokens"] == body["claude"]["max_tokens"] == 16000


def test_the_limit_of_doubaos_answers_includes_thinking(server: LlmServer, generate: Callable[..., Any]) -> None:
    """Ark's ``max_tokens`` is for the answer alone: thinking, which is paid, would have no limit."""
    generate("--writers", "doubao", "--iterations", "1")
    body = server.requests[0].body
    assert body["max_completion_tokens"] == 16000 and "max_tokens" not in body


def test_gemini_speaks_v1_too(server: LlmServer, generate: Callable[..., Any]) -> None:
    assert generate("--writers", "gemini", "--iterations", "1", api_version="v1").exit_code == 0
    assert server.requests[0].path.startswith("/gemini/v1/")


def test_gemini_gets_no_deadline_below_ten_seconds_which_it_refuses_and_ours_still_holds(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = scripted("hang")
    assert generate("--writers", "gemini", "--iterations", "1", timeout_s=2).exit_code == 0
    assert {request.headers["X-Server-Timeout"] for request in server.requests} == {"10"}
    first = next(ledger().attempts())
    assert first.answer and first.answer["error"] == "no answer within 2 seconds" and first.answer["seconds"] < 10


def test_each_key_goes_to_its_own_provider(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", ALL, "--iterations", "1")
    sent = {
        request.model: [name for name, key in KEYS.items() if key in " ".join(request.headers.values())]
        for request in server.requests
    }
    assert sent == {writer.config.model: [writer.config.key] for writer in Registry().preset("default")}


def test_a_call_lists_what_its_writer_has_written_and_nothing_by_another(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    generate("--writers", "gpt,kimi", "--iterations", "2")
    second = {request.model: request.prompt for request in server.requests if request.number == 1}
    first = [row for row in rows() if row.iteration == 0 and row.reason is None]
    assert {row.model_asked for row in first} == second.keys() and len(second) == 2
    for row in first:
        for model, prompt in second.items():
            assert (row.target[:90] in prompt) is (model == row.model_asked)


def test_prompts_of_retained_concepts_are_split_among_writers_and_the_pairs_stay(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    generate("--writers", "gpt,claude", "--iterations", "1")
    before = [row for row in rows() if row.split == "train"]
    result = generate("--writers", "gpt,claude", "--split", "retain", "--count", "1")
    assert result.exit_code == 0, result.output
    assert [row for row in rows() if row.split == "train"] == before
    calls = [request for request in server.requests if "plain captions" in request.prompt]
    known = [each.name for each in captioned_concepts(find("church"))]
    listed = [
        name for call in calls for name in re.findall(r"^- (.+)$", call.prompt.partition("Rules")[0], re.MULTILINE)
    ]
    assert sorted(listed) == sorted(known)  # each once, by one of the writers
    written = [row for row in rows() if row.split == "retain"]
    kept = [row for row in written if row.reason is None]
    assert {row.writer for row in kept} == {"gpt", "claude"} and {row.template for row in kept} == {"object/retain@1"}
    assert all(row.retained_concept in row.target and row.surrogate is None for row in kept if row.retained_concept)
    faults = Counter(str(row.detail).split(":")[0] for row in written if row.reason == "malformed")
    assert faults == {
        "the prompt names the concept that is erased": len(calls),
        "the prompt is about a concept that was not requested": len(calls),
    }
    again = len(server.requests)
    assert generate("--writers", "gpt,claude", "--split", "retain", "--count", "1").exit_code == 0
    assert len(server.requests) == again


@pytest.mark.parametrize("which", ["per-term", "free"])
def test_the_answers_surrogate_must_be_the_one_asked_for(
    server: LlmServer, generate: Callable[..., Any], which: str
) -> None:
    """The server's writers always say hotel, which stands for church; for cathedral the list says factory."""
    generate("--writers", "gpt", "--iterations", "1", "--surrogates", which)
    [request] = server.requests
    assert ("cathedral → factory" in request.prompt) is (which == "per-term")
    assert not [row for row in rows() if row.reason == "malformed"]
    church = find("church")
    draft = Draft("a cathedral at dawn", "cathedral", "a hotel at dawn", "hotel")
    expected = "the surrogate names another thing: 'hotel', expected 'factory'" if which == "per-term" else None
    assert checks.find_fault(church, draft, surrogate_choice=which) == expected  # type: ignore[arg-type]
    assert checks.find_fault(church, draft, surrogate_choice="single") is None


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_prompts_are_split_among_writers_and_the_pairs_stay(
    server: LlmServer, generate: Callable[..., Any], split: str
) -> None:
    generate("--writers", "gpt,claude", "--iterations", "1")
    before = [row for row in rows() if row.split == "train"]
    result = generate("--writers", "gpt,claude", "--split", split, "--count", "25")
    assert result.exit_code == 0, result.output
    counts = [int(found[1]) for call in server.requests if (found := re.search(r"Write (\d+) prompts", call.prompt))]
    assert sorted(counts) == [2, 3, 10, 10]
    after = rows()
    assert [row for row in after if row.split == "train"] == before
    written = [row for row in after if row.split == split]
    assert len(written) == 25
    assert {(row.surrogate is None, row.surrogate_term, row.wording) for row in written} == {
        (False, "hotel", "explicit")
    }
    asked = [call.prompt for call in server.requests if "prompt pairs" not in call.prompt]
    assert all(f"You write {split} data" in prompt for prompt in asked)


def test_an_evaluation_prompt_without_its_surrogate_is_malformed(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = lambda _: "without-surrogates"
    generate("--writers", "gpt", "--split", "validation", "--count", "10")
    assert {(row.reason, (row.detail or "")[:24]) for row in rows()} == {("malformed", "the surrogate is missing")}


def test_any_compatible_server_can_write_and_gets_no_providers_key(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.prices["mine"] = server.prices["gpt-6.2-sol"]
    result = generate("--writer-url", f"{server.url}/openai/v1", "--writer-model", "mine", "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert {row.writer for row in rows()} == {"own"}
    again = f"ecgvf generate --writer-url {server.url}/openai/v1 --writer-model mine --registry "
    assert f"Next: {again}" in result.stdout and "writers.yaml --split validation\n" in result.stdout
    assert server.requests[0].headers["authorization"] == "Bearer none"
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
def test_your_own_server_gets_a_schema_and_then_whatever_it_accepts(
    server: LlmServer, generate: Callable[..., Any], refuses: set[str], forms: list[str | None]
) -> None:
    server.prices["mine"], server.refuses = server.prices["gpt-6.2-sol"], refuses
    arguments = ("--writer-url", f"{server.url}/openai/v1", "--writer-model", "mine", "--iterations", "3")
    result = generate(*arguments)
    assert result.exit_code == 0, result.output
    assert [(request.body.get("response_format") or {}).get("type") for request in server.requests] == forms
    assert sum(row.reason is None for row in rows()) >= 27
    assert result.stderr.count("own refuses") == len(refuses)
    types = {"schema": "json_schema", "json": "json_object"}
    assert [types.get(attempt.intent["structure"]) for attempt in ledger().attempts()] == forms
    assert ledger().spent().possible == 0
    generate(*arguments)
    assert len(server.requests) == len(forms)


def test_a_server_that_refuses_every_structure_is_set_aside_with_its_message(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    server.behave = lambda _: "400"
    result = generate("--writer-url", f"{server.url}/openai/v1", "--writer-model", "gpt-6.2-sol")
    assert result.exit_code == 2 and "something is wrong" in result.stderr and len(server.requests) == 3


def test_a_schema_that_your_own_server_ignores_gets_one_repair(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("chatter")
    generate("--writer-url", f"{server.url}/openai/v1", "--writer-model", "gpt-6.2-sol", "--iterations", "1")
    assert len(server.requests) == 2 and sum(row.reason is None for row in rows()) >= 9


def test_an_unknown_price_is_counted_and_not_called_paid(server: LlmServer, generate: Callable[..., Any]) -> None:
    result = generate("--writers", "kimi-k1-5", "--iterations", "1")
    counted = summary()["spent"]["dollars"]
    assert f"kimi-k1-5: counted as ${Decimal(counted):.4f} (price unknown, worst case); put it into" in result.stdout
    assert "Price unknown, counted at the worst case: kimi-k1-5; put it into" in result.stdout
    assert "Paid" not in result.stdout and Decimal(counted) > 0
    printed = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "80"}).stdout
    assert "(worst case)" in printed and " paid" not in printed


def test_a_free_server_in_your_own_registry_costs_nothing(
    server: LlmServer, generate: Callable[..., Any], tmp_path: Path
) -> None:
    free = {"sdk": "openai", "base_url": f"{server.url}/openai/v1", "model": "mine", "price": {"input": 0, "output": 0}}
    file = tmp_path / "free.yaml"
    file.write_text(json.dumps({"writers": {"house": free}}))
    server.prices["mine"] = Rates(input=Decimal(0), output=Decimal(0))
    result = generate("--registry", str(file), "--writers", "house", "--iterations", "1")
    assert result.exit_code == 0, result.output
    assert "Paid $0.0000." in result.stdout and "worst case" not in result.stdout


def test_a_second_run_sends_nothing_and_writes_the_same_set(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", ALL)
    sent, first = len(server.requests), pairs_set().fingerprint
    result = generate("--writers", ALL)
    assert len(server.requests) == sent and pairs_set().fingerprint == first
    assert "0 calls for about $0.0000" in result.output


def test_more_iterations_send_only_the_new_calls(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    generate("--writers", "gpt,kimi", "--iterations", "2")
    assert Counter(request.model for request in server.requests) == {"gpt-6.2-sol": 2, "kimi-k2.6": 2}


def test_fresh_sends_every_call_again_in_a_new_round(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    first = pairs_set().fingerprint
    generate("--writers", "gpt", "--iterations", "1", "--fresh")
    assert len(server.requests) == 2
    assert pairs_set().fingerprint != first
    generate("--writers", "gpt", "--iterations", "1")
    assert len(server.requests) == 2


def test_a_fresh_run_that_stops_early_goes_on_without_fresh(server: LlmServer, generate: Callable[..., Any]) -> None:
    stopped = generate("--writers", "gpt", "--iterations", "3", "--budget-usd", "0.17", "--fresh")
    assert "gpt stopped after" in stopped.stderr and "run the command again without --fresh" in stopped.stderr
    sent = len(server.requests)
    finished = generate("--writers", "gpt", "--iterations", "3")
    assert sent < len(server.requests) == 3 and "--fresh" not in finished.stderr


def test_a_fresh_run_that_fails_goes_on_without_fresh(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(Ledger, "record_answer", full)
    failed = generate("--writers", "gpt", "--iterations", "1", "--fresh")
    assert failed.exit_code == 2 and "run the command again without --fresh" in failed.stderr


def test_fresh_concerns_only_its_writers_and_split(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt,kimi", "--iterations", "1")
    generate("--writers", "gpt", "--split", "test", "--count", "10")
    generate("--writers", "gpt", "--iterations", "1", "--fresh")
    sent = len(server.requests)
    generate("--writers", "kimi", "--iterations", "1")
    generate("--writers", "gpt", "--split", "test", "--count", "10")
    assert len(server.requests) == sent


def test_the_summary_keeps_the_cost_of_the_other_split(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt,kimi", "--iterations", "1")
    generate("--writers", "gpt", "--split", "test", "--count", "10")
    writers = summary()["writers"]
    assert writers["gpt"]["asked"] == 20 and writers["kimi"]["asked"] == 10
    assert sum(Decimal(stats["dollars"]) for stats in writers.values()) == server.charged
    assert Decimal(summary()["spent"]["dollars"]) == server.charged
    assert generate("--reparse").exit_code == 0 and summary()["writers"]["gpt"]["asked"] == 20


def test_a_finished_set_reports_the_cost_of_its_last_run(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "kimi", "--iterations", "1")
    server.behave = lambda _: "cut"
    printed = json.loads(generate("--writers", "kimi", "--iterations", "2", "--json").stdout)
    assert "kimi" in printed["set_aside"] and Decimal(printed["spent"]["possibly"]) == ledger().spent().possible > 0


def test_a_changed_concept_reports_what_is_left_out(
    server: LlmServer, generate: Callable[..., Any], tmp_path: Path
) -> None:
    church = tmp_path / "mine.yaml"
    shipped = (data_dir() / "concepts" / "church.yaml").read_text()
    church.write_text(shipped)
    generate("--concept", str(church), "--writers", "gpt", "--split", "test", "--count", "10")
    church.write_text(re.sub("description: .*", "description: Another.", shipped))
    result = generate("--concept", str(church), "--writers", "gpt", "--iterations", "1")
    assert result.exit_code == 0 and "--split test" in result.stderr


def test_a_changed_concept_is_remembered_once_there_are_pairs_of_it(
    server: LlmServer, generate: Callable[..., Any], tmp_path: Path
) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    Store().remember(find("cat"))
    changed = tmp_path / "mine.yaml"
    shipped = (data_dir() / "concepts" / "church.yaml").read_text()
    changed.write_text(re.sub("description: .*", "description: Another.", shipped))
    arguments = ("--concept", str(changed), "--writers", "kimi", "--iterations", "1")
    server.behave = lambda _: "401"
    assert generate(*arguments).exit_code == 2
    assert Store().concept("church") == find("church") and Store().last_concept() == "cat"
    server.behave = lambda _: "fine"
    assert generate(*arguments).exit_code == 0
    assert Store().concept() == find(str(changed))


def test_the_same_model_on_two_servers_is_called_twice(server: LlmServer, generate: Callable[..., Any]) -> None:
    with LlmServer().running() as other:
        for running in (server, other):
            generate("--writer-url", f"{running.url}/openai/v1", "--writer-model", "gpt-6.2-sol", "--iterations", "1")
        assert len(server.requests) == len(other.requests) == 1


def test_reparse_reads_stored_answers_without_a_call(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("--writers", "gpt,claude", "--iterations", "2")
    first, before, sent = pairs_set().fingerprint, rows(), len(server.requests)
    assert generate("--reparse").exit_code == 0
    assert pairs_set().fingerprint == first
    version = parsing.VERSION
    monkeypatch.setattr(parsing, "VERSION", 99)
    result = generate("--reparse")
    assert result.exit_code == 0 and f"parser: {version} → 99" in result.output
    assert (rows(), len(server.requests)) == (before, sent)


def test_reparse_checks_again_after_another_version_of_the_language_detector_and_other_captions(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("--writers", "gpt", "--split", "retain", "--count", "1")
    first = pairs_set().fingerprint
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "99.0")
    assert "retain.py3langid: " in generate("--reparse").stderr
    second = pairs_set().fingerprint
    monkeypatch.setattr(captions, "file_hash", lambda: "another")
    assert "retain.captions: " in generate("--reparse").stderr
    assert len({first, second, pairs_set().fingerprint}) == 3


def test_reparse_records_the_concept_as_it_is_now_and_makes_it_the_last(
    server: LlmServer, generate: Callable[..., Any], tmp_path: Path
) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    generate("--concept", "cat", "--writers", "offline", "--pairs", "5", "--tests", "1")
    assert Store().last_concept() == "cat"
    changed = (data_dir() / "concepts" / "church.yaml").read_text().replace("window: 48", "window: 24")
    (tmp_path / "church.yaml").write_text(changed)
    assert generate("--concept", str(tmp_path / "church.yaml"), "--reparse").exit_code == 0
    assert Store().concept("church").window == pairs_set().settings["concept"]["window"] == 24
    assert Store().last_concept() == "church"


def test_reparse_needs_a_set_written_by_an_llm(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "offline", "--pairs", "5", "--tests", "1")
    result = generate("--reparse")
    assert result.exit_code == 2 and "no LLM wrote" in result.stderr


def test_a_parser_that_accepts_nothing_leaves_the_set_current(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    first = pairs_set().fingerprint
    monkeypatch.setattr(parsing, "VERSION", 99)
    monkeypatch.setattr(answer_reader, "read_answer", lambda *_, **__: [parsing.unparsed("too strict", "{}")])
    result = generate("--reparse")
    assert result.exit_code == 2 and f"the current set stays {first}" in " ".join(result.stderr.split())
    assert pairs_set().fingerprint == first
