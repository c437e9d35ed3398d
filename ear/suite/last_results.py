"""The results that `ear report` takes by default: of the suite or the `ear eval` that ran last."""

from pathlib import Path

from ear.evaluation.result import LAST_EVALUATION
from ecgvf.core.errors import DatasetError, StoreError
from ecgvf.core.files import require_local, write_atomic
from ecgvf.core.store import Store

FILE = Path("suites") / "last"


def remember(results: Path) -> None:
    """Make the folder ``results`` the default."""
    write_atomic(FILE, f"{results}\n".encode())


def last_results(store: Path | None = None) -> Path:
    """The results of the suite that ran last in this folder, or the file of a later evaluation in ``store``.

    ``store`` None: the default store. Raises ``DatasetError`` if there are neither results nor evaluations, and as
    ``Store`` does, and ``StoreError`` for a store on object storage, if there are no results.
    """
    results = [(FILE.stat().st_mtime, Path(FILE.read_text(encoding="utf-8").strip()))] if FILE.is_file() else []
    try:
        root = Store(store).root
        require_local(root, "the results of a report")
        evaluations = root.glob(f"*/ear/*/{LAST_EVALUATION}")
        results += [(file.stat().st_mtime, file) for file in evaluations]
    except StoreError:
        if not results:
            raise
    if not results:
        raise DatasetError(
            "no suite ran in this folder and no evaluation in the store: run `ear eval` or `ear suite SUITE.yaml`, or "
            "name the folder of a suite's results"
        )
    return max(results)[1]
