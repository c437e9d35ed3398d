"""The committed ablations: complete, resumed by `make ablations`, and shown as they are by decision 0024."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from ear.ablation import Ablation
from ear.ablation.ablation import COMMAND, NOT_MEASURED, TABLE
from ear.ablation.factors import all_variants
from ear.dataset import find_dataset
from ear.evaluation import EvaluationSettings
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER
from ear.suite.leaderboard import text
from ecgvf.core.store import Store
from ecgvf.janus import load

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "docs" / "ablations"
PAGE = ROOT / "docs" / "decisions" / "0024-ablations.md"
COLUMNS = {
    "shows the concept": "concept_present",
    "shows the style": "concept_present",
    "with unseen wordings": "concept_present_unseen",
    "shows its surrogate": "shows_surrogate",
    "shows something": "shows_something",
    "retention": "retention_ratio",
}
"""Columns of the page's tables → figures."""


@pytest.mark.parametrize(
    ("folder", "base", "seeds"),
    [
        ("paper", PAPER, [0]),
        ("paper-half-rate", PAPER.with_options({"learning_rate": 5e-5}), [0]),
        ("paper-window-seeds", PAPER.with_options({"learning_rate": 5e-5, "order": "shuffled"}), [0, 1, 2]),
        ("paper-patches", PAPER.with_options({"learning_rate": 5e-5, "window": 1}), [0]),
        ("on-policy", ON_POLICY, [0]),
        ("on-policy-seeds", ON_POLICY, [0, 1, 2]),
        ("on-policy-unrehearsed", ON_POLICY.with_options({"retention": 0.0}), [0]),
    ],
)
def test_make_ablations_goes_on_from_the_committed_variants(
    folder: str, base: Recipe, seeds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the shipped dataset: Van Gogh's style and the pairs that are rejected are rendered first."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # as of the CPU that trained them
    committed = {file.name for file in (COMMITTED / folder / "variants").iterdir()}
    store, model = Store(tmp_path), load("janus-nano")
    dataset = find_dataset(store, "ecgvf/church")[0]
    settings = EvaluationSettings(prompts_per_other=8)
    ablation = Ablation(store, model, dataset, base, settings, seeds, COMMITTED / folder)
    wanted = all_variants(_targets()[folder].split(","), base)
    missing = [str(variant) for variant in wanted if ablation.file(variant).name not in committed]
    assert committed == {ablation.file(variant).name for variant in wanted if str(variant) not in missing}
    assert missing == json.loads(pq.read_schema(COMMITTED / folder / TABLE).metadata[NOT_MEASURED])


def test_every_committed_ablation_is_a_target_of_make() -> None:
    assert {folder.name for folder in COMMITTED.iterdir()} == set(_targets())
    for folder, over in _targets().items():
        command = pq.read_schema(COMMITTED / folder / TABLE).metadata[COMMAND].decode()
        assert f"--over {over} " in command and command.endswith(f"--out docs/ablations/{folder}")


def test_each_row_of_the_page_is_of_a_committed_variant() -> None:
    measured = [cells for folder in COMMITTED.iterdir() for cells in _variants(folder)]
    known, rows = measured[0].keys(), _page_rows()
    for row in rows:
        shown = {name: cell for name, cell in row.items() if name in known}
        assert any(shown.items() <= cells.items() for cells in measured), row
    assert len(rows) > 100


def _variants(folder: Path) -> list[dict[str, str]]:
    """The variants of an ablation, as the page's tables show them."""
    table = pq.read_table(folder / TABLE).to_pylist()
    variants: dict[tuple[str, ...], dict[str, str]] = {}
    for row in table:
        cells = variants.setdefault(tuple(row[name] for name in ("factor", "level", "equal")), {})
        cells |= {"steps": f"{row['steps']:.0f}", "skipped": f"{row['skipped']:.0%}"}
        cells |= {column: text(row) for column, figure in COLUMNS.items() if figure == row["figure"]}
    return list(variants.values())


def _page_rows() -> list[dict[str, str]]:
    """Column → cell of each row of the page's tables of variants."""
    tables = re.findall(r"^(\|.*\| steps \|.*\|)\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE.read_text(), re.MULTILINE)
    split = [(_cells(header), rows.splitlines()) for header, rows in tables]
    return [dict(zip(header, _cells(row), strict=True)) for header, rows in split for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _targets() -> dict[str, str]:
    """Folder → factors of each `ear ablate` in the Makefile."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    return dict(re.findall(r"\$\(ABLATE\).*--out docs/ablations/(\S+)\s+--over (\S+)", makefile))
