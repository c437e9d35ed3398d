"""A folder that anybody loads without code of ours."""

import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import mlcroissant
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError, StageMissing
from ecgvf.core.records import Acceptance, Rendering, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES
from ecgvf.core.store import Store
from ecgvf.filter import decisions
from ecgvf.publish import export as exporting
from ecgvf.publish.export import Content, export
from ecgvf.publish.run import public
from tests.ecgvf.publish.conftest import FilterResult

runner = CliRunner()


def loaded(folder: Path, config: str, cache: Path) -> datasets.DatasetDict:
    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache))


def test_the_datasets_library_loads_both_configs(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    church = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert {split: len(rows) for split, rows in church.items()} == {"train": 3, "test": 1}
    drawn = {
        (one.record_id, one.role): one
        for table in ConceptRun.load(store, "church").current(IMAGES).tables()
        for one in from_table(Rendering, table)
    }
    for row in church["train"]:
        for role in ("target", "surrogate"):
            original = drawn[row["record_id"], role]
            assert row[f"{role}_vq_ids"] == list(original.vq_ids) and row["seed"] == original.seed
            with Image.open(io.BytesIO(original.image)) as picture:
                assert row[f"{role}_image"].tobytes() == picture.tobytes()
        assert row["target_present"] and not row["surrogate_present"]
        assert row["target_top_labels"] == [{"label": "church", "score": 1.0}]
        assert row["sampling"]["guidance"] == 2.0 and row["template"] == "grammar"
    assert church["train"].features["target_vq_ids"].feature.dtype == "uint16"
    assert church["test"][0]["surrogate"] is None and church["test"][0]["surrogate_image"] is None
    assert church["train"]["record_id"] == sorted(church["train"]["record_id"])
    rejected = loaded(tmp_path / "out", "church-rejected", tmp_path / "cache")
    reasons = [reason for rows in rejected.values() for reason in rows["reason"]]
    assert sorted(reasons) == ["concept_leaked", "duplicate", "target_absent"]


def test_two_machines_export_to_one_folder_and_the_last_one_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exports in one process stand for two machines, on which a process id may be the same."""
    write, running = exporting.write_content, [True]

    def while_another_runs(*arguments: Any, **options: Any) -> Content:
        content = write(*arguments, **options)
        if running and running.pop():
            export(store, tmp_path / "out", images=False)
        return content

    monkeypatch.setattr(exporting, "write_content", while_another_runs)
    export(store, tmp_path / "out")
    church = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert "target_image" in church["train"].column_names
    assert [file.name for file in tmp_path.glob("out*")] == ["out"]


def test_what_people_decided_is_what_is_published(store: Store, tmp_path: Path) -> None:
    before = export(store, tmp_path / "before").facts.fingerprint
    leaked = next(
        one.record_id
        for one in ConceptRun.load(store, "church").current(ACCEPTANCE).records(Acceptance)
        if one.reason == "concept_leaked"
    )
    held = loaded(tmp_path / "before", "church", tmp_path / "cache")["train"]["record_id"][0]
    pictures = ConceptRun.load(store, "church").current(IMAGES).fingerprint
    for record_id, accepted in ((held, False), (leaked, True)):
        decisions.append(store, "church", reviewer="ada", pictures=pictures, record_id=record_id, accepted=accepted)
    assert export(store, tmp_path / "after").facts.fingerprint != before
    train = loaded(tmp_path / "after", "church", tmp_path / "cache")["train"]["record_id"]
    rejected = loaded(tmp_path / "after", "church-rejected", tmp_path / "cache")["train"]
    assert leaked in train and held not in train
    assert dict(zip(rejected["record_id"], rejected["reason"], strict=True))[held] == "reviewed"


def test_what_is_no_export_of_this_concept_is_left_alone(store: Store, tmp_path: Path, filtered: FilterResult) -> None:
    out = tmp_path / "out"
    export(store, out)
    (out / "notes.tex").write_text("mine")
    with pytest.raises(DatasetError, match="which no export wrote"):
        export(store, out)
    (out / "notes.tex").unlink()
    with pytest.raises(DatasetError, match="church"):
        export(filtered(Store(tmp_path / "other"), concept="castle"), out)
    with pytest.raises(DatasetError, match="in a file"):
        export(store, out / "README.md" / "sub")
    (out / "README.md").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match="UTF-8"):
        export(store, out)


def test_the_config_loaded_without_a_name_is_the_accepted_one(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    datasets.disable_progress_bars()
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 3 and "reason" not in rows.column_names


def test_the_same_run_writes_the_same_bytes(filtered: FilterResult, tmp_path: Path) -> None:
    one, other = filtered(Store(tmp_path / "one")), filtered(Store(tmp_path / "other"))
    first, second = export(one, tmp_path / "a"), export(other, tmp_path / "b")
    assert first.files == second.files and first.facts.fingerprint == second.facts.fingerprint
    for name in [*first.files, "assets/church.png"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_many_shards_and_row_groups_hold_the_same_rows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export(store, tmp_path / "whole")
    monkeypatch.setattr(exporting, "SHARD_BYTES", 1)
    monkeypatch.setattr(exporting, "GROUP_BYTES", 1)
    cut = export(store, tmp_path / "cut")
    assert [name for name in cut.files if name.startswith("church/train")] == [
        f"church/train-{index:05d}-of-00003.parquet" for index in range(3)
    ]
    assert cut.facts.fingerprint == whole.facts.fingerprint
    ids = loaded(tmp_path / "cut", "church", tmp_path / "cache")["train"]["record_id"]
    assert ids == loaded(tmp_path / "whole", "church", tmp_path / "cache")["train"]["record_id"]


def test_pictures_can_be_left_out_while_prompts_and_ids_stay(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out", images=False)
    rows = loaded(tmp_path / "out", "church", tmp_path / "cache")["train"]
    assert "target_image" not in rows.column_names and len(rows[0]["target_vq_ids"]) == 16
    assert not (tmp_path / "out" / "assets").exists()


def test_nothing_tells_of_the_machine(store: Store, tmp_path: Path, tiny_path: Path) -> None:
    export(store, tmp_path / "out")
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert str(tiny_path).encode() not in data and str(Path.home()).encode() + b"/" not in data
            assert str(store.root).encode() not in data
    facts = json.loads((tmp_path / "out" / "ecgvf.json").read_text())["concepts"]["church"]
    assert facts["model"] == tiny_path.name


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/someone/models/janus", "janus"),
        ("~/models/janus", "janus"),
        ("C:\\models\\janus", "janus"),
        ("C:/models/janus", "janus"),
        ("nano-object-a+hf:/home/someone/judge", "nano-object-a+hf:judge"),
        ("hf:~/judge+clip", "hf:judge+clip"),
        ("hf:/home/someone/judge: bell cote", "hf:judge: bell cote"),
        ("hf:google/vit-base-patch16-224+clip", "hf:google/vit-base-patch16-224+clip"),
        ("https://user:key@api.openai.com/v1?key=secret", "https://api.openai.com/v1"),
        ("http://localhost:8000/v1", "a server of the writer's own"),
        ("http://10.0.0.7:8000/v1", "a server of the writer's own"),
        ("http://box.local/v1", "a server of the writer's own"),
        ("deepseek-community/Janus-Pro-1B", "deepseek-community/Janus-Pro-1B"),
        ("a church / a hotel", "a church / a hotel"),
        ({"a": ["/tmp/x", 1, None]}, {"a": ["x", 1, None]}),
    ],
)
def test_what_is_told_in_public(said: object, told: object) -> None:
    assert public(said) == told


def test_a_judge_in_a_folder_beside_is_told_without_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret" / "judge").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public("clip+hf:secret/judge") == "clip+hf:judge"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # mlcroissant's use of rdflib
def test_croissant_is_valid_and_leads_to_the_rows(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    rows = [*mlcroissant.Dataset(str(tmp_path / "out" / "croissant.json")).records("church/train")]
    assert len(rows) == 3
    assert rows[0]["church/train/target"].startswith(b"a church") and rows[0]["church/train/target_image"].size == (
        16,
        16,
    )


def test_an_earlier_export_is_replaced_and_anything_else_is_not(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    card = tmp_path / "out" / "README.md"
    by_hand = re.sub(r"(?m)^license: .*$", "license: mit", card.read_text(), count=1)
    card.write_text(by_hand.rstrip() + "\n\nBy hand.\n")
    (tmp_path / "out" / "church" / "stale.parquet").touch()
    export(store, tmp_path / "out")
    assert "licenses/mit" in (tmp_path / "out" / "croissant.json").read_text()
    assert card.read_text().endswith("By hand.\n") and not (tmp_path / "out" / "church" / "stale.parquet").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(DatasetError, match="no earlier export"):
        export(store, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.faults
def test_an_export_cut_off_leaves_nothing_half(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "extras", cut)
    with pytest.raises(KeyboardInterrupt):
        export(store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_is_not_filtered_cannot_be_exported(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.remember(concepts.find("church"))
    with pytest.raises(StageMissing, match="ecgvf filter"):
        export(store, tmp_path / "out")


def test_the_command(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = runner.invoke(app, ["export", "--concept", "church", "--store", str(store.root)])
    assert told.exit_code == 0, told.output
    assert "3 pairs and 1 test prompts, 3 rejected" in told.stdout and Path("ecgvf-church/README.md").is_file()
    told = runner.invoke(app, ["export", "--out", "again", "--store", str(store.root), "--json"])
    assert json.loads(told.stdout)["counts"] == {"train": 3, "test": 1, "rejected": 3}
    for name in json.loads(told.stdout)["files"]:
        assert pq.read_schema(Path("again") / name).names[0] == "record_id"
