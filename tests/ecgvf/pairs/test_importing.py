"""Other people's files, as they publish them, become pairs and test prompts of the store."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import PromptPair, Rendering, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS
from ecgvf.core.store import Store
from ecgvf.pairs import tables
from ecgvf.pairs.importing import import_pairs
from ecgvf.render import render
from tests.hub_server import Hub, Repo

runner = CliRunner()

ROWS = [
    {"target": "a church on a hill", "surrogate": "a hotel on a hill", "id": "007", "seed": 5},
    {"target": "a church by the sea", "surrogate": "a hotel by the sea", "id": "008", "seed": 6},
]


def written(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(content.encode(encoding))
    return file


def imported(source: tables.Source, store: Store, concept: str = "church", **options: str) -> list[PromptPair]:
    import_pairs(store, concepts.find(concept), source, **options)
    return store.current(concept, PAIRS).records(PromptPair)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_says_the_same(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"pairs.{ending}"
    if ending in {"csv", "tsv"}:
        mark = "," if ending == "csv" else "\t"
        lines = [mark.join(ROWS[0]), *(mark.join(map(str, row.values())) for row in ROWS)]
        file.write_text("\n".join(lines) + "\n")
    elif ending == "json":
        file.write_text(json.dumps(ROWS))
    elif ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    entries = tables.read(file).entries
    assert [(one.target, one.surrogate, one.id, one.seed) for one in entries] == [tuple(row.values()) for row in ROWS]


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_one_name_in_two_spellings_is_two_columns(tmp_path: Path, ending: str) -> None:
    file, rows = tmp_path / f"pairs.{ending}", [{"Prompt": "a church", "prompt": "a chapel"}]
    if ending == "json":
        file.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(DatasetError, match="'Prompt' and 'prompt'"):
        tables.read(file)


def test_coco_30k_is_known_in_parquet_too_and_pandas_indices_are_none(tmp_path: Path) -> None:
    row = {
        "Unnamed: 0.1": 0,
        "case_number": 7,
        "source": "coco",
        "prompt": "a church",
        "evaluation_seed": 1,
        "coco_id": 9,
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "coco.parquet")
    found = tables.read(tmp_path / "coco.parquet")
    assert found.layout == "COCO-30k" and found.entries[0].id == "9"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.json", "[" * 100_000, "not valid JSON"),
        ("deep.jsonl", '{"a":' * 100_000, "line 1"),
        ("six/malicious.csv", "Case_Number,evaluation_seed,prompt\n1,2,a church\n", "no column"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / "six").mkdir()
    (tmp_path / "six" / "clean.csv").write_text("number,prompt\n1,a hotel\n")
    file = written(tmp_path, name, content)
    with pytest.raises(DatasetError, match=said):
        tables.read(file.parent if name.startswith("six") else file)


def test_half_a_character_and_a_seed_that_is_missing_are_no_reason_to_stop(tmp_path: Path) -> None:
    file = written(tmp_path, "pairs.json", '[{"prompt": "a church \\ud800", "seed": NaN}]')
    (entry,) = tables.read(file).entries
    assert entry.target == "a church ?" and entry.seed is None


def test_a_line_of_spaces_is_none(tmp_path: Path) -> None:
    file = written(tmp_path, "pairs.csv", "prompt,seed\na church,1\n \na chapel,2\n")
    assert [one.target for one in tables.read(file).entries] == ["a church", "a chapel"]


def test_what_generate_would_reject_is_a_warning(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a church by the sea", "surrogate": "a hotel by the sea"},
        {"prompt": "a church by the sea", "surrogate": None},
        {"prompt": "A church. It is old. It is tall. It is white.", "surrogate": None},
    ]
    source = tables.read(written(tmp_path, "pairs.json", json.dumps(rows)))
    warned = import_pairs(ConceptRun(Store(tmp_path / "store"), concepts.find("church")), source).warnings
    assert {"the test prompt is like a training prompt", "more than 3 sentences"} <= set(warned)


@pytest.mark.parametrize(
    "names",
    [
        ("unsafe_prompt", "safe_prompt", "id", "sd_seed", "category"),
        ("original_prompt", "modified_prompt", "case_number", "evaluation_seed", "replaced"),
        ("malicious", "clean", "image_id", "seed", "concept"),
        ("target", "surrogate", "coco_id", "seed", "categories"),
    ],
)
def test_the_fields_names_for_one_thing_are_understood(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = written(tmp_path, "pairs.csv", f"{','.join(names)}\na church,a hotel,000042,7,church\n")
    [entry] = tables.read(file).entries
    assert (entry.target, entry.surrogate, entry.id, entry.seed) == ("a church", "a hotel", "000042", 7)
    assert entry.concepts == ("church",)


@pytest.mark.parametrize(
    ("header", "one", "other"),
    [
        ("prompt,text", "prompt", "text"),
        ("prompt,target,surrogate", "prompt", "target"),
        ("prompt,id,case_number", "id", "case_number"),
        ("prompt,seed,sd_seed", "seed", "sd_seed"),
        ("unsafe_prompt,clean,safe_prompt", "clean", "safe_prompt"),
        ("text,replaced,category", "replaced", "category"),
    ],
)
def test_two_names_for_one_thing_are_an_error_that_names_both(
    tmp_path: Path, header: str, one: str, other: str
) -> None:
    file = written(tmp_path, "pairs.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    with pytest.raises(DatasetError, match=f"'{one}' and '{other}'"):
        tables.read(file)


def test_what_files_bring_along_is_put_right(tmp_path: Path) -> None:
    text = '\ufeffUnnamed: 0, Prompt ,image_id\n0, "a church\nwith ""a"" tower ",000000203564\n'
    text += "1,  a chapel ,000000000007\n"
    entries = tables.read(written(tmp_path, "list.csv", text)).entries
    assert [one.target for one in entries] == ['a church with "a" tower', "a chapel"]
    assert [one.id for one in entries] == ["000000203564", "000000000007"]


def test_coco_30k_as_published(tmp_path: Path) -> None:
    esd = "image_id,source,prompt,evaluation_seed\n000000203564,coco-30k,A bicycle replica with a clock.,41337\n"
    esd += '000000482917,coco-30k,"A dog watching tv\n",64297\n'
    uce = "case_number,source,prompt,evaluation_seed\n195,coco-30k,A pew in a church.,60177\n"
    both = "case_number,source,prompt,evaluation_seed,coco_id\n24888,coco-30k,The baseball pitcher.,39076,76956\n"
    one = tables.read(written(tmp_path, "esd.csv", esd))
    assert [(e.id, e.target, e.seed) for e in one.entries] == [
        ("000000203564", "A bicycle replica with a clock.", 41337),
        ("000000482917", "A dog watching tv", 64297),
    ]
    assert tables.read(written(tmp_path, "uce.csv", uce)).entries[0].id == "195"
    named = tables.read(written(tmp_path, "both.csv", both))
    assert named.layout == "COCO-30k" and named.entries[0].id == "76956"


def test_i2p_as_published(tmp_path: Path) -> None:
    ours = "prompt,categories,hard,inappropriate_percentage,sd_seed,sd_guidance_scale,sd_model\n"
    ours += '"a statue, oil on canvas ","sexual, shocking",0,30.0,4261553411,7,stable-diffusion-v1-4\n'
    esd = (
        ",prompt,categories,hard,evaluation_seed,evaluation_guidance,case_number\n0,a statue,sexual,1,4080709695,7,0\n"
    )
    [entry] = tables.read(written(tmp_path, "i2p.csv", ours)).entries
    assert entry.concepts == ("sexual", "shocking") and entry.seed == 4261553411
    assert entry.target == "a statue, oil on canvas"
    [entry] = tables.read(written(tmp_path, "unsafe-prompts4703.csv", esd)).entries
    assert entry.id == "0" and entry.seed == 4080709695


def test_i2p_is_read_by_its_category_for_nudity(tmp_path: Path) -> None:
    text = "prompt,categories,hard,inappropriate_percentage,nudity_percentage,sd_seed\n"
    text += '"a statue","sexual, violence",0,30.0,70.0,1\n"a riot",violence,0,30.0,0.0,2\n"a pose",sexual,1,9.0,9.0,3\n'
    file = written(tmp_path, "i2p.csv", text)
    told = runner.invoke(app, ["import", str(file), "--concept", "nudity"])
    assert told.exit_code == 0, told.output
    assert "the rows of 'sexual'" in told.stdout and "1 rows of other concepts left out" in told.stdout
    inferred = Store().current("nudity", PAIRS)
    rows = inferred.records(PromptPair)
    assert [(row.target, row.split, row.seed) for row in rows] == [("a statue", "test", 1), ("a pose", "test", 3)]
    assert runner.invoke(app, ["import", str(file), "--concept", "nudity", "--only", "sexual"]).exit_code == 0
    assert Store().current("nudity", PAIRS).fingerprint == inferred.fingerprint


def test_a_row_that_names_nudity_itself_counts_more_than_the_category(tmp_path: Path) -> None:
    file = written(tmp_path, "list.csv", "prompt,categories\na pose,nudity\na kiss,sexual\n")
    assert [row.target for row in imported(tables.read(file), Store(), "nudity")] == ["a pose"]


def test_the_category_of_nudity_is_no_other_concepts(tmp_path: Path) -> None:
    file = written(tmp_path, "list.csv", "prompt,categories\na pose,sexual\n")
    with pytest.raises(DatasetError, match="names 'sexual'; choose one with --only"):
        imported(tables.read(file), Store(), "church")


MMA = "target_prompt,adv_prompt,sanitized_adv_prompt,success_against_sanitization_defense,clean_prompt\n"
MMA += "a naked man,pai nted untouched,painted untouched,True,two brown chairs\n"


def test_of_mma_diffusion_what_is_sent_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, "mma.csv", MMA)
    [entry] = tables.read(file).entries
    assert (entry.target, entry.surrogate) == ("pai nted untouched", None)
    [entry] = tables.read(written(tmp_path, "a.csv", "target,adv_prompt\na naked man,pai nted\n")).entries
    assert (entry.target, entry.surrogate) == ("pai nted", None)


def test_column_chooses_what_is_read_and_makes_another_set(tmp_path: Path) -> None:
    file = written(tmp_path, "mma.csv", MMA)
    sets = {}
    for options, column, prompt in (
        ([], "adv_prompt", "pai nted untouched"),
        (["--column", "target_prompt"], "target_prompt", "a naked man"),
        (["--column", "Sanitized_adv_prompt"], "sanitized_adv_prompt", "painted untouched"),
    ):
        told = runner.invoke(app, ["import", str(file), "--concept", "nudity", "--json", *options])
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)["columns"] == {"target": [column]}
        [row] = from_table(PromptPair, Store().current("nudity", PAIRS).read())
        assert row.target == prompt
        sets[column] = json.loads(told.stdout)["set"]
    assert len(set(sets.values())) == 3


@pytest.mark.parametrize(
    ("header", "values", "options", "read"),
    [
        ("prompt,text", "a church,a chapel", ["text"], ("a chapel", None)),
        ("caption,id", "a church,1", ["caption"], ("a church", None)),
        ("unsafe_prompt,clean,safe_prompt", "a church,a hotel,a bank", ["safe_prompt"], ("a church", "a bank")),
        ("prompt,text,clean,safe_prompt", "a,b,c,d", ["text", "clean"], ("b", "c")),
        ("prompt,unsafe,safe", "a church,1,0", ["prompt"], ("a church", None)),
        ("prompt,unsafe,safe", "seen,a church,a hotel", ["unsafe"], ("a church", "a hotel")),
        ("case_number,evaluation_seed,target,prompt", "1,2,church,a chapel", ["target"], ("church", None)),
    ],
)
def test_column_settles_two_readings(
    tmp_path: Path, header: str, values: str, options: list[str], read: tuple[str, str | None]
) -> None:
    [entry] = tables.read(written(tmp_path, "a.csv", f"{header}\n{values}\n"), options).entries
    assert (entry.target, entry.surrogate) == read


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("prompt,text", [], "'prompt' and 'text'; choose one: `ecgvf import --column prompt`"),
        ("prompt,adv_prompt", [], "'prompt' and 'adv_prompt'; choose one: `ecgvf import --column prompt`"),
        ("prompt,unsafe,safe", [], "'prompt' and 'unsafe'; choose one: `ecgvf import --column prompt`"),
        ("caption,id", [], "no column of prompts: it has caption, id; name one with `ecgvf import --column`"),
        ("prompt,id", ["caption"], "no column 'caption': it has prompt, id"),
        ("prompt,text", ["prompt", "text"], "--column prompt and --column text are for one thing (target)"),
    ],
)
def test_what_column_does_not_settle_is_one_line(tmp_path: Path, header: str, options: list[str], message: str) -> None:
    file = written(tmp_path, "a.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    chosen = [word for option in options for word in ("--column", option)]
    told = runner.invoke(app, ["import", str(file), "--concept", "church", *chosen])
    assert told.exit_code == 2 and message in told.stderr and told.stderr.count("\n") == 1


@pytest.mark.parametrize(("target", "surrogate"), [("unsafe", "safe"), ("positive", "neutral")])
def test_names_that_are_prompts_beside_each_other_only(tmp_path: Path, target: str, surrogate: str) -> None:
    [pair] = imported(tables.read(written(tmp_path, "a.csv", f"{target},{surrogate}\na church,a hotel\n")), Store())
    assert (pair.target, pair.surrogate, pair.split) == ("a church", "a hotel", "train")
    for alone in (target, surrogate):  # a flag, or a sentiment
        [entry] = tables.read(written(tmp_path, "b.csv", f"prompt,{alone}\na church,1\n")).entries
        assert (entry.target, entry.surrogate) == ("a church", None)


def test_a_text_file_is_a_prompt_per_line(tmp_path: Path) -> None:
    text = '\ufeffa church, at "noon"\r\n\r\n  a chapel \nprompt\n'
    source = tables.read(written(tmp_path, "prompts.txt", text))
    assert [(one.target, one.surrogate) for one in source.entries] == [
        ('a church, at "noon"', None),
        ("a chapel", None),
        ("prompt", None),
    ]
    told = runner.invoke(app, ["import", str(tmp_path / "prompts.txt"), "--concept", "church"])
    assert told.exit_code == 0 and "0 pairs and 3 test prompts" in told.stdout
    empty = written(tmp_path, "empty.txt", "\n \n")
    with pytest.raises(DatasetError, match="has no rows"):
        tables.read(empty)


def test_six_cd_as_published(tmp_path: Path) -> None:
    targets = 'case_number,evaluation_seed,target,prompt\n40,10824,church,"church, desert, dunes"\n'
    targets += '50,660,French horn,"French horn, factory"\n'
    written(tmp_path, "malicious.csv", targets)
    alone = tables.read(tmp_path / "malicious.csv")
    assert alone.layout == "Six-CD" and alone.entries[0].target == "church, desert, dunes"
    assert alone.entries[0].concepts == ("church",) and alone.entries[0].surrogate is None
    written(tmp_path, "clean.csv", 'case_number,evaluation_seed,prompt\n40,10824,"desert, dunes"\n50,660,factory\n')
    [pair] = imported(tables.read(tmp_path), Store())
    assert (pair.target, pair.surrogate) == ("church, desert, dunes", "desert, dunes")
    assert (pair.source_id, pair.seed) == ("40", 10824)


def test_copro_as_published(tmp_path: Path) -> None:
    row = {"unsafe_prompt": "a church burns", "safe_prompt": "a hotel stands", "concept": "church", "category": "hate"}
    other = {**row, "unsafe_prompt": "a noose", "concept": "noose", "category": "self-harm"}
    file = written(tmp_path, "CoPro_v1.0.json", json.dumps({"ID_train_data": [row], "OOD_test_data": [other]}))
    source = tables.read(file)
    assert source.layout == "CoPro" and [one.concepts for one in source.entries] == [
        ("church", "hate"),
        ("noose", "self-harm"),
    ]
    assert [one.target for one in imported(source, Store())] == ["a church burns"]


def test_rows_of_other_concepts_are_left_out_or_chosen_by_what_the_file_calls_them(tmp_path: Path) -> None:
    file = written(tmp_path, "list.csv", "prompt,category\na church,religion\na noose,self-harm\n")
    with pytest.raises(DatasetError, match="'religion', 'self-harm'; choose one with --only"):
        imported(tables.read(file), Store())
    assert [one.target for one in imported(tables.read(file), Store(), only="Religion")] == ["a church"]


def test_what_generate_rejects_is_a_warning_here(tmp_path: Path) -> None:
    rows = "target,surrogate\na tower,a hotel\na church at noon,a church at night\na church,some entirely other scene\n"
    source = tables.read(written(tmp_path, "pairs.csv", rows))
    brought = import_pairs(ConceptRun(Store(), concepts.find("church")), source)
    assert set(brought.warnings) >= {"the target does not name the concept", "the surrogate names the concept"}
    assert any("other words changed" in warning for warning in brought.warnings)
    assert brought.stage.summary["train"] == {"accepted": 3, "malformed": 0, "duplicate": 0}


def test_what_cannot_be_drawn_stays_with_its_reason(tmp_path: Path) -> None:
    rows = f"target,surrogate\na church,a hotel\na  church ,a hotel\n,a hotel\n{'x' * 2000},a hotel\n"
    records = imported(tables.read(written(tmp_path, "pairs.csv", rows)), Store())
    assert [one.reason for one in records] == [None, "duplicate", "malformed", "malformed"]
    assert len({one.record_id for one in records}) == 4


def test_source_hash_and_licence_are_kept(tmp_path: Path) -> None:
    file = written(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")
    told = runner.invoke(app, ["import", str(file), "--concept", "church", "--licence", "CC BY 4.0", "--json"])
    assert told.exit_code == 0, told.output
    source = json.loads(told.stdout)["source"]
    assert source["name"] == "pairs.csv" and source["licence"] == "CC BY 4.0" and len(source["sha256"]) == 64
    assert Store().current("church", PAIRS).settings["source"] == source
    again = runner.invoke(app, ["import", str(file), "--concept", "church", "--licence", "CC BY 4.0"])
    assert "1 pairs and 0 test prompts" in again.stdout and "target by target" in again.stdout


def test_a_stated_seed_draws_the_pictures(tmp_path: Path, tiny_path: Path) -> None:
    store = Store()
    imported(tables.read(written(tmp_path, "pairs.csv", "target,surrogate,seed\na church,a hotel,42\n")), store)
    drawn = render(store, store.concept(), model=str(tiny_path), device="cpu").images
    assert {one.seed for table in drawn.tables() for one in from_table(Rendering, table)} == {42}


def test_a_dataset_on_the_hub_is_read_like_a_file(hub: Hub) -> None:
    repo = hub.repos["someone/pairs"] = Repo("someone/pairs", False)
    repo.commit("initial commit", {})
    hub.write("someone/pairs", "pairs.csv", "prompt,surrogate,extra,case_number\na church,a hotel,1,0007\n")
    told = runner.invoke(app, ["import", "hub:someone/pairs", "--concept", "church", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["source"]["name"] == "someone/pairs"
    [pair] = from_table(PromptPair, Store().current("church", PAIRS).read())
    assert (pair.target, pair.surrogate, pair.source_id) == ("a church", "a hotel", "0007")
    hub.write("someone/pairs", "pairs.csv", "prompt,text\na church,a chapel\n")
    chosen = runner.invoke(app, ["import", "hub:someone/pairs", "--concept", "church", "--column", "text"])
    assert chosen.exit_code == 0, chosen.output
    assert [row.target for row in from_table(PromptPair, Store().current("church", PAIRS).read())] == ["a chapel"]
    hub.repos["someone/empty"] = Repo("someone/empty", False)
    hub.repos["someone/empty"].commit("initial commit", {})
    empty = runner.invoke(app, ["import", "hub:someone/empty", "--concept", "church"])
    assert empty.exit_code == 2 and "someone/empty" in empty.stderr and empty.stderr.count("\n") == 1
    missing = runner.invoke(app, ["import", "hub:someone/nothing", "--concept", "church"])
    assert missing.exit_code == 2 and "someone/nothing" in missing.stderr and missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "prompt\n", "has no rows"),
        ("a.csv", "caption\na church\n", "no column of prompts: it has caption"),
        ("a.csv", "prompt,id\na church, with commas,1\n", "line 2: more fields"),
        ("a.csv", "prompt,id\na church\n", "line 2: fewer fields"),
        ("a.csv", "prompt,prompt\na,b\n", "two columns named 'prompt'"),
        ("a.csv", "prompt,seed\na church,many\n", "row 1: 'many' is no seed"),
        ("a.csv", "prompt,seed\na church,1.5\n", "row 1: '1.5' is no seed"),
        ("a.csv", "prompt,seed\na church,9223372036854775808\n", "row 1: '9223372036854775808' is no seed"),
        ("a.csv", "prompt,seed\na church,1e999999999\n", "row 1: '1e999999999' is no seed"),
        ("a.json", '{"prompt": "a church"}', "no list of objects"),
        ("a.json", "[", "not valid JSON"),
        ("a.json", '{"prompt": ["a"], "seed": [1, 2]}', "not equally long"),
        ("a.json", '[{"prompt": 7}]', "row 1: 7 is no text"),
        ("a.jsonl", '{"prompt": "a"}\n7\n', "line 2: not an object"),
        ("a.parquet", "no parquet", "no Parquet file"),
        ("a.xlsx", "", "Use .csv"),
        ("a", "", "file without an ending"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = written(tmp_path, name, content)
    result = runner.invoke(app, ["import", str(file), "--concept", "church"])
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_a_file_that_is_not_utf_8_or_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="save it as UTF-8"):
        tables.read(written(tmp_path, "a.csv", "prompt\nune église\n", "latin-1"))
    with pytest.raises(DatasetError, match="there is no file"):
        tables.read(tmp_path / "nothing.csv")
    with pytest.raises(DatasetError, match=r"without malicious\.csv"):
        tables.read(tmp_path)


@given(st.integers(0, 2**63 - 1), st.sampled_from(["{}", "{}.0"]))
def test_every_seed_that_is_written_down_is_read_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, form: str
) -> None:
    file = written(tmp_path_factory.mktemp("seed"), "a.csv", f"prompt,seed\na church,{form.format(seed)}\n")
    assert tables.read(file).entries[0].seed == seed


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_any_prompts_survive_csv_and_json(pairs: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    csv = "target,surrogate\n" + "".join(f"{quoted(one)},{quoted(other)}\n" for one, other in pairs)
    jsonl = "\n".join(json.dumps({"target": one, "surrogate": other}) for one, other in pairs)
    wanted = [(tables.one_line(one), tables.one_line(other)) for one, other in pairs]
    for name, text in (("a.csv", csv), ("a.jsonl", jsonl)):
        data = text.encode()
        entries = tables.source(name, data, tables.parse(Path(name), data)).entries
        assert [(entry.target, entry.surrogate) for entry in entries] == wanted
