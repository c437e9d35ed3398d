from pathlib import Path

import pytest

from ecgvf.janus import JanusModel, load


@pytest.fixture(scope="session")
def tiny_janus(tiny_path: Path) -> JanusModel:
    return load(str(tiny_path), device="cpu")
