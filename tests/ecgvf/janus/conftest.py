from pathlib import Path

import pytest

from ecgvf.janus import JanusModel, load
from tools.tiny_janus import build


@pytest.fixture(scope="session")
def tiny_janus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="session")
def tiny_janus(tiny_janus_path: Path) -> JanusModel:
    return load(str(tiny_janus_path), device="cpu")
