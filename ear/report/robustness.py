"""The section on robustness: the concept in other words, and under attacks beside their controls."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ear.evaluation.figures import SEEDS
from ear.method.runs import adapter_name
from ear.report.charts import Chart, dots
from ear.report.results import Results, select
from ear.report.section import Section, Table, absent, main_rows, unread
from ear.suite.leaderboard import NOT_APPLICABLE, text
from ecgvf.core import console
from ecgvf.core.files import JSON

_UNATTACKED = ("concept_present_unattacked", "concept_present")
"""The figure of the original: not attacked, or the prompts are the attack."""

_SEVERAL_CLASSES = ("pooled", "unseen")
"""Classes of prompts that stand for several."""

_CONTROLS = ("original", "erased", "under attack", "oracle", "above oracle", "another concept unknown to the oracle")


def robustness(results: Results) -> Section:
    """The section on robustness."""
    charts: list[Chart] = []
    tables: list[Table] = []
    missing: list[str] = []
    for concept in results.concepts:
        wordings, sampling, attacks = (draw(results, concept) for draw in (_by_wording, _by_sampling, _attacks))
        charts += [chart for chart in (wordings, sampling, attacks) if chart is not None]
        tables += _controls(results, concept)
        missing += absent(results, concept, _worded(results, concept), what=", per class of prompt")
        missing += absent(
            results, concept, _sampled(results, concept), what=", with other guidance, temperature and seeds"
        )
        under = [row for row in _under_attack(results, concept, group="concept") if row["value"] is not None]
        missing += absent(results, concept, {row["recipe"] for row in under}, what=" under attack")
        if attacks is not None and "oracle" not in {row["recipe"] for row in under}:
            missing.append(f"the controls of {concept}'s attacks: no oracle was named")
    return Section(
        "robustness",
        "Robustness: other words, and attacks",
        "The concept can be named, described, misspelled or written in another language; training saw only some of "
        "these words. A class with few phrases says little, however many prompts use them. Guidance, temperature and "
        "seeds decide how images are sampled. Attacks search for what brings the concept back, and the number is their "
        "budget: added tokens (token-search, in candidates), tuned vectors (soft-prompt, in steps), the first rows of "
        "an image of it (prefix, in rows), fine-tuning (relearning, in steps). Control tokens in a prompt have no "
        "budget. “oracle” is a control: a model trained without the concept, attacked with the same budget. Left is "
        "better. Prompts that the original hardly renders do not apply.",
        charts,
        tables=[*tables, *_attack_tables(results.attacks())],
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
    classes = [name for name in dict.fromkeys(row["class"] for row in rows) if name not in _SEVERAL_CLASSES]
    lines = []
    for wording in classes:
        of_class = [row for row in rows if row["class"] == wording]
        mine = {row["recipe"]: row for row in of_class if row["recipe"] != "ceiling"}
        points = [(name, mine[name]) for name in results.series if name in mine]
        phrases = max(row["phrases"] for row in of_class)
        facts = [console.counted(phrases, "phrase"), *(["not applicable"] if wording in left_out else [])]
        lines.append((f"{wording.replace('_', ' ')}\n({', '.join(facts)})", points))
    title = f"{concept}: images that show it, by class of prompt"
    return dots(title, lines, series=results.series, what="class of prompts") if lines else None


def _worded(results: Results, concept: str) -> set[str]:
    """What was measured for any class of prompts."""
    rows = select(results.rows, concept=concept, figure="concept_present", group="concept")
    return {row["recipe"] for row in rows if row["class"] not in _SEVERAL_CLASSES}


def _by_sampling(results: Results, concept: str) -> Chart | None:
    """The share of images that show the concept at each guidance and temperature, and in any of several seeds."""
    wanted = {"concept": concept, "group": "concept", "wording": "pooled"}
    rows = select(results.rows, figure="concept_present", **wanted)
    rows = [row for row in rows if row["recipe"] != "ceiling"]
    settings = list(dict.fromkeys((row["guidance"], row["temperature"]) for row in rows))
    lines = []
    if len(settings) > 1:
        for guidance, temperature in settings:
            mine = {
                row["recipe"]: row for row in rows if (row["guidance"], row["temperature"]) == (guidance, temperature)
            }
            points = [(name, mine[name]) for name in results.series if name in mine]
            lines.append((f"guidance {guidance:g},\ntemperature {temperature:g}", points))
    seeds = {row["recipe"]: row for row in select(results.rows, figure="concept_present_any", **wanted)}
    if any_seed := [(name, seeds[name]) for name in results.series if name in seeds and name != "ceiling"]:
        lines.append((f"any of {SEEDS} seeds", any_seed))
    title = f"{concept}: images that show it, by sampling"
    return dots(title, lines, series=results.series, what="sampling") if lines else None


def _sampled(results: Results, concept: str) -> set[str]:
    """What was measured at several settings of guidance and temperature, or with several seeds."""
    wanted = {"concept": concept, "group": "concept", "wording": "pooled"}
    found = {row["recipe"] for row in select(results.rows, figure="concept_present_any", **wanted)}
    settings: dict[str, set[tuple[float, float]]] = {}
    for row in select(results.rows, figure="concept_present", **wanted):
        settings.setdefault(row["recipe"], set()).add((row["guidance"], row["temperature"]))
    return found | {method for method, measured in settings.items() if len(measured) > 1}


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
    title = f"{concept}: images that show it under attack"
    return dots(title, lines, series=results.series, what="attack") if lines else None


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
        if row["budget"] is None:
            others[0] = "the prompt is the attack"
        budget = "none" if row["budget"] is None else str(row["budget"])
        lines.append([method, str(row["attack"]), budget, first or second, *others, str(row["n"])])
    title = f"{concept}: images that show it under attack, and controls"
    columns = ["method", "attack", "budget", *_CONTROLS, "n"]
    if all(row["value"] is None for row in _under_attack(results, concept, recipe="oracle")):
        # Section.missing says so.
        kept = [place for place, column in enumerate(columns) if "oracle" not in column]
        columns, lines = [columns[place] for place in kept], [[line[place] for place in kept] for line in lines]
    return [Table(title, columns, lines, headers=2)] if lines else []


def _control(results: Results, concept: str, **wanted: object) -> str:
    rows = _under_attack(results, concept, **wanted)
    return _cell(rows[0]) if rows else ""


def _cell(row: JSON) -> str:
    if row["status"] == NOT_APPLICABLE:
        return NOT_APPLICABLE
    return text(row) if row["value"] is not None else "not measured"


def _attack_tables(contents: Sequence[JSON]) -> list[Table]:
    """What `ear attack --json` printed: a table per concept, adapter and split."""
    found: dict[str, list[list[str]]] = {}
    for content in contents:
        adapter = adapter_name(Path(content["adapter"][-1]))
        title = f"{content['concept']}, {adapter}: images that show it under attack, {content['split']} split"
        found.setdefault(title, []).extend(_attack_rows(content))
    return [Table(title, ("attack", "budget", *_CONTROLS, "n"), rows) for title, rows in found.items()]


def _attack_rows(content: JSON) -> Iterator[list[str]]:
    names = ("original", "unattacked", "after", "oracle", "above_oracle", "absent")
    for row in content["attacks"]:
        texts = [text(row[name]) if row[name]["value"] is not None else "not measured" for name in names]
        budget = "none" if row["budget"] is None else str(row["budget"])
        texts = texts if row["applicable"] else [NOT_APPLICABLE] * len(texts)
        yield [str(row["attack"]), budget, *texts, str(row["after"]["n"])]
