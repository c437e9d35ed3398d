"""The section on erasure against retention: each method, and what several settings of each recipe reach."""

from collections.abc import Callable, Sequence

from ear.evaluation.figures import POOLED
from ear.report import charts
from ear.report.charts import Chart
from ear.report.results import Results, select
from ear.report.section import Section, Table, main_rows, unread
from ear.suite.leaderboard import main_figures, text
from ecgvf.core.files import JSON

ERASED, RETAINED = 0.10, 0.95
"""A trial erases if the concept's share is at most this, and retains if all other concepts keep this of theirs."""
PRESENT, SURROGATE = ("concept_present", "concept"), ("shows_surrogate", "concept")
RETENTION = ("retention_ratio", POOLED)
"""(figure, group) of what is compared."""

_TRIALS = "several settings of each recipe"


def frontier(results: Results) -> Section:
    """The section on erasure against retention."""
    drawn, missing = [], []
    for concept in results.concepts:
        points = []
        for method in results.methods_of(concept):
            rows = select(results.rows, concept=concept, recipe=method, wording="pooled")
            main = main_figures(rows)
            ratio = select(rows, figure="retention_ratio", group="pooled")
            if "concept_present" in main and ratio:
                points.append((method, main["concept_present"], ratio[0]))
        before = main_rows(results, concept, "original").get("concept_present")
        if before is not None and {name for name, *_ in points} & set(results.methods):
            points.insert(0, ("original", before, {"value": 1.0, "low": None, "high": None}))
            drawn.append(_chart(f"{concept}: erasure against retention", concept, points, results.series))
        else:
            missing.append(concept)
    trials, tables = results.trials(), []
    if trials is None:
        missing += unread(results, "trials") or [_TRIALS]
    else:
        drawn += _trial_charts(trials, results.series)
        tables = _best_trials(trials)
        missing += _missing_trials(trials)
    return Section(
        "frontier",
        "Erasure against retention",
        "Each point is a method, or a setting of it. To the left the concept is gone; at the top the retained "
        "concepts are still there. A method that destroys the model reaches the left edge, but not the top. Lines are "
        "95% intervals.",
        drawn,
        tables=tables,
        missing=missing,
    )


def best_of(trials: Sequence[JSON]) -> JSON:
    """What the ``trials`` of a recipe reach: the best retention of those that erase, and the best replacement of those
    that retain, each as a figure or None.

    Both are optimistic, as the best of several noisy figures is.
    """
    measured = [_by_name(trial) for trial in trials if trial["figures"] is not None]

    def best(wanted: tuple[str, str], given: tuple[str, str], holds: Callable[[float], bool]) -> JSON | None:
        known = [each for each in measured if wanted in each and given in each]
        found = [each[wanted] for each in known if holds(each[given]["value"])]
        return max(found, key=lambda figure: figure["value"], default=None)

    return {
        "measured": len(measured),
        "failed": sum("failed" in trial for trial in trials),
        "trials": len(trials),
        "retention_at_erasure": best(RETENTION, PRESENT, lambda share: share <= ERASED),
        "replacement_at_retention": best(SURROGATE, RETENTION, lambda ratio: ratio >= RETAINED),
    }


def no_best(best: JSON) -> str:
    """What a table shows for a figure that ``best_of`` lacks: "none" if no setting qualifies."""
    return "none" if best["measured"] + best["failed"] else "not measured"


def _by_name(trial: JSON) -> dict[tuple[str, str], JSON]:
    """(figure, group) → the figure, of those that are defined."""
    return {
        (row["figure"], row["group"]): {name: row[name] for name in ("value", "n", "low", "high")}
        for row in trial["figures"] or ()
        if row["value"] is not None
    }


def _chart(
    title: str,
    concept: str,
    points: Sequence[tuple[str, JSON, JSON]],
    series: Sequence[str],
    settings: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Chart:
    across, up = f"images that still show {concept}", "other concepts kept (1 = all)"
    return charts.frontier(title, points, series=series, across=across, up=up, settings=settings, beside=beside)


def _recipes(content: JSON) -> dict[str, dict[str, list[JSON]]]:
    """Concept → recipe → its trials."""
    found: dict[str, dict[str, list[JSON]]] = {}
    for trial in content["trials"]:
        found.setdefault(trial["concept"], {}).setdefault(trial["recipe"], []).append(trial)
    return found


def _trial_charts(content: JSON, series: Sequence[str]) -> list[Chart]:
    """A chart per concept, with a point per trial."""
    found = []
    every = list(dict.fromkeys(str(trial["recipe"]) for trial in content["trials"]))
    series = list(dict.fromkeys([*series, *every]))
    for concept, recipes in _recipes(content).items():
        points, settings = [], []
        for recipe, trials in recipes.items():
            for trial, figures in zip(trials, map(_by_name, trials), strict=True):
                if PRESENT in figures and RETENTION in figures:
                    points.append((recipe, figures[PRESENT], figures[RETENTION]))
                    settings.append(", ".join(f"{name}={value:g}" for name, value in trial["options"].items()))
        if points:
            title = f"{concept}: {_TRIALS}, {content['split']} split"
            found.append(_chart(title, concept, points, series, settings, every))
    return found


def _best_trials(content: JSON) -> list[Table]:
    """A table per concept: the best of each recipe's trials."""
    columns = (
        *("recipe", "settings measured", "training diverged"),
        *("surrogate shown, at equal retention", "n of surrogate shown"),
        *("other concepts kept, at equal erasure", "n of other concepts kept"),
    )
    note = (
        f"At equal retention: the best of the settings that keep at least {RETAINED:.0%} of other concepts. At equal "
        f"erasure: the best of those that show the concept in at most {ERASED:.0%} of the images. “None”: no measured "
        "setting qualifies. The best of several noisy figures is optimistic, and more so the more settings there are."
    )
    tables = []
    for concept, recipes in _recipes(content).items():
        rows = []
        for recipe, best in ((name, best_of(trials)) for name, trials in recipes.items()):
            figures = (best["replacement_at_retention"], best["retention_at_erasure"])
            pairs = ((text(figure), str(figure["n"])) if figure else [no_best(best)] * 2 for figure in figures)
            cells = [each for pair in pairs for each in pair]
            rows.append([recipe, f"{best['measured']} of {best['trials']}", str(best["failed"]), *cells])
        tables.append(Table(f"{concept}: the best of {_TRIALS}, {content['split']} split", columns, rows, note))
    return tables


def _missing_trials(content: JSON) -> list[str]:
    """Each concept with the recipes of which settings have yet to be measured, and how many are."""
    found = []
    for concept, recipes in _recipes(content).items():
        counts = {recipe: best_of(trials) for recipe, trials in recipes.items()}
        left = [
            f"{recipe} {count['measured']} of {count['trials']}"
            for recipe, count in counts.items()
            if count["measured"] + count["failed"] < count["trials"]
        ]
        if left:
            found.append(f"{_TRIALS}, {concept}: {', '.join(left)}")
    return found
