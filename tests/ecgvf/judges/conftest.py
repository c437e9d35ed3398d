from pathlib import Path

import pytest

from ecgvf.core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "a-store")
