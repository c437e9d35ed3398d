"""Somebody else's images or adapter, measured as a recipe is."""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import ear
import ecgvf.engine
from ear.cli import app
from ear.evaluation import EvaluationSettings, figures
from ear.evaluation.outcomes import selected
from ear.evaluation.submitted_images import SubmittedImages
from ear.method.facts import all_names, erased_names
from ear.prompt_images import read_prompts, render_to_folder
from ear.suite import Suite, read_spec, submission
from ear.suite.submission import Submission, write_prompts
from ecgvf.core import concepts, openings
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, DatasetError, SettingsError
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.engine.local import ThisProcess
from ecgvf.engine.work import Pool, Setup
from ecgvf.janus import JanusModel
from tests.ear.random_adapter import save_adapter
from tests.ear.suite.small_suite import cell_result, keep, small_suite

SMALL = """
name: small
concepts: [church]
recipes: [prompt-rewrite]
pairs: 2
tests: 4
prompts: {concept: 4, group: 1, neighbour: 1, family: plant}
figures: default
"""
SETTINGS = EvaluationSettings(prompts_per_concept=2, prompts_per_other=1, family="building")


@pytest.fixture
def submitted(tiny: JanusModel, dataset: Dataset, tmp_path: Path) -> Submission:
    """The frozen model's own images of the evaluation prompts, as `ear generate --prompts` renders them."""
    write_prompts(dataset, SETTINGS, tmp_path / "church.csv")
    folder = tmp_path / "mine"
    render_to_folder(tiny, read_prompts(tmp_path / "church.csv"), folder, guidance=2.0)
    return Submission("mine", folder)


def test_images_are_measured_but_for_what_needs_token_ids(
    store: Store, tiny: JanusModel, dataset: Dataset, submitted: Submission, tmp_path: Path
) -> None:
    found = submitted.evaluate(store, tiny, dataset, SETTINGS, tmp_path)
    assert found.recipe == "mine" and submitted.has_images
    before, after = selected(found.outcomes, "before"), selected(found.outcomes, "after")
    # They are the frozen model's images, so that the judges see what they saw before.
    assert [each.judges for each in after] == [each.judges for each in before]
    assert {each.nll_frozen for each in after} == {each.token_agreement for each in after} == {None}
    rows = {row.figure for row in (*found.replacement, *found.scene, *found.retention_by_group)}
    assert "concept_present" in rows and "retention" in rows and not rows & {"nll_frozen", "token_agreement"}
    assert figures.retention_by_group(found.outcomes)[0].change.value == 0


def test_an_adapter_is_measured_like_a_trained_one(
    store: Store, tiny: JanusModel, dataset: Dataset, tmp_path: Path
) -> None:
    adapter = ear.train(dataset, "paper", options={"passes": 1}, store=store, model=str(tiny.path)).adapter
    submission = Submission("theirs", adapter.parent)
    assert not submission.has_images
    found = submission.evaluate(store, tiny, dataset, SETTINGS, tmp_path)
    assert found.adapters == (adapter,) and all(each.nll_frozen is not None for each in found.outcomes)


def test_an_adapter_of_another_concept_is_refused_before_anything_is_rendered(
    store: Store, tiny: JanusModel, dataset: Dataset, tmp_path: Path
) -> None:
    file = save_adapter(tiny, tmp_path / "castles" / "adapter.safetensors", "castle")
    suite = replace(small_suite(tmp_path, recipes=("paper",)), submissions={"mine": file.parent})
    with pytest.raises(AdapterError, match="erases castle and not church"):
        suite.check(suite.cells_among(["church"], []))
    suite.check(suite.cells_among(["castle"], []))
    with pytest.raises(AdapterError, match="erases castle and not church"):
        ear.evaluate(dataset, file, store=store, model=str(tiny.path))


def test_the_files_of_a_submission_are_read_once_however_often_its_cells_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    write_atomic(tmp_path / "mine" / "index.parquet", b"images")
    suite = replace(small_suite(tmp_path), submissions={"mine": tmp_path / "mine"})
    [cell] = suite.cells_of("church", "mine")
    reads: list[Path] = []
    monkeypatch.setattr(submission, "files_hash", lambda files: (reads.extend(files), "0" * 16)[1])
    assert suite.key(cell) == suite.key(cell) and len(reads) == 1


def test_a_folder_with_neither_names_the_prompts_to_render(
    store: Store, tiny: JanusModel, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"neither index\.parquet nor an adapter: render .*church\.csv"):
        Submission("mine", tmp_path / "none").evaluate(store, tiny, dataset, SETTINGS, tmp_path)
    assert (tmp_path / "church.csv").read_text().startswith("id,prompt,seed\n")


def test_handing_out_test_prompts_opens_the_test_split(
    store: Store, tiny: JanusModel, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="neither"):
        Submission("mine", tmp_path / "none").evaluate(store, tiny, dataset, SETTINGS, tmp_path)
    assert openings.openings(ConceptRun(store, dataset.concept)) == []
    with pytest.raises(DatasetError, match="neither"):
        Submission("mine", tmp_path / "none").evaluate(store, tiny, dataset, replace(SETTINGS, split="test"), tmp_path)
    [opening] = openings.openings(ConceptRun(store, dataset.concept))
    assert opening.recipe == "mine"


def test_nothing_else_can_be_asked_of_a_method_whose_images_are_given(tiny: JanusModel, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mine: images of the prompts alone cannot have figures that need a model"):
        SubmittedImages("mine", tmp_path, concepts.find("church"), "0" * 16).active(tiny)


def test_the_terms_of_a_concept_of_ones_own_count_as_erased_as_in_the_prompts_to_render(tmp_path: Path) -> None:
    shipped = concepts.find("church")
    own = shipped.model_copy(update={"name": "holy-place", "terms": (*shipped.terms, "mosque")})
    assert erased_names(SubmittedImages("mine", tmp_path, own, "0" * 16).facts) == all_names(own)


def png_header(width: int, height: int) -> bytes:
    """A PNG file of that size, in RGB, that ends before its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    first = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + first + struct.pack(">I", 100) + b"IDAT"


def test_bad_images_are_one_line(
    store: Store, tiny: JanusModel, dataset: Dataset, submitted: Submission, tmp_path: Path
) -> None:
    index = submitted.folder / "index.parquet"
    table = pq.read_table(index)

    def refused(match: str) -> None:
        with pytest.raises(DatasetError, match=match):
            Submission("mine", submitted.folder).evaluate(store, tiny, dataset, SETTINGS, tmp_path)

    pq.write_table(table.slice(1), index)
    refused("has no image of")
    outside = pa.array(["../church.csv"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("image"), "image", outside), index)
    refused("is not in its folder")
    inside = pa.array([{"bytes": b"", "path": "a.png"}] * len(table))  # an image column of `datasets`
    for other in (
        table.drop_columns(["image"]),
        table.set_column(table.column_names.index("image"), "image", inside),
    ):
        pq.write_table(other, index)
        refused("has no columns prompt, seed and image")
    pq.write_table(table, index)
    first = submitted.folder / table["image"][0].as_py()
    whole = Image.open(first).convert("RGB")
    Image.new("RGB", (8, 8)).save(first)
    refused("8 x 8 pixels")
    first.write_bytes(b"nothing")
    refused(r"cannot be read as an image \(no known image format\)")
    Image.fromarray(np.full((whole.height, whole.width), 30_000, dtype=np.uint16)).save(first)
    refused("more than 8 bits per channel")
    first.write_bytes(png_header(30_000, 30_000))
    refused(r"cannot be read as an image \(not an image: Image size")
    first.unlink()
    refused(r"cannot be read as an image \(No such file or directory\)")
    whole.convert("RGBA").save(first)
    with pytest.raises(SettingsError, match="full figures"):
        submitted.evaluate(store, tiny, dataset, replace(SETTINGS, figures="full"), tmp_path)


@dataclass(frozen=True)
class LoggedEngine:
    """An engine of its own, which appends a line to ``log`` whenever it is used."""

    log: Path

    @contextmanager
    def open(self, setups: Mapping[str, Setup]) -> Iterator[Pool]:
        with self.log.open("a") as file:
            file.write(f"{', '.join(setups)}\n")
        with ThisProcess().open(setups) as pool:
            yield pool


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nano_judges")
def test_the_command_measures_a_folder_of_images_and_renders_datasets_by_the_engine(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = LoggedEngine(tmp_path / "engine.log")
    Path("small.yaml").write_text(f"{SMALL}model: {tiny_path}\nwriters: offline\n")
    # The suite's own cell is finished: what is missing is the submission.
    results = tmp_path / "results"
    keep(Suite(read_spec(Path("small.yaml")), tmp_path / "store", results), cell_result(0, 0, 0, "prompt-rewrite"))
    Path("images").mkdir()
    suite = ["suite", "small.yaml", "--store", "store", "--out", "results", "--submit", "mine=images"]
    with monkeypatch.context() as patch:
        patch.setattr(ecgvf.engine, "local_engine", lambda device, max_workers: engine)
        asked = CliRunner().invoke(app, suite)
    assert asked.exit_code == 1
    assert "images has neither index.parquet nor an adapter" in asked.stderr.replace("\n", " ")
    assert engine.log.read_text() == "pictures\nverdicts\n"
    prompts = str(results / "prompts" / "church.csv")
    generate = ["generate", "--prompts", prompts, "--out", "images", "--model", str(tiny_path)]
    assert CliRunner().invoke(app, generate).exit_code == 0
    found = CliRunner().invoke(app, [*suite, "--json"])
    assert found.exit_code == 0, found.stderr
    content = json.loads((tmp_path / "results.json").read_bytes())
    rows = [row for row in content["rows"] if row["recipe"] == "mine" and row["class"] == "pooled"]
    values = {(row["figure"], row["group"]): row["value"] for row in rows}
    # The frozen model's own images: nothing has changed, and what needs token ids is not measured.
    assert values["concept_present_change", "concept"] == values["retention_change", "pooled"] == 0
    assert ("concept_present", "concept") in values
    assert not {"nll_frozen", "token_agreement"} & {figure for figure, _ in values}
    assert "mine" in (results / "leaderboard.md").read_text()
