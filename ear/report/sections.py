"""The sections of a report: charts with what they show, tables, and what was not measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ear.ablation.ablation import CAPTIONS
from ear.evaluation import figures
from ear.evaluation.control_tokens import STARTOFTEXT
from ear.evaluation.not_measured import NotMeasured
from ear.evaluation.outcomes import selected
from ear.evaluation.table import NAMES, change_text
from ear.method.recipes import PROMPT_REWRITE
from ear.report.agreement import agreement
from ear.report.charts import Bar, Chart, bars, curves, dots
from ear.report.dataset import dataset
from ear.report.frontier import frontier
from ear.report.gallery import sheet_uri
from ear.report.results import CellOutcomes, Results, select
from ear.report.robustness import robustness
from ear.report.section import Picture, Section, Table, absent, main_rows, unread
from ear.suite.leaderboard import COLUMNS, prompt_counts, standings, text
from ecgvf.core.files import JSON


def sections(results: Results) -> list[Section]:
    """All sections in order; headline, gallery and provenance are parts of the page itself."""
    makers = (
        *(frontier, _replacement, _retention, robustness, _understanding),
        *(_fidelity, _memorisation, _ablation, dataset, agreement),
    )
    return [make(results) for make in makers]


def headline(results: Results) -> Table:
    """The leaderboard."""
    lines = [[concept, method, *map(text, cells)] for concept, method, cells in standings(results.rows)]
    counts = prompt_counts(results.rows)
    note = f"Number of prompts (n) of a cell: {counts}. The CSV of all figures, at the end, has the n of each."
    title = f"Leaderboard: {results.model}, {results.split} split, 95% intervals over prompts"
    return Table(title, ["concept", "method", *COLUMNS.values()], lines, note if counts else "", headers=2)


def _replacement(results: Results) -> Section:
    charts, missing = [], []
    ceiling = "Ceiling" if PROMPT_REWRITE.name not in results.methods else f"Ceiling, or {PROMPT_REWRITE.name}"
    shown = ("concept_present", "shows_surrogate", "shows_something", "scene_kept")
    for concept in results.concepts:
        known = {name: main_rows(results, concept, name) for name in results.series}
        lines = [
            (label, [(name, known[name][figure]) for name in results.series if figure in known[name]])
            for figure, label in zip(shown, map(COLUMNS.__getitem__, shown), strict=True)
        ]
        if any(points for _, points in lines):
            title = f"{concept}: what stands in its place"
            charts.append(dots(title, [line for line in lines if line[1]], series=results.series))
        missing += absent(results, concept, {name for name in results.methods if known[name]})
    return Section(
        "replacement",
        "What stands in the concept's place",
        "A prompt about the concept should give a clean image of its surrogate in the same scene. Original: before "
        f"erasing. {ceiling}: the original model, asked for the surrogate by name; no method is expected to do better. "
        "“Shows something” asks two judges to agree and is strict: compare it with the ceiling, not with 1.",
        charts,
        missing=missing,
    )


def _retention(results: Results) -> Section:
    charts: list[Chart] = []
    folded: list[Chart] = []
    missing: list[str] = []
    for concept in results.concepts:
        of_concept = {method: _by_concept(results, concept, method) for method in results.methods_of(concept)}
        drawn = {method: chart for method, chart in of_concept.items() if chart is not None}
        charts += list(drawn.values())[:1]
        folded += list(drawn.values())[1:]
        missing += absent(results, concept, drawn)
    return Section(
        "retention",
        "What else changed, concept by concept",
        "The share of images that show the concept they were asked for. A bar is the share after erasing, with its "
        "interval, and a tick the share before: a bar that ends short of its tick has lost something. * marks a loss "
        "that is shown, corrected for the number of concepts; with few prompts of a concept, none can be shown. "
        "Neighbours are near the erased concept; surrogates are those that its file lists; rehearsed concepts were "
        "practised during training, unrehearsed ones were not. In each group the greatest loss comes first.",
        charts,
        folded,
        missing=[*missing, *_left_out(results)],
    )


def _by_concept(results: Results, concept: str, method: str) -> Chart | None:
    outcomes = results.outcomes(concept, method)
    group_of = {outcome.concept: outcome.group for outcome in selected(outcomes, "after")}
    lost, rows = figures.lost(outcomes), figures.retention_by_concept(outcomes)
    groups: list[tuple[str, list[Bar]]] = []
    for group in figures.GROUPS:
        members = [
            (f"{row.group} *" if lost[row.group] else row.group, row.before.json(), row.after.json())
            for row in rows
            if group_of[row.group] == group
        ]
        if members:
            groups.append((group, members))
    title, label = f"{concept}, {method}: other concepts", "share of images that show their concept"
    return bars(title, groups, method=method, series=results.series, label=label) if groups else None


def _left_out(results: Results) -> list[str]:
    """The groups and retained concepts without images, why, and of which concepts and methods."""
    found: dict[str, list[str]] = {}
    for concept in results.concepts:
        for method in results.methods_of(concept):
            cell = results.cell(concept, method)
            for what in _without_images(cell) if cell is not None else ():
                found.setdefault(what, []).append(f"{concept} by {method}")
    return [f"{what} for {', '.join(cells)}" for what, cells in found.items()]


def _without_images(cell: CellOutcomes) -> Sequence[str]:
    if cell.not_measured is not None:
        return cell.not_measured
    measured = {outcome.group for outcome in cell.after}
    return [str(NotMeasured.empty(group)) for group in figures.GROUPS if group not in measured]


def _understanding(results: Results) -> Section:
    charts, missing = [], list[str]()
    for concept in results.concepts:
        rows = select(results.rows, concept=concept, figure="understanding", wording="pooled")
        lines = [
            (
                group.replace("_", " ").replace(", ", ":\n"),
                [(name, row[0]) for name in results.series if (row := select(rows, recipe=name, group=group))],
            )
            for group in dict.fromkeys(row["group"] for row in rows)
        ]
        if lines:
            title, label = f"{concept}: understanding of images", "share of questions answered correctly"
            charts.append(dots(title, lines, series=results.series, label=label, what="questions"))
            if not any(row["group"].startswith("concept, ") for row in rows):
                missing.append(f"questions about {concept}: none of the questions asks for it")
        missing += absent(results, concept, {row["recipe"] for row in rows})
    return Section(
        "understanding",
        "Understanding of images",
        "The same model answers yes/no questions about images. “concept” asks for what was erased, “others” for "
        "everything else. Present and absent are counted apart, because a model that always says no is right about "
        "everything that is absent; “absent frequent” is not in the image but in many others, so that models tend to "
        "see it. A method that erases need not recognise the concept any more, but must still recognise everything "
        "else.",
        charts,
        missing=missing,
    )


def _memorisation(results: Results) -> Section:
    found = results.memorisation()
    sheets = [Path(content["sheet"]) for content in found]
    title = "The largest clusters: each row is one, of images of different prompts"
    missing = unread(results, "memorisation")
    missing += [f"the image of the clusters, {sheet}" for sheet in sheets if not sheet.is_file()]
    return Section(
        "memorisation",
        "Memorisation",
        "Different prompts that give nearly equal images: the share of images in such clusters, with and without the "
        "token that the released data puts in front of a prompt, before and after erasing. Images are compared by a "
        "hash of their pixels, and by features of a network. A near duplicate is a reason to look, not a proof: simple "
        "prompts have similar images.",
        tables=[_clusters(content, file.name) for content, file in zip(found, sheets, strict=True)],
        pictures=[
            Picture(title, sheet_uri(sheet), unsafe=_shows_unsafe(results, content))
            for content, sheet in zip(found, sheets, strict=True)
            if sheet.is_file()
        ],
        missing=missing if found or missing else ["clusters of nearly equal images (`ear memorisation`)"],
    )


def _fidelity(results: Results) -> Section:
    found = results.fidelity()
    tables = []
    if found is not None:
        rows = [[NAMES[row.figure], str(row.before), str(row.after), change_text(row.change)] for row in found.rows]
        columns = ("figure", "original", "after erasing", "change")
        tables.append(Table("FID, KID and CLIP score", columns, rows, found.description))
    return Section(
        "fidelity",
        "Images of general captions",
        "The paper's figures, of captions that do not ask for the concept: FID and KID say how far the images are from "
        "pictures (lower is better), CLIP score how well an image fits its caption (higher is better).",
        tables=tables,
        missing=[] if tables else ["FID, KID and CLIP score (`ear eval --figures paper`)"],
    )


def _clusters(content: JSON, sheet: str) -> Table:
    rows = []
    for found in content["findings"]:
        largest = max(found["clusters"], key=lambda cluster: int(cluster["size"]), default=None)
        example = f"{largest['size']}: {' | '.join(largest['prompts'][:3])}" if largest is not None else "none"
        token = "with" if found["token"] else "without"
        share = text(found["in_clusters"]) if found["in_clusters"]["value"] is not None else "not measured"
        count = str(found["in_clusters"]["n"])
        rows.append([found["images"], token, found["method"], share, count, str(len(found["clusters"])), example])
    columns = ("images", STARTOFTEXT, "compared by", "share in clusters", "n", "clusters", "the largest")
    return Table(f"Nearly equal images of different prompts: {_whose(content, sheet)}", columns, rows)


def _shows_unsafe(results: Results, content: JSON) -> bool:
    """Whether a sheet shows unsafe images, or images of prompts that may ask for anything, as they are."""
    anything = content.get("concept") is None or content.get("prompts") is not None
    return not content.get("blurred") and (anything or results.unsafe(content["concept"]))


def _whose(content: JSON, sheet: str) -> str:
    """What `ear memorisation` looked at; earlier versions did not write it."""
    names = [str(content[name]) for name in ("concept", "recipe", "model") if content.get(name)]
    if content.get("split"):
        names.append(f"{content['split']} split")
    if content.get("prompts"):
        names.append(f"prompts of {content['prompts']}")
    return ", ".join(names) or f"{sheet}, whose JSON does not say which concept was erased, and how"


def _ablation(results: Results) -> Section:
    ablations = results.ablations()
    charts = [chart for ablation in ablations for chart in _ablation_charts(ablation.rows)]
    missing, measured = unread(results, "ablations"), []
    for rows, left in ((ablation.rows, ablation.not_measured) for ablation in ablations):
        first, seeds = rows[0], sorted({seed for row in rows for seed in row["seeds"]})
        name = f"{first['concept']}, {first['base']}"
        facts = (first["split"], first["judge"], ", ".join(map(str, seeds)), str(first["pairs"]))
        measured.append([name, *facts])
        missing += [f"{name} ({'; '.join(left)})"] if left else []
    columns = ("ablation", "split", "judge of the concept", "training seeds", "training pairs")
    return Section(
        "ablation",
        "Ablations",
        "One setting of a recipe is changed at a time: at equal pairs each level sees the same training data, at equal "
        "steps it takes as many optimizer steps as the recipe. “shows the concept” should be low, also with unseen "
        "wordings, the others high. Windows are stated for images of 576 tokens, and layers for a model of 30, as in "
        "the paper; Janus-nano, which has 256 and 4, takes as large a part of its own.",
        charts,
        tables=[Table("What the ablations were measured on", columns, measured)] if measured else [],
        missing=missing or ([] if charts else ["ablations (`ear ablate`)"]),
    )


def _ablation_charts(rows: Sequence[JSON]) -> Iterator[Chart]:
    known = [row for row in rows if row["value"] is not None]
    for factor, equal in dict.fromkeys((row["factor"], row["equal"]) for row in known):
        mine = [row for row in known if (row["factor"], row["equal"]) == (factor, equal)]
        levels = list(dict.fromkeys(row["level"] for row in mine))
        lines = {
            label: {row["level"]: row for row in mine if row["figure"] == figure} for figure, label in CAPTIONS.items()
        }
        title = f"{mine[0]['concept']}, {mine[0]['base']}: {factor}, at equal {equal}, {mine[0]['split']} split"
        yield curves(title, levels, {label: figures for label, figures in lines.items() if figures})
