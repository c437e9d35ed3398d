"""Other people's files, as published, become pairs and test prompts of the store."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError
from ecgvf.core.paths import data_dir
from ecgvf.core.records import PromptPair, Rendering, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.core.store import Store
from ecgvf.pairs import record_files, tables
from ecgvf.pairs.generate import generate_pairs, write_captions
from ecgvf.pairs.importing import import_pairs, matching_rows
from ecgvf.pairs.splits import split_records
from ecgvf.pairs.tables import read_table
from ecgvf.render import RenderOptions, render
from tests.hub_server import Hub, Repo

ROWS = [
    {"target": "a church on a hill", "surrogate": "a hotel on a hill", "id": "007", "seed": 5},
    {"target": "a church by the sea", "surrogate": "a hotel by the sea", "id": "008", "seed": 6},
]


def write(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(content.encode(encoding))
    return file


def imported(table: tables.PromptTable, concept: str = "church", **options: str) -> list[PromptPair]:
    """The records of ``table`` in the store."""
    run = ConceptRun(Store(), concepts.find(concept))
    return import_pairs(run, table, **options).stage.records(PromptPair)


def current(concept: str) -> StageSet:
    return ConceptRun(Store(), Store().concept(concept)).current(PAIRS)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["import", *arguments])


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"pairs.{ending}"
    if ending in {"csv", "tsv"}:
        delimiter = "," if ending == "csv" else "\t"
        lines = [delimiter.join(ROWS[0]), *(delimiter.join(map(str, row.values())) for row in ROWS)]
        file.write_text("\n".join(lines) + "\n")
    elif ending == "json":
        file.write_text(json.dumps(ROWS))
    elif ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    rows = read_table(file).rows
    assert [(row.target, row.surrogate, row.id, row.seed) for row in rows] == [tuple(row.values()) for row in ROWS]


@pytest.mark.parametrize(
    "lists", [pa.list_(pa.string()), pa.list_(pa.string(), 1), pa.large_list(pa.large_string())], ids=str
)
def test_a_column_of_lists_in_parquet_selects_the_concept(tmp_path: Path, lists: pa.DataType) -> None:
    rows = {"prompt": ["a naked man", "a man with a gun"], "categories": pa.array([["sexual"], ["violence"]], lists)}
    pq.write_table(pa.table(rows), tmp_path / "unsafe.parquet")
    found = matching_rows(concepts.find("nudity"), read_table(tmp_path / "unsafe.parquet"), "sexual")
    assert [row.target for row in found] == ["a naked man"]


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_column_name_in_two_spellings_is_an_error(tmp_path: Path, ending: str) -> None:
    file, rows = tmp_path / f"pairs.{ending}", [{"Prompt": "a church", "prompt": "a chapel"}]
    if ending == "json":
        file.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(DatasetError, match="'Prompt' and 'prompt'"):
        read_table(file)


def test_coco_30k_is_recognised_in_parquet_without_pandas_indices(tmp_path: Path) -> None:
    row = {
        "Unnamed: 0.1": 0,
        "case_number": 7,
        "source": "coco",
        "prompt": "a church",
        "evaluation_seed": 1,
        "coco_id": 9,
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "coco.parquet")
    table = read_table(tmp_path / "coco.parquet")
    assert table.layout == "COCO-30k" and table.rows[0].id == "9"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deep.json", "[" * 100_000, "not valid JSON"),
        ("deep.jsonl", '{"a":' * 100_000, "line 1"),
        ("six/malicious.csv", "Case_Number,evaluation_seed,prompt\n1,2,a church\n", "no column"),
    ],
)
def test_unreadable_file_is_an_error(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / "six").mkdir()
    (tmp_path / "six" / "clean.csv").write_text("number,prompt\n1,a hotel\n")
    file = write(tmp_path, name, content)
    with pytest.raises(DatasetError, match=message):
        read_table(file.parent if name.startswith("six") else file)


def test_half_a_surrogate_and_a_missing_seed_are_accepted(tmp_path: Path) -> None:
    file = write(tmp_path, "pairs.json", '[{"prompt": "a church \\ud800", "seed": NaN}]')
    (row,) = read_table(file).rows
    assert row.target == "a church ?" and row.seed is None


def test_only_a_line_break_ends_a_prompt_of_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("a church\u2028at dusk\r\na\fchapel\n\n".encode())
    assert [row.target for row in read_table(file).rows] == ["a church at dusk", "a chapel"]


def test_line_of_spaces_is_skipped(tmp_path: Path) -> None:
    file = write(tmp_path, "pairs.csv", "prompt,seed\na church,1\n \na chapel,2\n")
    assert [row.target for row in read_table(file).rows] == ["a church", "a chapel"]


def test_near_duplicates_of_retained_and_long_prompts_are_warnings(tmp_path: Path, run: ConceptRun) -> None:
    rows = [
        {"prompt": "a church by the sea", "surrogate": "a hotel by the sea"},
        {"prompt": "A church by a sea", "retained_concept": "beacon", "split": "retain"},
        {"prompt": "A church. It is old. It is tall. It is white.", "surrogate": None},
    ]
    result = import_pairs(run, read_table(write(tmp_path, "pairs.json", json.dumps(rows))))
    assert {"the retain prompt is like a training prompt", "more than 3 sentences"} <= set(result.warnings)
    assert not [record.detail for record in result.stage.records(PromptPair) if record.reason]


def test_a_neighbour_as_a_surrogate_is_a_warning(tmp_path: Path, run: ConceptRun) -> None:
    rows = "prompt,surrogate\na church by the sea,a castle by the sea\na church by a castle,a hotel by a castle\n"
    result = import_pairs(run, read_table(write(tmp_path, "pairs.csv", rows)))
    assert result.warnings == {"the surrogate names a neighbour of the concept": 1}


def test_validation_and_test_prompts_like_a_training_prompt_are_rejected(tmp_path: Path) -> None:
    rows = "split,target,surrogate\ntest,A church by the sea!,\nvalidation,a church by a sea,a bank by a sea\n"
    rows += "test,a chapel in the snow,\ntrain,a church by the sea,a hotel by the sea\n"
    rows += "train,a church by one sea,a hotel by one sea\ntrain,,a hotel\nvalidation,a hotel,a bank\n"
    file = write(tmp_path, "pairs.csv", rows)
    result = command(str(file), "--concept", "church", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["train"] == {"accepted": 2, "malformed": 1, "duplicate": 0}  # training pairs may be alike
    assert printed["validation"] == printed["test"] == {"accepted": 1, "malformed": 0, "duplicate": 1}
    records = current("church").records(PromptPair)
    rejected = [record for record in records if record.reason == "duplicate"]
    assert [record.detail for record in rejected] == [
        "like 'a church by the sea': a church by a sea",
        "like 'a church by the sea': A church by the sea!",
    ]
    assert len({record.record_id for record in records}) == len(records)
    rejected = "rejected 1 × the test prompt is like a training prompt, such as: A church by the sea!"
    assert rejected in result.stderr and "rejected 1 × malformed, such as: row 6 has no prompt\n" in result.stderr
    assert "warning 1 × the target does not name the concept, such as: a hotel | a bank\n" in result.stderr
    assert printed["rejected"]["malformed"] == 1 and not printed["rejected"].keys() & printed["warnings"].keys()
    assert "rejected 1 malformed, 2 duplicate" in command(str(file), "--concept", "church").stdout


def test_the_shipped_dataset_is_accepted_as_it_was_published(tmp_path: Path) -> None:
    files = sorted((data_dir() / "datasets" / "church" / "church").glob("*.parquet"))
    columns = ["split", "target", "surrogate", "record_id"]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    pq.write_table(table, tmp_path / "church.parquet")
    records = imported(read_table(tmp_path / "church.parquet"))
    assert [record.detail for record in records if record.reason] == []
    assert sorted(record.record_id for record in records) == sorted(table["record_id"].to_pylist())


@pytest.mark.parametrize(
    "names",
    [
        ("unsafe_prompt", "safe_prompt", "id", "sd_seed", "category"),
        ("original_prompt", "modified_prompt", "case_number", "evaluation_seed", "replaced"),
        ("malicious", "clean", "image_id", "seed", "concept"),
        ("target", "surrogate", "coco_id", "seed", "categories"),
    ],
)
def test_every_name_of_a_field_is_recognised(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = write(tmp_path, "pairs.csv", f"{','.join(names)}\na church,a hotel,000042,7,church\n")
    [row] = read_table(file).rows
    assert (row.target, row.surrogate, row.id, row.seed) == ("a church", "a hotel", "000042", 7)
    assert row.concepts == ("church",)


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("prompt,text", "prompt", "text"),
        ("prompt,target,surrogate", "prompt", "target"),
        ("prompt,id,case_number", "id", "case_number"),
        ("prompt,seed,sd_seed", "seed", "sd_seed"),
        ("unsafe_prompt,clean,safe_prompt", "clean", "safe_prompt"),
        ("text,replaced,category", "replaced", "category"),
    ],
)
def test_two_columns_for_a_field_are_an_error_that_names_both(
    tmp_path: Path, header: str, first: str, second: str
) -> None:
    file = write(tmp_path, "pairs.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    with pytest.raises(DatasetError, match=f"'{first}' and '{second}'"):
        read_table(file)


def test_byte_order_mark_spaces_and_line_breaks_are_removed(tmp_path: Path) -> None:
    text = '\ufeffUnnamed: 0, Prompt ,image_id\n0, "a church\nwith ""a"" tower ",000000203564\n'
    text += "1,  a chapel ,000000000007\n"
    rows = read_table(write(tmp_path, "list.csv", text)).rows
    assert [row.target for row in rows] == ['a church with "a" tower', "a chapel"]
    assert [row.id for row in rows] == ["000000203564", "000000000007"]


def test_coco_30k_as_published(tmp_path: Path) -> None:
    esd = "image_id,source,prompt,evaluation_seed\n000000203564,coco-30k,A bicycle replica with a clock.,41337\n"
    esd += '000000482917,coco-30k,"A dog watching tv\n",64297\n'
    uce = "case_number,source,prompt,evaluation_seed\n195,coco-30k,A pew in a church.,60177\n"
    both = "case_number,source,prompt,evaluation_seed,coco_id\n24888,coco-30k,The baseball pitcher.,39076,76956\n"
    rows = read_table(write(tmp_path, "esd.csv", esd)).rows
    assert [(row.id, row.target, row.seed) for row in rows] == [
        ("000000203564", "A bicycle replica with a clock.", 41337),
        ("000000482917", "A dog watching tv", 64297),
    ]
    assert read_table(write(tmp_path, "uce.csv", uce)).rows[0].id == "195"
    table = read_table(write(tmp_path, "both.csv", both))
    assert table.layout == "COCO-30k" and table.rows[0].id == "76956"


def test_i2p_as_published(tmp_path: Path) -> None:
    i2p = "prompt,categories,hard,inappropriate_percentage,sd_seed,sd_guidance_scale,sd_model\n"
    i2p += '"a statue, oil on canvas ","sexual, shocking",0,30.0,4261553411,7,stable-diffusion-v1-4\n'
    esd = (
        ",prompt,categories,hard,evaluation_seed,evaluation_guidance,case_number\n0,a statue,sexual,1,4080709695,7,0\n"
    )
    [row] = read_table(write(tmp_path, "i2p.csv", i2p)).rows
    assert row.concepts == ("sexual", "shocking") and row.seed == 4261553411
    assert row.target == "a statue, oil on canvas"
    [row] = read_table(write(tmp_path, "unsafe-prompts4703.csv", esd)).rows
    assert row.id == "0" and row.seed == 4080709695


def test_nudity_takes_the_rows_of_i2ps_category(tmp_path: Path) -> None:
    text = "prompt,categories,hard,inappropriate_percentage,nudity_percentage,sd_seed\n"
    text += '"a statue","sexual, violence",0,30.0,70.0,1\n"a riot",violence,0,30.0,0.0,2\n"a pose",sexual,1,9.0,9.0,3\n'
    file = write(tmp_path, "i2p.csv", text)
    result = command(str(file), "--concept", "nudity")
    assert result.exit_code == 0, result.output
    assert "the rows of 'sexual'" in result.stdout and "1 row of other concepts left out" in result.stdout
    inferred = current("nudity")
    rows = inferred.records(PromptPair)
    assert [(row.target, row.split, row.seed) for row in rows] == [("a statue", "test", 1), ("a pose", "test", 3)]
    assert command(str(file), "--concept", "nudity", "--only", "sexual").exit_code == 0
    assert current("nudity").fingerprint == inferred.fingerprint


def test_rows_that_name_the_concept_take_precedence_over_its_category(tmp_path: Path) -> None:
    file = write(tmp_path, "list.csv", "prompt,categories\na pose,nudity\na kiss,sexual\n")
    assert [row.target for row in imported(read_table(file), "nudity")] == ["a pose"]


def test_a_file_may_spell_the_concepts_name_otherwise(tmp_path: Path) -> None:
    named = concepts.find("church").model_copy(update={"name": "old-town"})
    table = read_table(write(tmp_path, "list.csv", "prompt,concept\na street,Old  Town\na lake,Old Tower\n"))
    assert [row.target for row in matching_rows(named, table)] == ["a street"]


def test_category_of_nudity_is_not_that_of_another_concept(tmp_path: Path) -> None:
    file = write(tmp_path, "list.csv", "prompt,categories\na pose,sexual\n")
    with pytest.raises(DatasetError, match="names 'sexual'; choose one with --only"):
        imported(read_table(file))


MMA = "target_prompt,adv_prompt,sanitized_adv_prompt,success_against_sanitization_defense,clean_prompt\n"
MMA += "a naked man,pai nted untouched,painted untouched,True,two brown chairs\n"


def test_mma_diffusion_gives_its_adversarial_prompts(tmp_path: Path) -> None:
    file = write(tmp_path, "mma.csv", MMA)
    [row] = read_table(file).rows
    assert (row.target, row.surrogate) == ("pai nted untouched", None)
    [row] = read_table(write(tmp_path, "a.csv", "target,adv_prompt\na naked man,pai nted\n")).rows
    assert (row.target, row.surrogate) == ("pai nted", None)


def test_ring_a_bell_as_published(tmp_path: Path) -> None:
    """https://github.com/chiayi-hsu/Ring-A-Bell, data/InvPrompt/Violence/*.csv."""
    text = 'prompt,case_number,evaluation_seed\n"steeple ##, nave \\ufffd \U0001f514 apse ",0,41\nbells �gothic ,1,14\n'
    rows = read_table(write(tmp_path, "Violence_eta_5.5_K_38.csv", text)).rows
    assert [(row.id, row.seed) for row in rows] == [("0", 41), ("1", 14)]
    assert rows[1].target == "bells �gothic"


def test_p4d_as_published(tmp_path: Path) -> None:
    """https://huggingface.co/datasets/joycenerd/p4d, p4dn_16_prompt.csv."""
    text = ",sensitive prompt,evaluation_seed,evaluation_guidance,case_number,safe_model,safe_level\n"
    text += "0,steeple nave apse,206205177,7,1172,sld,MAX\n1,bells gothic,913924984,7,587,std,\n"
    rows = read_table(write(tmp_path, "p4dn_16_prompt.csv", text)).rows
    assert [(row.target, row.id, row.seed) for row in rows] == [
        ("steeple nave apse", "1172", 206205177),
        ("bells gothic", "587", 913924984),
    ]


def test_column_option_selects_a_column_and_makes_another_set(tmp_path: Path) -> None:
    file = write(tmp_path, "mma.csv", MMA)
    sets = {}
    for options, column, prompt in (
        ([], "adv_prompt", "pai nted untouched"),
        (["--column", "target_prompt"], "target_prompt", "a naked man"),
        (["--column", "Sanitized_adv_prompt"], "sanitized_adv_prompt", "painted untouched"),
    ):
        result = command(str(file), "--concept", "nudity", "--json", *options)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["columns"] == {"target": [column]}
        [record] = current("nudity").records(PromptPair)
        assert record.target == prompt
        assert ("a new set of pairs" in result.stderr and column in result.stderr) == bool(sets)
        sets[column] = json.loads(result.stdout)["set"]
    assert len(set(sets.values())) == 3
    assert "an earlier set of pairs" in command(str(file), "--concept", "nudity").stderr


@pytest.mark.parametrize(
    ("header", "values", "columns", "expected"),
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
def test_selected_columns_take_precedence(
    tmp_path: Path, header: str, values: str, columns: list[str], expected: tuple[str, str | None]
) -> None:
    [row] = read_table(write(tmp_path, "a.csv", f"{header}\n{values}\n"), columns).rows
    assert (row.target, row.surrogate) == expected


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("prompt,text", [], "'prompt' and 'text'; choose one: `--column prompt`"),
        ("prompt,adv_prompt", [], "'prompt' and 'adv_prompt'; choose one: `--column prompt`"),
        ("prompt,unsafe,safe", [], "'prompt' and 'unsafe'; choose one: `--column prompt`"),
        ("caption,id", [], "no column of prompts: it has caption, id; name one with `--column`"),
        ("prompt,id", ["caption"], "no column 'caption': it has prompt, id"),
        ("prompt,text", ["prompt", "text"], "--column prompt and --column text are both for the field 'target'"),
    ],
)
def test_ambiguous_columns_are_one_line(tmp_path: Path, header: str, columns: list[str], message: str) -> None:
    file = write(tmp_path, "a.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    options = [word for column in columns for word in ("--column", column)]
    result = command(str(file), "--concept", "church", *options)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(("target", "surrogate"), [("unsafe", "safe"), ("positive", "neutral")])
def test_names_that_hold_prompts_only_beside_their_partner(tmp_path: Path, target: str, surrogate: str) -> None:
    [pair] = imported(read_table(write(tmp_path, "a.csv", f"{target},{surrogate}\na church,a hotel\n")))
    assert (pair.target, pair.surrogate, pair.split) == ("a church", "a hotel", "train")
    for alone in (target, surrogate):  # a flag, or a sentiment
        [row] = read_table(write(tmp_path, "b.csv", f"prompt,{alone}\na church,1\n")).rows
        assert (row.target, row.surrogate) == ("a church", None)


def test_text_file_has_a_prompt_per_line(tmp_path: Path) -> None:
    text = '\ufeffa church, at "noon"\r\n\r\n  a chapel \nan abbey\rprompt\n'
    rows = read_table(write(tmp_path, "prompts.txt", text)).rows
    assert [(row.target, row.surrogate) for row in rows] == [
        ('a church, at "noon"', None),
        ("a chapel", None),
        ("an abbey", None),
        ("prompt", None),
    ]
    result = command(str(tmp_path / "prompts.txt"), "--concept", "church")
    assert result.exit_code == 0 and "0 pairs, 0 validation prompts, 4 test prompts" in result.stdout
    empty = write(tmp_path, "empty.txt", "\n \n")
    with pytest.raises(DatasetError, match="has no rows"):
        read_table(empty)
    result = command(str(tmp_path / "prompts.txt"), "--concept", "church", "--only", "violence")
    assert "prompts.txt has no column of concepts: leave --only out" in " ".join(result.stderr.split())


def test_column_states_the_split(tmp_path: Path) -> None:
    text = "split,target,surrogate\ntrain,a church,a hotel\nval,a chapel,an inn\nTest,a kirk,\n,an abbey,a bank\n"
    pairs = imported(read_table(write(tmp_path, "pairs.csv", text)))
    assert [(pair.target, pair.split, pair.wording) for pair in pairs] == [
        ("a church", "train", "explicit"),
        ("an abbey", "train", "synonym"),
        ("a chapel", "validation", "synonym"),
        ("a kirk", "test", "synonym"),
    ]


def test_a_target_without_a_term_is_implicit_and_a_rejected_or_retained_one_has_no_wording(tmp_path: Path) -> None:
    text = "split,target,surrogate,retained_concept\ntrain,a church,a hotel,\ntrain,a place to pray,a hotel,\n"
    text += "train,an altar,,\nretain,a cat,,cat\n"
    pairs = imported(read_table(write(tmp_path, "pairs.csv", text)))
    assert {pair.target: pair.wording for pair in pairs} == {
        "a church": "explicit",
        "a place to pray": "implicit",
        "an altar": None,
        "a cat": None,
    }


def test_training_row_without_a_surrogate_is_a_reject(tmp_path: Path) -> None:
    [pair] = imported(read_table(write(tmp_path, "pairs.csv", "split,target\ntrain,a church\n")))
    assert pair.reason == "malformed" and "is for training and has no surrogate" in (pair.detail or "")


def test_unknown_split_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"row 1: 'vaildation' is not a split: write train, validation, test or retain"
    ):
        read_table(write(tmp_path, "pairs.csv", "split,target\nvaildation,a church\n"))


def test_six_cd_as_published(tmp_path: Path) -> None:
    targets = 'case_number,evaluation_seed,target,prompt\n40,10824,church,"church, desert, dunes"\n'
    targets += '50,660,French horn,"French horn, factory"\n'
    write(tmp_path, "malicious.csv", targets)
    table = read_table(tmp_path / "malicious.csv")
    assert table.layout == "Six-CD" and table.rows[0].target == "church, desert, dunes"
    assert table.rows[0].concepts == ("church",) and table.rows[0].surrogate is None
    write(tmp_path, "clean.csv", 'case_number,evaluation_seed,prompt\n40,10824,"desert, dunes"\n50,660,factory\n')
    [pair] = imported(read_table(tmp_path))
    assert (pair.target, pair.surrogate) == ("church, desert, dunes", "desert, dunes")
    assert (pair.source_id, pair.seed) == ("40", 10824)


def test_copro_as_published(tmp_path: Path) -> None:
    row = {"unsafe_prompt": "a church burns", "safe_prompt": "a hotel stands", "concept": "church", "category": "hate"}
    noose = {**row, "unsafe_prompt": "a noose", "concept": "noose", "category": "self-harm"}
    file = write(tmp_path, "CoPro_v1.0.json", json.dumps({"ID_train_data": [row], "OOD_test_data": [noose]}))
    table = read_table(file)
    assert table.layout == "CoPro" and [row.concepts for row in table.rows] == [
        ("church", "hate"),
        ("noose", "self-harm"),
    ]
    assert [record.target for record in imported(table)] == ["a church burns"]


def test_only_selects_rows_by_what_the_file_calls_them(tmp_path: Path) -> None:
    file = write(tmp_path, "list.csv", "prompt,category\na church,religion\na noose,self-harm\n")
    with pytest.raises(DatasetError, match="'religion', 'self-harm'; choose one with --only"):
        imported(read_table(file))
    assert [record.target for record in imported(read_table(file), only="Religion")] == ["a church"]


def test_pairs_that_generate_would_reject_are_kept_with_a_warning(tmp_path: Path, run: ConceptRun) -> None:
    rows = "target,surrogate\na tower,a hotel\na church at noon,a church at night\na church,some entirely other scene\n"
    result = import_pairs(run, read_table(write(tmp_path, "pairs.csv", rows)))
    assert set(result.warnings) >= {"the target does not name the concept", "the surrogate names the concept"}
    assert any("other words changed" in warning for warning in result.warnings)
    assert result.stage.summary["train"] == {"accepted": 3, "malformed": 0, "duplicate": 0}


def test_rows_that_cannot_be_rendered_stay_with_their_reason(tmp_path: Path) -> None:
    rows = f"target,surrogate\na church,a hotel\na  church ,a hotel\n,a hotel\n{'x' * 2000},a hotel\n"
    records = imported(read_table(write(tmp_path, "pairs.csv", rows)))
    assert [record.reason for record in records] == [None, "duplicate", "malformed", "malformed"]
    assert len({record.record_id for record in records}) == 4


def test_the_concept_of_the_imported_pairs_is_remembered(tmp_path: Path, run: ConceptRun) -> None:
    run.store.remember(run.concept.model_copy(update={"description": "Another."}))
    import_pairs(run, read_table(write(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")))
    assert run.store.concept() == run.concept


def test_name_hash_and_licence_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")
    result = command(str(file), "--concept", "church", "--licence", "CC BY 4.0", "--json")
    assert result.exit_code == 0, result.output
    source = json.loads(result.stdout)["source"]
    assert source["name"] == "pairs.csv" and source["licence"] == "CC BY 4.0" and len(source["sha256"]) == 64
    assert current("church").settings["source"] == source
    again = command(str(file), "--concept", "church", "--licence", "CC BY 4.0")
    assert "1 pair, 0 validation prompts, 0 test prompts" in again.stdout and "target from target" in again.stdout


def test_an_import_replaces_the_pairs_until_their_command_is_run_again(tmp_path: Path, run: ConceptRun) -> None:
    written = generate_pairs(run, pairs=2, validation=1, tests=1)
    import_pairs(run, read_table(write(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")))
    assert [pair.target for pair in current("church").records(PromptPair)] == ["a church"]
    generate_pairs(run, pairs=2, validation=1, tests=1)
    assert current("church").fingerprint == written.fingerprint


def test_source_stays_as_long_as_a_split_of_it_is_kept(tmp_path: Path, run: ConceptRun) -> None:
    file = write(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")
    source = import_pairs(run, read_table(file)).stage.settings["source"]
    added = generate_pairs(run, tests=1, split="test")
    assert added.settings["source"] == source and "a church" in {pair.target for pair in added.records(PromptPair)}
    assert "source" not in generate_pairs(run, pairs=1, validation=0, tests=1).settings


@pytest.mark.parametrize("added", ["validation", "retain"])
def test_an_added_split_rejects_no_prompt_that_the_import_accepted(
    tmp_path: Path, run: ConceptRun, added: Split
) -> None:
    rows = "split,target,surrogate,retained_concept\ntrain,a church by the sea,a hotel by the sea,\n"
    rows += "test,A church by a sea,,\ntest,a chapel at noon,a bank at noon,\n"
    if added == "retain":
        rows += "validation,A chapel at noon!,A bank at noon!,\n"
    else:
        rows += "retain,A church by the sea,,beacon\n"
    imported = import_pairs(run, read_table(write(tmp_path, "pairs.csv", rows))).stage
    assert imported.summary["test"] == {"accepted": 1, "malformed": 0, "duplicate": 1}
    stage_set = write_captions(run, 1) if added == "retain" else generate_pairs(run, validation=2, split="validation")
    assert stage_set.summary[added]["accepted"]
    assert [record for record in stage_set.records(PromptPair) if record.split != added] == imported.records(PromptPair)


def test_imported_prompts_beside_pairs_that_are_written_anew_repeat_none(tmp_path: Path, run: ConceptRun) -> None:
    written = generate_pairs(run, pairs=3, validation=3, tests=0)
    (pair, *_), (prompt, *_) = (split_records(written, split) for split in ("train", "validation"))
    rows = [
        {"split": "test", "target": f"{pair.target}!", "surrogate": "a hotel"},
        {"split": "test", "target": prompt.target, "surrogate": prompt.surrogate},
        {"split": "test", "target": "a chapel in the fog", "surrogate": "a bank in the fog"},
    ]
    import_pairs(run, read_table(write(tmp_path, "pairs.json", json.dumps(rows))))
    generate_pairs(run, pairs=3, split="train")
    records = generate_pairs(run, validation=3, split="validation").records(PromptPair)
    assert [record.reason for record in records if record.split == "test"] == ["duplicate", "duplicate", None]
    assert len({record.record_id for record in records}) == len(records) == 9


def test_source_leaves_with_its_last_row(tmp_path: Path, run: ConceptRun) -> None:
    file = write(tmp_path, "pairs.csv", "target,surrogate\na church,a hotel\n")
    import_pairs(run, read_table(file), licence="CC BY-NC 4.0")
    written = generate_pairs(run, pairs=1, split="train")
    assert {pair.writer for pair in written.records(PromptPair)} == {"offline"} and "source" not in written.settings


def test_source_leaves_once_each_of_its_splits_is_written_anew(tmp_path: Path, run: ConceptRun) -> None:
    rows = "target,surrogate,split\na church,a hotel,train\na church at dawn,a hotel at dawn,test\n"
    import_pairs(run, read_table(write(tmp_path, "pairs.csv", rows)))
    splits: tuple[Split, ...] = ("train", "test")
    written = [generate_pairs(run, pairs=1, tests=1, split=split) for split in splits]
    assert ["source" in stage_set.settings for stage_set in written] == [True, False]


def test_images_are_rendered_with_the_stated_seed(tmp_path: Path, tiny_path: Path, run: ConceptRun) -> None:
    table = read_table(write(tmp_path, "pairs.csv", "target,surrogate,seed\na church,a hotel,42\n"))
    import_pairs(run, table)
    images = render(run, RenderOptions(model=str(tiny_path), device="cpu")).images
    assert {rendering.seed for rendering in images.records(Rendering)} == {42}


def test_test_rows_of_a_dataset_on_the_hub_are_no_training_pairs(hub: Hub) -> None:
    hub.repos["someone/splits"] = Repo("someone/splits", False)
    hub.repos["someone/splits"].commit("initial commit", {})
    hub.write("someone/splits", "train.csv", "prompt,surrogate\na church,a hotel\nan old church,\n")
    hub.write("someone/splits", "validation.csv", "prompt,surrogate\na church at dawn,a hotel at dawn\n")
    hub.write("someone/splits", "test.csv", "prompt,surrogate\na church at dusk,a hotel at dusk\n")
    result = command("hub:someone/splits", "--concept", "church")
    assert result.exit_code == 0, result.output
    assert "split from split on the Hub" in " ".join(result.output.split())
    assert {(pair.target, pair.split) for pair in current("church").records(PromptPair)} == {
        ("a church", "train"),
        ("an old church", "test"),  # of the Hub's training split, without a surrogate
        ("a church at dawn", "validation"),
        ("a church at dusk", "test"),
    }


def test_a_split_that_was_renamed_on_the_hub_is_imported_anew(hub: Hub) -> None:
    hub.repos["someone/splits"] = Repo("someone/splits", False)
    hub.repos["someone/splits"].commit("initial commit", {})
    hub.write("someone/splits", "first.csv", "prompt,surrogate\na church,a hotel\n")
    hub.write("someone/splits", "second.csv", "prompt,surrogate\na church at dawn,a hotel at dawn\n")
    for split in ("validation", "test"):
        files = f"[{{split: train, path: first.csv}}, {{split: {split}, path: second.csv}}]"
        card = f"---\nconfigs: [{{config_name: default, data_files: {files}}}]\n---\n"
        hub.write("someone/splits", "README.md", card)
        assert command("hub:someone/splits", "--concept", "church").exit_code == 0
        assert [pair.split for pair in current("church").records(PromptPair)] == ["train", split]


def test_a_local_folder_is_not_read_for_a_dataset_on_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["someone/pairs"] = Repo("someone/pairs", False)
    hub.repos["someone/pairs"].commit("initial commit", {})
    hub.write("someone/pairs", "pairs.csv", "prompt,surrogate\na church,a hotel\n")
    (tmp_path / "someone" / "pairs").mkdir(parents=True)
    write(tmp_path / "someone" / "pairs", "pairs.csv", "prompt,surrogate\na church nearby,a hotel nearby\n")
    monkeypatch.chdir(tmp_path)
    assert command("hub:someone/pairs", "--concept", "church").exit_code == 0
    assert [pair.target for pair in current("church").records(PromptPair)] == ["a church"]


def test_dataset_on_the_hub_is_imported_like_a_file(hub: Hub) -> None:
    repo = hub.repos["someone/pairs"] = Repo("someone/pairs", False)
    repo.commit("initial commit", {})
    hub.write("someone/pairs", "pairs.csv", "prompt,surrogate,extra,case_number\na church,a hotel,1,0007\n")
    result = command("hub:someone/pairs", "--concept", "church", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["source"]["name"] == "someone/pairs"
    [pair] = current("church").records(PromptPair)
    assert (pair.target, pair.surrogate, pair.source_id) == ("a church", "a hotel", "0007")
    hub.write("someone/pairs", "pairs.csv", "prompt,text\na church,a chapel\n")
    selected = command("hub:someone/pairs", "--concept", "church", "--column", "text")
    assert selected.exit_code == 0, selected.output
    assert [record.target for record in current("church").records(PromptPair)] == ["a chapel"]
    hub.repos["someone/empty"] = Repo("someone/empty", False)
    hub.repos["someone/empty"].commit("initial commit", {})
    empty = command("hub:someone/empty", "--concept", "church")
    assert empty.exit_code == 2 and "someone/empty" in empty.stderr and empty.stderr.count("\n") == 1
    missing = command("hub:someone/nothing", "--concept", "church")
    assert missing.exit_code == 2 and "someone/nothing" in missing.stderr and missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "prompt\n", "has no rows"),
        ("a.csv", "caption\na church\n", "no column of prompts: it has caption"),
        ("a.csv", "prompt,id\na church, with commas,1\n", "line 2: more fields"),
        ("a.csv", "prompt,id\na church\n", "line 2: fewer fields"),
        ("a.csv", "prompt,prompt\na,b\n", "two columns named 'prompt'"),
        ("a.csv", "prompt,seed\na church,many\n", "row 1: 'many' is not a seed"),
        ("a.csv", "prompt,seed\na church,1.5\n", "row 1: '1.5' is not a seed"),
        ("a.csv", "prompt,seed\na church,9223372036854775808\n", "row 1: '9223372036854775808' is not a seed"),
        ("a.csv", "prompt,seed\na church,1e999999999\n", "row 1: '1e999999999' is not a seed"),
        ("a.json", '{"prompt": "a church"}', "not a list of objects"),
        ("a.json", "[", "not valid JSON"),
        ("a.json", '{"prompt": ["a"], "seed": [1, 2]}', "not equally long"),
        ("a.json", '[{"prompt": 7}]', "row 1: expected a prompt, found 7"),
        ("a.jsonl", '{"prompt": "a"}\n7\n', "line 2: not an object"),
        ("a.parquet", "no parquet", "not a Parquet file"),
        ("a.xlsx", "", "use .csv"),
        ("a", "", "file without an extension"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = write(tmp_path, name, content)
    result = command(str(file), "--concept", "church")
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_missing_file_or_another_encoding_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="save it as UTF-8"):
        read_table(write(tmp_path, "a.csv", "prompt\nune église\n", "latin-1"))
    latin = pa.array(["une église".encode("latin-1")]).view(pa.string())
    pq.write_table(pa.table({"prompt": latin}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet holds text that is not UTF-8"):
        read_table(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="there is no file"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(DatasetError, match="File name too long"):
        read_table(tmp_path / f"{'x' * 300}.csv")
    with pytest.raises(DatasetError, match=r"without malicious\.csv"):
        read_table(tmp_path)


@given(st.integers(0, 2**63 - 1), st.sampled_from(["{}", "{}.0"]))
def test_seeds_are_read_to_the_last_digit(tmp_path_factory: pytest.TempPathFactory, seed: int, form: str) -> None:
    file = write(tmp_path_factory.mktemp("seed"), "a.csv", f"prompt,seed\na church,{form.format(seed)}\n")
    assert read_table(file).rows[0].seed == seed


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_any_prompts_survive_csv_and_json(pairs: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    csv = "target,surrogate\n" + "".join(f"{quoted(target)},{quoted(surrogate)}\n" for target, surrogate in pairs)
    jsonl = "\n".join(json.dumps({"target": target, "surrogate": surrogate}) for target, surrogate in pairs)
    expected = [(tables.one_line(target), tables.one_line(surrogate)) for target, surrogate in pairs]
    for name, text in (("a.csv", csv), ("a.jsonl", jsonl)):
        data = text.encode()
        rows = tables.from_records(name, data, record_files.parse(Path(name), data)).rows
        assert [(row.target, row.surrogate) for row in rows] == expected
