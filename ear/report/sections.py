"""The sections of a report: charts with what they show, tables, and what was not measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ear.evaluation.figures import GROUPS
from ear.report.charts import Chart, Point, curves, dots, frontier
from ear.report.results import SuiteResults, select
from ear.suite.leaderboard import COLUMNS, REFERENCES, main_figures, standings, text
from ecgvf.core.files import JSON


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row is its header."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One section."""

    id: str
    title: str
    intro: str
    """How to read it, for somebody who knows nothing of this project."""
    charts: Sequence[Chart] = ()
    folded: Sequence[Chart] = ()
    """Charts that are shown on request."""
    tables: Sequence[Table] = ()
    missing: Sequence[str] = field(default=())
    """What was not measured."""


def sections(results: SuiteResults) -> list[Section]:
    """All sections but headline, gallery and provenance, in order."""
    makers = (_frontier, _replacement, _retention, _robustness, _understanding, _memorisation, _ablation, _yield)
    return [*(make(results) for make in makers), _agreement(results)]


def headline(results: SuiteResults) -> Table:
    """The leaderboard."""
    lines = [[concept, method, *map(text, cells)] for concept, method, cells in standings(results.rows)]
    return Table("Leaderboard", ["concept", "model", *COLUMNS.values()], lines)


def _frontier(results: SuiteResults) -> Section:
    charts, missing = [], []
    for concept in results.concepts:
        points = []
        for method in results.methods:
            rows = select(results.rows, concept=concept, recipe=method, wording="pooled")
            main = main_figures(rows)
            ratio = select(rows, figure="retention_ratio", group="pooled")
            if "concept_present" in main and ratio:
                points.append((method, main["concept_present"], ratio[0]))
        if points:
            across, up = f"images that still show {concept}", "other concepts kept (1 = all)"
            charts.append(frontier(concept, points, across=across, up=up))
        else:
            missing.append(concept)
    trials = results.evidence("trials")
    tried, untried = _trials(trials) if trials is not None else ([], ["several settings of each recipe"])
    return Section(
        "frontier",
        "Erasure against retention",
        "Each point is a method. To the left the concept is gone; at the top everything else is still there. A method "
        "that destroys the model reaches the left edge, but not the top. Lines are 95% intervals.",
        [*charts, *tried],
        missing=[*missing, *untried],
    )


def _trials(content: JSON) -> tuple[list[Chart], list[str]]:
    """Several settings of each recipe, on the validation split: a chart per concept, and recipes without trials."""
    charts, missing = [], []
    trials = content["trials"]
    for concept in dict.fromkeys(trial["concept"] for trial in trials):
        points = []
        for trial in (each for each in trials if each["concept"] == concept):
            figures = {(row["figure"], row["group"]): row for row in trial["figures"] or []}
            pair = figures.get(("concept_present", "concept")), figures.get(("retention_ratio", "pooled"))
            if pair[0] is not None and pair[1] is not None:
                points.append((str(trial["recipe"]), pair[0], pair[1]))
        if points:
            title = f"{concept}: several settings of each recipe, {content['split']} split"
            across, up = f"images that still show {concept}", "other concepts kept (1 = all)"
            charts.append(frontier(title, points, across=across, up=up))
        untried = {trial["recipe"] for trial in trials if trial["concept"] == concept} - {name for name, *_ in points}
        if untried:
            missing.append(f"several settings of each recipe, {concept}: {', '.join(sorted(untried))}")
    return charts, missing


def _replacement(results: SuiteResults) -> Section:
    charts, missing = [], []
    names = {name: COLUMNS[name] for name in ("concept_present", "shows_surrogate", "shows_something", "scene_kept")}
    for concept in results.concepts:
        series = [*REFERENCES, *results.methods]
        known = {name: _main(results, concept, name) for name in series}
        lines = [
            (label, [(name, known[name][figure]) for name in series if figure in known[name]])
            for figure, label in names.items()
        ]
        if any(points for _, points in lines):
            shown = [name for name in series if known[name]]
            charts.append(dots(concept, [line for line in lines if line[1]], series=shown))
        missing += [f"{concept}, {name}" for name in results.methods if not known[name]]
    return Section(
        "replacement",
        "What stands in the concept's place",
        "A prompt about the concept should give a clean image of its surrogate in the same scene. Original: before "
        "erasing. Ceiling: the original model, asked for the surrogate by name; no method is expected to do better. "
        "“Shows something” asks two judges to agree and is strict: compare it with the ceiling, not with 1.",
        charts,
        missing=missing,
    )


def _retention(results: SuiteResults) -> Section:
    charts: list[Chart] = []
    folded: list[Chart] = []
    missing = []
    for concept in results.concepts:
        first = True
        for method in results.methods:
            chart = _by_concept(results, concept, method)
            if chart is None:
                missing.append(f"{concept}, {method}")
                continue
            (charts if first else folded).append(chart)
            first = False
    return Section(
        "retention",
        "What else changed, concept by concept",
        "The share of images that show the concept they were asked for, before and after erasing. Neighbours are near "
        "the erased concept; surrogates are what its prompts are turned into; rehearsed concepts were practised during "
        "training, unrehearsed ones were not. In each group the greatest loss comes first.",
        charts,
        folded,
        missing=missing,
    )


def _by_concept(results: SuiteResults, concept: str, method: str) -> Chart | None:
    cell = results.cell(concept, method)
    if cell is None:
        return None
    groups = {outcome.concept: outcome.group for outcome in cell[1]}
    rows = select(results.rows, concept=concept, figure="retention", wording="pooled")
    after = {row["group"]: row for row in rows if row["recipe"] == method and row["group"] in groups}
    before = {row["group"]: row for row in rows if row["recipe"] == "original"}
    lines: list[tuple[str, list[Point]]] = []
    for group in GROUPS:
        names = [name for name in after if groups[name] == group and name in before]
        names.sort(key=lambda name: after[name]["value"] - before[name]["value"])
        lines += [(f"{name}  ({group})", [("before", before[name]), (method, after[name])]) for name in names]
    return dots(f"{concept}, {method}", lines, series=["before", method]) if lines else None


def _robustness(results: SuiteResults) -> Section:
    charts, missing = [], []
    for concept in results.concepts:
        rows = select(results.rows, concept=concept, figure="concept_present", group="concept")
        series = ["original", *results.methods]
        classes = [name for name in dict.fromkeys(row["class"] for row in rows) if name not in ("pooled", "unseen")]
        lines = [
            (
                wording.replace("_", " "),
                [(name, row[0]) for name in series if (row := select(rows, recipe=name, wording=wording))],
            )
            for wording in classes
        ]
        if lines:
            shown = [name for name in series if select(rows, recipe=name)]
            charts.append(dots(f"{concept}: images that show it", lines, series=shown))
        else:
            missing.append(f"{concept}, per class of prompt")
    attacks = [_attack_table(each) for each in results.attacks()]
    return Section(
        "robustness",
        "Robustness: other words, and attacks",
        "The concept can be named, described, misspelled or written in another language; training saw only some of "
        "these words. Left is better. Attacks search for what brings the concept back; a model that never knew the "
        "concept, attacked with the same budget, is their control.",
        charts,
        tables=attacks,
        missing=[*missing, *([] if attacks else ["attacks and their controls"])],
    )


def _attack_table(content: JSON) -> Table:
    figures = ("original", "unattacked", "after", "oracle", "above_oracle", "absent")
    rows = []
    for row in content["attacks"]:
        texts = [text(row[name]) if row[name]["value"] is not None else "not measured" for name in figures]
        budget = "" if row["budget"] is None else str(row["budget"])
        rows.append([str(row["attack"]), budget, *(texts if row["applicable"] else ["not applicable"] * len(texts))])
    adapter = Path(content["adapter"][-1])
    title = f"{content['concept']}, {adapter.parent.name}: images that show it under attack, {content['split']} split"
    names = ("original", "erased", "under attack", "never knew it", "above that", "another unknown concept")
    return Table(title, ("attack", "budget", *names), rows)


def _understanding(results: SuiteResults) -> Section:
    charts, missing = [], []
    for concept in results.concepts:
        rows = select(results.rows, concept=concept, figure="understanding", wording="pooled")
        series = ["original", *results.methods]
        groups = list(dict.fromkeys(row["group"] for row in rows))
        lines = [
            (
                group.replace("_", " "),
                [(name, row[0]) for name in series if (row := select(rows, recipe=name, group=group))],
            )
            for group in groups
        ]
        if lines:
            shown = [name for name in series if select(rows, recipe=name)]
            charts.append(dots(concept, lines, series=shown, label="questions answered correctly"))
        else:
            missing.append(concept)
    return Section(
        "understanding",
        "Understanding of images",
        "The same model answers yes/no questions about images. “concept” asks for what was erased, “others” for "
        "everything else; present and absent are counted apart, because a model that always says no is right about "
        "everything that is absent.",
        charts,
        missing=missing,
    )


def _memorisation(results: SuiteResults) -> Section:
    tables = [_clusters(each) for each in results.memorisation()]
    return Section(
        "memorisation",
        "Memorisation",
        "Different prompts that give nearly equal images: the share of images in such clusters, with and without the "
        "token that the released data puts in front of a prompt, before and after erasing.",
        tables=tables,
        missing=[] if tables else ["clusters of nearly equal images"],
    )


def _clusters(content: JSON) -> Table:
    rows = []
    for found in content["findings"]:
        largest = max(found["clusters"], key=lambda cluster: int(cluster["size"]), default=None)
        example = f"{largest['size']}: {' | '.join(largest['prompts'][:3])}" if largest is not None else "none"
        token = "with" if found["token"] else "without"
        share = text(found["in_clusters"]) if found["in_clusters"]["value"] is not None else "not measured"
        rows.append([str(found["images"]), token, str(found["method"]), share, str(len(found["clusters"])), example])
    columns = ("images", "<|startoftext|>", "compared by", "share in clusters", "clusters", "the largest")
    return Table("Nearly equal images of different prompts", columns, rows)


def _ablation(results: SuiteResults) -> Section:
    charts = [chart for rows in results.ablations() for chart in _ablation_charts(rows)]
    unread = [str(folder) for folder in results.spec.report.ablations if not (folder / "ablation.parquet").is_file()]
    named = results.spec.report.ablations
    return Section(
        "ablation",
        "Ablations",
        "One setting of a recipe is changed at a time. “shows the concept” should be low, the others high.",
        charts,
        missing=[f"the ablation of {name}" for name in unread] if named else ["ablations"],
    )


def _ablation_charts(rows: Sequence[JSON]) -> Iterator[Chart]:
    names = {
        "concept_present": "shows the concept",
        "shows_surrogate": "shows its surrogate",
        "retention_neighbours": "neighbours kept",
        "retention_pooled": "all others kept",
    }
    known = [row for row in rows if row["value"] is not None and row["equal"] == "pairs"]
    for factor in dict.fromkeys(row["factor"] for row in known):
        mine = [row for row in known if row["factor"] == factor]
        levels = list(dict.fromkeys(row["level"] for row in mine))
        lines = {
            label: {row["level"]: row for row in mine if row["figure"] == figure} for figure, label in names.items()
        }
        title = f"{mine[0]['concept']}, {mine[0]['base']}: {factor}"
        yield curves(title, levels, {label: figures for label, figures in lines.items() if figures})


def _yield(results: SuiteResults) -> Section:
    tables, missing = [], []
    written, reasons, paid = [], [], []
    for concept in results.concepts:
        facts = results.datasets.get(concept)
        if facts is None:
            missing.append(f"the dataset of {concept}")
            continue
        stages = {stage["stage"]: stage for stage in facts["stages"]}
        for writer, counts in (stages.get("pairs", {}).get("writers") or {}).items():
            written.append([concept, str(writer), *_counts(counts)])
        counts = stages.get("acceptance", {}).get("counts", {})
        accepted = f"{counts.get('accepted_pairs', 0)} of {counts.get('pairs', 0)}"
        tests = f"{counts.get('accepted_tests', 0)} of {counts.get('tests', 0)}"
        rejected = _reasons(stages)
        reasons.append([concept, accepted, tests, ", ".join(f"{count} {name}" for name, count in rejected) or "none"])
        cost = facts["paid"]
        seconds = sum(stage["seconds"] for stage in facts["stages"])
        dollars = "nothing, no LLM was called" if cost is None else f"${cost['dollars']} for {cost['answered']} calls"
        paid.append([concept, dollars, f"{seconds:.0f} s"])
    if written:
        tables.append(Table("Yield by writer", ("concept", "writer", "written"), written))
    if reasons:
        columns = ("concept", "pairs accepted", "test prompts accepted", "rejected")
        tables.append(Table("Accepted, and reasons for rejection", columns, reasons))
        tables.append(Table("Cost", ("concept", "LLM calls", "time to build"), paid))
    return Section(
        "dataset",
        "The dataset",
        "Pairs are accepted if a judge sees the concept in the target image and not in the surrogate image.",
        tables=tables,
        missing=missing,
    )


def _counts(counts: Mapping[str, object]) -> list[str]:
    return [", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in counts.items() if _shown(value))]


def _shown(value: object) -> bool:
    return isinstance(value, int | str) and value not in (0, "")


def _reasons(stages: Mapping[str, JSON]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for name in ("pairs", "acceptance"):
        found |= stages.get(name, {}).get("reasons", {})
    return [(reason.replace("_", " "), count) for reason, count in found.items()]


def _agreement(results: SuiteResults) -> Section:
    content = results.evidence("agreement")
    rows = []
    for row in content["agreement"] if content is not None else []:
        who = [str(value) for key, value in row.items() if not isinstance(value, dict)]
        figures = {key: value for key, value in row.items() if isinstance(value, dict) and "value" in value}
        rows += [
            [", ".join(who), name.replace("_", " "), _kappa(figure), str(figure["n"])]
            for name, figure in figures.items()
        ]
    return Section(
        "agreement",
        "Whether the judges agree with whoever looked",
        "Images were labelled blind, from the image alone. Kappa is 1 for full agreement, 0 for agreement by chance.",
        tables=[Table("Agreement", ("labelled by, and judge", "measure", "value", "images"), rows)] if rows else [],
        missing=[] if rows else ["agreement of judges and labels"],
    )


def _kappa(figure: JSON) -> str:
    return text(figure) if figure["value"] is not None else "undefined"


def _main(results: SuiteResults, concept: str, method: str) -> dict[str, JSON]:
    return main_figures(select(results.rows, concept=concept, recipe=method, wording="pooled"))
