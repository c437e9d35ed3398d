"""The section on robustness: the concept in other words, and under attacks beside their controls."""

from pathlib import Path

from ear.report.charts import Chart, dots
from ear.report.results import Results, select
from ear.report.section import Section, Table, absent, main_rows, unread
from ear.suite.leaderboard import text
from ear.suite.rows import NOT_APPLICABLE
from ecgvf.core.files import JSON

_UNATTACKED = ("concept_present_unattacked", "concept_present")
"""The figure of the original: not attacked, or the prompts are the attack."""

_CONTROLS = ("original", "erased", "under attack", "oracle", "above oracle", "another concept unknown to the oracle")


def robustness(results: Results) -> Section:
    """The section on robustness."""
    charts: list[Chart] = []
    tables: list[Table] = []
    missing: list[str] = []
    for concept in results.concepts:
        wordings, attacks = _by_wording(results, concept), _attacks(results, concept)
        charts += [chart for chart in (wordings, attacks) if chart is not None]
        tables += _controls(results, concept)
        missing += [f"{concept}, per class of prompt"] if wordings is None else []
        under = [row for row in _under_attack(results, concept, group="concept") if row["value"] is not None]
        missing += absent(results, concept, {row["recipe"] for row in under}, what=" under attack")
        if attacks is not None and "oracle" not in {row["recipe"] for row in under}:
            missing.append(f"the controls of {concept}'s attacks: no oracle was named")
    return Section(
        "robustness",
        "Robustness: other words, and attacks",
        "The concept can be named, described, misspelled or written in another language; training saw only some of "
        "these words. Attacks search for what brings the concept back, within a budget: added tokens, tuned vectors, "
        "the first rows of an image, or fine-tuning. Their control, “oracle”, is a model that never knew the concept, "
        "attacked with the same budget. Left is better. Prompts that the original hardly renders do not apply.",
        charts,
        tables=[*tables, *(_attack_table(each) for each in results.attacks())],
        missing=[*missing, *unread(results, "attacks")],
    )


def _by_wording(results: Results, concept: str) -> Chart | None:
    """The share of images that show the concept, for each class of prompts."""
    rows = select(results.rows, concept=concept, figure="concept_present", group="concept")
    left_out = {
        row["class"]
        for row in select(results.rows, concept=concept, figure="rendered")
        if row["status"] == NOT_APPLICABLE
    }
    classes = [name for name in dict.fromkeys(row["class"] for row in rows) if name not in ("pooled", "unseen")]
    lines = []
    for wording in classes:
        mine = {row["recipe"]: row for row in rows if row["class"] == wording and row["recipe"] != "ceiling"}
        points = [(name, mine[name]) for name in results.series if name in mine]
        label = wording.replace("_", " ")
        lines.append((f"{label}\n(not applicable)" if wording in left_out else label, points))
    return dots(f"{concept}: images that show it", lines, series=results.series) if lines else None


def _under_attack(results: Results, concept: str, **wanted: object) -> list[JSON]:
    rows = [row for row in results.rows if row["concept"] == concept and row["attack"] is not None]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _attack_name(row: JSON) -> str:
    return str(row["attack"]) if row["budget"] is None else f"{row['attack']} {row['budget']}"


def _attacks(results: Results, concept: str) -> Chart | None:
    """The share of images that show the concept under each attack."""
    rows = _under_attack(results, concept, figure="concept_present", group="concept")
    rows = [row for row in rows if row["value"] is not None and row["status"] != NOT_APPLICABLE]
    lines = []
    for name in dict.fromkeys(map(_attack_name, rows)):
        mine = {row["recipe"]: row for row in rows if _attack_name(row) == name}
        if mine.keys() & set(results.methods):
            lines.append((name, [(each, mine[each]) for each in results.series if each in mine]))
    if lines:
        unattacked = {name: main_rows(results, concept, name).get("concept_present") for name in results.series}
        lines.insert(0, ("no attack", [(name, row) for name, row in unattacked.items() if row and name != "ceiling"]))
    return dots(f"{concept}: images that show it under attack", lines, series=results.series) if lines else None


def _controls(results: Results, concept: str) -> list[Table]:
    """Each attack beside its controls; nothing without attacks."""
    lines = []
    for row in _under_attack(results, concept, figure="concept_present", group="concept"):
        if row["recipe"] not in results.methods:
            continue
        attack = {"attack": row["attack"], "budget": row["budget"]}
        method = row["recipe"]
        cells = [
            *(_control(results, concept, figure=name, recipe="original", **attack) for name in _UNATTACKED),
            _control(results, concept, figure="concept_present_unattacked", recipe=method, **attack),
            _cell(row),
            _control(results, concept, figure="concept_present", recipe="oracle", group="concept", **attack),
            _control(results, concept, figure="concept_present_above_oracle", recipe=method, **attack),
            _control(results, concept, figure="concept_present", recipe="oracle", group="absent concept", **attack),
        ]
        first, second, *others = cells
        lines.append([method, str(row["attack"]), str(row["budget"] or ""), first or second, *others])
    title = f"{concept}: images that show it under attack, and controls"
    return [Table(title, ("method", "attack", "budget", *_CONTROLS), lines)] if lines else []


def _control(results: Results, concept: str, **wanted: object) -> str:
    rows = _under_attack(results, concept, **wanted)
    return _cell(rows[0]) if rows else ""


def _cell(row: JSON) -> str:
    if row["status"] == NOT_APPLICABLE:
        return NOT_APPLICABLE
    return text(row) if row["value"] is not None else "not measured"


def _attack_table(content: JSON) -> Table:
    """What `ear attack --json` printed."""
    names = ("original", "unattacked", "after", "oracle", "above_oracle", "absent")
    rows = []
    for row in content["attacks"]:
        texts = [text(row[name]) if row[name]["value"] is not None else "not measured" for name in names]
        budget = "" if row["budget"] is None else str(row["budget"])
        rows.append([str(row["attack"]), budget, *(texts if row["applicable"] else [NOT_APPLICABLE] * len(texts))])
    adapter = Path(content["adapter"][-1])
    title = f"{content['concept']}, {adapter.parent.name}: images that show it under attack, {content['split']} split"
    return Table(title, ("attack", "budget", *_CONTROLS), rows)
