"""The registry: six families and the paper's own models, extended by a user's file, with never a key in it."""

import json
import re
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.errors import WriterError
from ecgvf.llm import registry as registry_module
from ecgvf.llm.budget import DEFAULT_USD
from ecgvf.llm.registry import OWN_KEY, Rates, Registry

TODAY = date(2026, 11, 24)
SIX = ["gpt", "claude", "gemini", "kimi", "doubao", "deepseek"]


def own(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "writers.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for writer in Registry().all():
        if writer.config.key:
            monkeypatch.setenv(writer.config.key, f"secret-of-{writer.config.key}")


def test_the_presets_are_the_six_families_of_today_and_of_the_paper() -> None:
    registry = Registry(today=TODAY)
    default, paper = registry.preset("default"), registry.preset("paper")
    assert [writer.name for writer in default] == SIX
    assert [writer.config.key for writer in default] == [writer.config.key for writer in paper]
    assert [writer.config.base_url for writer in default] == [writer.config.base_url for writer in paper]
    assert "gpt-4o-2024-08-06" in {writer.config.model for writer in paper}
    assert not {writer.config.model for writer in default} & {writer.config.model for writer in paper}


def test_the_base_urls_are_the_providers_own() -> None:
    urls = {writer.name: writer.config.base_url for writer in Registry().preset("default")}
    assert urls["kimi"] == "https://api.moonshot.ai/v1"
    assert urls["deepseek"] == "https://api.deepseek.com"
    assert urls["doubao"] == "https://ark.cn-beijing.volces.com/api/v3"


def test_the_sdks_list_the_default_models() -> None:
    from anthropic.types import ModelParam
    from openai.types import ChatModel

    models = {writer.name: writer.config.model for writer in Registry().preset("default")}
    assert models["gpt"] in get_args(ChatModel)
    assert models["claude"] in get_args(get_args(ModelParam)[0])


def test_every_price_has_a_source_and_an_unknown_one_is_the_worst_case() -> None:
    registry = Registry(today=TODAY)
    for writer in registry.all():
        if writer.config.price is not None:
            assert writer.priced and writer.config.price.source and writer.config.price.read
            assert writer.rates.output <= registry.unknown_price.output
        else:
            assert not writer.priced and writer.rates == registry.unknown_price


def test_the_default_budget_covers_one_call_of_each_of_the_papers_models() -> None:
    paper = Registry(today=TODAY).preset("paper")
    assert [writer.name for writer in paper if not writer.priced] == ["kimi-k1-5"]  # no price of it was found
    assert sum(writer.rates.cost(2_000, writer.config.max_output_tokens) for writer in paper) < DEFAULT_USD


def test_a_price_is_unknown_after_its_last_day() -> None:
    after = Registry(today=date(2027, 1, 1))
    gemini = next(writer for writer in after.all() if writer.name == "gemini")
    assert not gemini.priced and gemini.rates == after.unknown_price


def test_prices_end_by_the_date_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls(2027, 1, 1, tzinfo=UTC) if tz is UTC else cls(2026, 12, 31, 19)

    monkeypatch.setattr(registry_module, "datetime", Clock)
    assert not next(writer for writer in Registry().all() if writer.name == "gemini").priced


def test_costs_are_exact_decimals() -> None:
    gpt = Registry(today=TODAY).preset("default")[0]
    assert gpt.rates.cost(1, 1) == Decimal("0.000012")


def test_a_users_file_overrides_field_by_field_and_adds_writers(tmp_path: Path) -> None:
    local = {"sdk": "openai", "base_url": "http://localhost:8000/v1", "model": "mine"}
    registry = Registry(own(tmp_path, {"writers": {"gpt": {"model": "gpt-7"}, "local": local}}))
    named = {writer.name: writer for writer in registry.all()}
    assert named["gpt"].config.model == "gpt-7" and named["gpt"].config.key == "OPENAI_API_KEY"
    assert named["local"].ready and named["local"].secret() is None


def test_another_servers_address_takes_neither_the_providers_key_nor_its_price(keys: None, tmp_path: Path) -> None:
    proxy = "https://proxy.example.com/v1"
    moved = {"base_url": proxy, "requests_per_minute": 7}
    named = Registry(own(tmp_path, {"writers": {"gpt": moved, "kimi": {"base_url": proxy, "key": "PROXY_KEY"}}}))
    gpt, kimi = named.select("gpt,kimi")
    assert (gpt.config.key, gpt.secret(), gpt.priced, gpt.config.requests_per_minute) == (None, None, False, 7)
    assert (kimi.config.key, kimi.priced) == ("PROXY_KEY", False)
    assert gpt.batch_rates == gpt.rates and not gpt.config.batch
    [same] = Registry(own(tmp_path, {"writers": {"gpt": {"base_url": "https://api.openai.com/v2"}}})).select("gpt")
    assert same.config.key == "OPENAI_API_KEY" and same.priced
    assert same.batch_rates.output == same.rates.output / 2 and same.config.batch


def test_another_server_may_be_asked_for_whatever_structure_it_accepts(tmp_path: Path) -> None:
    local = {"base_url": "http://localhost:8000/v1", "model": "qwen", "structure": "auto"}
    [gpt] = Registry(own(tmp_path, {"writers": {"gpt": local}})).select("gpt")
    assert gpt.config.structure == "auto"


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "gpu-7:8000"])
def test_a_key_is_not_sent_unencrypted_to_a_public_server(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"sdk": "openai", "base_url": f"http://{host}/v1", "model": "m", "key": "HOUSE_KEY"}
    with pytest.raises(WriterError, match=r"writers\.house: a key is not sent unencrypted: use https"):
        Registry(own(tmp_path, {"writers": {"house": entry}}))
    monkeypatch.setenv(OWN_KEY, "mine")
    with pytest.raises(WriterError, match="--writer-url: a key is not sent unencrypted"):
        Registry().own_server(f"http://{host}/v1", "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "a registry maps"),
        ("writers: [", "not valid YAML"),
        ("writers: {mine: {price: {read: 2026-13-45}}}", "not valid YAML"),
        ("writers: {mine: {batch: !!bool perhaps}}", "not valid YAML"),
        ("writers:\n  mine: {model: a}\n  mine: {model: b}\n", "line 3: duplicate key"),
        ({"writer": {}}, "unknown field 'writer'"),
        ({"writers": []}, "writers: must be a mapping"),
        ({"writers": {"gpt": {"key": "hush"}}}, "writers.gpt.key: must name an environment variable, in capitals"),
        ({"writers": {"gpt": {"modell": "x"}}}, "writers.gpt.modell: unknown field (did you mean model?)"),
        ({"writers": {"gpt": {"price": {"inptu": 1}}}}, "price.inptu: unknown field (did you mean input?)"),
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
def test_a_mistake_in_a_users_file_is_one_line_with_file_and_field(tmp_path: Path, content: Any, message: str) -> None:
    file = own(tmp_path, content)
    with pytest.raises(WriterError) as raised:
        Registry(file)
    assert str(file) in str(raised.value) and message in str(raised.value) and "hush" not in str(raised.value)


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(WriterError) as raised:
        Registry(own(tmp_path, {"writers": {"gpt": {"key": "sk-very-secret"}}}))
    assert "environment variable" in str(raised.value) and "very-secret" not in str(raised.value)


def test_writers_are_selected_by_name_or_preset_each_once(keys: None) -> None:
    registry = Registry()
    assert [writer.name for writer in registry.select("claude, gpt,claude")] == ["claude", "gpt"]
    assert len(registry.select("paper")) == 6
    with pytest.raises(WriterError, match="unknown writer 'gpt4'"):
        registry.select("gpt4")
    with pytest.raises(WriterError, match="names no writer"):
        registry.select(",")


def test_a_writer_without_its_key_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["generate", "--concept", "church", "--writers", "gpt,kimi"])
    assert result.exit_code == 2
    assert "no key for gpt (OPENAI_API_KEY), kimi (MOONSHOT_API_KEY)" in result.stderr
    monkeypatch.setenv("MOONSHOT_API_KEY", "k")
    assert [writer.name for writer in Registry().ready()] == ["kimi"]


def test_your_own_server_gets_no_providers_key(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Registry().own_server("http://localhost:8000/v1", "mine").secret() is None
    monkeypatch.setenv(OWN_KEY, "mine")
    assert Registry().own_server("http://localhost:8000/v1", "mine").secret() == "mine"
    with pytest.raises(WriterError, match="--writer-url: base_url"):
        Registry().own_server("localhost:8000", "mine")


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
    own = registry.own_server(f"http://{host}/v1", "mine")
    assert own.priced is free
    assert own.rates == (Rates(input=Decimal(0), output=Decimal(0)) if free else registry.unknown_price)


@pytest.mark.parametrize("host", ["localhost:4000", "example.com"])
def test_a_price_in_the_registry_counts_for_a_server_of_ones_own(tmp_path: Path, host: str) -> None:
    entry = {"sdk": "openai", "base_url": f"http://{host}/v1", "model": "m", "price": {"input": "0.5", "output": 2}}
    registry = Registry(own(tmp_path, {"writers": {"house": entry}}))
    priced = registry.own_server(f"http://{host}/v1/", "m")
    assert priced.priced and (priced.rates.input, priced.rates.output) == (Decimal("0.5"), Decimal(2))
    assert registry.own_server(f"http://{host}/v1", "another").rates != priced.rates


def test_the_environment_names_the_registry_unless_an_option_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(*options: str) -> str:
        printed = json.loads(CliRunner().invoke(app, ["writers", "--json", *options]).stdout)
        return next(writer["model"] for writer in printed["writers"] if writer["name"] == "gpt")

    shipped = model()
    monkeypatch.setenv("ECGVF_WRITERS", str(own(tmp_path, {"writers": {"gpt": {"model": "gpt-7"}}})))
    assert model() == Registry.from_environment().select("gpt")[0].config.model == "gpt-7"
    (tmp_path / "option").mkdir()
    assert model("--registry", str(own(tmp_path / "option", {"writers": {}}))) == shipped


@pytest.mark.parametrize("columns", ["80", None], ids=["80 columns", "piped"])
@pytest.mark.parametrize("command", ["writers", "generate --concept church --dry-run --writers paper"])
def test_tables_of_writers_are_whole_at_80_columns_and_piped(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, command: str
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = CliRunner().invoke(app, command.split(), env={"COLUMNS": columns} if columns else {}).stdout
    table = [line for line in shown.splitlines() if line.startswith(("┏", "┃", "│"))]
    listed = Registry().all() if command == "writers" else Registry().preset("paper")
    for writer in listed:
        cells = [writer.name, writer.config.model]
        if command == "writers":
            cells += [str(writer.config.key), *([] if columns else [writer.config.base_url])]  # folded at 80 columns
        assert [cell for cell in cells if not any(cell in line for line in table)] == []
    if columns:
        assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)


def test_the_command_lists_them_and_never_a_key(keys: None) -> None:
    result = CliRunner().invoke(app, ["writers"], env={"COLUMNS": "220"})
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in SIX) and "unknown" in result.stdout
    assert re.search(r"OPENAI_API_KEY +│.*\n.*│ set ", result.stdout) and "secret-of" not in result.output
    shown = json.loads(CliRunner().invoke(app, ["writers", "--json"]).stdout)
    assert {row["name"] for row in shown["writers"]} >= set(SIX)
    assert all(row["key_set"] for row in shown["writers"])


def test_without_keys_the_command_names_the_offline_writer() -> None:
    assert "takes the offline writer" in CliRunner().invoke(app, ["writers"]).stdout
