"""What users get wrong and what happens to runs: one clear line, exit 2 (130 for Ctrl-C), nothing half-written.

Every accident happens to every command that it can happen to, typed as a user types it.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import ear.cli
import ecgvf.cli
from ecgvf.core import concepts
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.pairs.offline import OfflineWriter
from tests.ear.conftest import Agreeing
from tests.ecgvf.small_run import church_pairs, write_pairs

pytestmark = pytest.mark.faults

TRAIN = "ear train --option rehearsed=4 --option rehearsed_per_step=2 --option window=288"
COMMANDS = (
    "ecgvf render",
    "ecgvf filter",
    "ecgvf status",
    "ear train",
    "ear eval",
    "ear generate --prompt x",
    "ear compare x",
)


def typed(line: str) -> Result:
    script, *words = line.split()
    return CliRunner().invoke({"ecgvf": ecgvf.cli.app, "ear": ear.cli.app}[script], words)


def works(line: str) -> str:
    result = typed(line)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(line: str, says: str, code: int = 2) -> None:
    """It ends with one line that says so."""
    result = typed(line)
    assert result.exit_code == code, result.output
    told = [text for text in result.stderr.splitlines() if text.strip()]
    assert says in told[-1], result.output
    assert sum(text.startswith("error") for text in told) == (0 if code == 130 else 1)
    assert "Traceback" not in result.output


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("line", ["ecgvf generate --concept moose", "ecgvf concepts explain moose"])
def test_an_unknown_concept(store: Store, line: str) -> None:
    before = files(store.root)
    fails(line, "unknown concept 'moose': known are castle, cat, church")
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
    fails(line, "run `ecgvf generate --concept moose` first")
    assert files(store.root) == before


@pytest.mark.parametrize("line", ["ecgvf render", "ear train", "ear eval", "ear compare x"])
def test_an_unknown_model(store: Store, line: str) -> None:
    before = files(store.root)
    fails(f"{line} --model janus-giga", "unknown model 'janus-giga': use one of janus-nano, janus-pro-1b")
    assert files(store.root) == before


@pytest.mark.parametrize("line", ["ecgvf generate --concept church", *COMMANDS])
def test_a_store_of_another_version(tmp_path: Path, line: str) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "store.json").write_text('{"format": 0}')
    before = files(root)
    fails(f"{line} --store {root}", f"the store {root} has format 0, this version of ecgvf reads format 1")
    assert files(root) == before


def test_a_concept_that_nano_cannot_draw(store: Store, tmp_path: Path) -> None:
    moose = tmp_path / "moose.yaml"
    moose.write_text("name: moose\nkind: object\nterms: [moose]\nsurrogates: [hotel]\n")
    before = files(store.root)
    fails(f"ecgvf generate --concept {moose}", "cannot render 'moose'")
    fails("ecgvf generate --concept nudity", "cannot render 'nudity'")
    assert files(store.root) == before
    # Pairs that another writer wrote.
    write_pairs(store, church_pairs(1, 1), concept="nudity")
    for line in ("ecgvf render", "ecgvf filter"):
        fails(line, "cannot render 'nudity', which is not in its world: use --model janus-pro-1b")
    assert not (store.root / "nudity" / IMAGES).exists()


def test_an_empty_dataset(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs(2, 1))
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Agreeing([False] * 5))
    works("ecgvf filter")
    before = files(store.root)
    for line in ("ear train", "ear eval", "ear compare x"):
        fails(line, "is empty: no pair was accepted (3 target_absent)")
    assert files(store.root) == before


def test_a_dataset_without_a_test_prompt_cannot_be_measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(store, church_pairs(2, 1))
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Agreeing([True, False, True, False, False]))
    works("ecgvf filter")
    works(TRAIN)
    fails("ear eval", "has no accepted test prompt: run `ecgvf generate` with more tests")


@pytest.mark.parametrize(("split", "body"), [("pairs", "{% for x in %}"), ("test", "{{ concept.nam }}")])
def test_a_template_with_an_error(tmp_path: Path, split: str, body: str) -> None:
    for name in ("pairs", "test"):
        file = tmp_path / "object" / f"{name}.md.j2"
        file.parent.mkdir(exist_ok=True)
        file.write_text("---\nversion: 1\n---\n" + (body if name == split else "fine\n"))
    fails(f"ecgvf templates show church --templates {tmp_path}", f"{split}.md.j2, line 4: ")


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
    "ecgvf generate --concept cat --pairs 4 --tests 2",
    "ecgvf render --seed 7",
    "ecgvf filter",
    TRAIN,
    "ear eval --prompts-per-concept 1 --family building",
    "ear generate --prompt church",
    "ear compare {adapter} --prompts-per-concept 2 --family building",
)


@pytest.fixture
def stage(request: pytest.FixtureRequest, store: Store, tiny_path: Path) -> str:
    """A command that has everything it needs and has not run yet."""
    line: str = request.param
    if line.startswith("ecgvf render"):
        return f"{line} --model {tiny_path}"
    if line == "ecgvf filter":
        works(f"ecgvf render --seed 7 --model {tiny_path}")
    if line.startswith("ear") and not line.startswith(TRAIN):
        works(TRAIN)
    return line.replace("{adapter}", next((path.name for path in store.folder("church", "ear").glob("*")), ""))


@pytest.mark.parametrize("stage", STAGES, indirect=True)
def test_a_full_disk(store: Store, stage: str) -> None:
    with full_disk(1500):
        fails(stage, "no space left to write")
    assert not list(store.root.rglob("*.tmp"))
    works(stage)


INTERRUPTED_IN = {
    STAGES[0]: (OfflineWriter, "write"),
    STAGES[1]: ("ecgvf.render.shard", "render_images"),
    STAGES[2]: (Agreeing, "look"),
    STAGES[3]: ("ear.method.train", "position_losses"),
    f"{TRAIN} --seed 1": ("ear.method.retention", "render_images"),
    STAGES[4]: ("ear.evaluation.images", "render_images"),
    STAGES[5]: ("ecgvf.janus", "render_images"),
    STAGES[6]: ("ear.evaluation.images", "render_images"),
}


@pytest.mark.parametrize(("stage", "where"), INTERRUPTED_IN.items(), indirect=["stage"])
def test_ctrl_c(store: Store, stage: str, where: tuple[object, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place, name = where
    with monkeypatch.context() as patch:
        if isinstance(place, str):
            patch.setattr(f"{place}.{name}", interrupt)
        else:
            patch.setattr(place, name, interrupt)
        fails(stage, "Interrupted. Run the same command again to go on.", code=130)
    assert not list(store.root.rglob("*.tmp"))
    works(stage)


def forget(*stages: str) -> Callable[[Store], None]:
    """What makes the next command read a shard that it would otherwise have no need for."""

    def remove(store: Store) -> None:
        for stage in stages:
            for file in store.folder("church", stage).rglob("*"):
                if file.is_file():
                    file.unlink()

    return remove


@pytest.mark.parametrize(
    ("stage", "before", "line"),
    [
        (PAIRS, forget(), "ecgvf status"),
        (PAIRS, forget(), "ecgvf render --seed 9 --model {model}"),
        (IMAGES, forget(VERDICTS), "ecgvf filter"),
        (VERDICTS, forget(ACCEPTANCE), "ecgvf filter"),
        (ACCEPTANCE, forget(), "ear train"),
        (IMAGES, forget(), "ear eval"),
        ("rehearsal", forget("ear"), TRAIN),
        ("evaluation", forget(), STAGES[4]),
    ],
)
def test_a_hand_edited_shard(
    store: Store, tiny_path: Path, stage: str, before: Callable[[Store], None], line: str
) -> None:
    works(TRAIN)
    if stage == "evaluation":
        works(line)
    before(store)
    shard = sorted(store.folder("church", stage).glob("*/shard-*.parquet"))[0]
    shard.write_bytes(shard.read_bytes() + b"x")
    whole = files(store.root)
    fails(line.replace("{model}", str(tiny_path)), f"{shard} is not what was written")
    left = files(store.root)
    # `current` may have moved to another whole set, whose pictures were read before the edited ones.
    assert all(left.get(name) == content for name, content in whole.items() if not name.endswith("current"))
    assert not any(name.endswith(".tmp") for name in left)


@pytest.mark.parametrize("name", ["last", "church/acceptance/current"])
def test_a_hand_edited_name(store: Store, name: str) -> None:
    (store.root / name).write_bytes("kirchе".encode())
    fails("ear train", "")


def test_a_hand_edited_run(store: Store) -> None:
    works(TRAIN)
    [run] = store.folder("church", "ear").glob("*/run.json")
    run.write_text("[]")
    fails("ear eval", f"{run} is not what was written: restore it, or delete {run.parent}")


def test_an_unsafe_concept_is_blurred_unless_asked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = concepts.find("church")
    store.remember(real.model_copy(update={"unsafe": True}))
    works(TRAIN)
    shown: list[list[bool]] = []
    from ear.evaluation import contact_sheet as sheet

    draw = sheet.sheet
    monkeypatch.setattr(sheet, "sheet", lambda *rows, **how: (shown.append(how["blurred"]), draw(*rows, **how))[1])
    works(f"ear generate --prompt church --out {tmp_path / 'a.png'}")
    works(f"ear generate --prompt church --clear --out {tmp_path / 'b.png'}")
    assert shown == [[True], [False]]
