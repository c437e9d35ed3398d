"""Exporting a dataset to a folder that anybody can load."""

import io
import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import openings
from ecgvf.core.errors import DatasetError, StageMissing, StoreError
from ecgvf.core.records import Acceptance, Rendering
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES
from ecgvf.filter import decisions, filter_images
from ecgvf.judges import retained
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.judge import Criterion
from ecgvf.publish import export as exporting
from ecgvf.publish import parquet
from ecgvf.publish.card import write_card
from ecgvf.publish.catalogue import Catalogue, ConceptFacts
from ecgvf.publish.dataset_folder import DatasetFolder
from ecgvf.publish.export import export
from ecgvf.publish.finished_run import open_finished_run
from ecgvf.publish.licence import is_nano
from ecgvf.publish.parquet import DatasetFiles, write_parquet
from ecgvf.publish.redaction import public_command, redact
from ecgvf.render import RenderOptions, render
from tests.ecgvf.publish.conftest import Filter, new_run
from tests.ecgvf.small_run import ScriptedJudge, church_pairs, pair, write_pairs

runner = CliRunner()


def loaded(folder: Path, config: str, cache: Path) -> datasets.DatasetDict:
    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache))


def test_every_file_is_on_the_disk_before_the_folder_has_its_name(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    fsync = os.fsync

    def note(handle: int) -> None:
        if not (tmp_path / "out").exists():
            flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    export(run, tmp_path / "out")
    assert {path.stat().st_ino for path in (tmp_path / "out").rglob("*")} <= flushed


def test_the_datasets_library_loads_both_configs(run: ConceptRun, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    church = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert {split: len(rows) for split, rows in church.items()} == {"train": 3, "test": 1}
    renderings = {
        (rendering.record_id, rendering.role): rendering for rendering in run.current(IMAGES).records(Rendering)
    }
    for row in church["train"]:
        for role in ("target", "surrogate"):
            original = renderings[row["record_id"], role]
            assert row[f"{role}_vq_ids"] == list(original.vq_ids) and row["seed"] == original.seed
            with Image.open(io.BytesIO(original.image)) as image:
                assert row[f"{role}_image"].tobytes() == image.tobytes()
        assert row["target_present"] and not row["surrogate_present"]
        assert row["target_top_labels"] == [{"label": "church", "score": 1.0}]
        assert row["sampling"]["guidance"] == 2.0 and row["template"] == "grammar"
    assert church["train"].features["target_vq_ids"].feature.dtype == "uint16"
    assert church["test"][0]["surrogate"] is None and church["test"][0]["surrogate_image"] is None
    assert church["train"]["record_id"] == sorted(church["train"]["record_id"])
    rejected = loaded(tmp_path / "out", "church-rejected", tmp_path / "cache")
    reasons = [reason for rows in rejected.values() for reason in rows["reason"]]
    assert sorted(reasons) == ["concept_leaked", "duplicate", "target_absent"]


def test_validation_is_a_split_with_surrogates_and_classes(filtered: Filter, tmp_path: Path) -> None:
    run = filtered(new_run(tmp_path / "store"), validation=2)
    export(run, tmp_path / "out")
    church = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert {split: len(rows) for split, rows in church.items()} == {"train": 3, "validation": 2, "test": 1}
    assert {split for rows in church.values() for split in rows["split"]} == {"train", "validation", "test"}
    for row in church["validation"]:  # accepted, although the judge sees the concept in the surrogate image as well
        assert (row["surrogate_present"], row["wording"], row["surrogate_term"]) == (True, "explicit", "hotel")
    dataset = DatasetFolder(tmp_path / "out", "out").dataset()
    assert [len(records) for records in (dataset.train, dataset.validation, dataset.test)] == [3, 2, 1]
    assert {record.pair.wording for record in dataset.validation} == {"explicit"}
    assert all(record.surrogate is not None for record in dataset.validation)
    (tmp_path / "out" / "README.md").write_bytes("Für alle.".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"README\.md is not UTF-8 text"):
        DatasetFolder(tmp_path / "out", "out").dataset()


def test_a_record_of_the_retain_split_names_the_judge_that_saw_it(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tench(Classifier):
        weights_hash = "f"  # type: ignore[assignment]

        def _probabilities(self, images: NDArray[np.uint8]) -> torch.Tensor:
            return torch.tensor([[0.1, 0.9]] * len(images))

    classes = [["castle"], ["tench"]]
    monkeypatch.setattr(retained, "create_judge", lambda *_: Tench("resnet50", classes, Criterion.top1()))
    run = new_run(tmp_path / "store")
    tench = replace(pair("a tench", None, split="retain"), retained_concept="tench")
    write_pairs(run.store, [*church_pairs(train=1, test=0), tench])
    render(run, RenderOptions(model=str(tiny_path), device="cpu", guidance=2.0))
    filter_images(run, judge=ScriptedJudge([True, False]))
    export(run, tmp_path / "out")
    rows = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert (rows["train"][0]["judge"], rows["train"][0]["judge_hash"]) == ("scripted", "0")
    assert (rows["retain"][0]["judge"], rows["retain"][0]["judge_hash"]) == ("resnet50", "f")


def test_the_card_names_each_version_of_a_template(run: ConceptRun, tmp_path: Path) -> None:
    finished = open_finished_run(run)
    first, *others = finished.records
    records = (replace(first, template_hash="f00"), *others)
    facts = write_parquet(replace(finished, records=records), tmp_path).facts
    assert facts.writers[0].templates == {"grammar": ["0", "f00"]}
    assert "Templates: `grammar` (`0`, `f00`)." in write_card(Catalogue().with_concept("church", facts))


@pytest.mark.parametrize("ending", ["rejected", "results", "outcomes"])
def test_a_concept_is_not_called_as_other_configs_are(run: ConceptRun, tmp_path: Path, ending: str) -> None:
    finished = open_finished_run(run)
    renamed = replace(finished, concept=finished.concept.model_copy(update={"name": f"small-{ending}"}))
    with pytest.raises(DatasetError, match=f"'small-{ending}' would collide with"):
        write_parquet(renamed, tmp_path)


def test_openings_of_test_are_exported_and_change_no_fingerprint(run: ConceptRun, tmp_path: Path) -> None:
    before = export(run, tmp_path / "out").facts
    assert before.test_openings == 0 and not (tmp_path / "out" / "church" / openings.FILE).exists()
    openings.record(run, dataset="d", adapter="a", recipe="default")
    after = export(run, tmp_path / "out").facts
    assert (after.fingerprint, after.test_openings) == (before.fingerprint, 1)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "The **test split** was opened once before this was published (`church/test_openings.jsonl`)." in card
    dataset = DatasetFolder(tmp_path / "out", "out").dataset()
    assert list(dataset.openings) == openings.openings(run)
    openings.openings_file(run).unlink()  # an export of another machine's store keeps what was known
    assert export(run, tmp_path / "out").facts.test_openings == 1
    assert len(loaded(tmp_path / "out", "church", tmp_path / "cache")["train"]) == 3


def test_of_two_machines_that_export_to_one_folder_the_last_stays(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exports in one process stand for two machines, on which a process id may be the same."""
    write, running = exporting.write_parquet, [True]

    def while_another_runs(*arguments: Any, **options: Any) -> DatasetFiles:
        content = write(*arguments, **options)
        if running and running.pop():
            export(run, tmp_path / "out", images=False)
        return content

    monkeypatch.setattr(exporting, "write_parquet", while_another_runs)
    export(run, tmp_path / "out")
    church = loaded(tmp_path / "out", "church", tmp_path / "cache")
    assert "target_image" in church["train"].column_names
    assert [file.name for file in tmp_path.glob("out*")] == ["out"]


def test_decisions_of_reviewers_are_published(run: ConceptRun, tmp_path: Path) -> None:
    before = export(run, tmp_path / "before").facts.fingerprint
    leaked = next(
        decision.record_id
        for decision in run.current(ACCEPTANCE).records(Acceptance)
        if decision.reason == "concept_leaked"
    )
    accepted = loaded(tmp_path / "before", "church", tmp_path / "cache")["train"]["record_id"][0]
    pictures = run.current(IMAGES).fingerprint
    for record_id, accept in ((accepted, False), (leaked, True)):
        decisions.append(run, reviewer="ada", pictures=pictures, record_id=record_id, accepted=accept)
    assert export(run, tmp_path / "after").facts.fingerprint != before
    train = loaded(tmp_path / "after", "church", tmp_path / "cache")["train"]["record_id"]
    rejected = loaded(tmp_path / "after", "church-rejected", tmp_path / "cache")["train"]
    assert leaked in train and accepted not in train
    assert dict(zip(rejected["record_id"], rejected["reason"], strict=True))[accepted] == "reviewed"


def test_other_folders_are_not_overwritten(run: ConceptRun, tmp_path: Path, filtered: Filter) -> None:
    out = tmp_path / "out"
    export(run, out)
    (out / "notes.tex").write_text("mine")
    with pytest.raises(DatasetError, match="which no export wrote"):
        export(run, out)
    (out / "notes.tex").unlink()
    with pytest.raises(DatasetError, match="church"):
        export(filtered(new_run(tmp_path / "other", "castle")), out)
    with pytest.raises(DatasetError, match="is a file, or in one"):
        export(run, out / "README.md" / "sub")
    (out / "README.md").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match="UTF-8"):
        export(run, out)


@pytest.mark.parametrize("out", [".", ".."])
def test_the_current_folder_is_not_replaced(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    before = folder.stat().st_ino
    with pytest.raises(DatasetError, match="is the current folder, or contains it: name a new folder with --out"):
        export(run, Path(out))
    assert folder.stat().st_ino == before and list(folder.iterdir()) == []


def test_the_default_config_has_the_accepted_records(run: ConceptRun, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    datasets.disable_progress_bars()
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 3 and "reason" not in rows.column_names


def test_the_same_run_writes_the_same_bytes(filtered: Filter, tmp_path: Path) -> None:
    first, second = (export(filtered(new_run(tmp_path / name)), tmp_path / f"{name}-out") for name in ("a", "b"))
    assert first.paths == second.paths and first.facts.fingerprint == second.facts.fingerprint
    for name in [*first.paths, "assets/church.png"]:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_many_shards_and_row_groups_have_the_same_rows(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export(run, tmp_path / "whole")
    monkeypatch.setattr(parquet, "SHARD_BYTES", 1)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    cut = export(run, tmp_path / "cut")
    assert [name for name in cut.paths if name.startswith("church/train")] == [
        f"church/train-{index:05d}-of-00003.parquet" for index in range(3)
    ]
    assert cut.facts.fingerprint == whole.facts.fingerprint
    ids = loaded(tmp_path / "cut", "church", tmp_path / "cache")["train"]["record_id"]
    assert ids == loaded(tmp_path / "whole", "church", tmp_path / "cache")["train"]["record_id"]


def test_a_url_is_no_folder(run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["export", "--store", str(run.store.root), "--out", "s3://bucket/folder"])
    assert result.exit_code == 2 and "s3://bucket/folder is not on this machine's disk" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_images_can_be_left_out(run: ConceptRun, tmp_path: Path) -> None:
    export(run, tmp_path / "out", images=False)
    rows = loaded(tmp_path / "out", "church", tmp_path / "cache")["train"]
    assert "target_image" not in rows.column_names and len(rows[0]["target_vq_ids"]) == 16
    assert not (tmp_path / "out" / "assets").exists()


def test_no_file_reveals_the_machine(run: ConceptRun, tmp_path: Path, tiny_path: Path) -> None:
    export(run, tmp_path / "out")
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert str(tiny_path).encode() not in data and str(Path.home()).encode() + b"/" not in data
            assert str(run.store.root).encode() not in data
    facts = json.loads((tmp_path / "out" / "ecgvf.json").read_text())["concepts"]["church"]
    assert facts["model"] == facts["settings"]["pictures"]["model"] == f"local:{tiny_path.name}"


def test_a_local_folder_is_not_published_under_a_models_name(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = open_finished_run(run)
    monkeypatch.setitem(finished.images.settings, "model", str(tmp_path / "janus-nano"))
    facts = ConceptFacts.model_validate({**finished.facts(), "fingerprint": "0", "images": True, "configs": []})
    assert facts.model == "local:janus-nano"
    monkeypatch.setitem(finished.images.settings, "model", "janus-nano")
    published = ConceptFacts.model_validate({**finished.facts(), "fingerprint": "0", "images": True, "configs": []})
    assert is_nano(published) and not is_nano(facts)


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ("/home/someone/models/janus", "janus"),
        ("~/models/janus", "janus"),
        ("C:\\models\\janus", "janus"),
        ("C:/models/janus", "janus"),
        ("nano-object-a+hf:/home/someone/judge", "nano-object-a+hf:judge"),
        ("hf:~/judge+clip", "hf:judge+clip"),
        ("clip+timm:local-dir:/home/someone/judge: bell cote", "clip+timm:local-dir:judge: bell cote"),
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
def test_redaction_of_paths_and_servers(value: object, redacted: object) -> None:
    assert redact(value) == redacted


def test_redaction_of_a_judge_in_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret" / "judge").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert redact("clip+hf:secret/judge") == "clip+hf:judge"


@pytest.mark.parametrize(
    ("words", "public"),
    [
        (["--weights", "clip=/home/me/secret/clip,resnet50=/home/me/r50.pth"], "--weights clip=clip,resnet50=r50.pth"),
        (["--weights", "style=~/secret/vit,resnet50=V2"], "--weights style=vit,resnet50=V2"),
        (["--weights=clip=/home/me/secret/clip,resnet50=V2"], "--weights=clip=clip,resnet50=V2"),
        (["--dataset", "ecgvf/church, /home/me/secret/cat"], "--dataset ecgvf/church,cat"),
        (["--model", "https://me:key@host.org/lr=1?key=secret"], "--model https://host.org/lr=1"),
        (["--submit", "ours=/home/me/secret/ours"], "--submit ours=ours"),
        (["--store", "/home/me/secret,shared/store"], "--store store"),
        (["--adapter", "/home/me/secret/lr=0.1/adapter"], "--adapter adapter"),
        (["--text", "a church, a chapel", "--over", "lr,steps"], "--text 'a church, a chapel' --over lr,steps"),
    ],
)
def test_a_public_command_names_no_folder_of_the_machine(words: list[str], public: str) -> None:
    assert public_command(words) == public


def test_croissant_is_valid_and_finds_the_rows(run: ConceptRun, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # mlcroissant's use of rdflib
        rows = [*mlcroissant.Dataset(str(tmp_path / "out" / "croissant.json")).records("church/train")]
    assert len(rows) == 3
    assert rows[0]["church/train/target"].startswith(b"a church") and rows[0]["church/train/target_image"].size == (
        16,
        16,
    )


def test_an_earlier_export_is_replaced_except_for_handwritten_text(run: ConceptRun, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    card = tmp_path / "out" / "README.md"
    by_hand = re.sub(r"(?m)^license: .*$", "license: mit", card.read_text(), count=1)
    card.write_text(by_hand.rstrip() + "\n\nBy hand.\n")
    (tmp_path / "out" / "church" / "stale.parquet").touch()
    export(run, tmp_path / "out")
    assert "licenses/mit" in (tmp_path / "out" / "croissant.json").read_text()
    assert card.read_text().endswith("By hand.\n") and not (tmp_path / "out" / "church" / "stale.parquet").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(DatasetError, match="not an earlier export"):
        export(run, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.faults
def test_an_interrupted_export_leaves_nothing(run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "assets", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(run, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.faults
def test_handwritten_text_survives_a_kill_between_the_renames(
    run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(run, out)
    with (out / "README.md").open("a") as card:
        card.write("\nBy hand.\n")
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        export(run, out)
    assert not out.exists()
    export(run, out)
    assert "By hand." in (out / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_a_folder_that_cannot_be_made_is_one_line(run: ConceptRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        write_parquet(open_finished_run(run), tmp_path / "file" / "out")


def test_a_run_that_is_not_filtered_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(StageMissing, match="ecgvf filter"):
        export(new_run(tmp_path / "store"), tmp_path / "out")


def test_the_export_command(run: ConceptRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["export", "--concept", "church", "--store", str(run.store.root)])
    assert result.exit_code == 0, result.output
    assert (
        "3 pairs, 0 validation prompts, 1 test prompt accepted, 3 records rejected" in result.stdout
        and Path("ecgvf-church/README.md").is_file()
    )
    assert f"Next: ecgvf push-to-hub --concept church --store {run.store.root}\n" in result.stdout
    result = runner.invoke(app, ["export", "--no-images", "--out", "bare", "--store", str(run.store.root)])
    assert f"Next: ecgvf push-to-hub --no-images --store {run.store.root}\n" in result.stdout
    result = runner.invoke(app, ["export", "--out", "again", "--store", str(run.store.root), "--json"])
    assert json.loads(result.stdout)["counts"] == {"train": 3, "validation": 0, "test": 1, "rejected": 3}
    for name in json.loads(result.stdout)["files"]:
        assert pq.read_schema(Path("again") / name).names[0] == "record_id"
