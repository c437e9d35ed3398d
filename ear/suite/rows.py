"""The rows of a suite's table: one per concept, model or method, figure, group and class."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ear.evaluation import figures
from ear.evaluation.attack_figures import attack_rows
from ear.evaluation.figures import FigureRow
from ear.evaluation.outcomes import Outcome, selected
from ear.method.recipes import PROMPT_REWRITE
from ear.suite import goals
from ear.suite.cells import Cell
from ear.suite.leaderboard import COLUMNS, MISSING, NOT_APPLICABLE, REFERENCES, main_figures
from ear.suite.spec import SuiteSpec
from ear.suite.suite import CellResult
from ecgvf.core.figures import Figure
from ecgvf.core.files import JSON

_IDENTITY = (
    *("concept", "model", "recipe", "split", "figure", "group", "class", "attack", "budget"),
    *("guidance", "temperature", "run_seeds", "training_seeds"),
)
"""The columns by which rows are told apart; the judge follows from them, and the others hold the value."""


def table_rows(facts: JSON, method: str, results: Sequence[CellResult], *, with_goals: bool = False) -> list[JSON]:
    """The rows of a concept and method, from the ``results`` of all its cells together: before and after erasing,
    the ceiling, and under attack.

    ``facts``: the columns "concept", "model" and "split". ``with_goals`` adds a row per goal (``ear.suite.goals``).
    """
    outcomes = pooled((result.original, result.outcomes) for result in results)
    groups = {outcome.concept: outcome.group for outcome in selected(outcomes, "after")}
    by_adapter = {result.outcomes[0].adapter: result for result in reversed(results)}
    answered = [answer for result in list(by_adapter.values())[::-1] for answer in result.answered]
    main = outcomes[0]
    rows = [
        row
        for figure in figures.all_rows(outcomes, answered)
        for row in _rows(figure, method, {**facts, **_seeds(_that_measured(figure, results))})
    ]
    facts = {**facts, **_seeds(results)}
    shape = {"guidance": main.guidance, "temperature": main.temperature, "judge": None}
    if with_goals:
        asked = _seeds([result for result in results if result.answered])
        for goal in goals.goals(outcomes, answered):
            what = {**facts, **shape, "figure": goal.figure, "group": goal.group}
            what |= asked if goal.figure == "goal_understanding_ratio" else {}
            row = _row(what, method, goal.wording, goal.value)
            rows.append(row | {"status": goal.status, "judge": goal.judge})
    for group in ("pooled", *dict.fromkeys(group for group in groups.values() if group != "concept")):
        ratio = figures.retention_ratio(outcomes, group)
        judge = figures.judge_names("retention", figures.of_retained(outcomes, group))
        what = {**facts, **shape, "figure": "retention_ratio", "group": group, "judge": judge}
        rows.append(_row(what, method, "pooled", ratio))
    for result in results:
        rows += _attack_rows(result, {**facts, **shape, **_seeds([result])}, method)
    return rows


def seed_rows(facts: JSON, method: str, result: CellResult) -> list[JSON]:
    """The rows of the leaderboard's columns of a single cell, to see how much seeds matter. ``facts`` as above."""
    outcomes = pooled([(result.original, result.outcomes)])
    limits = figures.thresholds(outcomes)
    found = [
        *figures.replacement(outcomes, limits),
        *figures.scene(outcomes),
        *figures.retention_by_group(outcomes, limits),
    ]
    facts = {**facts, **_seeds([result])}
    rows = [_row({**facts, **_shape(row)}, method, row.wording, row.after) for row in found if row.after.n]
    return [row for column, row in main_figures(rows).items() if column in COLUMNS]


def difference_rows(facts: JSON, method: str, first: CellResult, second: CellResult) -> list[JSON]:
    """The rows ``<figure>_difference`` of ``method``: the cell ``second`` − ``first``, a cell of another recipe with
    the same seeds, paired by prompt and seed and in the groups of ``first``.

    Only figures of the concept's main prompts and of the retained concepts, as two adapters may share no other images;
    none without a shared prompt.
    """
    after = selected(first.outcomes, "after", _is_main)
    groups, known = {each.concept: each.group for each in after}, {each.task for each in after}
    others = selected(second.outcomes, "after", lambda each: _is_main(each) and each.task in known)
    if not others:
        return []  # of other prompts
    shared = {each.task for each in others}
    outcomes = [
        *(replace(each, condition="before") for each in after if each.task in shared),
        *(replace(each, group=groups[each.concept]) for each in others),
    ]
    limits = figures.thresholds([*first.original, *first.outcomes])
    rows = [
        *figures.replacement(outcomes, limits),
        *figures.scene(outcomes),
        *figures.retention_by_group(outcomes, limits),
        *figures.retention_by_concept(outcomes),
    ]
    facts = {**facts, **_seeds([second])}
    return [
        _row({**facts, **_shape(row), "figure": f"{row.figure}_difference"}, method, row.wording, row.change)
        for row in rows
        if row.change.n
    ]


def _is_main(outcome: Outcome) -> bool:
    return outcome.sample == "main"


def pooled(cells: Iterable[tuple[Sequence[Outcome], Sequence[Outcome]]]) -> list[Outcome]:
    """The outcomes of all ``cells``, (before erasing and of the ceiling, after erasing), in the groups of after.

    A recipe without randomness ends in the same adapter, whatever the training seed: it counts once.
    """
    original: dict[tuple[object, ...], Outcome] = {}
    by_adapter: dict[str | None, Sequence[Outcome]] = {}
    for before, after in cells:
        original |= {(outcome.condition, outcome.sample, *outcome.task): outcome for outcome in before}
        by_adapter.setdefault(after[0].adapter, after)
    distinct = [outcome for after in by_adapter.values() for outcome in after]
    groups = {outcome.concept: outcome.group for outcome in distinct}
    return [*(replace(outcome, group=groups[outcome.concept]) for outcome in original.values()), *distinct]


def drop_repeated_references(rows: Sequence[JSON]) -> list[JSON]:
    """Keep a single row of each figure of the original and of the ceiling, which every method brings along.

    Which concepts are rehearsed depends on the method, and with it how many prompts each has: the row of the most
    prompts is kept. Where the original's figures of the rehearsed or of the others differ between methods, its rows are
    left out; each method's change and ratio stay.
    """
    kept: dict[tuple[str, ...], JSON] = {}
    ambiguous = set()
    for row in rows:
        key = tuple(str(row[name]) for name in _IDENTITY)
        known = kept.setdefault(key, row)
        if row["n"] > known["n"]:
            kept[key] = row
        if row["group"] in ("rehearsed", "unrehearsed") and (known["value"], known["n"]) != (row["value"], row["n"]):
            ambiguous.add(key)
    return [row for key, row in kept.items() if key not in ambiguous]


def drop_repeated_ceiling(rows: Sequence[JSON]) -> list[JSON]:
    """Leave out rows of the ceiling that `prompt-rewrite` has as well: its images are the ceiling's."""
    what = [name for name in _IDENTITY if name not in ("recipe", "run_seeds", "training_seeds")]

    def key(row: JSON) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in what)

    listed = {key(row) for row in rows if row["recipe"] == PROMPT_REWRITE.name}
    return [row for row in rows if row["recipe"] != "ceiling" or key(row) not in listed]


def _attack_rows(result: CellResult, facts: JSON, method: str) -> Iterator[JSON]:
    """The rows of each attack and its controls, and of how often the original renders each class of prompts."""
    for prompt_class in result.classes:
        what = {**facts, "figure": "rendered", "group": "concept"}
        rendered = _row(what, "original", prompt_class.name, prompt_class.original)
        yield rendered if prompt_class.applicable else {**rendered, "status": NOT_APPLICABLE}
    for row in attack_rows([*result.original, *result.outcomes, *result.attacked], result.classes):
        unattacked = "concept_present_unattacked"
        figures = [
            # Prompts that are an attack by themselves were given to the original, too; the others are not attacked.
            (unattacked if row.budget is not None else "concept_present", "original", "concept", row.original),
            *([(unattacked, method, "concept", row.unattacked)] if row.budget is not None else []),
            ("concept_present", method, "concept", row.after),
            ("concept_present", "oracle", "concept", row.oracle),
            ("concept_present_above_oracle", method, "concept", row.above_oracle),
            ("concept_present", "oracle", "absent concept", row.absent),
        ]
        for figure, recipe, group, value in figures:
            what = {**facts, "figure": figure, "group": group, "attack": row.attack, "budget": row.budget}
            what["judge"] = result.outcomes[0].judges[0].judge
            table_row = _row(what, recipe, "pooled", value)
            yield table_row if row.applicable or recipe == "original" else {**table_row, "status": NOT_APPLICABLE}


def _that_measured(row: FigureRow, results: Sequence[CellResult]) -> list[CellResult]:
    """The cells that measured a figure: the full figures have some that the others lack."""
    if row.figure == "understanding":
        return [result for result in results if result.answered]
    if row.figure == "concept_present_any":
        return [result for result in results if figures.concept_in_any_seed([*result.original, *result.outcomes])]
    sampling = (row.guidance, row.temperature)
    return [
        result for result in results if any((each.guidance, each.temperature) == sampling for each in result.outcomes)
    ]


def _seeds(results: Sequence[CellResult]) -> JSON:
    cells = [result.cell for result in results if result.cell is not None]
    return {
        "run_seeds": sorted({cell.run_seed for cell in cells}),
        "training_seeds": sorted({cell.training_seed for cell in cells}),
    }


def _rows(row: FigureRow, method: str, facts: JSON) -> Iterator[JSON]:
    shape = _shape(row)
    for name, figure in (("original", row.before), (method, row.after), ("ceiling", row.ceiling)):
        if figure is not None and figure.n:
            yield _row({**facts, **shape}, name, row.wording, figure)
    if row.change.n:
        yield _row({**facts, **shape, "figure": f"{row.figure}_change"}, method, row.wording, row.change)


def _shape(row: FigureRow) -> JSON:
    return {key: getattr(row, key) for key in ("figure", "group", "phrases", "guidance", "temperature", "judge")}


def _row(facts: JSON, recipe: str, wording: str, figure: Figure) -> JSON:
    """A row of the table. Its status is "none" if it is measured: only a goal can be met or missed."""
    if recipe in REFERENCES:
        facts = {**facts, "run_seeds": facts["run_seeds"][:1], "training_seeds": []}
    status = "none" if figure.json()["value"] is not None else "not measured"
    return {
        "phrases": None,
        "attack": None,
        "budget": None,
        **facts,
        "recipe": recipe,
        "class": wording,
        **figure.json(),
        "status": status,
    }


def missing_row(spec: SuiteSpec, concept: str, method: str, cells: Sequence[Cell]) -> JSON:
    """The row of cells that have yet to be measured: how many, by their seeds."""
    seeds = {"run_seeds": [cell.run_seed for cell in cells], "training_seeds": [cell.training_seed for cell in cells]}
    shape = {"figure": MISSING, "group": "concept", "guidance": None, "temperature": None, "judge": None}
    shape |= {"phrases": None, "attack": None, "budget": None}
    facts = {"concept": concept, "model": spec.model, "split": spec.split, **seeds, **shape, "recipe": method}
    return {**facts, "class": "pooled", "value": None, "n": 0, "low": None, "high": None, "status": "not measured"}
