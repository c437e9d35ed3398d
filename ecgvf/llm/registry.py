"""The registry of LLMs that write pairs: ``data/writers.yaml``, extended or overridden by a user's own file.

It contains no keys. An entry names the environment variable that holds the key, which is sent to that entry's base URL
and nowhere else.
"""

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgvf.core import strict_yaml
from ecgvf.core.concepts import NAME
from ecgvf.core.errors import WriterError
from ecgvf.core.paths import data_dir
from ecgvf.core.validation import first_error

OFFLINE = "offline"

OWN_KEY = "ECGVF_WRITER_KEY"
"""The environment variable with the key for ``--writer-url``. No provider's key is ever sent to that server."""

Sdk = Literal["openai", "anthropic", "google-genai"]
Structure = Literal["schema", "json", "text", "auto"]
"""How an answer's format is enforced; ``auto`` is the first of ``STRUCTURES`` that the server accepts."""

STRUCTURES: tuple[Structure, ...] = ("schema", "json", "text")
"""The strictest first."""

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def _check_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):  # the value is not repeated: it may be a key
        raise ValueError("must name an environment variable, in capitals; a key itself never goes into the file")
    return name


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port  # parsed on access
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", url):
        raise ValueError("is not the address of a server: https://HOST/v1, without a name or password in it")
    if "?" in url or "#" in url:
        raise ValueError("has a ? or #: leave out what follows; a key goes into an environment variable")
    return url


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Rates(_Model):
    """US dollars per million tokens."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """US dollars, exact."""
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class Price(Rates):
    """A provider's price, with the page that states it and the day on which that was read."""

    source: str = ""
    read: date | None = None
    until: date | None = None
    """The last day on which it is valid, if one was announced."""


class WriterConfig(_Model):
    """A writer's entry in the registry."""

    sdk: Sdk
    base_url: Annotated[str, AfterValidator(_check_url)]
    model: str = Field(min_length=1)
    key: Annotated[str, AfterValidator(_check_variable)] | None = None
    """Environment variable that holds the key; None for a server that needs none."""
    price: Price | None = None
    requests_per_minute: int = Field(default=60, ge=1)
    tokens_per_minute: int = Field(default=100_000, ge=1)
    structure: Structure = "text"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    max_output_tokens: int = Field(default=16_000, ge=100)
    """Maximum tokens of an answer, including thinking. It bounds the cost of a call."""
    timeout_s: float = Field(default=300, gt=0, allow_inf_nan=False)
    batch: bool = False
    """Whether it has a batch endpoint that ``--batch`` can use."""
    batch_price_share: Decimal = Field(default=Decimal(1), ge=0, le=1)
    """Share of the price that the provider charges in batches."""
    api_version: str = Field(default="v1beta", pattern=r"^v[0-9a-z]+$")
    """google-genai only."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.key is not None and urlsplit(self.base_url).scheme == "http" and not _is_private(self.base_url):
            raise ValueError("a key is not sent unencrypted: use https, or an address that is loopback or private")
        return self

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.batch and self.sdk == "google-genai":
            raise ValueError("batch: true is for openai and anthropic")
        if self.batch and self.structure == "auto":
            raise ValueError("structure: auto is not for batches, which are sent at once: name one of the others")
        return self


@dataclass(frozen=True, slots=True)
class LLMWriter:
    """An LLM that writes pairs: its entry in the registry, with today's price."""

    name: str
    config: WriterConfig
    rates: Rates
    """The price, or the worst case if it is unknown."""
    priced: bool
    """Whether ``rates`` is the provider's price, or 0 for a user's own server."""
    refused: set[Structure] = field(default_factory=set, compare=False)
    """The structures that the server has refused in this process; used if the structure is ``auto``."""

    @property
    def batch_rates(self) -> Rates:
        """The price in batches."""
        share = self.config.batch_price_share
        return Rates(input=self.rates.input * share, output=self.rates.output * share)

    @property
    def structure(self) -> Structure:
        """The structure of the next call."""
        if self.config.structure != "auto":
            return self.config.structure
        return next(structure for structure in STRUCTURES if structure not in self.refused)

    def secret(self) -> str | None:
        """The key, from the environment; None if it is not set or none is needed. Raises ``WriterError``."""
        key = (os.environ.get(self.config.key) or "").strip() if self.config.key else ""
        if not re.fullmatch(r"[!-~]*", key):  # a header cannot carry it, and its error would repeat it
            raise WriterError(
                f"{self.config.key} holds a line break, a space or another character that no key has: correct it"
            )
        return key or None

    @property
    def ready(self) -> bool:
        """Whether its key is set, or it needs none."""
        return self.config.key is None or self.secret() is not None


class _File(_Model):
    unknown_price: Rates
    presets: dict[str, tuple[str, ...]]
    writers: dict[str, WriterConfig]


class Registry:
    """The writers by name.

    ``own``: a YAML file whose writers override the shipped ones. ``today`` (None: that of UTC) decides which prices
    hold. Raises ``WriterError`` naming the file, the field and the fault.
    """

    def __init__(self, own: Path | None = None, today: date | None = None) -> None:
        self._file = _read(own)
        self._today = today or datetime.now(UTC).date()

    @classmethod
    def from_environment(cls, own: Path | None = None) -> Self:
        """The registry with the file ``own``, or else with the one that ``$ECGVF_WRITERS`` names, if any."""
        named = os.environ.get("ECGVF_WRITERS")
        return cls(own or (Path(named) if named else None))

    @property
    def unknown_price(self) -> Rates:
        """The worst case, counted if a price is unknown."""
        return self._file.unknown_price

    def all(self) -> list[LLMWriter]:
        """Every writer, in the order of the files."""
        return [self._writer(name) for name in self._file.writers]

    def preset(self, name: str) -> list[LLMWriter]:
        """The writers of a preset: ``default`` or ``paper``."""
        return [self._writer(member) for member in self._file.presets[name]]

    def ready(self) -> list[LLMWriter]:
        """The writers of the preset ``default`` whose key is set."""
        return [writer for writer in self.preset("default") if writer.ready]

    def select(self, names: str) -> list[LLMWriter]:
        """The writers and presets of ``--writers gpt,claude``, each writer once. Raises ``WriterError``."""
        selected: list[str] = []
        for name in filter(None, (part.strip() for part in names.split(","))):
            selected += self._file.presets.get(name, (name,))
        for name in selected:
            if name not in self._file.writers:
                known = ", ".join([*self._file.writers, *self._file.presets, OFFLINE])
                raise WriterError(f"unknown writer {name!r}: use one of {known}")
        if not selected:
            raise WriterError("--writers names no writer: run `ecgvf writers` to see them")
        return [self._writer(name) for name in dict.fromkeys(selected)]

    def own_server(self, url: str, model: str) -> LLMWriter:
        """A writer on an OpenAI-compatible server of the user's own (``--writer-url``, ``--writer-model``).

        Its price is taken from the registry's entry with the same address and model. Without such an entry, a loopback
        or private address is free, and any other address counts as the worst case. Raises ``WriterError``.
        """
        key = OWN_KEY if os.environ.get(OWN_KEY) else None
        try:
            config = WriterConfig(
                sdk="openai", base_url=url, model=model, key=key, structure="auto", max_output_tokens=8_000
            )
        except ValidationError as error:
            raise WriterError(f"--writer-url: {first_error(error)}") from error
        for writer in self.all():
            same = (writer.config.base_url.rstrip("/"), writer.config.model) == (url.rstrip("/"), model)
            if same and writer.config.price:
                return LLMWriter("own", config, writer.rates, writer.priced)
        if _is_private(url):
            return LLMWriter("own", config, Rates(input=Decimal(0), output=Decimal(0)), priced=True)
        return LLMWriter("own", config, self.unknown_price, priced=False)

    def _writer(self, name: str) -> LLMWriter:
        config = self._file.writers[name]
        price = config.price
        if price is None or (price.until is not None and self._today > price.until):
            return LLMWriter(name, config, self.unknown_price, priced=False)
        return LLMWriter(name, config, Rates(input=price.input, output=price.output), priced=True)


def missing_keys(writers: Iterable[LLMWriter]) -> str:
    """The writers whose key is not set, each with its variable; empty if there are none."""
    return ", ".join(f"{writer.name} ({writer.config.key})" for writer in writers if not writer.ready)


def check_keys(writers: Iterable[LLMWriter]) -> None:
    """Raise ``WriterError`` unless each writer has its key."""
    if missing := missing_keys(writers):
        raise WriterError(f"no key for {missing}: set the variable, or leave the writer out of --writers")


def _host(url: object) -> str | None:
    """The server in a ``base_url``, which need not be a valid one."""
    try:
        return urlsplit(str(url)).netloc.lower()
    except ValueError:
        return None


def _is_private(url: str) -> bool:
    """Whether a server is on this machine or in a private network. Names other than ``localhost`` are not resolved."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_private


def _read(own: Path | None) -> _File:
    shipped = data_dir() / "writers.yaml"
    content = _mapping(shipped)
    if own is not None:
        _override(content, own)
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise WriterError(f"{own or shipped}: {first_error(error, model=_File)}; correct it") from error
    for fault in _faults(file):
        raise WriterError(f"{own or shipped}: {fault}")
    return file


def _override(content: dict[str, Any], own: Path) -> None:
    """Override the shipped ``content`` by a user's file, field by field."""
    added = _mapping(own)
    unknown = sorted(map(str, set(added) - set(_File.model_fields)))
    if unknown:
        raise WriterError(f"{own}: unknown field {unknown[0]!r}; the fields are {', '.join(_File.model_fields)}")
    for section in ("writers", "presets"):
        added[section] = {} if added.get(section) is None else added[section]
        if not isinstance(added[section], dict) or not all(isinstance(name, str) for name in added[section]):
            raise WriterError(f"{own}: {section}: must be a mapping from names to their values; correct it")
    for name, fields in added["writers"].items():
        shipped = content["writers"].get(name, {})
        if isinstance(fields, dict):
            outdated = _outdated(shipped, fields)
            fields = {**{key: value for key, value in shipped.items() if key not in outdated}, **fields}
        content["writers"][name] = fields
    content["presets"] |= added["presets"]
    content["unknown_price"] = added.get("unknown_price") or content["unknown_price"]


def _outdated(shipped: dict[str, Any], own: dict[str, Any]) -> set[str]:
    """The fields of a shipped entry that do not hold with a user's: of another server, or of another model."""
    merged = {**shipped, **own}
    if shipped and _host(merged["base_url"]) != _host(shipped["base_url"]):
        return {"key", "price", "batch", "batch_price_share"}
    return {"price"} if shipped and merged["model"] != shipped["model"] else set()


def _faults(file: _File) -> Iterable[str]:
    """Faults that the schema cannot express."""
    for name in [*file.writers, *file.presets]:
        if not NAME.fullmatch(name) or name == OFFLINE:
            yield f"{name!r} cannot name a writer: use lower-case letters, digits and hyphens"
    for preset, members in file.presets.items():
        if preset in file.writers:
            yield f"{preset!r} names a preset and a writer; rename one of them"
        for name in members:
            if name not in file.writers:
                yield f"presets.{preset} names {name!r}, which is no writer; correct it"


def _mapping(file: Path) -> dict[str, Any]:
    try:
        content = strict_yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise WriterError(
            f"cannot read the registry of writers {file} ({reason}): name another in $ECGVF_WRITERS or by --registry"
        ) from error
    except yaml.YAMLError as error:
        number = strict_yaml.line_of(error)
        line = f", line {number}" if number else ""
        problem = error.problem if isinstance(error, strict_yaml.DuplicateKey) else "not valid YAML"
        raise WriterError(f"{file}{line}: {problem}; correct it") from error
    if not isinstance(content, dict):
        raise WriterError(f"{file}: a registry maps writers, presets and unknown_price; see data/writers.yaml")
    return content
