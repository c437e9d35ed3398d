"""A small finished dataset: a few pairs of church, rendered by a random tiny model, accepted by a judge that agrees."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from ear.cli import app
from ear.dataset import find_dataset
from ear.evaluation import judges as evaluation_judges
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.core.files import write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.janus import JanusModel, load
from ecgvf.judges import JudgeOptions
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.render import RenderOptions, render
from ecgvf.world.grammar import load_world
from tests.ecgvf.conftest import hub
from tests.ecgvf.small_run import church_pairs, write_pairs

__all__ = ["hub"]  # a fixture

TRAIN = "ear train --option passes=1 --option rehearsed=4 --option rehearsed_per_step=2 --option window=288"
"""What ``trained`` is after."""


class AgreeingJudge:
    """Predicts for each shard what nano's judge would: the concept in target images, and not in surrogate images."""

    weights_hash = "0"
    criterion = Criterion(label_set="nano", accepted=("church",), top_k=1)
    name = "nano-object-a"

    def __init__(self, present: Sequence[bool] = (*[True, False] * 5, True, True)) -> None:
        """``present``: of the images of a shard, in order. By default of 3 + 2 pairs and 2 test prompts."""
        self.present = list(present)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        return [Prediction(present=yes, score=float(yes), top_labels=()) for yes in self.present[: len(images)]]


def interrupted_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, interrupted by Ctrl-C at a call: the calls before it go through."""
    left = iter(range(calls))

    def interrupted(*args: Any, **settings: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args, **settings)

    return interrupted


@dataclass
class BrightnessJudge:
    """A classifier of all things of nano's world by the sum of an image's pixels: deterministic, and wrong."""

    name: str
    accepted: tuple[str, ...] = ()
    labels: tuple[str, ...] = tuple(load_world().things)
    weights_hash = "0"
    criterion = Criterion(label_set="nano", accepted=("church",), top_k=1)

    def class_index(self, label: str) -> int | None:
        return self.labels.index(label) if label in self.labels else None

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        indices = images.reshape(len(images), -1).astype(int).sum(axis=1) % len(self.labels)
        return np.eye(len(self.labels), dtype=np.float32)[indices]

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        best = [self.labels[index] for index in self.probabilities(images).argmax(axis=1)]
        return [Prediction(present=label in self.accepted, score=1.0, top_labels=((label, 1.0),)) for label in best]


def brightness_judge(
    concept: Concept | None, model: str | None, name: str, options: JudgeOptions | None, device: str
) -> BrightnessJudge:
    """In place of ``create_judge``."""
    return BrightnessJudge(name, concept.labels("nano") if concept is not None else ())


@pytest.fixture(autouse=True)
def _plain_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a small training: tests of plots draw them."""
    plot = "ear.method.erase.plot_losses"
    monkeypatch.setattr(plot, lambda run, *_: write_atomic(run.path / "loss.svg", b"<svg/>"))


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> JanusModel:
    return load(str(tiny_path), device="cpu")


@pytest.fixture(scope="session")
def filtered(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; each test gets a copy."""
    store = Store(tmp_path_factory.mktemp("filtered") / "store")
    write_pairs(store, church_pairs(3, 2, validation=2))
    run = ConceptRun(store, concepts.find("church"))
    render(run, RenderOptions(model=str(tiny_path), device="cpu", guidance=2.0))
    filter_images(run, judge=AgreeingJudge())
    return store.root


@pytest.fixture
def store(filtered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose last concept is church, filtered: 3 pairs, 2 validation and 2 test prompts."""
    shutil.copytree(filtered, tmp_path / "store")
    # Commands name their judges: these names stand for judges of the tiny model's images here.
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AgreeingJudge())
    monkeypatch.setattr(evaluation_judges, "create_judge", brightness_judge)
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def trained_once(filtered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a store in which church was trained; each test gets a copy."""
    root = tmp_path_factory.mktemp("trained") / "store"
    shutil.copytree(filtered, root)
    result = CliRunner().invoke(app, [*TRAIN.split()[1:], "--store", str(root)])
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def trained(store: Store, trained_once: Path) -> Store:
    """``store`` after ``TRAIN``."""
    shutil.copytree(trained_once, store.root, dirs_exist_ok=True)
    return store


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return find_dataset(store, "ecgvf/church")[0]
