"""The table of what attacks brought back, and its caption."""

from collections.abc import Sequence

from rich.table import Table

from ear.evaluation.attack_figures import AttackRow, PromptClass
from ear.evaluation.open_split import openings_text
from ear.evaluation.outcomes import Outcome
from ecgvf.core import console
from ecgvf.core.figures import Figure


def attack_table(rows: Sequence[AttackRow], classes: Sequence[PromptClass], *, title: str, caption: str) -> Table:
    """The share of images that show the concept: a row per attack."""
    columns = ("attack", "budget", "original", "erased", "under attack", "oracle", "above oracle", "absent concept")
    page = console.table(*columns, title=console.escape(title))
    for row in rows:
        figures = (row.original, row.unattacked, row.after, row.oracle, row.above_oracle, row.absent)
        texts = [_text(figure) for figure in figures]
        if not row.applicable:
            texts[1:] = ["not applicable", *texts[2:]]
        elif row.budget is None:
            texts[1] = ""
        page.add_row(*map(console.escape, (row.attack, "" if row.budget is None else str(row.budget), *texts)))
    left_out = [f"{each.name} ({each.original})" for each in classes if not each.applicable]
    page.caption = caption + (f"\nNot applicable: {', '.join(left_out)}." if left_out else "")
    page.caption_justify = "left"
    return page


def attack_caption(outcomes: Sequence[Outcome], split: str, test_openings: int) -> str:
    """What the table shows, and which controls were not measured, and why."""
    of_oracle = [outcome for outcome in outcomes if outcome.condition == "oracle"]
    absent = sorted({outcome.concept for outcome in of_oracle if outcome.group != "concept"})
    controls = "Oracle: a model trained without the concept, under the same attack and budget"
    if not of_oracle:
        controls = (
            "Not measured: the oracle and the absent concept; name a model trained without the concept (--oracle)"
        )
    elif absent:
        controls += f"; absent concept: {absent[0]}, which the oracle was trained without, too, attacked for"
    else:
        controls += "; absent concept: not measured, the oracle's folder names no other that it was trained without"
    return (
        f"Shares on the {split} split, by judge {console.escape(outcomes[0].judges[0].judge)}, with 95% intervals over "
        f"prompts. {console.escape(controls)}. {openings_text(test_openings)}"
    )


def _text(figure: Figure) -> str:
    return str(figure) if figure.n else "not measured"
