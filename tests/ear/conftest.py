"""A small finished dataset: a few pairs of church, drawn by a random tiny model, accepted by a judge that agrees."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ear.dataset import find
from ear.evaluation import judges as looking
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.dataset import Dataset
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.filter import stage as filter_stage
from ecgvf.janus import JanusModel, load
from ecgvf.judges import JudgeOptions
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.render import render
from ecgvf.world.grammar import load_world
from tests.ecgvf.small_run import church_pairs, write_pairs
from tests.random_janus import build


class Agreeing:
    """Filters as nano's judge would: target pictures show the concept, surrogate pictures do not."""

    weights_hash = "0"
    criterion = Criterion(label_set="nano", accepted=("church",), top_k=1)
    name = "nano-object-a"

    def __init__(self, pictures: Sequence[bool]) -> None:
        """``pictures``: what it sees in the pictures of a shard, in their order."""
        self.pictures = list(pictures)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        return [Prediction(present=there, score=float(there), top_labels=()) for there in self.pictures[: len(images)]]


@dataclass
class Brightness:
    """A judge of all of nano's things that tells by the picture's brightness: deterministic, and wrong."""

    name: str
    accepted: tuple[str, ...] = ()
    labels: tuple[str, ...] = tuple(load_world().things)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        places = images.reshape(len(images), -1).astype(int).sum(axis=1) % len(self.labels)
        return np.eye(len(self.labels), dtype=np.float32)[places]

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        best = [self.labels[place] for place in self.probabilities(images).argmax(axis=1)]
        return [Prediction(present=label in self.accepted, score=1.0, top_labels=((label, 1.0),)) for label in best]


def brightness(concept: Concept | None, model: str | None, name: str, options: JudgeOptions) -> Brightness:
    """In place of ``ecgvf.judges.choose``."""
    return Brightness(name, concept.labels("nano") if concept is not None else ())


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> JanusModel:
    return load(str(tiny_path), device="cpu")


AGREEING = Agreeing([True, False] * 3 + [True] * 2)


@pytest.fixture(scope="session")
def filtered(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; each test gets a copy."""
    store = Store(tmp_path_factory.mktemp("filtered") / "store")
    write_pairs(store, church_pairs(3, 2))
    church = concepts.find("church")
    render(ConceptRun(store, church), model=str(tiny_path), device="cpu", guidance=2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filter_stage, "create_judge", lambda *_: AGREEING)
        filter_stage.filter_images(ConceptRun(store, church))
    return store.root


@pytest.fixture
def store(filtered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose last concept is church, filtered: 3 pairs and 2 test prompts."""
    shutil.copytree(filtered, tmp_path / "store")
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: AGREEING)
    monkeypatch.setattr(looking, "create_judge", brightness)
    return Store(tmp_path / "store")


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return find(store, "ecgvf/church").dataset
