from pathlib import Path

import pytest

from ecgvf.janus import JanusModel
from tests.ear.random_adapter import save_adapter


@pytest.fixture
def adapter(tiny: JanusModel, tmp_path: Path) -> Path:
    return save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
