"""Stage 1 writes what was asked for, keeps rejects, and writes the same bytes if interrupted; and its commands."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ecgvf import Run
from ecgvf.cli import app
from ecgvf.core.concepts import Concept, find
from ecgvf.core.errors import SettingsError, StoreCorrupt, WriterError
from ecgvf.core.paths import data_dir
from ecgvf.core.records import WORDINGS, PromptPair, Split, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.llm.registry import Registry
from ecgvf.pairs.captions import captioned_concepts
from ecgvf.pairs.checks import PromptIndex, are_near_duplicates
from ecgvf.pairs.generate import MAX_FRUITLESS_CALLS, generate_pairs
from ecgvf.pairs.generation_plan import plan_generation
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.splits import keep_split
from ecgvf.pairs.writer import Answer, Provenance, Request

CHURCH = find("church")

WRITTEN: tuple[Split, ...] = ("train", "validation", "test")
"""The splits that are written unless one is named."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ConceptRun:
    """Church with the pairs of an undisturbed run, for tests that only read them."""
    run = ConceptRun(Store(tmp_path_factory.mktemp("whole") / "store"), CHURCH)
    generate_pairs(run)
    return run


def records(stage_set: StageSet) -> list[PromptPair]:
    return stage_set.records(PromptPair)


def accepted(stage_set: StageSet, split: Split) -> list[PromptPair]:
    return [record for record in records(stage_set) if record.split == split and record.reason is None]


def test_the_shipped_dataset_has_the_pairs_that_are_written_now(tmp_path: Path) -> None:
    shipped = json.loads((data_dir() / "datasets" / "church" / "ecgvf.json").read_text(encoding="utf-8"))
    written = generate_pairs(ConceptRun(Store(tmp_path / "store"), CHURCH), pairs=60, validation=100, tests=100)
    assert written.fingerprint == shipped["concepts"]["church"]["sets"]["pairs"]


class ScriptedWriter(OfflineWriter):
    """Gives these answers to the requests of each split, then repeats the last."""

    answers: tuple[str, ...]

    def __init__(self, *answers: str) -> None:
        object.__setattr__(self, "name", "scripted")
        object.__setattr__(self, "answers", answers)

    def settings(self) -> dict[str, Any]:
        return {"writer": self.name}

    def check(self, concept: Concept) -> None:
        pass

    def write(self, request: Request) -> Answer:
        provenance = Provenance(
            writer=self.name,
            split=request.split,
            iteration=request.iteration,
            call_id=self.call_id(request),
            model_asked="model",
            model_answered="model-2",
            template="object/pairs@1",
            template_hash="0" * 64,
        )
        return Answer(self.answers[min(request.iteration, len(self.answers) - 1)], provenance)


def pair(
    target: str, surrogate: str = "hotel at noon", term: str = "church", surrogate_term: str = "hotel"
) -> dict[str, str]:
    return {"target": target, "surrogate": surrogate, "target_term": term, "surrogate_term": surrogate_term}


@pytest.mark.parametrize("name", ["church", "castle", "cat", "van-gogh"])
def test_the_offline_writer_fills_every_split_by_default(tmp_path: Path, name: str) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find(name))
    stage_set = generate_pairs(run)
    assert [len(accepted(stage_set, split)) for split in WRITTEN] == [60, 100, 100]
    written = [record for record in records(stage_set) if record.reason is None]
    assert all(record.surrogate and record.wording for record in written)
    assert {record.writer for record in records(stage_set)} == {"offline"}
    assert stage_set.finished
    assert run.current(PAIRS).fingerprint == stage_set.fingerprint
    assert run.store.last_concept() == name


def test_ids_are_unique_and_no_two_prompts_are_near_duplicates(whole: ConceptRun) -> None:
    stage_set = whole.current(PAIRS)
    ids = [record.record_id for record in records(stage_set)]
    assert len(set(ids)) == len(ids)
    assert near_duplicates(stage_set) == []


@pytest.mark.parametrize("name", ["castle", "cat", "van-gogh"])
def test_no_two_prompts_of_another_concept_are_near_duplicates(tmp_path: Path, name: str) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find(name))
    assert near_duplicates(generate_pairs(run, pairs=20, validation=20, tests=20)) == []


def near_duplicates(stage_set: StageSet) -> list[tuple[str, str]]:
    """Among the accepted target prompts of all splits, of which there are some."""
    targets = [record.target for split in WRITTEN for record in accepted(stage_set, split)]
    assert len(targets) >= 60
    return [pair for pair in combinations(targets, 2) if are_near_duplicates(*pair)]


def test_600_evaluation_prompts_are_at_least_80_of_each_class(tmp_path: Path) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find("cat"))  # of the shipped concepts, the one with the fewest
    stage_set = generate_pairs(run, validation=600, tests=600)
    for split in ("validation", "test"):
        counts = Counter(record.wording for record in accepted(stage_set, split))
        assert set(counts) == set(WORDINGS) and min(counts.values()) >= 80


def test_rejects_stay_with_reason_and_raw_text(run: ConceptRun) -> None:
    answer = json.dumps(
        [
            pair("church at noon"),
            pair("A church at noon.", "A hotel at noon."),
            pair("church by night", "chapel by night", surrogate_term="chapel"),
            {"target": "broken"},
            pair("church in spring", "hotel in spring"),
        ]
    )
    stage_set = generate_pairs(run, pairs=2, validation=0, tests=0, writer=ScriptedWriter(answer))
    kept = records(stage_set)
    assert [record.reason for record in kept] == [None, "duplicate", "malformed", "malformed", None]
    details = [record.detail or "" for record in kept]
    assert "church at noon" in details[1]
    assert "chapel by night" in details[2] and "names the concept" in details[2]
    assert '{"target": "broken"}' in details[3]
    assert (kept[3].target, kept[0].detail) == ("", None)
    assert stage_set.summary["train"] == {"accepted": 2, "malformed": 2, "duplicate": 1}
    assert {record.model_answered for record in kept} == {"model-2"}


def test_target_term_is_the_concepts_own_unless_the_target_has_none(run: ConceptRun) -> None:
    answer = json.dumps(
        [pair("Two Churches", "Two hotels", "Churches", "hotels"), pair("a chruch", "a hotel", "chruch")]
    )
    written = records(generate_pairs(run, pairs=2, validation=0, tests=0, writer=ScriptedWriter(answer)))
    assert [record.target_term for record in written] == ["church", "chruch"]


def test_writer_without_new_prompts_stops_with_a_note(run: ConceptRun, capsys: pytest.CaptureFixture[str]) -> None:
    stage_set = generate_pairs(
        run, pairs=5, validation=0, tests=1, writer=ScriptedWriter(json.dumps([pair("church at noon")]))
    )
    assert len(accepted(stage_set, "train")) == 1
    duplicates = [r for r in records(stage_set) if r.reason == "duplicate" and r.split == "train"]
    assert len(duplicates) == MAX_FRUITLESS_CALLS
    assert "only 1 of 5 pairs by scripted" in capsys.readouterr().err
    assert stage_set.finished


def test_split_is_written_anew_while_the_other_is_kept(run: ConceptRun) -> None:
    before = accepted(generate_pairs(run, pairs=5, tests=4), "train")
    stage_set = generate_pairs(run, tests=7, seed=1, split="test")
    assert accepted(stage_set, "train") == before and len(accepted(stage_set, "test")) == 7


def test_count_is_of_the_split_that_is_named(run: ConceptRun) -> None:
    command("generate", "--concept", "church", "--pairs", "5", "--validation", "1", "--tests", "2")
    result = command("generate", "--split", "validation", "--count", "8", "--json")
    output = json.loads(result.stdout)
    assert [output[split]["accepted"] for split in WRITTEN] == [5, 8, 2]


def test_set_from_before_there_was_validation_keeps_its_splits(run: ConceptRun) -> None:
    made = records(generate_pairs(run, pairs=5, validation=0, tests=4))
    concept = run.concept.model_dump(mode="json")
    del concept["unseen_terms"]
    older = ConceptRun(run.store, Concept.model_validate(concept))
    older.store.remember(older.concept)
    stage_set = older.stage_set(PAIRS, {"concept": concept, "train": {"pairs": 5}, "test": {"tests": 4}})
    for shard, split in enumerate(("train", "test")):
        rows = [record for record in made if record.split == split]
        stage_set.write_shard(shard, to_table(PromptPair, rows).drop_columns(["wording"]))
    stage_set.finish({"writer": "offline"})
    written = generate_pairs(older, validation=6, split="validation")
    assert [len(accepted(written, split)) for split in WRITTEN] == [5, 6, 4]


def test_a_changed_concept_is_remembered_once_there_are_pairs_of_it(
    run: ConceptRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_pairs(run, pairs=2, validation=0, tests=0)
    changed = ConceptRun(run.store, run.concept.model_copy(update={"description": "Another."}))
    with monkeypatch.context() as patch:
        patch.setattr(OfflineWriter, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            generate_pairs(changed, pairs=2, validation=0, tests=0)
    assert run.store.concept() == run.concept
    generate_pairs(changed, pairs=2, validation=0, tests=0)
    assert run.store.concept() == changed.concept


def test_kept_test_prompt_near_a_new_pair_is_rejected(run: ConceptRun) -> None:
    current = generate_pairs(run, pairs=5, validation=0, tests=4)
    first, *others = accepted(current, "test")
    kept = keep_split(current, "test").records(PromptIndex([first.target]))
    assert [record.reason for record in kept] == ["duplicate"] + [None] * len(others)


def test_kept_test_prompt_is_accepted_again_if_no_pair_is_near_it(run: ConceptRun) -> None:
    def tests_beside_pair(target: str, seed: int) -> list[PromptPair]:
        writer = ScriptedWriter(json.dumps([pair(target, target.replace("church", "hotel"))]))
        stage_set = generate_pairs(run, pairs=1, writer=writer, seed=seed, split="train")
        return [record for record in records(stage_set) if record.split == "test"]

    first, *others = before = records(generate_pairs(run, tests=4, split="test"))
    assert [r.reason for r in tests_beside_pair(first.target, seed=1)] == ["duplicate"] + [None] * len(others)
    assert tests_beside_pair("church number one", seed=2) == before


def test_kept_test_prompt_that_is_a_new_pair_has_another_id(run: ConceptRun) -> None:
    first, *_ = accepted(generate_pairs(run, tests=4, split="test"), "test")
    writer = ScriptedWriter(
        json.dumps([pair(first.target, str(first.surrogate), first.target_term, str(first.surrogate_term))])
    )
    stage_set = generate_pairs(run, pairs=1, writer=writer, split="train")
    ids = {record.record_id: record.reason for record in records(stage_set)}
    assert len(ids) == len(records(stage_set)) and ids[first.record_id] is None


def test_set_with_kept_splits_is_not_the_set_of_a_plain_command(tmp_path: Path) -> None:
    class Seeded(ScriptedWriter):
        def write(self, request: Request) -> Answer:
            when = [("at noon", "by night")[request.seed]] if request.split == "train" else ["by night", "in spring"]
            return ScriptedWriter(json.dumps([pair(f"church {each}", f"hotel {each}") for each in when])).write(request)

    def write(run: ConceptRun, seed: int, split: Split | None = None) -> StageSet:
        return generate_pairs(run, pairs=1, validation=1, tests=0, seed=seed, split=split, writer=Seeded())

    plain, in_turn = (ConceptRun(Store(tmp_path / name), CHURCH) for name in ("plain", "in-turn"))
    expected = write(plain, 0)
    write(in_turn, 1)
    write(in_turn, 0, "test")
    write(in_turn, 0, "validation")  # its first prompt is in training
    written = write(in_turn, 0, "train")
    assert accepted(written, "train") == accepted(expected, "train")
    assert [record.target for record in accepted(expected, "validation")] == ["church by night"]
    assert [record.target for record in accepted(written, "validation")] == ["church in spring"]
    assert written.fingerprint != expected.fingerprint


def test_splits_written_in_turn_find_their_sets_again(run: ConceptRun) -> None:
    def write() -> list[str]:
        splits: tuple[Split, ...] = ("train", "test")
        return [generate_pairs(run, pairs=5, tests=4, split=split).fingerprint for split in splits]

    write()
    assert write() == write()


def test_repeated_command_for_a_split_opens_no_other_set(run: ConceptRun) -> None:
    def write(split: Split) -> StageSet:
        return generate_pairs(run, pairs=5, validation=3, tests=4, split=split)

    written = [write(split) for split in WRITTEN][-1]
    assert {write(split).fingerprint for split in WRITTEN} == {written.fingerprint}
    assert run.current(PAIRS).path == written.path and len(run.sets(PAIRS)) == len(WRITTEN)


def test_repeated_command_opens_a_set_if_its_split_gets_other_prompts(run: ConceptRun) -> None:
    class Tests(ScriptedWriter):
        def write(self, request: Request) -> Answer:
            when = ["at noon"] if request.split == "train" else ["at noon", "by night"]
            return ScriptedWriter(json.dumps([pair(f"church {each}", f"hotel {each}") for each in when])).write(request)

    def write(split: Split) -> list[str]:
        return [
            pair.target for pair in accepted(generate_pairs(run, pairs=1, tests=1, split=split, writer=Tests()), "test")
        ]

    assert [write("test"), write("train"), write("test")] == [["church at noon"], [], ["church by night"]]


def test_answer_without_json_is_a_reject(run: ConceptRun) -> None:
    writer = ScriptedWriter("Sorry.", json.dumps([pair("church at noon")]))
    kept = records(generate_pairs(run, pairs=1, validation=0, tests=0, writer=writer))
    assert [record.reason for record in kept] == ["malformed", None]
    assert kept[0].detail == "no JSON list of objects: Sorry."


def test_answer_with_too_many_pairs_is_cut(run: ConceptRun) -> None:
    answer = json.dumps([pair(f"church number {n}", f"hotel number {n}") for n in ("one", "two", "three")])
    assert len(records(generate_pairs(run, pairs=2, validation=0, tests=0, writer=ScriptedWriter(answer)))) == 2


def shards(run: ConceptRun) -> dict[str, bytes]:
    root = run.store.root
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.parquet")}


def test_equal_runs_write_equal_bytes_and_another_seed_another_set(whole: ConceptRun, run: ConceptRun) -> None:
    stage_set = generate_pairs(run)
    assert generate_pairs(run).fingerprint == stage_set.fingerprint
    assert shards(run) == shards(whole)
    assert generate_pairs(run, seed=1).fingerprint != stage_set.fingerprint


@pytest.mark.faults
@pytest.mark.parametrize("split", WRITTEN)
def test_interrupted_run_resumes_to_the_same_bytes(whole: ConceptRun, run: ConceptRun, split: Split) -> None:
    class Interrupted(OfflineWriter):
        def write(self, request: Request) -> Answer:
            if request.split == split and request.iteration == 3:
                raise KeyboardInterrupt
            return super().write(request)

    with pytest.raises(KeyboardInterrupt):
        generate_pairs(run, writer=Interrupted())
    assert len(shards(run)) == WRITTEN.index(split)
    assert not list(run.store.root.rglob("manifest.json"))
    generate_pairs(run)
    assert shards(run) == shards(whole)


def test_a_shard_that_was_changed_by_hand_or_lost_is_an_error(run: ConceptRun) -> None:
    stage_set = generate_pairs(run)
    stage_set.shard(0).write_bytes(stage_set.shard(0).read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match="shard-00000"):
        generate_pairs(run)
    stage_set.shard(0).unlink()
    with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is missing"):
        generate_pairs(run)


@pytest.mark.parametrize(("name", "number"), [("pairs", 0), ("pairs", -1), ("validation", -1), ("tests", -1)])
def test_impossible_numbers_are_an_error(run: ConceptRun, name: str, number: int) -> None:
    with pytest.raises(SettingsError, match=f"^{name} {number}: it must be "):
        generate_pairs(run, **{"pairs": 1, "validation": 1, "tests": 1} | {name: number})


@pytest.mark.parametrize(
    ("numbers", "split"), [({"pairs": 5}, "test"), ({"tests": 5}, "validation"), ({"retained": 5}, None)]
)
def test_a_number_of_prompts_that_are_not_written_is_an_error(
    run: ConceptRun, numbers: dict[str, int], split: Split | None
) -> None:
    [name] = numbers
    with pytest.raises(SettingsError, match=f"^{name} 5: not written with split={split!r}"):
        Run(CHURCH, run.store).generate(**numbers, split=split)


@pytest.mark.parametrize(
    ("split", "requested"), [("train", [20, 20, 20]), ("validation", [10, 10]), ("test", [10, 10])]
)
def test_the_count_of_a_plan_is_of_its_split(split: Split, requested: list[int]) -> None:
    writers = Registry().preset("default")[:1]
    [plan] = plan_generation(CHURCH, writers, split=split, count=20)
    assert list(plan.counts) == requested
    if split != "train":
        with pytest.raises(SettingsError, match=r"^iterations 2: only pairs have iterations"):
            plan_generation(CHURCH, writers, split=split, iterations=2)


def test_concept_outside_nanos_world_leaves_no_trace(tmp_path: Path) -> None:
    run = ConceptRun(Store(tmp_path / "store"), find("nudity"))
    with pytest.raises(WriterError):
        generate_pairs(run)
    assert not run.store.root.exists()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_command_reports_what_it_wrote() -> None:
    result = command("generate", "--concept", "church", "--pairs", "5", "--validation", "6", "--tests", "7")
    assert result.exit_code == 0, result.output
    assert "5 pairs, 6 validation prompts, 7 test prompts by offline" in result.stdout
    assert "ecgvf render" in result.stdout


def test_command_takes_the_last_concept_and_reports_changed_settings() -> None:
    command("generate", "--concept", "cat", "--pairs", "5", "--tests", "5")
    result = command("generate", "--pairs", "6", "--tests", "5", "--json")
    output = json.loads(result.stdout)
    assert (output["concept"], output["train"]["accepted"], output["test"]["accepted"]) == ("cat", 6, 5)
    assert Path(output["path"]).name == output["set"]
    assert "--pairs: 5 → 6" in result.stderr and "train." not in result.stderr


def test_command_names_changed_settings_by_their_options_each_once() -> None:
    def changes(*arguments: str) -> list[str]:
        lines = command("generate", *arguments).stderr.splitlines()
        return [line.split(": ", 1)[1] for line in lines if "→" in line]

    changes("--concept", "cat", "--pairs", "5", "--validation", "2", "--tests", "3")
    changed = changes("--pairs", "5", "--validation", "2", "--tests", "4", "--seed", "1")
    assert changed == ["--seed: 0 → 1", "--tests: 3 → 4"]
    assert changes("--split", "validation", "--count", "4", "--seed", "1") == ["--validation: 2 → 4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "name a concept with --concept: `ecgvf concepts` lists them"),
        (["generate", "--concept", "chruch"], "unknown concept"),
        (["generate", "--concept", "nudity"], "cannot render"),
        (["generate", "--concept", "nudity", "--writers", "offline", "--dry-run"], "cannot render"),
        (["generate", "--concept", "church", "--pairs", "0"], "--pairs 0: it must be at least 1"),
        (["generate", "--concept", "church", "--pairs", "-5", "--iterations", "-2"], ": it must be at least 1"),
        (["generate", "--concept", "church", "--iterations", "0"], "--iterations 0: it must be at least 1"),
        (
            ["generate", "--concept", "church", "--writers", "offline", "--iterations", "0", "--dry-run"],
            "--iterations 0: it must be at least 1",
        ),
        (["templates", "show", "chruch"], "unknown concept"),
        (["templates", "show", "church", "--templates", "nowhere"], "cannot read the template"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments: list[str], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_template_error_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    file = tmp_path / "object" / "pairs.md.j2"
    file.parent.mkdir()
    file.write_text("---\nversion: 1\n---\n[red]{{ nonsense }}\n", encoding="utf-8")
    result = command("templates", "show", "church", "--templates", str(tmp_path))
    assert result.exit_code == 2
    assert "line 4" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_templates_are_shown_verbatim() -> None:
    output = json.loads(command("templates", "show", "church", "--json").stdout)
    assert [template["template"] for template in output["templates"]] == [
        "object/pairs@5",
        "object/evaluation@6",
        "object/retain@1",
    ]
    result = command("templates", "show", "church")
    assert result.exit_code == 0
    assert output["templates"][0]["text"] in result.stdout


@pytest.mark.parametrize(("count", "iteration"), [(10, 1), (100, 0)])
def test_a_shown_request_for_captions_lists_the_retained_concepts_of_its_call(count: int, iteration: int) -> None:
    words = ("--count", str(count), "--iteration", str(iteration), "--json")
    *_, shown = json.loads(command("templates", "show", "church", *words).stdout)["templates"]
    names = [each.name for each in captioned_concepts(CHURCH)] * 5
    [plan] = plan_generation(CHURCH, Registry().preset("default")[:1], split="retain", count=5)
    listed = [line.removeprefix("- ") for line in shown["text"].splitlines() if line.startswith("- ")]
    assert f"Write {count} plain captions" in shown["text"]
    assert listed == names[iteration * count : (iteration + 1) * count]
    if count == 10:
        assert shown["text"] == plan.call(iteration).prompt
