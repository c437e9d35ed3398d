"""The results that commands take by default: those of the suite that ran last in this folder."""

from pathlib import Path

from ecgvf.core.errors import DatasetError
from ecgvf.core.files import write_atomic

FILE = Path("suites") / "last"


def remember(results: Path) -> None:
    """Make ``results`` the default."""
    write_atomic(FILE, f"{results}\n".encode())


def last_results() -> Path:
    """The folder that was remembered last. Raises ``DatasetError`` if there is none."""
    if not FILE.is_file():
        raise DatasetError("no suite ran in this folder yet: run `ear suite SUITE.yaml`, or name its results folder")
    return Path(FILE.read_text(encoding="utf-8").strip())
