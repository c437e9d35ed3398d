"""API keys: never in a file, never printed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.store import Store
from tests.llm_run import ALL, KEYS, ledger, rows, scripted
from tests.llm_server import LlmServer


@pytest.mark.parametrize("key", ["sk-first\nsecond", "sk-…", "two words"])
def test_a_key_that_no_header_can_carry_is_named_and_not_printed(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    result = generate("--writers", "gpt")
    assert result.exit_code == 2 and "OPENAI_API_KEY" in result.stderr and not server.requests
    assert not any(word in result.output for word in key.split())


@pytest.mark.parametrize("writer", ["gpt", "kimi", "claude", "own"])
def test_headers_for_openai_and_anthropic_in_the_environment_go_to_no_other_server(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    for sdk in ("OPENAI", "ANTHROPIC"):
        headers = [f"{name}: for-{sdk}-alone" for name in ("Authorization", "X-Api-Key", "X-Gateway-Key")]
        monkeypatch.setenv(f"{sdk}_CUSTOM_HEADERS", "\n".join(headers))
    monkeypatch.setenv("OPENAI_ORG_ID", "org-alone")
    monkeypatch.setenv("ECGVF_WRITER_KEY", "sk-of-my-own-server")
    own = ("--writer-url", f"{server.url}/openai/v1", "--writer-model", "gpt-6.2-sol")
    result = generate(*(own if writer == "own" else ("--writers", writer)), "--iterations", "1")
    assert result.exit_code == 0, result.output
    (request,) = server.requests
    assert not [value for value in request.headers.values() if "alone" in value]
    keys = {"gpt": "OPENAI_API_KEY", "kimi": "MOONSHOT_API_KEY", "claude": "ANTHROPIC_API_KEY"}
    key = KEYS[keys[writer]] if writer in keys else "sk-of-my-own-server"
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent["authorization"] == f"Bearer {key}" and "x-api-key" not in sent


@pytest.mark.parametrize("key", ["a", "church", "EMPTY"])
def test_a_short_key_changes_no_prompt_and_warns_once(
    server: LlmServer, generate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    assert "too short" not in generate("--writers", "doubao", "--iterations", "1").stderr
    written = [(row.target, row.surrogate) for row in rows()]
    monkeypatch.setenv("ARK_API_KEY", key)
    result = generate("--writers", "doubao", "--iterations", "1", "--fresh", "--json")
    assert result.exit_code == 0, result.output
    assert [(row.target, row.surrogate) for row in rows()] == written
    (warning,) = [line for line in result.stderr.splitlines() if "too short" in line]
    assert warning.startswith("warning") and warning.endswith(": ARK_API_KEY") and json.loads(result.stdout)
    assert "[ARK_API_KEY]" not in ledger().file.read_text()


def test_no_key_is_in_any_file_or_output(server: LlmServer, generate: Callable[..., Any]) -> None:
    """Not even where a provider repeats the key that it refuses, nor a part where its message is cut."""
    printed = generate("--writers", ALL, "--iterations", "1", "--dry-run").output
    behaviours: list[tuple[str, list[str]]] = [
        (each, []) for each in ("fine", "echo-key", "echo-keys", "cut", "garbage")
    ]
    for behaviour, more in (*behaviours, ("echo-key", ["--json"])):
        server.requests, server.behave = [], scripted(behaviour)
        printed += generate("--writers", "gpt,claude,gemini", "--iterations", "2", "--fresh", *more).output
    printed += CliRunner().invoke(app, ["status", "--concept", "church"]).output
    printed += CliRunner().invoke(app, ["writers"]).output
    held = b"".join(file.read_bytes() for file in Store().root.rglob("*") if file.is_file())
    assert all(f"[{name}]".encode() in held for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"))
    for key in KEYS.values():
        assert key[:12] not in printed and key[:12].encode() not in held
