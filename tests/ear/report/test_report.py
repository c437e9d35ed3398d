"""The report: one file that says what was measured and what was not, and works in a real browser."""

import base64
import csv
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser
from typer.testing import CliRunner

from ear.ablation.ablation import COMMAND, NOT_MEASURED
from ear.cli import app
from ear.evaluation import figures
from ear.evaluation.fidelity.measure import Fidelity
from ear.evaluation.figures import FigureRow
from ear.evaluation.not_measured import NotMeasured
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, selected
from ear.report import charts, write_report
from ear.report.charts import curves, dots
from ear.report.evaluated import EvaluationResults
from ear.report.frontier import frontier
from ear.report.gallery import MOST_BYTES, data_uri, gallery
from ear.report.results import SuiteResults, image_key
from ear.report.robustness import robustness
from ear.report.sections import headline
from ear.suite import Suite, write_known_results
from ear.suite.last_results import last_results, remember
from ear.suite.spec import Attachments
from ecgvf import Run
from ecgvf.core.errors import DatasetError, StoreCorrupt, StoreError
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON, pretty_json, write_atomic
from ecgvf.core.paths import data_dir
from ecgvf.core.records import to_table
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.publish.push_results import FACTS, FILE
from tests.browser import launched, needs_chromium, opened
from tests.ear.conftest import AgreeingJudge
from tests.ear.evaluation.small_outcomes import both, erased, evaluation, kept
from tests.ear.suite.small_suite import attacked, cell_result, keep, small_suite
from tests.ecgvf.small_run import church_pairs, write_pairs

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
TO_LMS = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
TO_OKLAB = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
"""Linear RGB → cone responses, and their cube roots → Oklab (Ottosson 2020)."""
COLOUR_BLIND = {
    "protanopia": [[0.15229, 1.05258, -0.20487], [0.11450, 0.78628, 0.09922], [-0.00388, -0.04812, 1.05200]],
    "deuteranopia": [[0.36732, 0.86065, -0.22797], [0.28009, 0.67250, 0.04741], [-0.01182, 0.04294, 0.96888]],
    "tritanopia": [[1.25553, -0.07675, -0.17878], [-0.07841, 0.93081, 0.14760], [0.00473, 0.69137, 0.30390]],
}
"""Linear RGB → as it is seen (Machado 2009)."""

HOSTILE = "<img src=x onerror=\"console.error('run')\"></script><b>church</b>"


def finished(folder: Path, *, unsafe: bool = False, images: bool = True) -> SuiteResults:
    """Church is measured and castle is not: of 12 prompts 3 still show church, one is wrecked, a prompt is hostile."""
    suite = small_suite(folder)
    source = cell_result(0, 0, 3)
    after = [
        replace(each, judges=both("turtle", 0.2)) if each.group == "concept" and each.id == "record-5" else each
        for each in source.outcomes
    ]
    original, after = (
        [replace(each, prompt=HOSTILE) if each.id == "record-0" else each for each in outcomes]
        for outcomes in (source.original, after)
    )
    source = replace(source, original=original, outcomes=after)
    keep(suite, source)
    write_known_results(suite, "ear suite small.yaml")
    facts: dict[str, Any] = {"church": {"unsafe": unsafe, "paid": None, "stages": []}}
    write_atomic(suite.results / "datasets.json", pretty_json(facts))
    if images:
        keep_images(suite.store, [*source.original, *source.outcomes])
    return SuiteResults.open(suite.results, suite.store)


def keep_images(store: Path, outcomes: list[Outcome], run: str = "run-0") -> None:
    file = store / run / "church" / "outcomes" / "0" / "shard-00000.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(to_table(Outcome, outcomes), file)


def with_attachments(results: SuiteResults, folder: Path) -> SuiteResults:
    """The results beside measurements that the suite names; one of two ablations was not run."""
    figure = {"value": 0.5, "n": 12, "low": 0.25, "high": 0.75}
    shares = {"original": 0.75, "unattacked": 0.3, "after": 0.6, "oracle": 0.35, "above_oracle": 0.25, "absent": 0.4}
    row = {name: {**figure, "value": share} for name, share in shares.items()}
    attacks = [{"attack": "soft-prompt", "budget": 100, "applicable": True, **row}]
    adapter = ["store/church/ear/paper-1a2b3c4d-s0/adapter.safetensors"]
    cluster = {"size": 3, "ids": ["1", "2", "3"], "prompts": ["a dog", "a cat", HOSTILE]}
    finding = {"images": "before", "token": True, "method": "hash", "in_clusters": figure, "clusters": [cluster]}
    measured_figures = [
        {"figure": "concept_present", "group": "concept", **figure},
        {"figure": "retention_ratio", "group": "pooled", **figure},
    ]
    undefined = [{**row, "value": None, "low": None, "high": None} for row in measured_figures]
    trials = [
        {"concept": "church", "recipe": "paper", "options": {"passes": 3}, "figures": measured_figures},
        {"concept": "church", "recipe": "paper", "options": {"passes": 1}, "figures": undefined},
        {"concept": "church", "recipe": "esd", "options": {}, "figures": None},
    ]
    agreement = [{"reviewer": "=somebody", "judge": "nano-object-b", "condition": "after", "kappa": figure}]
    files: dict[str, Any] = {
        "attacks": {"concept": "church", "adapter": adapter, "split": "test", "attacks": attacks},
        "memorisation": {"findings": [finding], "sheet": str(folder / "clusters.png")},
        "trials": {"command": "python -m trials", "split": "validation", "trials": trials},
        "agreement": {"agreement": agreement},
    }
    for name, content in files.items():
        write_atomic(folder / f"{name}.json", pretty_json(content))
    rows = [
        {"concept": "church", "base": "paper", "factor": "window", "level": level, "equal": equal}
        | {"split": "validation", "judge": "nano-object-b", "seeds": [0], "pairs": 50}
        | {"figure": "concept_present", **figure}
        for equal in ("pairs", "steps")
        for level in ("12", "24")
    ]
    Image.new("RGB", (1600, 900)).save(folder / "clusters.png")
    (folder / "ablation").mkdir()
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {NOT_MEASURED: b"[]", COMMAND: b"ear ablate --over window"}
    )
    pq.write_table(table, folder / "ablation" / "ablation.parquet")
    named = {name: folder / f"{name}.json" for name in ("trials", "agreement")}
    lists = {name: [folder / f"{name}.json"] for name in ("attacks", "memorisation")}
    attachments = Attachments.model_validate({**named, **lists, "ablations": [folder / "ablation", folder / "none"]})
    return replace(results, attachments=attachments)


def everything(folder: Path) -> SuiteResults:
    """A suite of which every section has something to show: attacks with controls, and all other measurements."""
    suite, source = small_suite(folder, figures="full"), attacked(oracle=True)
    source = replace(source, cell=replace(source.cell, figures="full"))
    keep(suite, source)
    write_known_results(suite, "ear suite small.yaml")
    facts: dict[str, Any] = {"church": {"unsafe": False, "paid": None, "stages": []}}
    write_atomic(suite.results / "datasets.json", pretty_json(facts))
    keep_images(suite.store, [*source.original, *source.outcomes])
    return with_attachments(SuiteResults.open(suite.results, suite.store), folder)


@pytest.fixture(scope="module")
def finished_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of ``finished``."""
    folder = tmp_path_factory.mktemp("finished")
    return write_report(finished(folder), folder / "report.html")


@pytest.fixture(scope="module")
def whole_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section."""
    folder = tmp_path_factory.mktemp("whole")
    return write_report(everything(folder), folder / "report.html")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def test_no_cell_of_the_leaderboard_is_empty(tmp_path: Path) -> None:
    table = headline(finished(tmp_path))
    assert [row[-3:] for row in table.rows if row[1] == "ceiling"] == [["not applicable"] * 3]
    assert all(cell for row in table.rows for cell in row)


def test_every_outcome_of_the_gallery_is_told_from_the_judges(tmp_path: Path) -> None:
    found = gallery(finished(tmp_path), 1000)
    assert found.counts == {"not erased": 3, "wrecked": 1, "lost": 3, "erased": 0, "replaced": 8, "kept": 21}
    results = [card.result for card in found.cards]
    assert results[:4] == ["not erased"] * 3 + ["wrecked"] and results[-1] == "kept"
    assert found.with_images == 36


def test_a_wrecked_image_is_not_replaced_even_if_its_judge_names_the_surrogate(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 0)
    unsure = [replace(each, judges=both("hotel", 0.3)) if each.id == "record-4" else each for each in source.outcomes]
    keep(suite, replace(source, outcomes=unsure))
    write_known_results(suite, "ear suite small.yaml")
    found = gallery(SuiteResults.open(suite.results, suite.store), 1000)
    assert (found.counts["wrecked"], found.counts["replaced"]) == (1, 11)


def test_groups_that_were_left_out_are_named_with_the_reason(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    keep(suite, cell_result(0, 0, 3), not_measured=["unrehearsed (training rehearsed every other concept)"])
    write_known_results(suite, "ear suite small.yaml")
    page = write_report(SuiteResults.open(suite.results, suite.store), tmp_path / "report.html").read_text()
    assert "unrehearsed (training rehearsed every other concept) for church by paper" in page
    keep(suite, cell_result(0, 0, 3))  # a file that does not list them
    page = write_report(SuiteResults.open(suite.results, suite.store), tmp_path / "report.html").read_text()
    assert "surrogates (there is none, or it is erased as well) for church by paper" in page
    assert "unrehearsed (training rehearsed every other concept) for church by paper" in page
    assert "neighbours (" not in page
    left = (
        NotMeasured("rehearsed", "training rehearsed nothing"),
        NotMeasured("unrehearsed", "not of family x", ("a",)),
    )
    file = evaluation([*erased(12), *kept("castle", "neighbours", 12)], not_measured=left).save(tmp_path / "a.parquet")
    page = write_report(EvaluationResults.open(file), tmp_path / "report.html").read_text()
    assert "rehearsed (training rehearsed nothing) for church by windowed-kl" in page
    assert "unrehearsed: a (not of family x) for church by windowed-kl" in page


def test_levels_that_an_ablation_left_out_are_named(tmp_path: Path) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    file = tmp_path / "ablation" / "ablation.parquet"
    left = json.dumps(["window 48", "order shuffled"])
    table = pq.read_table(file).replace_schema_metadata({NOT_MEASURED: left, COMMAND: b""})
    pq.write_table(table, file)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "church, paper (window 48; order shuffled)" in page
    pq.write_table(table.replace_schema_metadata({NOT_MEASURED: b"nothing"}), file)
    with pytest.raises(DatasetError, match=r"ablation\.parquet is not what `ear ablate` writes"):
        write_report(results, tmp_path / "report.html")


def fidelity() -> Fidelity:
    """FID on 20 captions, 3 before and 5 after."""
    before, after, change = (Figure(value, 20, value - 1, value + 1) for value in (3.0, 5.0, 2.0))
    row = FigureRow(
        figure="fid", group="nano", guidance=1.25, temperature=0.5, before=before, after=after, change=change
    )
    names = ("captions", "features", "resizing", "clip", "seeds")
    facts: dict[str, Any] = {name: f"its {name}" for name in names}
    counts = {"n": 20, "reference_n": 30, "own_text": 20}
    rows: dict[str, Any] = {"rows": (row,), "replicates": {"fid": (1.0, 2.0)}, "hashes": {}}
    return Fidelity(label="nano", as_published=False, **facts, **counts, **rows)


def test_fid_kid_and_clip_score_are_a_table_with_what_they_are_of(tmp_path: Path, finished_report: Path) -> None:
    outcomes = [*erased(12), *kept("castle", "neighbours", 12)]
    file = evaluation(outcomes, fidelity=fidelity()).save(tmp_path / "a.parquet")
    page = write_report(EvaluationResults.open(file), tmp_path / "report.html").read_text()
    for text in ("3.000 [2.000, 4.000] of 20", "5.000 [4.000, 6.000] of 20", "+2.000 [+1.000, +3.000]", "its captions"):
        assert text in page
    assert "FID, KID and CLIP score (`ear eval --figures paper`)" in finished_report.read_text()


def test_a_concept_without_questions_of_its_own_is_named(tmp_path: Path) -> None:
    answered = AnsweredQuestion("1", "image", "others", "present", True, True)
    asked = {"others": [answered], "concept": [answered, replace(answered, group="concept")]}
    for group, answers in asked.items():
        found = evaluation([*erased(12), *kept("castle", "neighbours", 12)], answered=tuple(answers))
        file = found.save(tmp_path / f"{group}.parquet")
        page = write_report(EvaluationResults.open(file), tmp_path / "report.html").read_text()
        assert ("questions about church: none of the questions asks for it" in page) == (group == "others")


def test_sampling_seeds_and_phrases_are_shown(tmp_path: Path, finished_report: Path) -> None:
    synonyms = [replace(each, wording="synonym", term=("kirk", "Kirk", "chapel")[each.seed % 3]) for each in erased(12)]
    guided = [replace(each, sample="sampling", guidance=2.0) for each in erased(12, left=6)]
    seeds = [replace(each, sample="seeds", seed=each.seed + more) for each in erased(1) for more in (100, 101, 102)]
    file = evaluation([*synonyms, *guided, *seeds, *kept("castle", "neighbours", 12)]).save(tmp_path / "a.parquet")
    results = EvaluationResults.open(file)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "synonym (2 phrases)" in page
    assert (
        '<th scope="row" class="key">guidance 2, temperature 0.5</th><th scope="row" class="key">windowed-kl'
        in page.replace("\n", "")
    )
    assert '<th scope="row" class="key">any of 4 seeds</th>' in page
    assert "church, with other guidance, temperature and seeds" not in page
    assert "church, with other guidance, temperature and seeds" in finished_report.read_text()
    # Beside it, a method of which neither was measured.
    missing = robustness(replace(results, methods=["windowed-kl", "paper"])).missing
    assert "church, with other guidance, temperature and seeds: paper" in missing
    assert "church, per class of prompt: paper" in missing


def test_every_table_is_a_csv_and_numbers_have_their_n(tmp_path: Path) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert page.count("<table") == page.count('<p class="download">') == page.count("data:text/csv") - 2
    downloads = _downloads(page)
    files = dict(downloads)
    assert len(files) == len(downloads)
    rows = {name: list(csv.reader(io.StringIO(base64.b64decode(data).decode()))) for name, data in files.items()}
    replacement = rows["church-what-stands-in-its-place.csv"]
    assert replacement[0] == ["figure", "method", "share of images", "n"] and replacement[1][-1] == "12"
    across, up = "images that still show church", "other concepts kept (1 = all)"
    frontier = rows["church-erasure-against-retention.csv"]
    assert frontier[0] == ["method", across, f"n of {across}", up, f"n of {up}"]
    assert rows["church-paper-other-concepts.csv"][0] == ["group", "concept", "original", "paper", "n"]
    clusters = next(each for name, each in rows.items() if name.startswith("nearly-equal"))
    assert clusters[1][4] == "12"
    hostile = next(name for name in rows if name.startswith("judges-and-labels"))
    assert rows[hostile][1][0] == "'=somebody"
    assert "shows the concept 12" in page and "all retained 24" in page


def _downloads(page: str) -> list[tuple[str, str]]:
    """The name and content of each table's file, in base64."""
    return re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', page)


def test_trials_are_shown_with_their_settings_and_the_best_of_each_recipe(tmp_path: Path) -> None:
    def trial(recipe: str, rate: float, present: float, surrogate: float, ratio: float) -> JSON:
        values = {"concept_present": present, "shows_surrogate": surrogate}
        rows = [{"figure": name, "group": "concept", "value": value} for name, value in values.items()]
        rows.append({"figure": "retention_ratio", "group": "pooled", "value": ratio})
        figures = [{**row, "n": 12, "low": row["value"], "high": row["value"]} for row in rows]
        options = {"learning_rate": rate, "passes": 3}
        return {"concept": "church", "recipe": recipe, "options": options, "figures": figures}

    trials = [
        trial("paper", 5e-5, 0.5, 0.2, 0.96),
        trial("paper", 1e-4, 0.1, 0.9, 0.7),
        trial("esd", 2e-4, 0.4, 1, 0.3),
        trial("per-patch", 1e-4, 0.1, 0.9, 0.7) | {"figures": None},
    ]
    trials += [{**trials[0], "figures": None}, {**trials[2], "figures": None, "failed": "the loss is not finite"}]
    results = with_attachments(finished(tmp_path), tmp_path)
    write_atomic(tmp_path / "trials.json", pretty_json({"split": "validation", "trials": trials}))
    found = frontier(results)
    chart = next(each for each in found.charts if each.title.startswith("church: several settings"))
    settings = [f"learning_rate={rate}, passes=3" for rate in ("5e-05", "0.0001", "0.0002")]
    assert chart.columns[1] == "settings" and [row[1] for row in chart.rows] == settings
    [table] = found.tables
    assert table.title == "church: the best of several settings of each recipe, validation split"
    assert [list(row) for row in table.rows] == [
        ["paper", "2 of 3", "0", "0.20 (0.20 to 0.20)", "12", "0.70 (0.70 to 0.70)", "12"],
        ["esd", "1 of 2", "1", *["none"] * 4],
        ["per-patch", "0 of 1", "0", *["not measured"] * 4],
    ]
    assert "at least 95% of other concepts" in table.note and "in at most 10% of the images" in table.note
    # A training that diverged will not be repeated.
    assert [each for each in found.missing if "settings" in each] == [
        "several settings of each recipe, church: paper 2 of 3, per-patch 0 of 1"
    ]


def test_files_have_names_of_their_own_even_of_equal_titles_and_in_any_script(tmp_path: Path) -> None:
    results = everything(tmp_path)
    trials = json.loads((tmp_path / "trials.json").read_bytes())
    trials["trials"] = [trials["trials"][0] | {"concept": concept} for concept in ("教会", "城")]
    write_atomic(tmp_path / "trials.json", pretty_json(trials))
    twice = results.attachments.model_copy(update={"memorisation": results.attachments.memorisation * 2})
    page = write_report(replace(results, attachments=twice), tmp_path / "report.html").read_text()
    names = [name for name, _ in _downloads(page)]
    assert len(set(names)) == len(names)
    settings = "several-settings-of-each-recipe-validation-split.csv"
    assert {f"教会-{settings}", f"城-{settings}"} <= set(names)
    assert [name[-6:] for name in names if name.startswith("nearly-equal")][1] == "-2.csv"
    files = [tmp_path / f"memorisation-{number}.json" for number in range(3)]
    content = json.loads((tmp_path / "memorisation.json").read_bytes())
    for file, prompts in zip(files, ("a 2", "a", "a"), strict=True):
        write_atomic(file, pretty_json({**content, "prompts": prompts}))
    attachments = Attachments(memorisation=tuple(files))
    page = write_report(replace(results, attachments=attachments), tmp_path / "report.html").read_text()
    names = [name for name, _ in _downloads(page)]
    assert len(set(names)) == len(names)


def test_near_duplicates_and_labels_say_whose_images_they_are_of(tmp_path: Path) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "clusters.png, whose JSON does not say which concept was erased" in page
    content = json.loads((tmp_path / "memorisation.json").read_bytes())
    content |= {"concept": "church", "recipe": "on-policy", "model": "janus-nano", "split": "validation"}
    write_atomic(tmp_path / "memorisation.json", pretty_json(content))
    labels = json.loads((tmp_path / "agreement.json").read_bytes())
    write_atomic(tmp_path / "agreement.json", pretty_json({**labels, "description": f"Of {HOSTILE}, by a model."}))
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "prompts: church, on-policy, janus-nano, validation split" in page
    assert "&lt;/script&gt;&lt;b&gt;church&lt;/b&gt;, by a model." in page and HOSTILE not in page


def test_the_oracle_is_shown_beside_the_methods(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, oracles={"church": tmp_path / "oracle"})
    keep(suite, cell_result(0, 0, 3))
    page = write_report(_known(suite), tmp_path / "report.html").read_text()
    assert "church, oracle" not in page
    keep(suite, cell_result(0, 0, 6, recipe="oracle"))
    results = _known(suite)
    page = write_report(results, tmp_path / "report.html").read_text()
    assert results.methods_of("church") == ["paper", "oracle"] and results.methods_of("castle") == ["paper"]
    [frontier] = re.findall(r"images that still show church</th>.*?</table>", page, re.DOTALL)
    assert '<th scope="row" class="key">oracle</th>' in frontier
    assert "church, oracle: other concepts</figcaption>" in page and "castle, oracle" not in page
    assert {card.method for card in gallery(results, 1000).cards} == {"paper", "oracle"}
    [listed] = re.findall(r'<select name="method".*?</select>', page)
    assert re.findall(r"<option>([^<]+)", listed) == ["oracle", "paper"]
    assert set(re.findall(r'data-method="([^"]+)"', page)) == {"oracle", "paper"}


def test_the_methods_of_a_report_are_those_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    declared = small_suite(tmp_path, concepts=("church",), oracles={"church": "oracle"})
    suite = replace(declared, submissions={"mine": tmp_path / "mine"})
    suite.results.mkdir()
    write_known_results(suite, "")
    assert "Methods: paper, mine, oracle" in SuiteResults.open(suite.results).provenance


def test_bars_ticks_and_stars_are_of_all_seeds(tmp_path: Path) -> None:
    suite = small_suite(tmp_path, recipes=("on-policy",), training_seeds=(0, 1))
    first, second = (cell_result(0, seed, 0, recipe="on-policy") for seed in (0, 1))
    # The second training alone loses the castle.
    changed = [
        replace(each, judges=both("church", concept="castle")) if each.concept == "castle" else each
        for each in second.outcomes
    ]
    for source in (first, replace(second, outcomes=changed)):
        keep(suite, source)
    results = _known(suite)
    outcomes = results.outcomes("church", "on-policy")
    rows = {row.group: row for row in figures.retention_by_concept(outcomes)}
    assert (rows["castle"].before.value, rows["castle"].after.value) == (1.0, 0.5)
    assert figures.lost(outcomes) == {"castle": True, "cat": False}
    assert "castle *" in write_report(results, tmp_path / "report.html").read_text()


def test_a_model_whose_folder_is_called_oracle_is_shown_once(tmp_path: Path) -> None:
    outcomes = [*erased(12), *kept("castle", "neighbours", 12)]
    results = EvaluationResults.open(evaluation(outcomes, recipe="oracle").save(tmp_path / "a.parquet"))
    assert results.methods_of("church") == ["oracle"] and results.series == ["original", "ceiling", "oracle"]
    page = write_report(results, tmp_path / "report.html").read_text()
    assert page.count("church, oracle: other concepts</figcaption>") == 1


def _known(suite: Suite) -> SuiteResults:
    suite.results.mkdir(parents=True, exist_ok=True)
    write_known_results(suite, "ear suite small.yaml")
    return SuiteResults.open(suite.results, suite.store)


def test_a_concept_that_the_original_does_not_show_either_is_not_lost(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    unseen = both("church", concept="cat")
    never = [replace(each, judges=unseen) if each.concept == "cat" else each for each in source.original]
    keep(suite, replace(source, original=never))
    write_known_results(suite, "ear suite small.yaml")
    found = gallery(SuiteResults.open(suite.results, suite.store), 1000)
    assert found.counts["lost"] == 0 and {card.measured for card in found.cards} == {"church", "castle"}


def test_an_image_of_another_model_in_the_store_is_not_shown(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    keep(suite, source)
    results, originals = _known(suite), selected(source.original, "before")
    others = [replace(each, nll_frozen=9.0, image=b"another model's") for each in originals]
    keep_images(suite.store, [*others, *originals])
    found = results.images("church", {image_key(each) for each in originals})
    assert found == {image_key(each): each.image for each in originals}


def test_pairs_without_images_come_last(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    keep(suite, source)
    results = _known(suite)
    keep_images(suite.store, [each for each in (*source.original, *source.outcomes) if each.concept != "church"])
    cards = gallery(results, 1000).cards
    shown = [bool(card.after) for card in cards]
    assert shown == sorted(shown, reverse=True) and 0 < sum(shown) < len(shown)
    assert cards[0].result == "lost"


def test_a_limit_keeps_some_of_each_outcome(tmp_path: Path) -> None:
    found = gallery(finished(tmp_path), 20)
    assert len(found.cards) == 10
    assert {card.result for card in found.cards} == {"not erased", "wrecked", "lost", "replaced", "kept"}


def test_cards_of_an_outcome_are_chosen_and_shown_worst_first(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path), cell_result(0, 0, 3)
    seen = {
        **{f"record-{number}": both("church", sure) for number, sure in enumerate((0.7, 0.95, 0.8))},
        **{f"record-{number}": both("turtle", sure) for number, sure in enumerate((0.3, 0.2, 0.4), 3)},
        **{f"cat/{number}": both("church", sure, "cat") for number, sure in enumerate((0.6, 0.7, 0.95))},
        "record-7": tuple(replace(judge, score=0.3) for judge in both("hotel")),  # of the others 0.1
        "castle/9": both("castle", 0.55, "castle"),
    }
    after = [replace(each, judges=seen.get(each.id, each.judges)) for each in source.outcomes]
    keep(suite, replace(source, outcomes=after))
    results = _known(suite)
    keep_images(suite.store, [*source.original, *(each for each in after if each.id != "record-1")])

    def prompts(images: int, result: str) -> list[str]:
        return [card.prompt for card in gallery(results, images).cards if card.result == result]

    church, cat = "a church by lake {}".format, "a cat by lake {}".format
    assert prompts(1000, "not erased") == [church(2), church(0), church(1)]  # the worst has no image, so it comes last
    assert prompts(1000, "wrecked") == [church(4), church(3), church(5)]
    assert prompts(1000, "lost") == [cat(2), cat(1), cat(0)]
    assert prompts(1000, "replaced")[0] == church(7) and prompts(1000, "kept")[0] == "a castle by lake 9"
    few = [prompts(10, result) for result in ("not erased", "wrecked", "lost", "replaced", "kept")]
    assert few == [[church(1)], [church(4)], [cat(2)], [church(7)], ["a castle by lake 9"]]


def test_a_limit_that_leaves_no_image_does_not_pass_for_missing_cells(tmp_path: Path) -> None:
    page = write_report(finished(tmp_path), tmp_path / "report.html", images=1).read_text()
    assert "allows fewer than two images" in page and "no cell is finished" not in page
    (tmp_path / "none").mkdir()
    page = write_report(_known(small_suite(tmp_path / "none")), tmp_path / "report.html").read_text()
    assert "no cell is finished" in page and "allows fewer" not in page


def test_a_thousand_images_stay_under_40_megabytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (768, 768, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert 1000 * len(data_uri(buffer.getvalue())) < 1000 * (MOST_BYTES * 4 / 3 + 40) < 40_000_000


def test_nanos_images_are_shown_as_they_are() -> None:
    soft = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(soft).resize((64, 64), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    kind, content = data_uri(buffer.getvalue()).split(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(content))).tobytes() == image.tobytes()


def test_images_are_unsafe_if_their_own_concept_is_marked(tmp_path: Path) -> None:
    def unsafe(**marks: bool) -> set[str]:
        results = replace(finished_once, datasets={name: {"unsafe": mark} for name, mark in marks.items()})
        return {card.measured for card in gallery(results, 1000).cards if card.unsafe}

    finished_once = finished(tmp_path)
    assert unsafe(church=True) == {"church"} and unsafe(church=False, castle=True) == {"castle"} and not unsafe()


@pytest.mark.parametrize(
    ("facts", "unsafe"),
    [
        ({"concept": "church", "blurred": False}, True),
        ({"concept": "church"}, True),  # of an earlier version
        ({"concept": "church", "blurred": True}, False),
        ({"concept": "castle", "blurred": False}, False),
        ({"concept": "castle", "blurred": False, "prompts": "any.txt"}, True),
        ({"concept": None, "blurred": False}, True),  # of folders
    ],
)
def test_the_image_of_the_clusters_is_unsafe_unless_it_is_blurred(tmp_path: Path, facts: JSON, unsafe: bool) -> None:
    results = with_attachments(finished(tmp_path, unsafe=True), tmp_path)
    content = json.loads((tmp_path / "memorisation.json").read_bytes())
    write_atomic(tmp_path / "memorisation.json", pretty_json({**content, **facts}))
    page = write_report(results, tmp_path / "report.html").read_text()
    assert re.findall(r'<figure class="picture([^"]*)"', page) == [" unsafe" if unsafe else ""]


def test_a_mark_counts_whether_it_was_recorded_or_added_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = finished(tmp_path)
    file = evaluation([*erased(12), *kept("castle", "neighbours", 12)]).save(tmp_path / "a.parquet")
    measured = EvaluationResults.open(file, tmp_path / "none")
    assert not suite.unsafe("church") and not measured.unsafe("church")
    assert suite.unsafe("gore") and not suite.unsafe("gore", unknown=False)
    shutil.copytree(data_dir() / "concepts", tmp_path / "data" / "concepts")
    church = tmp_path / "data" / "concepts" / "church.yaml"
    church.write_text(church.read_text().replace("unsafe: false", "unsafe: true"))
    monkeypatch.setattr("ecgvf.core.concepts.data_dir", lambda: tmp_path / "data")
    assert suite.unsafe("church") and measured.unsafe("church") and not measured.unsafe("castle")
    recorded = evaluation([*erased(12)], concept="gore", unsafe=True).save(tmp_path / "b.parquet")
    assert EvaluationResults.open(recorded, tmp_path / "none").unsafe("gore")


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    page = write_report(finished(tmp_path, images=False), tmp_path / "report.html").read_text()
    for text in (
        "castle: paper 1",
        "took 1 min 00 s of wall time, 1 cell in all",
        "36 have no images",
        "church under attack",
        "clusters of nearly equal images",
        "agreement of judges with labels",
        "ablations (`ear ablate`)",
        f"the dataset of castle ({tmp_path / 'results' / 'datasets.json'} does not have it)",
    ):
        assert text in page


def test_attacks_memorisation_ablations_and_trials_are_shown_if_the_suite_names_their_files(tmp_path: Path) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    trials = (tmp_path / "trials.json").read_bytes()
    page = write_report(results, tmp_path / "report.html").read_text()
    for text in (
        "church, paper-1a2b3c4d-s0: images that show it under attack",
        "3: a dog | a cat | &lt;img",
        "several settings of each recipe, church: esd 0 of 1",
        "Judges and labels",
        "The largest clusters",
        "church, paper: window, at equal pairs, validation split",
        "church, paper: window, at equal steps, validation split",
        "<td>validation</td><td>nano-object-b</td><td>0</td><td>50</td>",
        "Measured on the test split, where a title names no other",
        f"an ablation ({tmp_path / 'none' / 'ablation.parquet'} does not exist)",
    ):
        assert text in page
    assert HOSTILE not in page
    assert "<code>ear ablate --over window\npython -m trials</code>" in page
    unknown = ", ".join(str(tmp_path / f"{name}.json") for name in ("attacks", "memorisation", "agreement"))
    assert f"Files that do not say which command wrote them: {unknown}</li>" in page
    (tmp_path / "clusters.png").unlink()
    page = write_report(results, tmp_path / "report.html").read_text()
    assert f"the image of the clusters, {tmp_path / 'clusters.png'}" in page
    write_atomic(tmp_path / "trials.json", b"[]")
    with pytest.raises(DatasetError, match=r"trials\.json cannot be shown \(.*it must be a mapping"):
        write_report(results, tmp_path / "report.html")
    write_atomic(tmp_path / "trials.json", trials)
    write_atomic(tmp_path / "ablation" / "ablation.parquet", b"nothing")
    with pytest.raises(DatasetError, match=r"ablation\.parquet is not what `ear ablate` writes"):
        write_report(results, tmp_path / "report.html")


def test_every_measurement_beside_the_shipped_benchmark_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    commands = SuiteResults.open(Path("docs/benchmark")).attached_commands()
    assert len(commands) > 9 and [str(file) for file, command in commands.items() if not command] == []


def test_the_image_of_the_clusters_is_the_copy_beside_its_table(tmp_path: Path) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    copy = tmp_path / "copy" / "memorisation.json"
    copy.parent.mkdir()
    shutil.copy(tmp_path / "memorisation.json", copy)  # it still names the first image
    copied = replace(results, attachments=Attachments(memorisation=(copy,)))
    assert [content["sheet"] for content in copied.memorisation()] == [str(tmp_path / "clusters.png")]
    shutil.copy(tmp_path / "clusters.png", copy.parent)
    assert [content["sheet"] for content in copied.memorisation()] == [str(copy.parent / "clusters.png")]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        (
            "attacks",
            {"concept": "x", "adapter": ["x"], "split": "test", "attacks": [{}]},
            "attacks, entry 1, attack: the field is missing",
        ),
        (
            "attacks",
            {"concept": "x", "adapter": [], "split": "test", "attacks": []},
            "adapter: it must not be empty",
        ),
        ("memorisation", {"findings": [{}]}, "findings, entry 1, images: the field is missing"),
        (
            "trials",
            {"split": "test", "trials": [{"concept": "x", "recipe": "x", "options": {}}]},
            "trials, entry 1, figures: the field is missing",
        ),
        ("agreement", {"agreement": [{}]}, "agreement, entry 1, reviewer: the field is missing"),
    ],
)
def test_a_file_with_other_rows_is_one_line(tmp_path: Path, name: str, content: JSON, fault: str) -> None:
    results = with_attachments(finished(tmp_path), tmp_path)
    write_atomic(tmp_path / f"{name}.json", pretty_json(content))
    with pytest.raises(DatasetError, match=rf"{name}\.json cannot be shown \({re.escape(fault)}"):
        getattr(results, name)()


def test_a_damaged_shard_of_the_store_is_one_line(tmp_path: Path) -> None:
    results = finished(tmp_path)
    [shard] = results.store.rglob("shard-*.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StoreCorrupt, match=r"shard-00000\.parquet is damaged: restore it"):
        write_report(results, tmp_path / "report.html")


def test_files_that_the_suite_names_and_that_are_not_there_are_named(tmp_path: Path) -> None:
    attachments = Attachments(
        ablations=(tmp_path / "ablation",),
        trials=tmp_path / "trials.json",
        attacks=(tmp_path / "attacks.json",),
        memorisation=(tmp_path / "memorisation.json",),
        agreement=tmp_path / "agreement.json",
    )
    page = write_report(replace(finished(tmp_path), attachments=attachments), tmp_path / "report.html").read_text()
    for name in ("ablation/ablation.parquet", "trials.json", "attacks.json", "memorisation.json", "agreement.json"):
        assert f"({tmp_path / name} does not exist)" in page
    assert "`ear ablate`" not in page and "`ear memorisation`" not in page


def test_attacks_stand_beside_their_controls(tmp_path: Path) -> None:
    suite, source = small_suite(tmp_path, concepts=("church",), figures="full"), attacked(oracle=True)
    keep(suite, replace(source, cell=replace(source.cell, figures="full")))
    write_known_results(suite, "ear suite small.yaml")
    results = SuiteResults.open(suite.results, suite.store)
    page = write_report(results, tmp_path / "report.html").read_text()
    for text in (
        "church: images that show it under attack, and controls",
        "soft-prompt 100",
        "another concept unknown to the oracle",
        "not applicable",
        "the prompt is the attack",
    ):
        assert text in page
    assert not [each for each in robustness(results).missing if "attack" in each]
    tables = robustness(with_attachments(results, tmp_path)).tables
    controls = ("original", "erased", "under attack", "oracle", "above oracle", "another concept unknown to the oracle")
    assert [tuple(table.columns[-7:]) for table in tables] == [(*controls, "n")] * 2
    cells = [[cell.split(" (")[0] for cell in table.rows[0]] for table in tables]
    assert cells == [
        ["paper", "soft-prompt", "100", "1.00", "0.00", "0.50", "0.25", "0.25", "not measured", "12"],
        ["soft-prompt", "100", "0.75", "0.30", "0.60", "0.35", "0.25", "0.40", "12"],
    ]
    keep(suite, replace(attacked(oracle=False), cell=replace(source.cell, figures="full")))
    write_known_results(suite, "ear suite small.yaml")
    section = robustness(SuiteResults.open(suite.results, suite.store))
    assert any("no oracle was named" in missing for missing in section.missing)
    assert list(section.tables[0].columns[-4:]) == ["original", "erased", "under attack", "n"]


def test_a_dataset_shows_the_yield_and_the_cost_of_each_writer(tmp_path: Path) -> None:
    results = finished(tmp_path)
    pairs = {"stage": "pairs", "seconds": 3.0, "counts": {}, "reasons": {"duplicate": 2}}
    pairs["writers"] = {"gpt": {"dollars": "0.12", "possibly": "0.03"}}
    accepted = {"stage": "acceptance", "seconds": 1.0, "reasons": {"target_absent": 3}}
    accepted["counts"] = {"accepted_pairs": 6, "pairs": 9, "accepted_tests": 4, "tests": 5}
    writer = {
        "writer": "gpt",
        "model_answered": HOSTILE,
        "written": 16,
        "accepted": 10,
        "reasons": {"target_absent": 3},
    }
    paid = {"answered": 4, "dollars": "0.12", "possibly": "0.03"}
    writers = [writer, {**writer, "model_answered": "another"}]  # a writer costs once, whatever answered it
    facts = {"unsafe": False, "stages": [pairs, accepted], "paid": paid, "writers": writers}
    page = write_report(replace(results, datasets={"church": facts}), tmp_path / "report.html").read_text()
    for text in (
        "62.5%",
        "3 target absent",
        "6 of 9",
        "4 of 5",
        "2 duplicate, 3 target absent",
    ):
        assert text in page
    assert page.count("<td>$0.12, and possibly $0.03</td>") == 1
    assert HOSTILE not in page


def test_a_series_has_the_same_colour_in_every_chart(finished_report: Path) -> None:
    page = finished_report.read_text()
    charts = page.split('<div class="chart"')[1:]
    assert charts
    for chart in charts:
        svg = chart[: chart.index("</svg>")]
        used = set(re.findall(r"var\(--series-(\d)\)", svg))
        assert "1" in used and "4" in used and not used & {"3", "5", "6"}  # original, paper, and maybe the ceiling


@pytest.mark.parametrize("absent", [0, 3, 8])
def test_ten_series_have_ten_colours_and_ten_markers(absent: int) -> None:
    names = [f"method {number}" for number in range(14)]
    shapes = _shapes(names, drawn=names[:absent] + names[absent + 4 :])
    assert len(shapes) == 10 and len(set(map(frozenset, shapes.values()))) == 10


def test_each_of_many_series_has_a_look_of_its_own() -> None:
    names = [f"method {number}" for number in range(20)]
    # Of each series a marker in the chart and in the legend, and the cap of a colour's intervals.
    assert sum(map(len, _shapes(names, drawn=names).values())) == 20 * 2 + 10


def _shapes(series: list[str], *, drawn: list[str]) -> dict[str, set[str]]:
    """Colour → the shapes of markers, and of the ends of intervals, in a chart of ``drawn``."""
    figure = {"value": 0.5, "n": 12, "low": 0.4, "high": 0.6}
    svg = dots("t", [("x", [(name, figure) for name in drawn])], series=series).svg
    found: dict[str, set[str]] = {}
    for shape, colour in re.findall(r'<path id="[^"]*" d="([^"]*)" style="stroke: (var\(--series-\d+\))', svg):
        found.setdefault(colour, set()).add(shape)
    return found


def test_a_series_whose_colour_is_free_keeps_it() -> None:
    names = [f"method {number}" for number in range(14)]
    alone, among = (set(_shapes(names, drawn=[names[3], *more])) for more in ([], names[11:]))
    assert alone < among and len(among) == 4


def test_a_recipe_has_the_same_colour_in_all_charts_of_trials(tmp_path: Path) -> None:
    figure = {"value": 0.5, "n": 12, "low": 0.25, "high": 0.75}
    rows = [("concept_present", "concept"), ("retention_ratio", "pooled")]
    figures = [{"figure": name, "group": group, **figure} for name, group in rows]
    tried = [("church", "paper"), ("church", "esd"), ("castle", "esd")]
    trials = [
        {"concept": concept, "recipe": name, "options": {"passes": 3}, "figures": figures} for concept, name in tried
    ]
    results = with_attachments(finished(tmp_path), tmp_path)
    # With ten names between them in the report, esd would have the colour of paper.
    results = replace(results, methods=["paper", *(f"method {number}" for number in range(9))])
    write_atomic(tmp_path / "trials.json", pretty_json({"split": "validation", "trials": trials}))
    church, castle = (chart.svg for chart in frontier(results).charts if "several settings" in chart.title)
    legends = [svg[svg.index("legend_1") :] for svg in (church, castle)]
    several, alone = (list(dict.fromkeys(re.findall(r"var\(--series-\d+\)", legend))) for legend in legends)
    assert len(several) == 2 and alone == several[1:]


@pytest.mark.parametrize("panel", ["#f5f6f8", "#1e2329"], ids=["light", "dark"])
def test_colours_of_series_are_told_apart_by_everybody(panel: str) -> None:
    css = (Path(charts.__file__).parent / "report.css").read_text()
    [own] = [part for part in css.split("@media") if f"--panel: {panel}" in part]
    series = _linear(re.findall(r"--series-\d+: (#\w{6})", own))
    assert len(series) == 10
    light, dark = np.sort(np.stack(np.broadcast_arrays(series @ LUMINANCE, _linear([panel]) @ LUMINANCE)), 0)[::-1]
    assert ((light + 0.05) / (dark + 0.05)).min() >= 3  # of graphics, by WCAG 2
    for seen in (series, *(series @ np.transpose(each) for each in COLOUR_BLIND.values())):
        lab = np.cbrt(seen.clip(0) @ np.transpose(TO_LMS)) @ np.transpose(TO_OKLAB)
        distances = np.linalg.norm(lab[:, None] - lab, axis=-1)[np.triu_indices(10, 1)]
        assert distances.min() > 0.07  # of Okabe and Ito's eight colours, the least is 0.076


def _linear(colours: list[str]) -> Any:
    """#rrggbb → linear RGB in [0, 1], [colours, 3]."""
    shares = np.array([[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in colours])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def test_levels_that_are_numbers_are_joined_by_a_line() -> None:
    figure = {"value": 0.5, "n": 12, "low": 0.25, "high": 0.75}

    def drawn(*levels: str) -> int:
        svg = curves("t", levels, {"shown": dict.fromkeys(levels, figure)}).svg
        return len(re.findall(r'style="fill: none; stroke: var\(--series', svg))

    assert drawn("1", "10") == drawn("0.0", "0.5") == drawn("off", "0.05") + 1


def test_a_legend_is_as_wide_as_its_chart_at_most() -> None:
    figure = {"value": 0.5, "n": 12, "low": 0.25, "high": 0.75}
    names = [
        "original",
        "ceiling",
        "on-policy",
        "windowed-kl",
        "paper",
        "paper-rows",
        "esd",
        "negative-prompt",
        "画" * 8,
    ]
    svg = dots("t", [("x", [(name, figure) for name in names])], series=names).svg
    places = [re.search(rf'x="([\d.]+)"[^>]*>{name}<', svg) for name in names]
    # The chart is 360 px wide, and a letter takes some 6.5.
    assert all(place and float(place[1]) + 6.5 * len(name) <= 360 for place, name in zip(places, names, strict=True))


def test_charts_have_the_fonts_of_the_page() -> None:
    figure = {"value": 0.5, "n": 12, "low": None, "high": None}
    svg = dots("t", [("x", [("a", figure)])], series=["a"]).svg
    assert svg.count("system-ui, sans-serif") == svg.count("<text") and "DejaVu" not in svg


def test_names_are_no_formulas(tmp_path: Path) -> None:
    figure = {"value": 0.5, "n": 12, "low": 0.25, "high": 0.75}
    assert "$x_{1$" in dots("t", [("$x_{1$", [("a", figure)])], series=["a"]).svg
    assert "画" in dots("t", [("画", [("a", figure)])], series=["a"]).svg


def test_a_suites_images_are_in_the_store_that_it_used(tmp_path: Path) -> None:
    suite = small_suite(tmp_path / "my folder")  # it declares no store
    _known(suite)
    results = SuiteResults.open(suite.results)
    assert results.store == suite.store and results.commands[1] == f"ear report '{suite.results}'"
    file = suite.results / FILE
    table, facts = pq.read_table(file), json.loads(pq.read_schema(file).metadata[FACTS])
    facts["suite"]["store"] = None
    pq.write_table(table.replace_schema_metadata({FACTS: json.dumps(facts)}), file)
    assert SuiteResults.open(suite.results).store == Path("suites/small/store")
    moved = SuiteResults.open(suite.results, tmp_path / "moved")
    assert moved.store == tmp_path / "moved" and moved.commands[1].endswith(f"results' --store {moved.store}")


def test_an_evaluation_makes_a_report_without_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE", raising=False)
    outcomes = [*erased(12, 3), *kept("castle", "neighbours", 12, lost=2)]
    found = evaluation(outcomes)
    folder = tmp_path / "ecgvf-store" / "church" / "ear" / "windowed-kl-1a2b3c4d-s0"
    write_atomic(tmp_path / "ecgvf-store" / "store.json", pretty_json({"format": 1}))
    found.save(folder / "evaluation.parquet", images=False)
    assert CliRunner().invoke(app, ["report"]).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "Concept erasure: church, windowed-kl" in page and "have no images" in page
    assert "the dataset of church" in page
    keep_images(tmp_path / "ecgvf-store", outcomes, run="")
    assert CliRunner().invoke(app, ["report"]).exit_code == 0
    assert "have no images" not in (tmp_path / "report.html").read_text()
    found.save(tmp_path / "church.parquet")  # with images: no store is needed
    found_report = CliRunner().invoke(app, ["report", "church.parquet", "--store", "none", "--json"])
    assert found_report.exit_code == 0 and json.loads(found_report.stdout)["results"] == "church.parquet"
    assert "have no images" not in (tmp_path / "report.html").read_text()


def test_an_evaluation_is_repeated_by_the_command_that_made_it(tmp_path: Path) -> None:
    outcomes, file = [*erased(12, 3), *kept("castle", "neighbours", 12, lost=2)], tmp_path / "a b.parquet"
    typed = ("ear", "eval", "--dataset", "hub:owner/name/church", "--coco", "my captions.csv")
    evaluation(outcomes, command=typed).save(file)
    repeated = "ear eval --dataset hub:owner/name/church --coco 'my captions.csv'"
    assert EvaluationResults.open(file).commands == [repeated, "ear report"]
    assert EvaluationResults.open(file, tmp_path / "s").commands == [repeated, f"ear report --store {tmp_path / 's'}"]
    evaluation(outcomes).save(file)  # measured in Python
    results = EvaluationResults.open(file)
    assert results.commands == [f"ear report '{file}'"] and "Dataset: a1" in results.provenance


def test_the_facts_about_a_dataset_are_of_the_one_that_was_measured(store: Store, tmp_path: Path) -> None:
    def opened_on(dataset: str) -> EvaluationResults:
        found = evaluation([*erased(12), *kept("castle", "neighbours", 12)])
        file = replace(found, origin=found.origin | {"dataset": dataset}).save(tmp_path / f"{dataset}.parquet")
        return EvaluationResults.open(file, store.root)

    run = Run.load("church", store)
    acceptance = run.current(ACCEPTANCE)
    sets = [*(acceptance.source(stage).fingerprint for stage in (PAIRS, IMAGES, VERDICTS)), acceptance.fingerprint]
    judge = AgreeingJudge((False, False, *[True, False] * 4, True, True))
    judge.weights_hash = "1"
    filter_images(run, judge=judge)
    write_pairs(store, church_pairs(30, 2))
    assert not {run.current(stage).fingerprint for stage in (PAIRS, VERDICTS, ACCEPTANCE)} & set(sets)
    facts = opened_on(acceptance.fingerprint).datasets["church"]
    assert [each["set"] for each in facts["stages"]] == sets
    assert [(each["written"], each["accepted"]) for each in facts["writers"]] == [(7, 7)]
    elsewhere = opened_on("0" * 12)  # as of the Hub
    page = write_report(elsewhere, tmp_path / "report.html").read_text()
    assert "cost of the dataset of church (this dataset is not in the store)" in page
    assert not elsewhere.unsafe("church")
    store.remember(store.concept("church").model_copy(update={"unsafe": True}))
    assert elsewhere.unsafe("church")


def test_a_store_on_object_storage_has_no_images_for_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGVF_STORE", "memory://store")
    file = evaluation(erased(12, 1)).save(tmp_path / "a.parquet")
    with pytest.raises(StoreError, match=r"store.* is on object storage, which cannot hold the images of a report"):
        EvaluationResults.open(file)
    with pytest.raises(StoreError, match=r"is on object storage, which cannot hold the results of a report"):
        last_results()
    remember(Path("suites/small/results"))
    assert last_results() == Path("suites/small/results")


def test_near_duplicates_are_beside_the_evaluation(tmp_path: Path) -> None:
    outcomes = [*erased(12, 3), *kept("castle", "neighbours", 12, lost=2)]
    file = evaluation(outcomes).save(tmp_path / "measured" / "evaluation.parquet")
    assert EvaluationResults.open(file).memorisation() == []
    for name, nano in (("memorisation.json", True), ("memorisation-1a2b3c4d.json", False), ("memorisation-x.json", 3)):
        write_atomic(tmp_path / "measured" / name, pretty_json({"findings": [], "nano": nano}))
    assert [content["nano"] for content in EvaluationResults.open(file).memorisation()] == [True, False]


def test_the_last_of_suites_and_evaluations_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECGVF_STORE", raising=False)
    remember(Path("suites/small/results"))
    assert last_results() == Path("suites/small/results")
    write_atomic(tmp_path / "ecgvf-store" / "store.json", pretty_json({"format": 1}))
    file = tmp_path / "ecgvf-store" / "church" / "ear" / "paper-1a2b3c4d-s0" / "evaluation.parquet"
    write_atomic(file, b"")
    os.utime(file, (time.time() + 60,) * 2)
    assert last_results() == file.relative_to(tmp_path)


def test_text_of_models_is_escaped(finished_report: Path) -> None:
    page = finished_report.read_text()
    assert HOSTILE not in page and "&lt;img src=x onerror=" in page


def test_equal_results_make_equal_files(tmp_path: Path) -> None:
    results = finished(tmp_path)
    first, second = (write_report(results, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_the_command_takes_the_suite_that_ran_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["report"]).exit_code == 2
    results = finished(tmp_path)
    write_atomic(Path("suites") / "last", f"{results.source}\n".encode())
    found = CliRunner().invoke(app, ["report", "--json"])
    assert found.exit_code == 0 and (tmp_path / "report.html").is_file(), found.stderr
    (results.source / "results.parquet").write_bytes(b"nothing")
    found = CliRunner().invoke(app, ["report", str(results.source)])
    assert found.exit_code == 2 and "is not what this version of `ear suite` writes" in found.stderr.replace("\n", " ")
    found = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert found.exit_code == 2 and "has no results.parquet" in found.stderr.replace("\n", " ")
    found = CliRunner().invoke(app, ["report", "nowhere"])
    assert found.exit_code == 2 and "there is no nowhere: name a suite's folder of results" in found.stderr


@needs_chromium
@pytest.mark.parametrize(
    ("name", "value", "count"),
    [("concept", "castle", 36), ("method", "esd", 36), ("class", "explicit", 36), ("outcome", "lost", 9)],
)
def test_a_filter_shows_the_cards_that_have_its_value(
    chromium: Browser, tmp_path: Path, name: str, value: str, count: int
) -> None:
    suite = small_suite(tmp_path, recipes=("paper", "esd"))
    first, second = (cell_result(0, 0, 3, recipe=recipe) for recipe in suite.spec.recipes)
    other = {"church": "castle", "castle": "church"}
    original, outcomes = (
        [replace(each, concept=other.get(each.concept, each.concept)) for each in part]
        for part in (first.original, first.outcomes)
    )
    castle = replace(first, cell=replace(first.cell, concept="castle"), original=original, outcomes=outcomes)
    for source in (first, second, castle):
        keep(suite, source)
    report = write_report(_known(suite), tmp_path / "report.html")
    with opened(chromium, report.as_uri(), viewport={"width": 1280, "height": 900}) as page:
        assert page.locator("#count").inner_text() == "108 of 108 pairs, the first 12 shown"
        page.locator(f"select[name={name}]").select_option(value)
        while page.locator("#more").is_visible():
            page.locator("#more").click()
        values = page.locator(".card:visible").evaluate_all(f"cards => cards.map(card => card.dataset.{name})")
        assert values == [value] * count and page.locator("#count").inner_text() == f"{count} of 108 pairs"
        page.locator(f"select[name={name}]").select_option("")
        assert page.locator("#count").inner_text() == "108 of 108 pairs, the first 12 shown"


@needs_chromium
def test_filters_are_combined(chromium: Browser, finished_report: Path) -> None:
    with opened(chromium, finished_report.as_uri()) as page:
        page.locator("select[name=class]").select_option("other concept")
        page.locator("select[name=outcome]").select_option("lost")
        assert page.locator("#count").inner_text() == "3 of 36 pairs" and page.locator(".card:visible").count() == 3
        page.locator("select[name=class]").select_option("explicit")
        assert page.locator("#count").inner_text() == "0 of 36 pairs" and page.locator(".card:visible").count() == 0


@needs_chromium
def test_pairs_are_enlarged_by_keyboard(chromium: Browser, finished_report: Path) -> None:
    with opened(chromium, finished_report.as_uri(), viewport={"width": 1280, "height": 900}) as page:
        assert page.locator(".card:visible").count() == 12
        assert page.locator(".card").first.get_attribute("data-outcome") == "not erased"
        page.locator(".pair").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog").is_visible()
        assert HOSTILE in page.locator("dialog .prompt").inner_text()
        assert page.locator("#previous").is_disabled() and page.evaluate("document.activeElement.id") == "next"
        page.keyboard.press("ArrowRight")
        assert HOSTILE not in page.locator("dialog .prompt").inner_text()
        assert page.locator("dialog [aria-live] .prompt").count() == 1
        page.locator("#previous").click()
        assert page.evaluate("document.activeElement.id") == "next"  # focus does not stay on a disabled button
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()
        assert page.evaluate("document.activeElement.className") == "pair"
        page.locator("#more").click()
        assert page.locator(".card:visible").count() == 24


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_links_lead_to_their_sections(chromium: Browser, whole_report: Path, width: int) -> None:
    with opened(chromium, whole_report.as_uri(), viewport={"width": width, "height": 900}) as page:
        for link in page.locator("nav a").all():
            page.evaluate("scrollTo(0, 0)")
            link.click()
            heading = page.locator(f"{link.get_attribute('href')} h2").bounding_box()
            at_the_end = page.evaluate("innerHeight + scrollY >= document.body.scrollHeight - 1")
            assert heading and (-1 <= heading["y"] <= 100 or (at_the_end and heading["y"] < 900)), heading


@needs_chromium
def test_pairs_without_images_are_not_enlarged(chromium: Browser, tmp_path: Path) -> None:
    results, source = finished(tmp_path, images=False), cell_result(0, 0, 3)
    some = [each for each in (*source.original, *source.outcomes) if each.id in ("record-1", "record-4")]
    keep_images(results.store, some)
    with opened(chromium, write_report(results, tmp_path / "report.html").as_uri()) as page:
        assert page.locator(".card:visible").count() == 12 and page.locator(".card:visible .no-image").count() == 10
        page.locator(".pair").first.click()
        first = page.locator("dialog .prompt").inner_text()
        page.locator("#next").click()
        assert page.locator("dialog .prompt").inner_text() != first and page.locator("#next").is_disabled()
        assert page.evaluate("document.activeElement.id") == "previous"


@needs_chromium
def test_paper_shows_what_the_filter_shows_and_everything_that_is_folded(
    chromium: Browser, finished_report: Path
) -> None:
    with opened(chromium, finished_report.as_uri()) as page:
        assert page.locator("#count").inner_text() == "36 of 36 pairs, the first 12 shown"
        page.locator("select[name=outcome]").select_option("kept")
        page.locator("details").first.evaluate("each => each.open = true")
        closed = page.locator("details:not([open])").count()
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert closed and page.locator("details:not([open])").count() == 0
        assert {each.get_attribute("data-outcome") for each in page.locator(".card:visible").all()} == {"kept"}
        assert page.locator(".card:visible").count() == 12 and page.locator("#count").is_visible()
        assert page.evaluate("[...document.querySelectorAll('.card:not([hidden]) img')].every((each) => each.complete)")
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() == closed and page.locator(".card:visible").count() == 12


@needs_chromium
def test_everything_fits_the_paper(chromium: Browser, tmp_path: Path) -> None:
    results = everything(tmp_path)
    trials = json.loads((tmp_path / "trials.json").read_bytes())
    trials["trials"][0]["options"] = {"learning_rate": 5e-05, "passes": 3, "retention_weight": 0.5, "rank": 16}
    write_atomic(tmp_path / "trials.json", pretty_json(trials))
    long = replace(results, commands=[f"ear suite {'/a/long/path' * 20}.yaml {'--option value ' * 30}"])
    file = write_report(long, tmp_path / "report.html")
    with opened(chromium, file.as_uri(), viewport={"width": 718, "height": 1000}) as page:  # A4 with margins of 1 cm
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        too_wide = page.locator("table, pre, figure, svg, img, p, li").evaluate_all(
            "all => all.filter(each => each.getBoundingClientRect().right > innerWidth || each.clientWidth"
            " && each.scrollWidth > each.clientWidth).map(each => each.outerHTML.slice(0, 200))"
        )
        assert too_wide == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("pre").first.evaluate("each => getComputedStyle(each).whiteSpaceCollapse") == "preserve"
        places = page.locator(".charts > figure").evaluate_all("all => all.map(each => each.offsetLeft)")
        assert len(places) > 3 and len(set(places)) == 1


@needs_chromium
def test_a_contact_sheet_stays_readable_on_a_phone(chromium: Browser, whole_report: Path) -> None:
    with opened(chromium, whole_report.as_uri(), viewport={"width": 390, "height": 844}) as page:
        sheet = page.get_by_role("region", name="The largest clusters")
        assert sheet.locator("img").bounding_box()["width"] > 1100  # of 1,200 pixels
        assert sheet.bounding_box()["width"] <= 390 and sheet.evaluate("each => each.scrollLeft") == 0
        sheet.focus()
        page.keyboard.press("ArrowRight")
        sheet.evaluate("each => each.scrollLeft || new Promise(done => (each.onscroll = () => done()))")
        assert sheet.evaluate("each => each.scrollLeft") > 0


@needs_chromium
def test_concept_and_method_name_a_row_of_the_leaderboard_and_stay_in_sight(
    chromium: Browser, whole_report: Path
) -> None:
    with opened(chromium, whole_report.as_uri(), viewport={"width": 390, "height": 844}) as page:
        row = page.locator("#headline tbody tr").last
        headers = row.get_by_role("rowheader")
        assert headers.all_inner_texts() == ["church", "paper"]
        heads = page.locator("#headline thead .key")
        assert heads.all_inner_texts() == ["concept", "method"]
        page.locator("#headline .scroll").evaluate("each => each.scrollLeft = each.scrollWidth")
        assert page.locator("#headline .scroll").evaluate("each => each.scrollLeft") > 100
        for concept, method in (headers.all(), heads.all()):
            left, right = concept.bounding_box(), method.bounding_box()
            assert left["x"] >= 0 and left["x"] + left["width"] <= right["x"] + 0.5
            assert right["x"] + right["width"] < 250  # leaves room for a figure
            for each in (concept, method):  # nothing lies over it
                each.scroll_into_view_if_needed()
                assert each.evaluate(
                    "each => { const { x, y, width, height } = each.getBoundingClientRect();"
                    " return document.elementFromPoint(x + width / 2, y + height / 2) === each; }"
                )


@needs_chromium
def test_the_better_corner_is_named_where_no_point_can_be(chromium: Browser, tmp_path: Path) -> None:
    shares = [{"value": value, "n": 12, "low": value, "high": value} for value in np.linspace(0, 1, 21)]
    points = [("a", across, up) for across in shares for up in shares]
    svg = charts.frontier("t", points, series=["a"], across="x", up="y").svg
    (tmp_path / "chart.html").write_text(f"<title>t</title><link rel=icon href=data:,>{svg}")
    with opened(chromium, (tmp_path / "chart.html").as_uri()) as page:
        note = page.get_by_text("better: up and left").bounding_box()
        boxes = page.locator("use").evaluate_all(
            "all => all.map(each => { const { x, y, width, height } = each.getBoundingClientRect();"
            " return [x, y, x + width, y + height]; })"
        )
        assert len(boxes) > len(points) and note
        right, bottom = note["x"] + note["width"], note["y"] + note["height"]
        assert not [
            box for box in boxes if box[0] < right and box[2] > note["x"] and box[1] < bottom and box[3] > note["y"]
        ]


@needs_chromium
def test_unsafe_images_are_blurred_until_asked(chromium: Browser, tmp_path: Path) -> None:
    file = write_report(finished(tmp_path, unsafe=True), tmp_path / "report.html")
    blur = "getComputedStyle(document.querySelector('{}')).filter"
    with opened(chromium, file.as_uri()) as page:
        assert "blur" in page.evaluate(blur.format(".card.unsafe img"))
        page.locator(".unsafe .pair").first.click()
        assert page.evaluate(blur.format("dialog img")) == "blur(40px)"  # as strong as on the smaller image
        page.keyboard.press("Escape")
        page.locator("#more").click()
        page.get_by_label("show unsafe images").check()
        assert page.locator(".card:visible").count() == 24
        assert page.evaluate(blur.format(".card.unsafe img")) == page.evaluate(blur.format("dialog img")) == "none"


@needs_chromium
@pytest.mark.parametrize("images", [1000, 0])
def test_the_image_of_the_clusters_is_blurred_until_asked(chromium: Browser, tmp_path: Path, images: int) -> None:
    results = with_attachments(finished(tmp_path, unsafe=True), tmp_path)
    file = write_report(results, tmp_path / "report.html", images=images)
    blur = "[...document.querySelectorAll('.unsafe img')].map(each => getComputedStyle(each).filter)"
    with opened(chromium, file.as_uri()) as page:
        assert set(page.evaluate(blur)) == {"blur(14px)"}
        page.locator("#memorisation").get_by_label("show unsafe images").check()
        assert set(page.evaluate(blur)) == {"none"}
        assert all(each.is_checked() for each in page.get_by_label("show unsafe images").all())


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_accessible_and_fits_the_screen(chromium: Browser, whole_report: Path, width: int, scheme: str) -> None:
    axe = Axe()
    with opened(chromium, whole_report.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        found = axe.run(page).response["violations"]
        assert [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.querySelectorAll('.chart svg').length") >= 3
        shown = page.locator("table caption").all_inner_texts()
        for caption in (
            "under attack, and controls",
            "Nearly equal images",
            "window, at equal steps",
            "Judges and labels",
        ):
            assert any(caption in each for each in shown)
