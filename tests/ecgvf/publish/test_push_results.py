"""A suite's results on the Hub, beside the dataset."""

import json
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ear.suite import Suite, write_known_results
from ecgvf.cli import app
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.publish import push_results
from ecgvf.publish.push import prepare, upload
from ecgvf.publish.push_results import FACTS, prepare_results, upload_results
from tests.ear.suite.small_suite import cell_result, keep, small_suite
from tests.ecgvf.conftest import use_hub
from tests.ecgvf.publish.conftest import new_run
from tests.hub_server import Hub

REPO = "my-org/ecgvf"
ORIGINAL = "church-original-paper-default.parquet"


def results(folder: Path, left: int = 3, **changed: object) -> Suite:
    suite = small_suite(folder, **changed)
    source = cell_result(0, 0, left)
    keep(suite, replace(source, cell=replace(source.cell, concept=suite.spec.concepts[0])))
    write_known_results(suite, "ear suite small.yaml")
    return suite


@pytest.fixture
def published(run: ConceptRun, hub: Hub) -> Hub:
    """A Hub with a dataset."""
    with prepare(run, REPO) as plan:
        upload(plan)
    return hub


def test_rows_and_outcomes_are_configurations_beside_the_dataset(
    tmp_path: Path, run: ConceptRun, published: Hub
) -> None:
    suite = results(tmp_path)
    found = CliRunner().invoke(app, ["push-to-hub", "--results", str(suite.results), "--repo", REPO])
    assert found.exit_code == 0, found.stderr
    names = {"church", "church-rejected", "small-results", "small-outcomes"}
    assert set(datasets.get_dataset_config_names(REPO)) == names
    rows = datasets.load_dataset(REPO, "small-results", split="test")
    assert {"concept", "figure", "value", "low", "high"} <= set(rows.column_names) and "paper" in rows["recipe"]
    outcomes = datasets.load_dataset(REPO, "small-outcomes", split="test")
    assert set(outcomes["condition"]) == {"before", "after", "ceiling"}
    card = published.text(REPO, "README.md")
    assert "| church    | paper" in card and "## Results of the suite small" in card
    with prepare(run, REPO) as plan:
        assert plan.nothing_to_do and plan.version == "1.0.0"


def test_the_rows_are_in_a_split_of_the_name_of_the_measured_split(tmp_path: Path, published: Hub) -> None:
    upload_results(prepare_results(results(tmp_path, split="validation").results, REPO))
    for name in ("small-results", "small-outcomes"):
        assert datasets.get_dataset_split_names(REPO, name) == ["validation"]


def test_outcomes_of_an_earlier_version_get_the_columns_of_later_ones(tmp_path: Path, published: Hub) -> None:
    suite = results(tmp_path)
    older = suite.results / ORIGINAL
    pq.write_table(pq.read_table(older).drop_columns(["surrogate_label"]), older)
    upload_results(prepare_results(suite.results, REPO))
    outcomes = datasets.load_dataset(REPO, "small-outcomes", split="test")
    assert set(outcomes["condition"]) == {"before", "after", "ceiling"} and None in outcomes["surrogate_label"]


def test_results_do_not_name_local_folders(tmp_path: Path, published: Hub, tiny_path: Path) -> None:
    fields = {"model": str(tiny_path), "writers": "offline", "report": {"trials": "/home/alice/trials.json"}}
    suite = results(tmp_path, **fields)
    write_known_results(suite, f"ear suite {tmp_path}/small.yaml --submit mine={tmp_path}/images --out docs/small")
    found = prepare_results(suite.results, REPO).files
    content = b"".join(file if isinstance(file, bytes) else file.read_bytes() for file in found.values())
    for local in (str(tmp_path), str(tiny_path.parent), "/home/alice"):
        assert local.encode() not in content
    table = pq.read_table(pa.BufferReader(found["small-results/results.parquet"]))
    assert set(table["model"].to_pylist()) == {f"local:{tiny_path.name}"}
    facts = json.loads(table.schema.metadata[FACTS])
    assert facts["command"] == "ear suite small.yaml --submit mine=images --out docs/small"
    assert (facts["suite"]["store"], facts["suite"]["report"]["trials"]) == ("store", "trials.json")
    assert f"local:{tiny_path.name}".encode() in found["small-results/results.csv"]
    assert f"local:{tiny_path.name}, test split" in found["README.md"].decode()


def test_equal_results_upload_nothing_and_changed_ones_replace_them(tmp_path: Path, published: Hub) -> None:
    folder = results(tmp_path / "a").results
    upload_results(prepare_results(folder, REPO))
    head = published.repos[REPO].head
    assert prepare_results(folder, REPO).nothing_to_do and published.repos[REPO].private
    changed = prepare_results(results(tmp_path / "b", left=6).results, REPO)
    assert not changed.nothing_to_do
    upload_results(changed)
    assert published.repos[REPO].head != head
    assert published.text(REPO, "README.md").count("## Results of the suite small") == 1


def test_equal_results_can_still_be_made_public(tmp_path: Path, published: Hub) -> None:
    folder = results(tmp_path).results
    upload_results(prepare_results(folder, REPO))
    head = published.repos[REPO].head
    found = CliRunner().invoke(app, ["push-to-hub", "--results", str(folder), "--repo", REPO, "--public", "--json"])
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["done"] == "settings"
    assert not published.repos[REPO].private and published.repos[REPO].head == head
    assert prepare_results(folder, REPO, public=True).nothing_to_do


def test_results_of_an_unsafe_concept_are_gated_and_not_public_unasked(tmp_path: Path, published: Hub) -> None:
    folder = results(tmp_path, concepts=("nudity",)).results
    with pytest.raises(SettingsError, match="unsafe"):
        prepare_results(folder, REPO, public=True)
    upload_results(prepare_results(folder, REPO))
    assert published.repos[REPO].gated == "manual"


def test_unsafe_results_do_not_become_public_with_the_dataset(tmp_path: Path, run: ConceptRun, published: Hub) -> None:
    upload_results(prepare_results(results(tmp_path / "a", concepts=("nudity",)).results, REPO))
    with pytest.raises(SettingsError, match="'small-results' is marked unsafe"), prepare(run, REPO, public=True):
        pass
    upload_results(prepare_results(results(tmp_path / "b").results, REPO))  # they replace the unsafe results
    with prepare(run, REPO, public=True) as plan:
        upload(plan)
    assert not published.repos[REPO].private


def test_a_concept_marked_unsafe_after_its_results_were_pushed_marks_them(
    tmp_path: Path, run: ConceptRun, published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = results(tmp_path).results
    upload_results(prepare_results(folder, REPO))
    monkeypatch.setattr(push_results, "_unsafe", list)
    upload_results(prepare_results(folder, REPO))
    with pytest.raises(SettingsError, match="'small-results' is marked unsafe"), prepare(run, REPO, public=True):
        pass
    assert prepare_results(folder, REPO).nothing_to_do


def test_results_do_not_make_an_unsafe_dataset_public(tmp_path: Path, run: ConceptRun, hub: Hub) -> None:
    with prepare(new_run(run.store.root, unsafe=True), REPO) as plan:
        upload(plan)
    folder = results(tmp_path).results
    with pytest.raises(SettingsError, match="'church' is marked unsafe"):
        prepare_results(folder, REPO, public=True)
    upload_results(prepare_results(folder, REPO))
    assert hub.repos[REPO].private and hub.repos[REPO].gated == "manual"
    upload_results(prepare_results(folder, REPO, public=True, unsafe_known=True))
    assert not hub.repos[REPO].private and hub.repos[REPO].gated == "manual"


def test_outcomes_that_are_damaged_or_of_another_type_are_one_line(tmp_path: Path, published: Hub) -> None:
    folder = results(tmp_path).results
    file = folder / ORIGINAL
    table = pq.read_table(file)
    texts = pa.array(["x"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("seed"), "seed", texts), file)
    for content in (file.read_bytes(), file.read_bytes()[:-100], b"no table"):
        file.write_bytes(content)
        with pytest.raises(DatasetError, match=r"\.parquet is damaged, or does not fit the other outcomes"):
            prepare_results(folder, REPO)


def test_a_dry_run_needs_no_more_than_a_read_only_token(
    tmp_path: Path, published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(tmp_path / "hf2", monkeypatch, token="hf_read_only")
    words = ["push-to-hub", "--results", str(results(tmp_path).results), "--repo", REPO]
    assert "is read-only" in CliRunner().invoke(app, words).stderr
    dry = CliRunner().invoke(app, [*words, "--dry-run"])
    assert dry.exit_code == 0 and "Dry run: nothing was uploaded." in dry.stdout, dry.output


def test_results_do_not_replace_a_concept_of_their_name(tmp_path: Path, published: Hub) -> None:
    known = json.loads(published.text(REPO, "ecgvf.json"))
    known["concepts"] = {"small-results": known["concepts"]["church"]}
    published.write(REPO, "ecgvf.json", json.dumps(known))
    with pytest.raises(DatasetError, match="has a concept 'small-results'"):
        prepare_results(results(tmp_path).results, REPO)


def test_bad_input_is_one_line(tmp_path: Path, published: Hub) -> None:
    folder = results(tmp_path).results
    with pytest.raises(SettingsError, match="OWNER/NAME"):
        prepare_results(folder, "x")
    with pytest.raises(DatasetError, match=r"has no results\.parquet"):
        prepare_results(tmp_path, REPO)
    found = CliRunner().invoke(app, ["push-to-hub", "--results", str(folder), "--version", "1.0.0"])
    assert found.exit_code == 2 and "leave --version out" in found.stderr
    with pytest.raises(DatasetError, match="has no dataset yet"):
        prepare_results(folder, "my-org/other")
    for file in ("leaderboard.md", ORIGINAL):
        (folder / file).unlink()
        with pytest.raises(DatasetError, match=f"{file} is missing"):
            prepare_results(folder, REPO)
