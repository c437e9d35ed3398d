"""The stage: as many as asked for, rejects kept, the same bytes whatever happens on the way; and its commands."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core.concepts import find
from ecgvf.core.errors import SettingsError, StoreCorrupt, WriterError
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store
from ecgvf.llm.clients import Answer, Request, call_id
from ecgvf.pairs.checks import Seen, near
from ecgvf.pairs.generate import FRUITLESS, generate, kept_part
from ecgvf.pairs.offline import OfflineWriter

CHURCH = find("church")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def rows(stage) -> list[PromptPair]:
    return stage.records(PromptPair)


def accepted(stage, split: str) -> list[PromptPair]:
    return [row for row in rows(stage) if row.split == split and row.reason is None]


class Scripted:
    """A writer that gives the same answers to training and test requests, then repeats its last."""

    name = "scripted"

    def __init__(self, *answers: str) -> None:
        self.answers = answers

    def settings(self) -> dict[str, Any]:
        return {"writer": self.name}

    def check(self, concept) -> None:
        pass

    def write(self, request: Request) -> Answer:
        text = self.answers[min(request.iteration, len(self.answers) - 1)]
        return Answer(
            call_id=call_id(self, request),
            text=text,
            model_asked="model",
            model_answered="model-2",
            template="object/pairs@1",
            template_hash="0" * 64,
        )


def pair(target: str, surrogate: str = "hotel at noon", term: str = "church", other: str = "hotel") -> dict[str, str]:
    return {"target": target, "surrogate": surrogate, "target_term": term, "surrogate_term": other}


@pytest.mark.parametrize("name", ["church", "castle", "cat", "van-gogh"])
def test_the_defaults(store, name):
    stage = generate(store, find(name))
    pairs, tests = accepted(stage, "train"), accepted(stage, "test")
    assert (len(pairs), len(tests)) == (60, 100)
    assert all(row.surrogate for row in pairs) and not any(row.surrogate for row in tests)
    assert {row.writer for row in rows(stage)} == {"offline"}
    assert stage.finished
    assert store.current(name, PAIRS).fingerprint == stage.fingerprint
    assert store.last_concept() == name


def test_ids_are_unique_and_no_two_prompts_are_near(store):
    stage = generate(ConceptRun(store, CHURCH))
    ids = [row.record_id for row in rows(stage)]
    assert len(set(ids)) == len(ids)
    pairs = [row.target for row in accepted(stage, "train")]
    tests = [row.target for row in accepted(stage, "test")]
    assert not [(one, other) for one in tests for other in pairs if near(one, other)]
    assert not [(one, other) for index, one in enumerate(tests) for other in tests[:index] if near(one, other)]


def test_rejects_stay_with_reason_and_raw_text(store):
    answer = json.dumps(
        [
            pair("church at noon"),
            pair("A church at noon.", "A hotel at noon."),
            pair("church by night", "chapel by night", other="chapel"),
            {"target": "broken"},
            pair("church in spring", "hotel in spring"),
        ]
    )
    stage = generate(ConceptRun(store, CHURCH), pairs=2, tests=0, writer=Scripted(answer))
    kept = rows(stage)
    assert [row.reason for row in kept] == [None, "duplicate", "malformed", "malformed", None]
    assert "church at noon" in kept[1].detail
    assert "chapel by night" in kept[2].detail and "names the concept" in kept[2].detail
    assert '{"target": "broken"}' in kept[3].detail
    assert (kept[3].target, kept[0].detail) == ("", None)
    assert stage.summary["train"] == {"accepted": 2, "malformed": 2, "duplicate": 1}
    assert {row.model_answered for row in kept} == {"model-2"}


def test_a_writer_that_runs_dry_is_told_and_stops_nothing(store, capsys):
    stage = generate(ConceptRun(store, CHURCH), pairs=5, tests=1, writer=Scripted(json.dumps([pair("church at noon")])))
    assert len(accepted(stage, "train")) == 1
    assert sum(row.reason == "duplicate" and row.split == "train" for row in rows(stage)) == FRUITLESS
    assert "ran dry: 1 of 5 pairs" in capsys.readouterr().err
    assert stage.finished


def test_one_part_is_written_anew_and_the_other_stays(store):
    before = accepted(generate(ConceptRun(store, CHURCH), pairs=5, tests=4), "train")
    stage = generate(ConceptRun(store, CHURCH), tests=7, seed=1, split="test")
    assert accepted(stage, "train") == before and len(accepted(stage, "test")) == 7


def test_a_kept_test_prompt_that_a_new_pair_comes_near_is_rejected(store):
    first, *others = accepted(generate(ConceptRun(store, CHURCH), pairs=5, tests=4), "test")
    taken = Seen()
    taken.add(first.target)
    kept = kept_part(ConceptRun(store, CHURCH), "test").rows(taken)
    assert [row.reason for row in kept] == ["duplicate"] + [None] * len(others)


def test_a_kept_test_prompt_is_accepted_again_once_no_pair_is_near_it(store):
    def beside(target: str, seed: int) -> list[PromptPair]:
        writer = Scripted(json.dumps([pair(target, target.replace("church", "hotel"))]))
        stage = generate(ConceptRun(store, CHURCH), pairs=1, writer=writer, seed=seed, split="train")
        return [row for row in rows(stage) if row.split == "test"]

    first, *others = before = rows(generate(ConceptRun(store, CHURCH), tests=4, split="test"))
    assert [row.reason for row in beside(first.target, seed=1)] == ["duplicate"] + [None] * len(others)
    assert beside("church number one", seed=2) == before


def test_an_answer_that_is_no_answer_is_a_reject(store):
    stage = generate(
        ConceptRun(store, CHURCH), pairs=1, tests=0, writer=Scripted("Sorry.", json.dumps([pair("church at noon")]))
    )
    assert [row.reason for row in rows(stage)] == ["malformed", None]
    assert rows(stage)[0].detail == "no JSON list of objects: Sorry."


def test_a_writer_that_writes_too_much_is_cut(store):
    answer = json.dumps([pair(f"church number {n}", f"hotel number {n}") for n in ("one", "two", "three")])
    assert len(rows(generate(ConceptRun(store, CHURCH), pairs=2, tests=0, writer=Scripted(answer)))) == 2


def shards(store: Store) -> dict[str, bytes]:
    return {str(file.relative_to(store.root)): file.read_bytes() for file in store.root.rglob("*.parquet")}


def test_equal_runs_write_equal_bytes_and_another_seed_another_set(tmp_path):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    first, again = generate(one, CHURCH), generate(one, CHURCH)
    generate(two, CHURCH)
    assert first.fingerprint == again.fingerprint
    assert shards(one) == shards(two)
    assert generate(two, CHURCH, seed=1).fingerprint != first.fingerprint


@pytest.mark.faults
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, split):
    class Interrupted(OfflineWriter):
        def write(self, request: Request) -> Answer:
            if request.split == split and request.iteration == 3:
                raise KeyboardInterrupt
            return super().write(request)

    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    generate(whole, CHURCH)
    with pytest.raises(KeyboardInterrupt):
        generate(cut, CHURCH, writer=Interrupted())
    assert len(shards(cut)) == (split == "test")
    assert not list(cut.root.rglob("manifest.json"))
    generate(cut, CHURCH)
    assert shards(cut) == shards(whole)


def test_a_shard_edited_by_hand_is_an_error(store):
    stage = generate(ConceptRun(store, CHURCH))
    stage.shard(0).write_bytes(stage.shard(0).read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match="shard-00000"):
        generate(ConceptRun(store, CHURCH))


@pytest.mark.parametrize(("pairs", "tests"), [(0, 1), (-1, 1), (1, -1)])
def test_numbers_that_cannot_be(store, pairs, tests):
    with pytest.raises(SettingsError, match="--pairs"):
        generate(ConceptRun(store, CHURCH), pairs=pairs, tests=tests)


def test_what_nano_cannot_draw_leaves_no_trace(store):
    with pytest.raises(WriterError):
        generate(ConceptRun(store, find("nudity")))
    assert not store.root.exists()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_the_command_says_what_it_did():
    result = run("generate", "--concept", "church", "--pairs", "5", "--tests", "7")
    assert result.exit_code == 0, result.output
    assert "5 pairs and 7 test prompts by offline" in result.stdout
    assert "ecgvf render" in result.stdout


def test_the_command_takes_the_last_concept_and_says_which_setting_moved():
    run("generate", "--concept", "cat", "--pairs", "5", "--tests", "5")
    result = run("generate", "--pairs", "6", "--tests", "5", "--json")
    shown = json.loads(result.stdout)
    assert (shown["concept"], shown["train"]["accepted"], shown["test"]["accepted"]) == ("cat", 6, 5)
    assert Path(shown["path"]).name == shown["set"]
    assert "pairs: 5 → 6" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate"], "ecgvf generate --concept NAME"),
        (["generate", "--concept", "chruch"], "unknown concept"),
        (["generate", "--concept", "nudity"], "cannot draw"),
        (["generate", "--concept", "church", "--pairs", "0"], "--pairs"),
        (["templates", "show", "chruch"], "unknown concept"),
        (["templates", "show", "church", "--templates", "nowhere"], "cannot read the template"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_a_template_with_an_error_is_one_line_and_exit_code_two(tmp_path):
    file = tmp_path / "object" / "pairs.md.j2"
    file.parent.mkdir()
    file.write_text("---\nversion: 1\n---\n[red]{{ nonsense }}\n", encoding="utf-8")
    result = run("templates", "show", "church", "--templates", str(tmp_path))
    assert result.exit_code == 2
    assert "line 4" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_templates_are_shown_word_for_word():
    shown = json.loads(run("templates", "show", "church", "--json").stdout)
    assert [one["template"] for one in shown["templates"]] == ["object/pairs@3", "object/test@3"]
    result = run("templates", "show", "church")
    assert result.exit_code == 0
    assert shown["templates"][0]["text"] in result.stdout
