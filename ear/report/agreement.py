"""The section on the judges: whether they agree with each other, and with labels."""

from ear.evaluation import statistics
from ear.report.results import Results
from ear.report.section import Section, Table, unread
from ear.suite.leaderboard import text
from ecgvf.core.files import JSON


def agreement(results: Results) -> Section:
    """How far two judges agree on the same images, and judges with labels."""
    labels, judges = results.agreement(), _two_judges(results)
    tables = [table for table in (judges, _labelled(labels)) if table is not None]
    missing = unread(results, "agreement")
    if labels is None and not missing:
        missing.append("agreement of judges with labels")
    return Section(
        "agreement",
        "Whether judges agree",
        "Every figure is what a judge saw. Where a second judge, of other data and another architecture, looked at the "
        "same images, its verdict on the concept is compared. Labels were given blind, from the image alone, by whom "
        "“labelled by” says; kappa is 1 for full agreement, 0 for agreement by chance.",
        tables=tables,
        missing=[*missing, *([] if judges else ["agreement of two judges"])],
    )


def _two_judges(results: Results) -> Table | None:
    """The share of images on which the first two judges agree whether the concept is in them."""
    rows = []
    for concept in results.concepts:
        before = True
        for method in results.methods_of(concept):
            cell = results.cell(concept, method)
            if cell is None:
                continue
            images = [("original", each) for each in cell.original if before and each.condition == "before"]
            images += [(method, each) for each in cell.after]
            before = False
            for name in dict.fromkeys(name for name, _ in images):
                seen = [
                    (each.judges[0].present == each.judges[1].present, each.id)
                    for by, each in images
                    if by == name and each.sample == "main" and each.group == "concept" and len(each.judges) > 1
                ]
                if seen:
                    figure = statistics.mean([float(same) for same, _ in seen], [unit for _, unit in seen])
                    rows.append([concept, name, text(figure.json()), str(figure.n)])
    columns = ("concept", "images of", "agree whether it is shown", "n")
    return Table("Two judges on the same images", columns, rows) if rows else None


def _labelled(content: JSON | None) -> Table | None:
    """How far judges agree with labels."""
    rows = []
    for row in content["agreement"] if content is not None else []:
        who = [str(row[name]) for name in ("reviewer", "judge", "condition")]
        measured = {name: row[name] for name in ("agreement", "kappa") if row.get(name) is not None}
        rows += [[*who, name.replace("_", " "), _kappa(figure), str(figure["n"])] for name, figure in measured.items()]
    columns = ("labelled by", "judge", "images", "measure", "value", "number of images")
    note = str(content.get("description") or "") if content is not None else ""
    return Table("Judges and labels", columns, rows, note) if rows else None


def _kappa(figure: JSON) -> str:
    return text(figure) if figure["value"] is not None else "undefined"
