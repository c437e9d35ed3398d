"""Clients: one file per SDK. An SDK is imported when its client is opened, and reading an answer needs none."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

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
    """The client of a writer; its SDK is imported now."""
    client: Client = _client(writer)
    return client


def open_batch_client(writer: LLMWriter) -> BatchClient:
    """The batch client of a writer configured with ``batch: true``."""
    client: BatchClient = _client(writer)
    return client


def read(sdk: Sdk, raw: str) -> Reply:
    """The reply in a provider's answer. Never raises, whatever ``raw`` is."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return Reply("", "unreadable", None, "not a JSON object")
    if stopped := content_filters.why(body):
        return Reply("", "filter", Usage(0, 0), encodable(stopped))
    reader: Callable[[dict[str, Any]], Reply] = _module(sdk).read
    try:
        reply = reader(body)
        reply = replace(reply, text=encodable(reply.text), why=encodable(reply.why), model=encodable(reply.model))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Reply("", "unreadable", None, f"not as the provider answers ({type(error).__name__}: {error})")
    if reply.outcome == "complete" and refusals.in_words(reply.text):
        return replace(reply, outcome="refusal", why="in words")
    return reply


def _client(writer: LLMWriter) -> Any:
    sdk = writer.config.sdk
    return getattr(_module(sdk), _CLIENTS[sdk][1])(writer.config, writer.secret())


def _module(sdk: Sdk) -> Any:
    return import_module(f"ecgvf.llm.clients.{_CLIENTS[sdk][0]}")
