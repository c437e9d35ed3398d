"""Reading answers without an SDK: statuses, Retry-After, and bodies of any kind."""

import json
import time
from email.utils import formatdate
from typing import Any, get_args

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgvf.llm.clients import read
from ecgvf.llm.clients.http import LONGEST_WAIT, connection_failure, retry_after, status_failure
from ecgvf.llm.clients.reply import Reply, Usage
from ecgvf.llm.registry import Sdk
from tests.llm_server import FOREIGN

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "type", "text", "candidates", "parts", "model"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("sdk", get_args(Sdk))
@given(body=ANYTHING)
def test_reading_an_answer_never_raises(sdk: Sdk, body: Any) -> None:
    assert isinstance(read(sdk, json.dumps(body)), Reply)


@pytest.mark.parametrize("sdk", get_args(Sdk))
@pytest.mark.parametrize(
    "raw", ["", "<html>", "[]", "null", "[" * 100_000, "{}", json.dumps(FOREIGN), '{"error": "busy"}']
)
def test_an_answer_in_another_format_is_unreadable(sdk: Sdk, raw: str) -> None:
    reply = read(sdk, raw)
    assert (reply.text, reply.usage, reply.outcome) == ("", None, "unreadable")


CHOICE = {"message": {"content": "text"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "used",
    [None, {}, {"prompt_tokens": 10, "total_tokens": 20}, {"prompt_tokens": -5, "completion_tokens": 3}],
    ids=str,
)
def test_an_answer_without_usage_is_still_an_answer(used: Any) -> None:
    reply = read("openai", json.dumps({"model": "m-2", "usage": used, "choices": [CHOICE]}))
    assert (reply.text, reply.outcome, reply.model, reply.usage) == ("text", "complete", "m-2", None)


@pytest.mark.parametrize(
    ("total", "output"), [({"total_tokens": 374}, 95), ({}, 6), ({"total_tokens": 285}, 6), ({"total_tokens": 0}, 6)]
)
def test_thinking_that_only_the_total_counts_is_paid(total: dict[str, int], output: int) -> None:
    used = {"prompt_tokens": 279, "completion_tokens": 6, "reasoning_tokens": 89, **total}
    reply = read("openai", json.dumps({"model": "m", "usage": used, "choices": [CHOICE]}))
    assert reply.usage == Usage(279, output)


@pytest.mark.parametrize(
    ("content", "text"), [([{"type": "text", "text": "a"}, {"text": "b"}], "ab"), ({"text": "a"}, ""), ("\ud800", "?")]
)
def test_content_may_be_anything(content: Any, text: str) -> None:
    body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    assert read("openai", body).text == text


def completed(content: str, finish: str = "stop") -> Reply:
    choice = {"message": {"content": content}, "finish_reason": finish}
    return read("openai", json.dumps({"choices": [choice]}))


@pytest.mark.parametrize(
    "words",
    [
        "I'm sorry, I can't help with that.",
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        "I'm so sorry about this! I can't assist with that.",
        "**I cannot create explicit content.**",
        "As an AI language model, I cannot generate prompts of this kind.",
        "Unfortunately, I won't be able to write these.",
        "My apologies, I am unable to directly provide this.",
        "I'm not comfortable writing about naked people.",
        "I must decline.",
        "Sorry, that's beyond my current scope. Let's talk about something else.",
        "<think>[A list?] No.</think>\n\nI can't do that.",
        "抱歉，我无法提供这类内容。",
        "很抱歉，我不能满足您的请求。",
        "对不起，我无法回答这个问题。",
        "您好，我无法给到相关内容。",
        "你好，这个问题我暂时无法回答，让我们换个话题再聊聊吧。",
        "作为一个人工智能语言模型，我不能生成此类内容。",
        "對不起，我無法提供協助。",
    ],
)
def test_a_refusal_in_plain_words_is_a_refusal(words: str) -> None:
    reply = completed(words)
    assert (reply.outcome, reply.why, reply.text) == ("refusal", "in words", words)
    assert completed(words, "length").outcome == "length"


@pytest.mark.parametrize(
    "words",
    [
        "Certainly! Which kind of church do you have in mind?",
        "I can't wait to help! Which kind of church?",
        "I cannot tell which concept you mean. Which one?",
        "I can't help but ask: which church?",
        "I can't help with the others. [{}]",
        "I'm sorry, I can't provide ten: {\"pairs\": []}",
        "1. A church that cannot provide shelter",
        "好的，我无法确定您指哪种教堂。",
        "我会提供十对提示词。",
    ],
)
def test_a_question_and_bad_json_are_not_refusals(words: str) -> None:
    assert completed(words).outcome == "complete"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
    ids=str,
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date() -> None:
    found = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert found is not None and 55 < found <= 60


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, "faulty"),
        (409, "faulty"),
        (429, "busy"),
        (500, "faulty"),
        (529, "faulty"),
        (400, "denied"),
        (404, "denied"),
    ],
)
def test_which_statuses_are_retried(status: int, kind: str) -> None:
    failed = status_failure(status, {}, "body")
    assert (failed.kind, failed.lost, failed.raw) == (kind, False, "body")


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_what_a_gateway_gave_up_on_is_retried_and_possibly_paid(status: int) -> None:
    failed = status_failure(status, {}, "body")
    assert (failed.kind, failed.lost) == ("faulty", True)
    assert status_failure(status, {"retry-after": str(LONGEST_WAIT + 1)}, "body").lost


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "The response was filtered", "param": "prompt", "type": None},
        {"code": "invalid_request_error", "message": "Content Exists Risk", "type": "invalid_request_error"},
        {"message": "The request was rejected because it was considered high risk", "type": "content_filter"},
        {"code": "InputTextSensitiveContentDetected", "message": "The request failed", "type": "BadRequest"},
        {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
    ],
    ids=("azure", "deepseek", "moonshot", "ark", "anthropic"),
)
def test_a_content_filter_is_an_answer_whatever_its_status(error: dict[str, Any]) -> None:
    body = json.dumps({"error": error})
    failed = status_failure(400, {}, body)
    assert (failed.kind, failed.raw) == ("filtered", body)
    reply = read("openai", body)
    assert (reply.outcome, reply.usage) == ("filter", Usage(0, 0)) and error["message"] in reply.why


@pytest.mark.parametrize(
    "body",
    ['{"error": {"message": "max_tokens is too large", "code": "invalid"}}', '{"error": "content_filter"}', "[1]", "{"],
)
def test_other_errors_are_not_content_filters(body: str) -> None:
    assert status_failure(400, {}, body).kind == "denied"


def test_a_very_long_retry_after_is_a_refusal() -> None:
    assert status_failure(429, {"retry-after": str(LONGEST_WAIT + 1)}, "").kind == "denied"
    assert status_failure(429, {"retry-after": str(LONGEST_WAIT)}, "").kind == "busy"


def test_a_request_that_never_connected_is_not_possibly_paid() -> None:
    assert not connection_failure(httpx2.ConnectError("refused")).lost
    assert connection_failure(httpx2.ReadTimeout("slow")).lost
    wrapped = RuntimeError("Connection error.")
    wrapped.__cause__ = httpx2.ConnectTimeout("slow")
    assert not connection_failure(wrapped).lost
