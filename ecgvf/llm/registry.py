"""Which LLMs write pairs: ``data/writers.yaml``, extended or overridden by a user's own file.

A key is never part of it. An entry names the environment variable that holds the key, and the key goes to that entry's
base URL and nowhere else.
"""

import ipaddress
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgvf.core import strict_yaml
from ecgvf.core.errors import WriterError
from ecgvf.core.paths import data_dir

OFFLINE = "offline"

OWN_KEY = "ECGVF_WRITER_KEY"
"""The key for ``--writer-url``, as a variable: no provider's key is ever sent to a server of the user's own."""

Sdk = Literal["openai", "anthropic", "google-genai"]
Structure = Literal["schema", "json", "text", "auto"]
"""How an answer is held to its shape; ``auto`` is the first of ``FORMS`` that the server takes."""

FORMS: tuple[Structure, ...] = ("schema", "json", "text")
"""The strictest first."""

SHORTEST_SECRET = 16
"""Characters."""

LEAST_ENTROPY = 2.5
"""Bits per character: of 16 random hexadecimal digits 99% have more, ``EMPTY`` and ``xxxx`` repeated have less."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_MILLION = Decimal(1_000_000)


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):  # the value is not repeated: it may be a key
        raise ValueError("names an environment variable, in capitals; a key itself never goes into the file")
    return name


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port  # looked at, because that is when it is read
    except ValueError:
        whole = False
    if not whole or re.search(r"\s", url):
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
        return (self.input * input_tokens + self.output * output_tokens) / _MILLION


class Price(Rates):
    """A provider's price, with the place and the day it was read."""

    source: str = ""
    read: date | None = None
    until: date | None = None
    """The last day for which it was announced."""


class Entry(_Model):
    """One writer, as the registry states it."""

    sdk: Sdk
    base_url: Annotated[str, AfterValidator(_address)]
    model: str = Field(min_length=1)
    key: Annotated[str, AfterValidator(_variable)] | None = None
    """Environment variable that holds the key; None for a server that needs none."""
    price: Price | None = None
    requests_per_minute: int = Field(default=60, ge=1)
    tokens_per_minute: int = Field(default=100_000, ge=1)
    structure: Structure = "text"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    max_output_tokens: int = Field(default=16_000, ge=100)
    """The cap of an answer, thinking included: what a call can cost at most."""
    timeout_s: float = Field(default=300, gt=0, allow_inf_nan=False)
    batch: bool = False
    """Whether it has a batch endpoint that ``--batch`` can use."""
    api_version: str = Field(default="v1beta", pattern=r"^v[0-9a-z]+$")
    """google-genai only."""

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.batch and self.sdk == "google-genai":
            raise ValueError("batch: true is for openai and anthropic")
        if self.batch and self.structure == "auto":
            raise ValueError("structure: auto is not for batches, which are sent at once: name one of the others")
        return self


@dataclass(frozen=True, slots=True)
class Named:
    """An entry under its name, with the price that counts today."""

    name: str
    entry: Entry
    rates: Rates
    """The price, or the worst case where it is not known."""
    priced: bool
    """Whether ``rates`` is the provider's price, or 0 for a server of the user's own."""
    refused: set[Structure] = field(default_factory=set, compare=False)
    """What the server has refused in this run, for an entry whose structure is ``auto``."""

    @property
    def structure(self) -> Structure:
        """How the next call is held to its shape."""
        if self.entry.structure != "auto":
            return self.entry.structure
        return next(form for form in FORMS if form not in self.refused)

    def secret(self) -> str | None:
        """The key, from the environment; None where it is not set or none is needed. Raises ``WriterError``."""
        key = (os.environ.get(self.entry.key) or "").strip() if self.entry.key else ""
        if not re.fullmatch(r"[!-~]*", key):  # said without the key: a header could not carry it, and would repeat it
            raise WriterError(
                f"{self.entry.key} holds a line break, a space or another sign that no key has: correct it"
            )
        return key or None

    @property
    def ready(self) -> bool:
        """Whether it can be asked: its key is set, or it needs none."""
        return self.entry.key is None or self.secret() is not None


class _File(_Model):
    unknown_price: Rates
    presets: dict[str, tuple[str, ...]]
    writers: dict[str, Entry]


class Registry:
    """The writers by name. Raises ``WriterError`` naming file, field and what is wrong."""

    def __init__(self, own: Path | None = None, today: date | None = None) -> None:
        self._file = _read(own)
        self._today = today or date.today()

    @property
    def unknown_price(self) -> Rates:
        """What a token counts where its price is not known."""
        return self._file.unknown_price

    def all(self) -> list[Named]:
        """Every writer, in the order of the files."""
        return [self._named(name) for name in self._file.writers]

    def preset(self, name: str) -> list[Named]:
        """The writers of a preset: ``default`` or ``paper``."""
        return [self._named(one) for one in self._file.presets[name]]

    def ready(self) -> list[Named]:
        """The writers of the preset ``default`` whose key is set."""
        return [one for one in self.preset("default") if one.ready]

    def chosen(self, names: str) -> list[Named]:
        """The writers of ``--writers gpt,claude`` or of a preset, each once. Raises ``WriterError``."""
        wanted: list[str] = []
        for name in filter(None, (part.strip() for part in names.split(","))):
            wanted += self._file.presets.get(name, (name,))
        for name in wanted:
            if name not in self._file.writers:
                known = ", ".join([*self._file.writers, *self._file.presets, OFFLINE])
                raise WriterError(f"unknown writer {name!r}: known are {known}")
        found = [self._named(name) for name in dict.fromkeys(wanted)]
        if not found:
            raise WriterError("--writers names no writer: run `ecgvf writers` to see them")
        return found

    def at(self, url: str, model: str) -> Named:
        """A server of the user's own that speaks OpenAI's chat completions (``--writer-url``, ``--writer-model``).

        Its price is that of the registry's entry with the same address and model; without one, a loopback or private
        address costs nothing, and any other counts as the worst case.
        """
        key = OWN_KEY if os.environ.get(OWN_KEY) else None
        try:
            entry = Entry(sdk="openai", base_url=url, model=model, key=key, structure="auto", max_output_tokens=8_000)
        except ValidationError as error:
            raise WriterError(f"--writer-url {_first(error)}") from error
        for one in self.all():
            if one.entry.price and (one.entry.base_url.rstrip("/"), one.entry.model) == (url.rstrip("/"), model):
                return Named("own", entry, one.rates, one.priced)
        if _is_private(url):
            return Named("own", entry, Rates(input=Decimal(0), output=Decimal(0)), priced=True)
        return Named("own", entry, self.unknown_price, priced=False)

    def _named(self, name: str) -> Named:
        entry = self._file.writers[name]
        price = entry.price
        if price is None or (price.until is not None and self._today > price.until):
            return Named(name, entry, self.unknown_price, priced=False)
        return Named(name, entry, Rates(input=price.input, output=price.output), priced=True)


def keyless(writers: Iterable[Named]) -> str:
    """Those whose key is not set, each with its variable; empty where each can be asked."""
    return ", ".join(f"{one.name} ({one.entry.key})" for one in writers if not one.ready)


def _is_private(url: str) -> bool:
    """Whether a server is on this machine or in a private network. A name other than ``localhost`` is not looked up."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_private


def secrets(writers: Iterable[Named]) -> dict[str, str]:
    """Key → the name that stands for it wherever text from outside is kept or shown."""
    found = {}
    for one in writers:
        if one.entry.key and can_be_secret(secret := one.secret() or ""):
            found[secret] = f"[{one.entry.key}]"
    return found


def too_simple(writers: Iterable[Named]) -> list[str]:
    """The variables whose key is not scrubbed, each once."""
    keyed = ((one.entry.key, one.secret()) for one in writers if one.entry.key)
    return list(dict.fromkeys(name for name, secret in keyed if secret and not can_be_secret(secret)))


def can_be_secret(key: str) -> bool:
    """Whether a key is long and varied enough to be one. ``a``, ``EMPTY`` or ``test`` are words of a prompt, too."""
    shares = (count / len(key) for count in Counter(key).values())
    return len(key) >= SHORTEST_SECRET and -sum(share * math.log2(share) for share in shares) >= LEAST_ENTROPY


def scrub(text: str, hidden: Mapping[str, str]) -> str:
    """``text`` without the keys: a provider's error message may repeat the key it was given."""
    for secret, name in hidden.items():
        text = re.sub("".join(map(_spelt, secret)), lambda _, name=name: name, text)  # type: ignore[misc]
    return text


def _spelt(letter: str) -> str:
    """A pattern for a letter as it is, or as JSON, JSON within JSON (backslashes double) or an address spells it."""
    digits = re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", f"{ord(letter):02x}")
    spellings = [re.escape(letter), rf"\\{{1,8}}u00{digits}", f"%{digits}"]
    if letter in '"\\/':
        spellings.append(rf"\\{{1,8}}{re.escape(letter)}")
    return f"(?:{'|'.join(spellings)})"


def _read(own: Path | None) -> _File:
    shipped = data_dir() / "writers.yaml"
    content = _mapping(shipped)
    where = shipped
    if own is not None:
        where = own
        added = _mapping(own)
        unknown = sorted(map(str, set(added) - set(_File.model_fields)))
        if unknown:
            raise WriterError(f"{own}: unknown field {unknown[0]!r}; known are {', '.join(_File.model_fields)}")
        writers, presets = ({} if added.get(field) is None else added[field] for field in ("writers", "presets"))
        for field, mapping in (("writers", writers), ("presets", presets)):
            if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping):
                raise WriterError(f"{own}: {field}: is a mapping from names to what they mean; correct it")
        for name, fields in writers.items():
            before = content["writers"].get(name, {})
            if isinstance(fields, dict) and fields.get("model", before.get("model")) != before.get("model"):
                before = {key: value for key, value in before.items() if key != "price"}  # that was another model's
            content["writers"][name] = {**before, **fields} if isinstance(fields, dict) else fields
        content["presets"] |= presets
        content["unknown_price"] = added.get("unknown_price") or content["unknown_price"]
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise WriterError(f"{where}: {_first(error)}; correct it") from error
    for name in [*file.writers, *file.presets]:
        if not _NAME.fullmatch(name) or name == OFFLINE:
            raise WriterError(f"{where}: {name!r} cannot name a writer: use lower-case letters, digits and hyphens")
    for preset, members in file.presets.items():
        if preset in file.writers:
            raise WriterError(f"{where}: {preset!r} names a preset and a writer; call one of them otherwise")
        lost = [name for name in members if name not in file.writers]
        if lost:
            raise WriterError(f"{where}: presets.{preset} names {lost[0]!r}, which is no writer; correct it")
    return file


def _mapping(file: Path) -> dict[str, Any]:
    try:
        content = strict_yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise WriterError(f"cannot read the registry of writers {file}: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        said = error.problem if isinstance(error, strict_yaml.DuplicateKey) else "not valid YAML"
        raise WriterError(f"{file}{line}: {said}; correct it") from error
    if not isinstance(content, dict):
        raise WriterError(f"{file}: a registry maps writers, presets and unknown_price; see data/writers.yaml")
    return content


def _first(error: ValidationError) -> str:
    """Field and fault; never the value, which may be a key."""
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].removeprefix('Value error, ')}"
