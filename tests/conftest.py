"""What all tests share: a store of their own, no network, one thread."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")

# Before any test imports a library that reads them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store, nor finds the user's keys."""
    monkeypatch.setenv("ECGVF_STORE", str(tmp_path / "store"))
    for key in [name for name in os.environ if name.endswith("_API_KEY") or name == "HF_TOKEN"]:
        monkeypatch.delenv(key)
    monkeypatch.delenv("ECGVF_WRITERS", raising=False)
