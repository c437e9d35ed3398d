"""A filtered run to publish: church, rendered by a random tiny model, with a judge of given predictions."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.render import RenderOptions, render
from tests.ecgvf.small_run import ScriptedJudge, church_pairs, pair, write_pairs

Filter = Callable[..., ConceptRun]


def new_run(root: Path, concept: str = "church", *, unsafe: bool = False) -> ConceptRun:
    """An empty run in a store at ``root``."""
    return ConceptRun(Store(root), concepts.find(concept).model_copy(update={"unsafe": unsafe}))


@pytest.fixture(scope="session")
def filtered(tiny_path: Path) -> Filter:
    """Fills a run with ``train`` and ``validation`` pairs, ``test`` prompts and a duplicate; the last training pair and
    test prompt are rejected."""

    def fill(run: ConceptRun, train: int = 4, test: int = 2, validation: int = 0) -> ConceptRun:
        duplicate = pair("a church by pond 0", "a hotel by pond 0", "duplicate")
        write_pairs(run.store, [*church_pairs(train, test, validation=validation), duplicate], run.concept.name)
        run.store.remember(run.concept)
        render(run, RenderOptions(model=str(tiny_path), device="cpu", guidance=2.0))
        answers = (
            [True, False] * (train - 1) + [True, True] * (1 + validation) + [True] * (test - 1) + [False] * min(test, 1)
        )
        filter_images(run, judge=ScriptedJudge(answers))
        return run

    return fill


@pytest.fixture(scope="session")
def _finished(filtered: Filter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of ``run``, made once."""
    return filtered(new_run(tmp_path_factory.mktemp("finished") / "store")).store.root


@pytest.fixture
def run(_finished: Path, tmp_path: Path) -> ConceptRun:
    return new_run(shutil.copytree(_finished, tmp_path / "store"))
