"""Secrets: keys are scrubbed from text, however they are escaped."""

import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from ecgvf.llm.registry import Registry
from ecgvf.llm.secrets import scrub, secret_keys, unscrubbed_keys


def test_keys_are_scrubbed_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for writer in Registry().all():
        monkeypatch.setenv(writer.config.key or "", f"secret-of-{writer.config.key}")
    replacements = secret_keys(Registry().all())
    assert len(replacements) == 6
    assert scrub("bad key secret-of-ARK_API_KEY!", replacements) == "bad key [ARK_API_KEY]!"


KEY = 'sk-proj/Ab+9"~\\z='


def twice(text: str) -> str:
    return json.dumps(json.dumps(text))


@pytest.mark.parametrize(
    "escaped",
    [
        lambda key: key,
        json.dumps,
        twice,
        lambda key: json.dumps(twice(key)),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
        lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
        lambda key: json.dumps("".join(f"\\u{ord(letter):04X}" for letter in key)),
        lambda key: json.dumps(key).replace("-", "\\u002D"),
        lambda key: quote(key, safe=""),
        lambda key: quote(key).lower().replace("ab", "Ab"),
    ],
    ids=["as it is", "json", "json in json", "thrice", "slash", "hex", "HEX", "HEX in json", "dash", "url", "url low"],
)
def test_keys_are_scrubbed_however_json_or_an_address_spells_them(escaped: Callable[[str], str]) -> None:
    scrubbed = scrub(f"key <{escaped(KEY)}>!", {KEY: "[KEY]"})
    assert re.sub(r'[\\"]', "", scrubbed) == "key <[KEY]>!"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        *((key, False) for key in ("a", "x", "EMPTY", "test", "mock", "none", "photograph", "sk-1234")),
        *((key, False) for key in ("sk-xxxxxxxxxxxxxxxxxxxxxxxx", "EMPTYEMPTYEMPTYEMPTY", "0" * 32)),
        *((key, True) for key in (KEY, "6f1c0a92be47d385", "3f0c1d2e-9a8b-4c7d-8e6f-001122aabbcc")),
        *((key, True) for key in ("sk-ant-api03-Vt9qLw2Zr5", "correct-horse-battery-staple")),
    ],
)
def test_only_a_key_that_is_long_and_varied_is_scrubbed(
    monkeypatch: pytest.MonkeyPatch, key: str, secret: bool
) -> None:
    monkeypatch.setenv("ARK_API_KEY", key)
    writers = Registry().all()
    assert secret_keys(writers) == ({key: "[ARK_API_KEY]"} if secret else {})
    assert unscrubbed_keys(writers) == ([] if secret else ["ARK_API_KEY"])


def test_scrubbing_a_long_answer_takes_seconds_whatever_it_is() -> None:
    began = time.process_time()
    for text in ("\\" * 2_000_000, "s" * 2_000_000, "sk-proj" * 300_000, "%" * 2_000_000):
        assert scrub(text, {KEY: "[KEY]"}) == text
    assert time.process_time() - began < 10
