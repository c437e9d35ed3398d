"""Fixtures of the tests that call LLM writers."""

from tests.llm_run import run, server

__all__ = ["run", "server"]
