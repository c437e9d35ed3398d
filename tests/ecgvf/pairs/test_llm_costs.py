"""Budget, cost estimates, dry runs, and what ``status`` shows of the writers."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.paths import data_dir, templates_dir
from ecgvf.core.store import Store
from tests.llm_run import ALL, KEYS, rows, scripted, summary
from tests.llm_server import LlmServer


def test_the_budget_is_a_hard_stop_before_each_call(server: LlmServer, generate: Callable[..., Any]) -> None:
    result = generate("--writers", "gpt", "--iterations", "3", "--budget-usd", "0.17")
    assert result.exit_code == 0, result.output
    assert server.charged < Decimal("0.17") and 1 <= len(server.requests) < 3
    assert "gpt stopped after" in result.stderr and "budget" in result.stderr
    generate("--writers", "gpt", "--iterations", "3", "--budget-usd", "0.17")
    sent = len(server.requests)
    generate("--writers", "gpt", "--iterations", "3", "--budget-usd", "1")
    assert sent < len(server.requests) == 3


@pytest.mark.parametrize(
    "changed", [("--templates", "mine"), ("--concept", "mine.yaml"), ("--pairs", "9"), ("--surrogates", "free")]
)
def test_calls_of_a_different_command_do_not_count_toward_the_budget(
    server: LlmServer,
    generate: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(templates_dir(), "mine")
    pairs = Path("mine/object/pairs.md.j2")
    pairs.write_text(pairs.read_text(encoding="utf-8").replace("Vary the length", "Please vary the length"))
    church = (data_dir() / "concepts" / "church.yaml").read_text(encoding="utf-8")
    Path("mine.yaml").write_text(re.sub("description: .*", "description: Another.", church))
    command = ("--writers", "gpt", "--iterations", "1", "--budget-usd", "0.17")
    server.behave = lambda _: "cut"  # possibly paid
    assert generate(*command).exit_code == 2 and len(server.requests) == 1
    server.behave = lambda _: "fine"
    assert "budget" in generate(*command).stderr and len(server.requests) == 1
    result = generate(*command, *changed)
    assert result.exit_code == 0 and len(server.requests) == 2, result.output
    assert summary()["writers"]["gpt"]["possibly"] == "0"


def test_the_reason_for_setting_a_writer_aside_is_in_summary_and_status(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    result = generate("--writers", "gpt,kimi-k1-5", "--iterations", "1", "--budget-usd", "1")
    assert result.exit_code == 0 and {row.writer for row in rows()} == {"gpt"}
    why = summary()["writers"]["kimi-k1-5"]["set_aside"]
    assert "may cost $2." in why and "price unknown: worst case" in why
    assert why in result.stdout and "kimi-k1-5: counted as" not in result.stdout
    printed = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "250"}).stdout
    assert "kimi-k1-5" in printed and "stopped: budget" in printed


@pytest.mark.parametrize("command", ["generate --dry-run", "generate", "build"])
@pytest.mark.parametrize("usd", ["nan", "-3"])
def test_a_budget_is_checked_whoever_writes(command: str, usd: str, tmp_path: Path) -> None:
    words = ["--concept", "church", "--writers", "offline", "--budget-usd", usd, "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, [*command.split(), *words])
    assert result.exit_code == 2 and f"--budget-usd {usd.replace('-3', '-3.0').replace('nan', 'NaN')}" in result.stderr
    assert "it must be a positive number" in result.stderr


@pytest.mark.parametrize("command", ["generate", "generate --dry-run", "build"])
def test_a_seed_below_0_is_refused(command: str, tmp_path: Path) -> None:
    words = ["--concept", "church", "--writers", "offline", "--seed", "-1", "--store", str(tmp_path / "store")]
    result = CliRunner().invoke(app, [*command.split(), *words])
    assert result.exit_code == 2 and "--seed -1: it must be a whole number from 0 up" in result.stderr


def test_money_is_reserved_for_calls_in_flight(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.latency = 0.1
    generate("--writers", ALL, "--iterations", "1", "--budget-usd", "0.2")
    assert server.charged <= Decimal("0.2")
    assert len(server.requests) >= 4  # each waits for the call before it, and does not give up


def test_without_writers_the_user_confirms_the_cost(server: LlmServer, generate: Callable[..., Any]) -> None:
    result = generate()
    assert result.exit_code == 2 and "--yes" in result.stderr and not server.requests
    assert "18 calls for about $" in result.output
    assert generate("--yes", "--iterations", "1").exit_code == 0
    assert len(server.requests) == 6


def test_a_repair_that_is_due_is_estimated_and_confirmed(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS.keys() - {"MOONSHOT_API_KEY"}:
        monkeypatch.delenv(name)
    server.behave = scripted("chatter", "401")
    assert generate("--yes", "--iterations", "1").exit_code == 2  # no pair: the repair has failed
    sent = len(server.requests)
    printed = json.loads(generate("--dry-run", "--iterations", "1", "--json").stdout)
    assert [call["answered"] for call in printed["calls"]] == [True, False] and Decimal(printed["most_usd"]) > 0
    result = generate("--iterations", "1")
    assert result.exit_code == 2 and "--yes" in result.stderr and "1 call for about $" in result.output
    assert len(server.requests) == sent
    assert generate("--yes", "--iterations", "1").exit_code == 0 and len(server.requests) == sent + 1
    assert "0 calls for about $" in generate("--iterations", "1").output


def test_a_closed_standard_input_cannot_confirm_the_cost(server: LlmServer, tmp_path: Path) -> None:
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
    assert not server.requests


def test_without_a_key_the_offline_writer_writes(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    result = generate("--pairs", "5", "--tests", "1")
    assert result.exit_code == 0 and "the offline writer wrote" in result.stderr
    assert {row.writer for row in rows()} == {"offline"}


def test_a_dry_run_sends_and_writes_nothing_and_prints_the_exact_prompts(
    server: LlmServer, generate: Callable[..., Any]
) -> None:
    printed = json.loads(generate("--dry-run", "--writers", ALL, "--json").stdout)
    assert len(printed["calls"]) == 18 and not server.requests and not Store().root.exists()
    generate("--writers", ALL)
    first = {request.model: request.prompt for request in server.requests if request.number == 0}
    exact = [call for call in printed["calls"] if call["exact"]]
    assert {call["model"] for call in exact} == first.keys()
    for call in exact:
        assert first[call["model"]] == call["prompt"]
    assert Decimal(printed["likely_usd"]) < Decimal(printed["most_usd"]) and server.charged <= Decimal(
        printed["most_usd"]
    )
    result = generate("--dry-run", "--writers", "gpt")
    assert "Nothing was sent." in result.stdout and "3 answered before" in result.stdout


def test_a_dry_run_of_the_offline_writer_prints_json_too(generate: Callable[..., Any]) -> None:
    printed = json.loads(generate("--dry-run", "--writers", "offline", "--json").stdout)
    assert printed["calls"] == [] and printed["most_usd"] == "0" and not Store().root.exists()


def test_the_page_on_janus_pro_states_what_dry_runs_print(generate: Callable[..., Any]) -> None:
    def printed(*words: str) -> tuple[int, Decimal, Decimal]:
        counted = json.loads(generate("--writers", ALL, "--dry-run", "--json", *words).stdout)
        return len(counted["calls"]), *(round(Decimal(counted[name]), 4) for name in ("likely_usd", "most_usd"))

    pairs = printed()
    validation, test = (printed("--split", split, "--count", "84") for split in ("validation", "test"))
    total = tuple(map(sum, zip(pairs, validation, test, strict=True)))
    page = (Path(__file__).parents[3] / "docs" / "janus-pro-7b.md").read_text(encoding="utf-8")
    stated = re.findall(r"\| (\d+) \| \$([\d.]+) \| \$([\d.]+) \|", page.replace("**", ""))
    assert stated == [tuple(map(str, row)) for row in (pairs, validation, test, total)]
    calls, likely, most = printed("--split", "retain")
    assert f"{calls} calls, about ${likely}, at most ${most}." in page


def test_a_dry_run_needs_no_key(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    result = generate("--dry-run")
    assert result.exit_code == 0 and "deepseek" in result.stdout
    result = generate("--dry-run", "--writers", "paper")
    assert result.exit_code == 0 and "gpt-4o-2024-08-06" in result.stdout and not server.requests
    (line,) = result.stderr.strip().splitlines()
    assert all(name in line for name in KEYS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--writers", "gpt", "--budget-usd", "0"], "--budget-usd"),
        (["--writers", "gpt", "--budget-usd", "nan"], "--budget-usd"),
        (["--reparse", "--dry-run"], "leave --dry-run out"),
        (["--reparse", "--pairs", "0"], "leave --pairs out"),
        (["--reparse", "--count", "5"], "leave --count out"),
        (["--reparse", "--seed", "5"], "leave --seed out"),
        (["--writers", "gpt", "--seed", "5"], "leave it out"),
        (["--reparse", "--templates", "."], "leave --templates out"),
        (["--reparse", "--surrogates", "free"], "leave --surrogates out"),
        (["--reparse", "--writer-model", "m"], "leave --writer-model out"),
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
        (["--writers", "offline", "--count", "5"], "--split test --count 5"),
        *[
            (["--writers", writer, "--split", *words], message)
            for writer in ("gpt", "offline")
            for words, message in (
                (["validation", "--pairs", "500"], "--pairs 500: with --split validation, use --count 500"),
                (["retain", "--iterations", "2"], "with --split retain, use --count 2"),
                (["train", "--count", "5"], "as in --split test --count 5"),
                (["train", "--validation", "50"], "with --split validation --count 50"),
                (["test", "--tests", "5"], "with --split test, use --count 5"),
                (["train", "--pairs", "0"], "--pairs 0: it must be at least 1"),
            )
        ],
        (
            ["--writers", "offline", "--split", "test", "--count", "10000000"],
            "--count 10000000: it must be at most 100000",
        ),
        *[
            (["--writers", writer, "--split", split, "--count", "0"], "--count 0: it must be at least 1")
            for writer in ("gpt", "offline")
            for split in ("validation", "test", "retain")
        ],
        (["--writers", "offline", "--dry-run", "--tests", "-1"], "--tests -1: it must be 0 or more"),
        (["--writers", "offline", "--pairs", "60000", "--iterations", "2"], "--pairs times --iterations, 120000: "),
        (["--writers", "offline", "--split", "retain", "--count", "6"], "--count 6: 5 captions of each"),
        (["--writers", "offline", "--split", "retain", "--seed", "3"], "leave --seed and --surrogates out"),
        (
            ["--writers", "offline", "--split", "retain", "--surrogates", "free", "--dry-run"],
            "leave --seed and --surrogates out",
        ),
        (["--writers", "gpt", "--split", "test", "--count", "10000000"], "--count 10000000: it must be at most 100000"),
        (["--writers", "gpt", "--iterations", "100000"], "prompts of split train, 1000000: it must be at most 100000"),
        (["--writers", "gpt", "--split", "retain", "--count", "99999"], "it must be at most 100000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_a_one_line_error_and_nothing_is_sent(
    server: LlmServer, generate: Callable[..., Any], arguments: list[str], message: str
) -> None:
    result = generate(*arguments)
    assert result.exit_code == 2 and message in result.stderr and not server.requests
    assert result.stderr.strip().splitlines()[-1].startswith("error ")


def test_status_shows_the_statistics_of_each_writer(server: LlmServer, generate: Callable[..., Any]) -> None:
    server.behave = scripted("leak")
    generate("--writers", "gpt,kimi", "--iterations", "2")
    printed = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": "250"}).stdout
    assert "gpt" in printed and "the surrogate names the concept" in printed and "distinct" in printed
    (entry,) = json.loads(CliRunner().invoke(app, ["status", "--concept", "church", "--json"]).stdout)["sets"]
    gpt = entry["writers"]["gpt"]
    assert gpt["asked"] == 20 and gpt["kept"] >= 9 and Decimal(gpt["dollars"]) > 0
    assert 0 < gpt["distinct_2"] <= 1 and 0 < gpt["self_similarity"] < 1 and gpt["tokens"]["output"] > 0


def table_rows(printed: str, first: str) -> list[list[str]]:
    """The cells of a printed table's rows, from the header that begins with ``first``."""
    found = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in printed.splitlines()]
    begin = next(index for index, cells in enumerate(found) if cells and cells[0] == first)
    return [cells for cells in found[begin:] if cells]


NARROW = ["writer", "asked", "parsed", "kept", "$", "rejected"]
WIDE = ["writer", "asked", "parsed", "kept", "$", "in", "out", "-1", "-2", "similarity", "rejected"]


@pytest.mark.parametrize(("columns", "header"), [("80", NARROW), ("140", WIDE)])
def test_status_gives_each_figure_a_column_and_fits_the_terminal(
    server: LlmServer, generate: Callable[..., Any], columns: str, header: list[str]
) -> None:
    server.behave = scripted("leak")
    generate("--writers", ALL, "--iterations", "2")
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
    assert ("need 140 columns" in result.stderr) == (header is NARROW)


def test_status_in_a_pipe_shows_every_figure(server: LlmServer, generate: Callable[..., Any]) -> None:
    generate("--writers", "gpt", "--iterations", "1")
    printed = CliRunner().invoke(app, ["status", "--concept", "church"], env={"COLUMNS": None}).stdout
    assert table_rows(printed, "writer")[0] == WIDE
