"""The declaration of a suite."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ear.cli import app
from ear.suite import Cell, Suite, read_spec
from ear.suite.cells import cells_of
from ear.suite.submission import parse_submissions
from ecgvf.core import concepts
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, EcgvfError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.judges import JudgeOptions
from ecgvf.pairs import captions
from tests.ear.suite.small_suite import small_suite

ROOT = Path(__file__).parents[3]


def test_the_declared_benchmark_measures_the_first_seeds_of_everything_first_and_the_full_figures_last() -> None:
    suite = Suite(read_spec(ROOT / "benchmarks" / "nano.yaml"), Path("store"), Path("results"))
    number, recipes = len(suite.spec.concepts), len(suite.spec.recipes)
    # on-policy has a cell per run seed, per further training seed, and of the full figures; `paper`, which has no
    # randomness, none of a further training seed
    per_concept = (3 + 2 + 1) + (3 + 1) + len(suite.spec.first_cell_only)
    assert len(suite.cells) == number * per_concept + len(suite.spec.oracles)
    first, last = suite.cells[: number * recipes], suite.cells[-number * 2 :]
    assert {(cell.run_seed, cell.training_seed) for cell in first} == {(0, 0)}
    assert {cell.figures for cell in last} == {"full"}
    assert [cell.name for cell in first[:recipes]] == [f"church-{recipe}-r0-t0" for recipe in suite.spec.recipes]


def test_a_recipe_without_randomness_is_trained_once_per_run_seed() -> None:
    spec = read_spec(None, {"concepts": ["church"], "recipes": ["paper", "default"], "training_seeds": [0, 1]})
    assert cells_of(spec, "church", "paper") == [Cell("church", "paper", 0, 0), Cell("church", "paper", 0, 0, "full")]
    assert [cell.training_seed for cell in cells_of(spec, "church", "on-policy")] == [0, 1, 0]


def test_only_the_first_cell_of_a_recipe_may_be_asked_for() -> None:
    fields = {"concepts": ["church"], "recipes": ["paper", "default"], "first_cell_only": ["default"]}
    spec = read_spec(None, {**fields, "run_seeds": [2, 3], "training_seeds": [4, 5]})
    assert cells_of(spec, "church", "on-policy") == [Cell("church", "on-policy", 2, 4)]
    assert len(cells_of(spec, "church", "paper")) == 3


def test_names_of_several_concepts_and_default_are_resolved() -> None:
    spec = read_spec(None, {"concepts": ["imagenette", "church"], "recipes": ["default", "on-policy"]})
    assert len(spec.concepts) == 10 and "tench" in spec.concepts
    assert spec.recipes == ("on-policy",)
    assert read_spec(None, {"concepts": ["church"], "goals": "default"}).goals == "on-policy"
    assert len(read_spec(None, {"concepts": ["painters"]}).concepts) == 10


def test_an_oracle_is_part_of_the_key_of_the_full_figures_alone() -> None:
    keys = [
        [Suite(spec, Path("store"), Path("results")).key(cell) for cell in cells_of(spec, "church", "paper")]
        for oracles in ({}, {"church": "oracle"}, {"church": "other"})
        for spec in [read_spec(None, {"concepts": ["church"], "recipes": ["paper"], "oracles": oracles})]
    ]
    assert len({default for default, _ in keys}) == 1 and len({full for _, full in keys}) == 3


def test_an_oracle_is_measured_once_for_the_concept_that_has_it() -> None:
    spec = read_spec(None, {"concepts": ["church", "cat"], "recipes": ["paper"], "oracles": {"church": "oracle"}})
    suite = Suite(spec, Path("store"), Path("results"))
    assert [cell for cell in suite.cells if cell.recipe == "oracle"] == [Cell("church", "oracle", 0, 0)]
    assert {cell.recipe for cell in suite.cells_among(None, ["paper"])} == {"paper"}
    assert {cell.recipe for cell in suite.cells_among(["church"], None)} == {"paper", "oracle"}
    assert suite.cells_among(None, ["oracle"]) == [Cell("church", "oracle", 0, 0)]
    assert "oracle" not in {cell.recipe for cell in suite.cells_among(["cat"], None)}


def test_a_cell_measured_on_another_runs_prompts_is_another(tmp_path: Path) -> None:
    def key(*run_seeds: int) -> str:
        spec = read_spec(None, {"concepts": ["church"], "recipes": ["paper"], "run_seeds": [*run_seeds]})
        suite = Suite(spec, tmp_path / "s", tmp_path / "r")
        return next(suite.key(cell) for cell in suite.cells if cell.run_seed == 0)

    assert key(0) == key(0, 1) != key(1, 0)


def test_other_questions_are_another_cell_wherever_their_file_is(tmp_path: Path) -> None:
    first, copy = tmp_path / "first.parquet", tmp_path / "copy.parquet"
    for file in (first, copy):
        file.write_bytes(b"some questions")
    cell = Cell("church", "paper", 0, 0, "full")
    keys = [small_suite(tmp_path, figures="full", questions=file).key(cell) for file in (first, copy)]
    first.write_bytes(b"other questions")
    keys.append(small_suite(tmp_path, figures="full", questions=first).key(cell))
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(DatasetError, match=r"cannot read questions from .*none\.parquet"):
        small_suite(tmp_path, figures="full", questions=tmp_path / "none.parquet").key(cell)


@pytest.mark.parametrize("folder", [True, False])
def test_other_weights_of_a_judge_are_another_cell_wherever_they_are(tmp_path: Path, folder: bool) -> None:
    def key(weights: str) -> str:
        return small_suite(tmp_path, weights={"resnet50": weights}).key(Cell("church", "paper", 0, 0))

    def write(path: Path, content: bytes) -> None:
        file = path / "weights.pth" if folder else path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)

    first, copy = tmp_path / "first", tmp_path / "copy"
    write(first, b"some weights")
    write(copy, b"some weights")
    before = key(str(first))
    assert before == key(str(copy))
    write(first, b"other weights")
    assert key(str(first)) != before and key("V1") != key("V2")


def test_the_questions_are_read_once_until_their_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read, digest = tmp_path / "questions.parquet", list[str](), hashlib.file_digest

    def recorded(stream: Any, name: str) -> Any:
        read.append(stream.name)
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", recorded)
    cell = Cell("church", "paper", 0, 0, "full")
    suite = small_suite(tmp_path, figures="full", questions=file)
    keys = []
    for second, content in enumerate((b"some questions", b"more questions")):
        file.write_bytes(content)
        os.utime(file, (second, second))
        keys += [suite.key(cell), suite.key(cell)]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert read.count(str(file)) == 2


def test_the_captions_that_ship_are_part_of_the_key_but_of_nanos(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        suites = [small_suite(tmp_path, model=model, writers="offline") for model in ("janus-nano", str(tiny_path))]
        return [suite.key(suite.cells[0]) for suite in suites]

    before = keys()
    monkeypatch.setattr(captions, "file_hash", lambda: "edited")
    nano, other = keys()
    assert nano == before[0] and other != before[1]


def test_what_is_measured_is_the_concept_that_the_key_has_not_the_stores_copy(tmp_path: Path) -> None:
    church = concepts.find("church")
    suite = small_suite(tmp_path)
    Store(suite.store / "run-0").remember(church.model_copy(update={"surrogates": ("barn",)}))
    assert suite.run("church", 0).concept == church


def test_pairs_without_those_of_the_measured_split_are_another_dataset(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated = replace(dataset.train[0], pair=replace(dataset.train[0].pair, target=dataset.test[0].pair.target))
    datasets = {0: dataset, 1: replace(dataset, train=(repeated, *dataset.train[1:])), 2: dataset}

    def run(suite: Suite, concept: str, seed: int) -> SimpleNamespace:
        stages = dict.fromkeys(("generate", "render", "filter"), lambda **_: None)
        return SimpleNamespace(**stages, dataset=lambda: datasets[seed])

    monkeypatch.setattr(Suite, "run", run)
    monkeypatch.setattr("ear.suite.suite.load", lambda _: None)
    first, pruned, same = (small_suite(tmp_path, run_seeds=(0, 1, 2)).dataset("church", seed) for seed in range(3))
    assert pruned.train == dataset.train[1:] and pruned.fingerprint != first.fingerprint
    assert (same.train, same.fingerprint) == (dataset.train, dataset.fingerprint)


def test_a_cell_opens_its_dataset_and_the_model_once(
    tmp_path: Path, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def run(suite: Suite, concept: str, seed: int) -> SimpleNamespace:
        stages = dict.fromkeys(("generate", "filter"), lambda **_: None)
        return SimpleNamespace(**stages, render=lambda model, **_: opened.append(model), dataset=lambda: dataset)

    monkeypatch.setattr(Suite, "run", run)

    def load(name: str) -> JanusModel:
        opened.append(name)
        return tiny

    monkeypatch.setattr("ear.suite.suite.load", load)
    monkeypatch.setattr("ear.suite.suite.erase", lambda *_, **__: [SimpleNamespace(adapter=tmp_path / "adapter")])
    monkeypatch.setattr("ear.suite.suite.evaluate", lambda *_: None)
    suite = small_suite(tmp_path)
    suite._evaluate(Cell("church", "paper", 0, 0))
    assert opened == [suite.spec.model, tiny]


def test_a_cell_has_the_key_of_the_files_that_it_is_measured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small_suite(tmp_path)
    cell = suite.cells[0]
    before = suite.key(cell)
    monkeypatch.setattr("ear.suite.suite.nano_weights", lambda: "other")
    assert suite.key(cell) == before  # hashed once for a table
    monkeypatch.setattr(Suite, "_evaluate", lambda *_: pytest.fail("rendered"))
    with pytest.raises(pytest.fail.Exception):
        suite.measure(cell)
    assert suite.key(cell) != before


def test_each_concept_is_filtered_and_measured_by_its_judge_with_the_suites_weights(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    filtered: list[JudgeOptions] = []
    trained: list[str | None] = []

    def erase(*_: object, weights: str | None) -> list[SimpleNamespace]:
        trained.append(weights)
        return [SimpleNamespace(adapter=tmp_path)]

    def run(suite: Suite, concept: str, seed: int) -> SimpleNamespace:
        stages = dict.fromkeys(("generate", "render"), lambda **_: None)
        return SimpleNamespace(**stages, filter=lambda options, **_: filtered.append(options), dataset=lambda: dataset)

    monkeypatch.setattr(Suite, "run", run)
    monkeypatch.setattr("ear.suite.suite.load", lambda _: None)
    weights = {"style": "folder", "resnet50": "V1"}
    fields = {"concepts": ("church", "van-gogh"), "model": "janus-pro-1b", "writers": "offline"}
    suite = small_suite(tmp_path, **fields, weights=weights)
    monkeypatch.setattr("ear.suite.suite.erase", erase)
    for cell in suite.cells:
        suite._train(cell)
    expected = ["resnet50=V1", "resnet50=V1,style=folder"]
    assert [options.weights for options in filtered] == trained == expected
    assert [suite.spec.settings(concepts.find(name), "default").weights for name in suite.concepts] == expected
    without = small_suite(tmp_path, **fields).spec
    assert without.settings(concepts.find("church"), "full").weights is None


def test_a_concept_of_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    shipped = (ROOT / "data" / "concepts" / "church.yaml").read_text()
    file = tmp_path / "folder" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(shipped.replace("name: church", "name: minster"))
    suite = Suite(read_spec(None, {"concepts": [str(file)], "recipes": ["paper"]}), tmp_path / "s", tmp_path / "r")
    for given in (str(file), "minster"):
        assert {cell.concept for cell in suite.cells_among([given], None)} == {"minster"}
    assert suite.run("minster", 0).concept.name == "minster"
    before = suite.key(suite.cells[0])
    file.write_text(file.read_text() + "\n# a comment\n")
    assert suite.key(suite.cells[0]) == before
    file.write_text(file.read_text().replace("kirk", "kirche"))
    assert suite.key(suite.cells[0]) != before
    file.write_text(shipped)
    with pytest.raises(EcgvfError, match="share a name: rename yours"):
        read_spec(None, {"concepts": [str(file), "church"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concepts: [", "is not YAML"),
        ("- church", "is not a suite"),
        ("name: x", "no concepts"),
        ("concpets: [church]", r"concpets: unknown field \(did you mean concepts\?\)"),
        ("concepts: [church]\nname: 2024-13-45", "is not YAML: month must be in 1..12"),
        ("concepts: [church]\nconcepts: [cat]", "is not YAML: duplicate key"),
        ("concepts: [church]\nrecipe: paper", r"recipe: unknown field \(did you mean recipes\?\)"),
        ("concepts: church", "concepts: it must be a list"),
        ("concepts: [curch]", "unknown concept 'curch'"),
        ("concepts: [church]\nrecipes: [papr]", "unknown recipe 'papr'"),
        ("concepts: [church]\npairs: 0", "pairs: it must be at least 1"),
        ("concepts: [church]\nbudget_usd: 0", "budget_usd: it must be above 0"),
        ("concepts: [church]\ngoals: paper", "goals: paper is not among"),
        ("concepts: [church]\ngoals: default\nfigures: default", "goals: on-policy has a goal for its answers"),
        ("concepts: [church]\ngoals: default\nfirst_cell_only: [default]", "goals: on-policy has a goal for its"),
        ("concepts: [church]\ngoals: default\nmodel: janus-pro-1b", "no cell of it asks any"),
        ("concepts: [church]\nfirst_cell_only: [paper]", "first_cell_only: paper is not among"),
        ("concepts: [church]\nwriters: gpt\nrun_seeds: [0, 1]", "LLM writers cannot be seeded"),
        ("concepts: [church]\nrun_seeds: [0, 0]", "run_seeds: it repeats a seed"),
        ("concepts: [church]\ntraining_seeds: [-1]", "training_seeds -1: it must be a whole number from 0 up"),
        ("concepts: [church]\nname: ../x", "name: it must match"),
        ("concepts: [church]\nfigures: paper", "figures: it must be 'default' or 'full'"),
        ("concepts: [church]\noracles: {cat: x}", "oracles: cat is not among"),
        ("concepts: [church]\nweights: {style: x}", "weights: style is not among the judges nano-object-a, resnet50"),
    ],
)
def test_a_wrong_declaration_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    with pytest.raises(EcgvfError, match=message):
        read_spec(file)
    with pytest.raises(EcgvfError, match="there is no file"):
        read_spec(tmp_path / "none.yaml")


def test_a_suite_on_object_storage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    for field in ("store", "results"):
        file.write_text(f"concepts: [church]\n{field}: s3://b/x\n")
        with pytest.raises(EcgvfError, match=f"{field}: s3://b/x must be a local folder"):
            read_spec(file)
    for words in ("suite --store", "suite --out", "report --store", "ablate --over order --out"):
        refused = CliRunner().invoke(app, [*words.split(), "s3://b/y"])
        assert refused.exit_code == 2
        assert f"{words.split()[-1]} s3://b/y: it must be a local folder" in refused.stderr


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in ("suite --store", "suite --out", "ablate --over order --out"):
        for name in ("file", "file/folder"):
            refused = CliRunner().invoke(app, [*words.split(), str(tmp_path / name)])
            assert refused.exit_code == 2 and "file is a file, not a folder" in refused.stderr.replace("\n", " ")


def test_paths_in_the_home_folder_are_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    report = {"ablations": ["~/a"], "trials": "~/t", "attacks": ["~/b"], "memorisation": ["~/m"], "agreement": "~/l"}
    fields = {"store": "~/s", "results": "~/r", "questions": "~/q", "oracles": {"church": "~/o"}, "report": report}
    found = read_spec(None, {"concepts": ["church"], **fields})
    assert (found.store, found.results, found.questions) == (tmp_path / "s", tmp_path / "r", tmp_path / "q")
    assert found.oracles == {"church": tmp_path / "o"} and "~" not in str(found.report)


def test_a_submission_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EcgvfError, match=f"^--submit mine={tmp_path}/none: there is no folder {tmp_path}/none$"):
        parse_submissions([f"mine={tmp_path}/none"], ())
    assert parse_submissions([f"mine={tmp_path}"], ()) == {"mine": tmp_path}


@pytest.mark.parametrize(
    "text",
    ["mine", "mine=", "=x", "a/b=x", "paper=x", "original=x", "oracle=x", "prompt-rewrite=x", "default=x", "esd=x"],
)
def test_a_wrong_submission_is_one_line(text: str) -> None:
    with pytest.raises(EcgvfError, match="--submit"):
        parse_submissions([text], ("paper",))
