"""The section on the datasets: what the writers and the judges accepted, at what cost."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from ear.report.results import Results
from ear.report.section import Section, Table
from ear.suite.table import DATASETS
from ecgvf.core.files import JSON


def dataset(results: Results) -> Section:
    """What was written, accepted and paid, by dataset and writer."""
    written, accepted, paid = [], [], []
    missing = _unknown_datasets(results)
    for concept in results.concepts:
        facts = results.datasets.get(concept)
        if facts is None:
            continue
        stages = {stage["stage"]: stage for stage in facts["stages"]}
        costs = stages.get("pairs", {}).get("writers") or {}
        if facts.get("writers") is None:
            missing.append(f"the yield of {concept}'s writers")
        written += [[concept, *row] for row in _writers(facts.get("writers") or [], costs)]
        counts = stages.get("acceptance", {}).get("counts", {})
        splits = [(name, f"accepted_{name}") for name in ("pairs", "validation", "tests", "retained")]
        shares = [f"{counts.get(kept, 0)} of {counts[name]}" if counts.get(name) else "none" for name, kept in splits]
        accepted.append([concept, *shares, _listed(_reasons(stages))])
        cost = facts["paid"]
        dollars = "nothing, no LLM was called" if cost is None else f"{_dollars(cost)} for {cost['answered']} calls"
        paid.append([concept, dollars, f"{sum(stage['seconds'] for stage in facts['stages']):.0f} s"])
    columns = ("concept", "writer", "model that answered", "written", "accepted", "yield", "rejected", "cost")
    splits_of = ("concept", "training pairs", "validation prompts", "test prompts", "retained", "rejected")
    tables = [
        Table("Yield by writer", columns, written),
        Table("Accepted, and reasons for rejection", splits_of, accepted),
        Table("Cost", ("concept", "LLM calls", "time to build"), paid),
    ]
    return Section(
        "dataset",
        "The dataset",
        "Pairs are accepted if a judge sees the concept in the target image and not in the surrogate image. Duplicates "
        "and malformed pairs are rejected before anything is rendered.",
        tables=[table for table in tables if table.rows],
        missing=missing,
    )


def _unknown_datasets(results: Results) -> list[str]:
    """The datasets of which nothing is known, and why, in a single line; empty without any."""
    unknown = [concept for concept in results.concepts if concept not in results.datasets]
    if not unknown:
        return []
    what = f"yield, reasons for rejection and cost of the dataset of {', '.join(unknown)}"
    file = results.source / DATASETS
    if results.source.is_file():
        return [f"{what} (this dataset is not in the store)"]
    if not file.is_file():
        return [f"{what} ({file} does not exist: `ear suite` writes it on the machine that has the datasets)"]
    return [f"{what} ({file} does not have it)"]


def _writers(found: Sequence[JSON], costs: Mapping[str, JSON]) -> Iterator[list[str]]:
    """The yield of each writer and model that answered it. What a writer cost is in its first row alone."""
    listed = set()
    for facts in found:
        writer, count, kept = facts["writer"], facts["written"], facts["accepted"]
        spent = costs.get(writer, {})
        cost = "" if writer in listed else _dollars(spent) if "dollars" in spent else "none"
        share = f"{kept / count:.1%}" if count else "none"
        listed.add(writer)
        yield [writer, facts["model_answered"], str(count), str(kept), share, _listed(facts["reasons"]), cost]


def _dollars(spent: JSON) -> str:
    possibly = Decimal(spent.get("possibly") or 0)
    return f"${spent['dollars']}" + (f", and possibly ${possibly}" if possibly else "")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "none"


def _reasons(stages: Mapping[str, JSON]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in ("pairs", "acceptance"):
        found |= stages.get(name, {}).get("reasons", {})
    return found
