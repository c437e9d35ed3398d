"""What a published dataset or adapter does not reveal: local paths, private servers, keys."""

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

_PRIVATE_SERVER = "a server of the writer's own"

_LOADED_JUDGE = re.compile(r"((?:^|\+)(?:hf|timm:local-dir):)(.+?)(?=\+|: |$)")
"""A judge that is a Hub id or a local folder, in a judge's name, or before its label."""

_NAMED = r"(?!\w+:[\\/])-*\w[\w.:/+-]*="
"""The beginning of NAME=VALUE, which is neither a URL nor a path."""


def redact(value: Any) -> Any:
    """``value``, nested or not, with only the last part of each local path and without private servers and keys."""
    if isinstance(value, Mapping):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if not isinstance(value, str):
        return value
    if re.match(r"https?://", value):
        return _public_url(value)
    if re.match(r"[A-Za-z][\w+.-]*://|[\w.-]+@[\w.-]+:", value):
        return _PRIVATE_SERVER
    if value.startswith(("/", "~", "./", "../")):
        return PurePosixPath(value).name or value
    if re.match(r"[A-Za-z]:[\\/]|\\\\", value):
        return PureWindowsPath(value).name
    return _LOADED_JUDGE.sub(lambda match: match[1] + _judge_name(match[2]), value)


def public_command(words: Iterable[str]) -> str:
    """The command ``words`` with only the last part of each local path, also in NAME=DIR,NAME=DIR and in DIR,DIR."""
    return shlex.join(map(_public_word, words))


def public_model(name: str) -> str:
    """``name`` of a model; ``local:`` and the last part of a local folder, which may be called as a published model
    is."""
    public = str(redact(name))
    return public if public == name else f"local:{public}"


def _public_word(word: str) -> str:
    if re.match(_NAMED, word):
        parts = (part.partition("=") for part in re.split(rf",(?= *{_NAMED})", word))
        return ",".join(f"{redact(name)}={_public_word(value)}" for name, _, value in parts)
    # Commas and equals signs may also be part of a path.
    return ",".join(map(redact, re.split(r", *(?=[~/.])", word)))


def _public_url(url: str) -> str:
    """``url`` without user, key and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _PRIVATE_SERVER
    host = parts.hostname or ""
    public = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}", host) and not host.endswith((".local", ".lan"))
    return f"{parts.scheme}://{host}{parts.path}" if public else _PRIVATE_SERVER


def _judge_name(source: str) -> str:
    redacted = str(redact(source))
    return Path(source).resolve().name if redacted == source and Path(source).is_dir() else redacted
