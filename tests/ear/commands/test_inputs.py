"""Where results about an adapter are written."""

from pathlib import Path

import pytest

from ear.commands.inputs import results_folder
from ear.method.oracle import MODEL_FILE
from ecgvf.core.files import open_path
from ecgvf.core.store import Store


def write(file: Path) -> list[Path]:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    return [file]


def test_results_are_beside_an_adapter_of_the_store_and_otherwise_in_a_new_folder(store: Store, tmp_path: Path) -> None:
    own = write(store.root / "church" / "ear" / "run" / "adapter.safetensors")
    whole = write(store.root / "church" / "whole" / MODEL_FILE)
    elsewhere = write(tmp_path / "cache" / "adapter.safetensors")
    assert results_folder(store, "church", own) == own[0].parent
    for files in (whole, elsewhere):
        assert results_folder(store, "church", files).parent == store.root / "church" / "ear"


@pytest.mark.parametrize("name", ["adapter.safetensors", MODEL_FILE])
def test_with_object_storage_results_are_in_the_current_folder(name: str, tmp_path: Path) -> None:
    files = write(tmp_path / "cache" / name)
    folder = results_folder(Store(open_path("memory://store")), "church", files)
    assert folder.parent.resolve() == Path.cwd()
    assert [*files[0].parent.iterdir()] == files
