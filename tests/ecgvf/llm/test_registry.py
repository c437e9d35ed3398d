"""The registry: six families and the paper's own models, extended by a user's file, with never a key in it."""

import json
import re
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.errors import WriterError
from ecgvf.llm.budget import DEFAULT_USD
from ecgvf.llm.registry import OWN_KEY, Rates, Registry, scrub, secrets, too_simple

TODAY = date(2026, 11, 24)
SIX = ["gpt", "claude", "gemini", "kimi", "doubao", "deepseek"]


def own(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "writers.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in Registry().all():
        if one.entry.key:
            monkeypatch.setenv(one.entry.key, f"secret-of-{one.entry.key}")


def test_the_default_is_the_six_families_and_the_paper_has_models_of_its_own() -> None:
    registry = Registry(today=TODAY)
    default, paper = registry.preset("default"), registry.preset("paper")
    assert [one.name for one in default] == SIX
    assert [one.entry.key for one in default] == [one.entry.key for one in paper]
    assert [one.entry.base_url for one in default] == [one.entry.base_url for one in paper]
    assert "gpt-4o-2024-08-06" in {one.entry.model for one in paper}
    assert not {one.entry.model for one in default} & {one.entry.model for one in paper}


def test_the_base_urls_are_the_providers_own() -> None:
    urls = {one.name: one.entry.base_url for one in Registry().preset("default")}
    assert urls["kimi"] == "https://api.moonshot.ai/v1"
    assert urls["deepseek"] == "https://api.deepseek.com"
    assert urls["doubao"] == "https://ark.cn-beijing.volces.com/api/v3"


def test_todays_models_are_in_the_sdks_own_lists_where_they_have_one() -> None:
    from anthropic.types import ModelParam
    from openai.types import ChatModel

    models = {one.name: one.entry.model for one in Registry().preset("default")}
    assert models["gpt"] in get_args(ChatModel)
    assert models["claude"] in get_args(get_args(ModelParam)[0])
    line = [one for one in get_args(ChatModel) if re.fullmatch(r"gpt-[\d.]+-sol", one)]
    assert models["gpt"] == max(line, key=lambda one: float(one.split("-")[1]))


def test_every_price_says_where_and_when_it_was_read_and_what_is_unknown_is_the_worst_case() -> None:
    registry = Registry(today=TODAY)
    for one in registry.all():
        if one.entry.price is not None:
            assert one.priced and one.entry.price.source and one.entry.price.read
            assert one.rates.output <= registry.unknown_price.output
        else:
            assert not one.priced and one.rates == registry.unknown_price


def test_one_call_of_each_of_the_papers_models_fits_into_the_default_budget_together() -> None:
    paper = Registry(today=TODAY).preset("paper")
    assert [one.name for one in paper if not one.priced] == ["kimi-k1-5"]  # no price of it was found
    assert sum(one.rates.cost(2_000, one.entry.max_output_tokens) for one in paper) < DEFAULT_USD


def test_a_price_that_was_announced_for_a_time_is_unknown_afterwards() -> None:
    after = Registry(today=date(2027, 1, 1))
    gemini = next(one for one in after.all() if one.name == "gemini")
    assert not gemini.priced and gemini.rates == after.unknown_price


def test_costs_are_exact_decimals() -> None:
    gpt = Registry(today=TODAY).preset("default")[0]
    assert gpt.rates.cost(1, 1) == Decimal("0.000012")


def test_a_users_file_overrides_field_by_field_and_adds_writers(tmp_path: Path) -> None:
    local = {"sdk": "openai", "base_url": "http://localhost:8000/v1", "model": "mine"}
    registry = Registry(own(tmp_path, {"writers": {"gpt": {"model": "gpt-7"}, "local": local}}))
    named = {one.name: one for one in registry.all()}
    assert named["gpt"].entry.model == "gpt-7" and named["gpt"].entry.key == "OPENAI_API_KEY"
    assert named["local"].ready and named["local"].secret() is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "a registry maps"),
        ("writers: [", "not valid YAML"),
        ("writers:\n  mine: {model: a}\n  mine: {model: b}\n", "line 3: duplicate key"),
        ({"writer": {}}, "unknown field 'writer'"),
        ({"writers": []}, "writers: is a mapping"),
        ({"writers": {"gpt": {"modell": "x"}}}, "writers.gpt.modell"),
        ({"writers": {"gpt": {"sdk": "cohere"}}}, "writers.gpt.sdk"),
        ({"writers": {"gpt": {"base_url": "ftp://x"}}}, "writers.gpt.base_url"),
        ({"writers": {"gpt": {"base_url": "https://x/v1?api_key=hush"}}}, "writers.gpt.base_url: has a ? or #"),
        ({"writers": {"gpt": {"base_url": "https://x/v1#hush"}}}, "writers.gpt.base_url: has a ? or #"),
        ({"writers": {"gpt": {"structure": "auto"}}}, "structure: auto is not for batches"),
        ({"writers": {"gpt": {"price": {"input": "-1", "output": "1"}}}}, "writers.gpt.price.input"),
        ({"writers": {"GPT 5": {"sdk": "openai", "base_url": "http://x", "model": "m"}}}, "cannot name a writer"),
        ({"writers": {"offline": {"sdk": "openai", "base_url": "http://x", "model": "m"}}}, "cannot name a writer"),
        ({"presets": {"mine": ["nobody"]}}, "presets.mine names 'nobody'"),
    ],
    ids=str,
)
def test_a_mistake_in_a_users_file_is_one_line_with_file_and_field(tmp_path: Path, content: Any, said: str) -> None:
    file = own(tmp_path, content)
    with pytest.raises(WriterError) as raised:
        Registry(file)
    assert str(file) in str(raised.value) and said in str(raised.value) and "hush" not in str(raised.value)


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(WriterError) as raised:
        Registry(own(tmp_path, {"writers": {"gpt": {"key": "sk-very-secret"}}}))
    assert "environment variable" in str(raised.value) and "very-secret" not in str(raised.value)


def test_writers_are_chosen_by_name_or_preset_each_once(keys: None) -> None:
    registry = Registry()
    assert [one.name for one in registry.chosen("claude, gpt,claude")] == ["claude", "gpt"]
    assert len(registry.chosen("paper")) == 6
    with pytest.raises(WriterError, match="unknown writer 'gpt4'"):
        registry.chosen("gpt4")
    with pytest.raises(WriterError, match="names no writer"):
        registry.chosen(",")


def test_a_writer_without_its_key_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["generate", "--concept", "church", "--writers", "gpt,kimi"])
    assert result.exit_code == 2
    assert "no key for gpt (OPENAI_API_KEY), kimi (MOONSHOT_API_KEY)" in result.stderr
    monkeypatch.setenv("MOONSHOT_API_KEY", "k")
    assert [one.name for one in Registry().ready()] == ["kimi"]


def test_a_server_of_ones_own_gets_no_providers_key(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Registry().at("http://localhost:8000/v1", "mine").secret() is None
    monkeypatch.setenv(OWN_KEY, "mine")
    assert Registry().at("http://localhost:8000/v1", "mine").secret() == "mine"
    with pytest.raises(WriterError, match="--writer-url base_url"):
        Registry().at("localhost:8000", "mine")


@pytest.mark.parametrize(
    ("host", "free"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:11434", "127.8.8.8", "[::1]:8000")),
        *((host, True) for host in ("10.0.0.7", "172.16.3.4:80", "192.168.1.20", "[fd00::7]", "[::ffff:10.0.0.7]")),
        *((host, False) for host in ("8.8.8.8", "172.32.0.1", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]")),
        *((host, False) for host in ("gpu-7:8000", "localhost.example.com", "10.0.0.7.example.com", "2130706433")),
    ],
)
def test_a_loopback_or_private_address_costs_nothing_and_any_other_the_worst_case(host: str, free: bool) -> None:
    registry = Registry()
    own = registry.at(f"http://{host}/v1", "mine")
    assert own.priced is free
    assert own.rates == (Rates(input=Decimal(0), output=Decimal(0)) if free else registry.unknown_price)


@pytest.mark.parametrize("host", ["localhost:4000", "example.com"])
def test_a_price_in_the_registry_counts_for_a_server_of_ones_own(tmp_path: Path, host: str) -> None:
    entry = {"sdk": "openai", "base_url": f"http://{host}/v1", "model": "m", "price": {"input": "0.5", "output": 2}}
    registry = Registry(own(tmp_path, {"writers": {"house": entry}}))
    priced = registry.at(f"http://{host}/v1/", "m")
    assert priced.priced and (priced.rates.input, priced.rates.output) == (Decimal("0.5"), Decimal(2))
    assert registry.at(f"http://{host}/v1", "another").rates != priced.rates


def test_keys_are_scrubbed_from_text(keys: None) -> None:
    hidden = secrets(Registry().all())
    assert len(hidden) == 6
    assert scrub("bad key secret-of-ARK_API_KEY!", hidden) == "bad key [ARK_API_KEY]!"


KEY = 'sk-proj/Ab+9"~\\z='


def twice(text: str) -> str:
    return json.dumps(json.dumps(text))


@pytest.mark.parametrize(
    "spelt",
    [
        lambda key: key,
        json.dumps,
        twice,
        lambda key: json.dumps(twice(key)),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
        lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
        lambda key: json.dumps("".join(f"\\u{ord(letter):04X}" for letter in key)),
        lambda key: json.dumps(key).replace("-", "\\u002D"),
        lambda key: quote(key, safe=""),
        lambda key: quote(key).lower().replace("ab", "Ab"),
    ],
    ids=["as it is", "json", "json in json", "thrice", "slash", "hex", "HEX", "HEX in json", "dash", "url", "url low"],
)
def test_keys_are_scrubbed_however_json_or_an_address_spells_them(spelt: Callable[[str], str]) -> None:
    scrubbed = scrub(f"key <{spelt(KEY)}>!", {KEY: "[KEY]"})
    assert re.sub(r'[\\"]', "", scrubbed) == "key <[KEY]>!"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        *((key, False) for key in ("a", "x", "EMPTY", "test", "mock", "none", "photograph", "sk-1234")),
        *((key, False) for key in ("sk-xxxxxxxxxxxxxxxxxxxxxxxx", "EMPTYEMPTYEMPTYEMPTY", "0" * 32)),
        *((key, True) for key in (KEY, "6f1c0a92be47d385", "3f0c1d2e-9a8b-4c7d-8e6f-001122aabbcc")),
        *((key, True) for key in ("sk-ant-api03-Vt9qLw2Zr5", "correct-horse-battery-staple")),
    ],
)
def test_only_a_key_that_is_long_and_varied_is_scrubbed(
    monkeypatch: pytest.MonkeyPatch, key: str, secret: bool
) -> None:
    monkeypatch.setenv("ARK_API_KEY", key)
    writers = Registry().all()
    assert secrets(writers) == ({key: "[ARK_API_KEY]"} if secret else {})
    assert too_simple(writers) == ([] if secret else ["ARK_API_KEY"])


def test_scrubbing_a_long_answer_takes_seconds_whatever_it_is() -> None:
    began = time.process_time()
    for text in ("\\" * 5_000_000, "s" * 5_000_000, "sk-proj" * 700_000, "%" * 5_000_000):
        assert scrub(text, {KEY: "[KEY]"}) == text
    assert time.process_time() - began < 20


@pytest.mark.parametrize("columns", ["80", None], ids=["80 columns", "piped"])
@pytest.mark.parametrize("command", ["writers", "generate --concept church --dry-run --writers paper"])
def test_tables_of_writers_are_whole_at_80_columns_and_piped(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, command: str
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = CliRunner().invoke(app, command.split(), env={"COLUMNS": columns} if columns else {}).stdout
    table = [line for line in shown.splitlines() if line.startswith(("┏", "┃", "│"))]
    told = Registry().all() if command == "writers" else Registry().preset("paper")
    for one in told:
        assert any(one.name in line for line in table) and any(one.entry.model in line for line in table)
        assert command != "writers" or any(str(one.entry.key) in line for line in table)
        assert columns or command != "writers" or any(one.entry.base_url in line for line in table)
    assert not columns or max(map(len, table)) <= 80
    assert "…" not in "".join(table)


def test_the_command_lists_them_and_never_a_key(keys: None) -> None:
    result = CliRunner().invoke(app, ["writers"], env={"COLUMNS": "220"})
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in SIX) and "unknown" in result.stdout
    assert re.search(r"OPENAI_API_KEY +│.*\n.*│ set ", result.stdout) and "secret-of" not in result.output
    shown = json.loads(CliRunner().invoke(app, ["writers", "--json"]).stdout)
    assert {row["name"] for row in shown["writers"]} >= set(SIX)
    assert all(row["key_set"] for row in shown["writers"])


def test_the_command_says_that_without_keys_the_offline_writer_is_taken() -> None:
    assert "takes the offline writer" in CliRunner().invoke(app, ["writers"]).stdout
