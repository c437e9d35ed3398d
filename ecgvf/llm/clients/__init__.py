"""Clients of LLMs, one module per SDK.

A provider whose server speaks the API of one of these SDKs needs no code, only an entry in ``data/writers.yaml``. For
another SDK:

1. name it in ``registry.Sdk``, and in ``_CLIENTS`` below with its module and class;
2. write the module: a class that is made from ``(config, secret)`` and implements ``client.Client`` (or
   ``BatchClient``), and a function ``read(body)`` that makes a ``Reply`` of a stored answer, or raises ``LookupError``,
   ``TypeError`` or ``ValueError`` if ``body`` is none;
3. name the provider in ``publish/licence.py``, if it has terms for what its models write.

An SDK is imported when its client is opened: reading a stored answer needs none.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from ecgvf.core.errors import WriterError, first_line
from ecgvf.core.text import encodable
from ecgvf.llm.clients import content_filters, refusals
from ecgvf.llm.clients.client import BatchClient, Client
from ecgvf.llm.clients.reply import Reply, Usage
from ecgvf.llm.registry import LLMWriter, Sdk

_CLIENTS: dict[Sdk, tuple[str, str]] = {
    "openai": ("openai", "OpenAIClient"),
    "anthropic": ("anthropic", "AnthropicClient"),
    "google-genai": ("gemini", "GeminiClient"),
}


def open_client(writer: LLMWriter) -> Client:
    """Open the client of a writer, which imports its SDK.

    Raises ``WriterError`` for a key that no header can carry, and for a proxy or certificates of the environment that
    cannot be used.
    """
    client: Client = _client(writer)
    return client


def open_batch_client(writer: LLMWriter) -> BatchClient:
    """Open the client of a writer that is configured with ``batch: true``. Raises as ``open_client`` does."""
    client: BatchClient = _client(writer)
    return client


def read(sdk: Sdk, raw: str) -> Reply:
    """The reply in a provider's answer ``raw``, ``unreadable`` if it is not in the format of ``sdk``. Never raises."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return Reply("", "unreadable", None, "not a JSON object")
    if stopped := content_filters.filter_message(body):
        return Reply("", "filter", Usage(0, 0), encodable(stopped))
    reader: Callable[[dict[str, Any]], Reply] = _module(sdk).read
    try:
        reply = reader(body)
        reply = replace(reply, text=encodable(reply.text), why=encodable(reply.why), model=encodable(reply.model))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Reply("", "unreadable", None, f"not as the provider answers ({type(error).__name__}: {error})")
    if reply.outcome == "complete" and refusals.is_refusal(reply.text):
        return replace(reply, outcome="refusal", why="in words")
    return reply


def _client(writer: LLMWriter) -> Any:
    import httpx2

    sdk, secret = writer.config.sdk, writer.secret()
    open_sdk = getattr(_module(sdk), _CLIENTS[sdk][1])
    try:
        return open_sdk(writer.config, secret)
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        # The message about an invalid URL may quote a part of the proxy's password.
        why = "an invalid URL" if isinstance(error, httpx2.InvalidURL) else first_line(error)
        raise WriterError(
            f"cannot connect to {writer.name} ({why}): correct the proxy ($ALL_PROXY, $HTTPS_PROXY, $HTTP_PROXY; "
            "socks5:// needs pip install socksio) or the certificates ($SSL_CERT_FILE, $SSL_CERT_DIR)"
        ) from error


def _module(sdk: Sdk) -> Any:
    return import_module(f"ecgvf.llm.clients.{_CLIENTS[sdk][0]}")
