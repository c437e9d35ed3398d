"""A pair with every field but those that a test is about."""

from collections.abc import Callable

import pytest

from ecgvf.core.records import PromptPair

BLANK = {
    "record_id": "0" * 16,
    "concept": "church",
    "kind": "object",
    "split": "train",
    "target": "a church",
    "surrogate": "a hotel",
    "target_term": "church",
    "surrogate_term": "hotel",
    "writer": "test",
    "model_asked": "m",
    "model_answered": "m",
    "template": "t",
    "template_hash": "h",
    "iteration": 0,
    "call_id": "c",
}


@pytest.fixture
def pair() -> Callable[..., PromptPair]:
    return lambda **fields: PromptPair(**(BLANK | fields))
