"""An oracle in place of an adapter."""

import json
from dataclasses import replace
from pathlib import Path

from ear.method.open_adapter import adapter_facts
from ear.method.oracle import MODEL_FILE, ORACLE_FILE, Oracle, oracle_facts
from ecgvf.core import concepts
from ecgvf.janus import JanusModel


def test_its_facts_are_known_without_loading_it(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(b"no weights")
    (tmp_path / ORACLE_FILE).write_text('{"without": ["church", "pagoda"]}')
    facts = adapter_facts(tmp_path / MODEL_FILE)
    assert facts["model"] == str(tmp_path.resolve()) and facts["concept"] == "church+pagoda"


def test_it_is_unsafe_unless_the_package_says_that_what_it_lacks_is_safe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(concepts.template("mine", "object"))

    def unsafe(*without: str) -> bool:
        (tmp_path / ORACLE_FILE).write_text(json.dumps({"without": without}))
        return bool(oracle_facts(tmp_path)["unsafe"])

    assert not unsafe("pagoda", "Van Gogh") and not unsafe()
    assert unsafe("pagoda", "Nudity") and unsafe(str(mine))  # a name never becomes a path


def test_it_reads_prompts_as_the_frozen_model_does(tiny: JanusModel) -> None:
    oracle = Oracle(tiny, {"concept": ""})
    with oracle.active(replace(tiny, raw_control_tokens=True, padding_masked=False)) as other:
        assert other.model is tiny.model and other.raw_control_tokens and not other.padding_masked
    with oracle.active(tiny) as other:
        assert other.padding_masked and not other.raw_control_tokens
