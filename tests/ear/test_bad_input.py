"""Users' mistakes and accidents: one clear line, exit code 2 (130 for Ctrl-C), nothing half-written.

Every accident happens to every command that it can happen to, as a user types it.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ecgvf.core import concepts
from ecgvf.core.contact_sheet import GAP, HEADER, SIDE, TEXT_WIDTH
from ecgvf.core.png import decode
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.pairs.offline import OfflineWriter
from tests.ear.conftest import TRAIN, AgreeingJudge
from tests.ecgvf.small_run import church_pairs, write_pairs

pytestmark = pytest.mark.faults

COMMANDS = (
    "ecgvf render",
    "ecgvf filter",
    "ecgvf status",
    "ear train",
    "ear eval",
    "ear generate --prompt x",
    "ear compare x",
    "ear ablate --over order",
)


def invoke(line: str) -> Result:
    script, *words = line.split()
    return CliRunner().invoke({"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}[script], words)


def succeeds(line: str) -> str:
    result = invoke(line)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(line: str, message: str, code: int = 2) -> None:
    """The command exits with ``code``, and its last line contains ``message``."""
    result = invoke(line)
    assert result.exit_code == code, result.output
    lines = [text for text in result.stderr.splitlines() if text.strip()]
    assert message in lines[-1], result.output
    assert sum(text.startswith("error") for text in lines) == (0 if code == 130 else 1)
    assert "Traceback" not in result.output


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("line", ["ecgvf generate --concept moose", "ecgvf concepts explain moose"])
def test_an_unknown_concept(store: Store, line: str) -> None:
    before = files(store.root)
    fails(line, "unknown concept 'moose': `ecgvf concepts list` shows the shipped ones")
    assert files(store.root) == before


@pytest.mark.parametrize(
    "line",
    [
        "ecgvf render --concept moose",
        "ecgvf filter --concept moose",
        "ecgvf status --concept moose",
        "ear train --dataset ecgvf/moose",
        "ear eval --dataset ecgvf/moose",
        "ear compare x --dataset ecgvf/moose",
    ],
)
def test_a_concept_that_has_no_run(store: Store, line: str) -> None:
    before = files(store.root)
    fails(line, "run `ecgvf generate --concept` first, with a name of `ecgvf concepts` or your own YAML file")
    assert files(store.root) == before


@pytest.mark.parametrize("line", ["ecgvf render", "ear train", "ear eval", "ear compare {adapter}"])
def test_an_unknown_model(trained: Store, line: str) -> None:
    [adapter] = trained.folder("church", "ear").glob("*")
    before = files(trained.root)
    line = line.replace("{adapter}", str(adapter))
    fails(f"{line} --model janus-giga", "unknown model 'janus-giga': use one of janus-nano, janus-pro-1b")
    assert files(trained.root) == before


@pytest.mark.parametrize("line", ["ecgvf generate --concept church", *COMMANDS])
def test_a_store_of_another_version(tmp_path: Path, line: str) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "store.json").write_text('{"format": 0}')
    before = files(root)
    fails(f"{line} --store {root}", f"the store {root} has format 0, this version of ecgvf reads format 1")
    assert files(root) == before


def test_a_concept_that_nano_cannot_render(store: Store, tmp_path: Path) -> None:
    moose = tmp_path / "moose.yaml"
    moose.write_text("name: moose\nkind: object\nterms: [moose]\nsurrogates: [hotel]\n")
    before = files(store.root)
    fails(f"ecgvf generate --concept {moose}", "cannot render 'moose'")
    fails("ecgvf generate --concept nudity", "cannot render 'nudity'")
    assert files(store.root) == before
    # Pairs that another writer wrote.
    write_pairs(store, church_pairs(1, 1), concept="nudity")
    for line in ("ecgvf render", "ecgvf filter"):
        fails(line, "cannot render 'nudity', which has no judge_labels of nano: use --model janus-pro-1b")
    assert not store.folder("nudity", "pictures").exists()


def test_an_empty_dataset(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs(2, 1))
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([False] * 5))
    succeeds("ecgvf filter")
    before = files(store.root)
    for line in ("ear train", "ear eval", "ear compare x"):
        fails(line, "is empty: no pair was accepted (3 target_absent)")
    assert files(store.root) == before


def test_a_dataset_without_validation_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs(2, 1))
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([True, False, True, False, True]))
    succeeds("ecgvf filter")
    succeeds(TRAIN)
    before = files(store.root)
    fails("ear eval", "or measure the test split with --split test")
    assert files(store.root) == before
    succeeds("ear eval --split test --prompts-per-concept 1 --family building")


def test_a_dataset_without_an_evaluation_prompt_cannot_be_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(store, church_pairs(2, 1))
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge([True, False, True, False, False]))
    succeeds("ecgvf filter")
    succeeds(TRAIN)
    fails("ear eval", "has no accepted validation prompt: run `ecgvf generate --concept church --split validation`")
    fails("ear eval --split test", "has no accepted test prompt: run `ecgvf generate --concept church --split test`")


def test_the_advice_for_a_file_without_validation_works(trained: Store, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("target,surrogate,concept\na church,a hotel,church\na church at sea,a hotel at sea,church\n")
    advice = "run `ecgvf generate --concept church --split validation` and `ecgvf filter`, then measure with --dataset "
    fails(f"ear eval --dataset {file}", f"{advice}ecgvf/church")
    succeeds("ecgvf generate --concept church --split validation --count 2 --writers offline")
    succeeds("ecgvf filter")
    succeeds("ear eval --dataset ecgvf/church --prompts-per-concept 1 --family building")


@pytest.mark.parametrize(("split", "body"), [("pairs", "{% for x in %}"), ("evaluation", "{{ concept.nam }}")])
def test_a_template_with_an_error(tmp_path: Path, split: str, body: str) -> None:
    for name in ("pairs", "evaluation"):
        file = tmp_path / "object" / f"{name}.md.j2"
        file.parent.mkdir(exist_ok=True)
        file.write_text("---\nversion: 1\n---\n" + (body if name == split else "fine\n"))
    fails(f"ecgvf templates show church --templates {tmp_path}", f"{split}.md.j2, line 4: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ear eval --sheet {file}", "will be a PNG file: end its name in .png"),
        ("ear attack --sheet {file}", "will be a PNG file: end its name in .png"),
        ("ear compare x --sheet {file}", "will be a PNG file: end its name in .png"),
        ("ear memorisation --sheet {file}", "will be a PNG file: end its name in .png"),
        ("ear generate --prompt x --out {file}", "will be a PNG file: end its name in .png"),
        ("ear eval --outcomes {file}", "will be a Parquet file: end its name in .parquet"),
        ("ear report --out {file}", "will be an HTML file: end its name in .html"),
        ("ear eval --sheet {folder}.png", "is a folder: name a file in it"),
    ],
)
def test_a_file_of_another_kind_is_not_overwritten(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    file = tmp_path / "church.yaml"
    file.write_text("mine")
    fails(line.format(file=file, folder=tmp_path / "folder"), message)
    assert file.read_text() == "mine"


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file may grow beyond ``most`` bytes: writing fails as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


STAGES = (
    "ecgvf generate --concept cat --pairs 4 --validation 2 --tests 2",
    "ecgvf render --seed 7",
    "ecgvf filter",
    TRAIN,
    "ear eval --prompts-per-concept 1 --family building",
    "ear generate --prompt church",
    "ear compare {adapter} --prompts-per-concept 2 --family building",
)


@pytest.fixture
def stage(request: pytest.FixtureRequest, store: Store, tiny_path: Path) -> str:
    """A command that has all it needs and has not run yet."""
    line: str = request.param
    if line.startswith("ecgvf render"):
        return f"{line} --model {tiny_path}"
    if line == "ecgvf filter":
        succeeds(f"ecgvf render --seed 7 --model {tiny_path}")
    if line.startswith("ear") and not line.startswith(TRAIN):
        request.getfixturevalue("trained")
    return line.replace("{adapter}", next((path.name for path in store.folder("church", "ear").glob("*")), ""))


@pytest.mark.parametrize("stage", STAGES, indirect=True)
def test_a_stage_resumes_after_a_full_disk(store: Store, stage: str) -> None:
    with full_disk(1500):
        fails(stage, "no space left to write")
    assert not list(store.root.rglob("*.tmp"))
    succeeds(stage)


INTERRUPTED_IN = {
    STAGES[0]: (OfflineWriter, "write"),
    STAGES[1]: ("ecgvf.render.batches", "render_images"),
    STAGES[2]: (AgreeingJudge, "predict"),
    STAGES[3]: ("ear.method.steps", "position_losses"),
    f"{TRAIN} --seed 1": ("ecgvf.render.batches", "render_images"),
    STAGES[4]: ("ecgvf.render.batches", "render_images"),
    STAGES[5]: ("ear.evaluation.preview", "render_images"),
    STAGES[6]: ("ecgvf.render.batches", "render_images"),
}


@pytest.mark.parametrize(("stage", "where"), INTERRUPTED_IN.items(), indirect=["stage"])
def test_a_stage_resumes_after_ctrl_c(
    store: Store, stage: str, where: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    owner, name = where
    with monkeypatch.context() as patch:
        if isinstance(owner, str):
            patch.setattr(f"{owner}.{name}", interrupt)
        else:
            patch.setattr(owner, name, interrupt)
        fails(stage, "Interrupted. Run the same command again to resume.", code=130)
    assert not list(store.root.rglob("*.tmp"))
    succeeds(stage)


def forget(*stages: str) -> Callable[[Store], None]:
    """Deletes the files of ``stages``, so that the next command reads a shard that it would otherwise not need."""

    def remove(store: Store) -> None:
        for stage in stages:
            for file in store.folder("church", stage).rglob("*"):
                if file.is_file():
                    file.unlink()

    return remove


@pytest.mark.parametrize(
    ("stage", "before", "line"),
    [
        ("pairs", forget(), "ecgvf status"),
        ("pairs", forget(), "ecgvf render --seed 9 --model {model}"),
        ("pictures", forget("verdicts"), "ecgvf filter"),
        ("verdicts", forget("acceptance"), "ecgvf filter"),
        ("acceptance", forget(), "ear train"),
        ("pictures", forget(), "ear eval"),
        ("rehearsal", forget("ear"), TRAIN),
        ("evaluation", forget("outcomes"), STAGES[4]),
        ("outcomes", forget(), STAGES[4]),
    ],
)
def test_a_hand_edited_shard(
    trained: Store, tiny_path: Path, stage: str, before: Callable[[Store], None], line: str
) -> None:
    if stage in ("evaluation", "outcomes"):
        succeeds(line)
    before(trained)
    shard = sorted(trained.folder("church", stage).glob("*/shard-*.parquet"))[0]
    shard.write_bytes(shard.read_bytes() + b"x")
    whole = files(trained.root)
    fails(line.replace("{model}", str(tiny_path)), f"{shard} is not what was written")
    left = files(trained.root)
    # `current` may have moved to another whole set, whose images were read before the edited ones.
    assert all(left.get(name) == content for name, content in whole.items() if not name.endswith("current"))
    assert not any(name.endswith(".tmp") for name in left)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("last", "unknown dataset 'ecgvf/kirch"),
        ("church/acceptance/current", "current names a set that does not exist"),
    ],
)
def test_a_hand_edited_name(store: Store, name: str, message: str) -> None:
    (store.root / name).write_bytes("kirchе".encode())  # with a Cyrillic letter
    fails("ear train", message)


def test_a_hand_edited_run(trained: Store) -> None:
    [run] = trained.folder("church", "ear").glob("*/run.json")
    run.write_text("[]")
    fails("ear eval", f"{run} is damaged: restore it, or delete {run.parent}")


def test_an_unsafe_concept_is_blurred_unless_asked(store: Store, tmp_path: Path) -> None:
    store.remember(concepts.find("church").model_copy(update={"unsafe": True}))
    succeeds(TRAIN)
    blurred, clear = tmp_path / "blurred.png", tmp_path / "clear.png"
    succeeds(f"ear generate --prompt church --out {blurred}")
    succeeds(f"ear generate --prompt church --clear --out {clear}")

    def sharpness(file: Path) -> float:
        image = decode(file.read_bytes())[2 * HEADER :, TEXT_WIDTH + 2 * GAP :][:SIDE, :SIDE]
        return float(np.abs(np.diff(image.astype(float), axis=0)).max())

    assert sharpness(blurred) < sharpness(clear) / 2
