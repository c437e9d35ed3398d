"""The tables of README.md and docs/results.md are renewed from the committed benchmarks."""

import shutil
from pathlib import Path

import pytest

from tools import results

ROOT = Path(__file__).parents[2]
FILES = (results.README, results.RESULTS)


def test_old_tables_are_replaced_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    for name in ("benchmark.json", "benchmark-wordings.json"):
        shutil.copy(ROOT / "docs" / name, "docs")
    for file in FILES:
        page = (ROOT / file).read_text(encoding="utf-8")
        old = page.replace("0.99 (0.97 to 1.00)", "0.50 (0.40 to 0.60)")
        old = old.replace("| elephant |", "| hotel |").replace("| 5 | 0.000 |", "| 9 | 0.000 |")
        old = old.replace("| church, explicit |", "| church, by name |")
        assert old != page
        file.write_text(old, encoding="utf-8")
    results.main()
    assert all(file.read_text(encoding="utf-8") == (ROOT / file).read_text(encoding="utf-8") for file in FILES)
