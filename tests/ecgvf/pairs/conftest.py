"""Fixtures of the tests that call LLM writers."""

from tests.llm_run import generate, server

__all__ = ["generate", "server"]
