"""``python -m tools.nano build`` makes Janus-nano again, ``python -m tools.nano check`` measures its goals.

Users need neither: the weights ship in ``data/nano``.
"""

from pathlib import Path
from typing import Annotated

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.paths import data_dir
from tools.nano import PARTS

app = typer.Typer(
    cls=console.CommandGroup,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Make Janus-nano again, and measure its goals (extra `nano`).",
)


@app.command()
def build(
    work: Annotated[Path, typer.Option(help="Folder of checkpoints; a second call goes on from them.")] = Path(
        "nano-work"
    ),
    out: Annotated[Path | None, typer.Option(help="Where the weights go. [default: data/nano]")] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Only these of {', '.join(PARTS)}.")] = None,
    minutes: Annotated[float, typer.Option(help="Training time of the language model.")] = 75.0,
) -> None:
    """Make nano from nothing, in parts that go on where they were stopped. Two hours on 2 cores."""
    from ecgvf.core.errors import SettingsError

    unknown = [name for name in part or () if name not in PARTS]
    if unknown:
        raise SettingsError(f"no part named {unknown[0]!r}: use {', '.join(PARTS)}")
    _needs("resvg_py", "scipy")
    from tools.nano.build import build as make

    make(work, out or data_dir() / "nano", tuple(part or PARTS), language_model_seconds=60 * minutes)


@app.command()
def check(
    model: Annotated[str, typer.Option(help="Name or folder of the nano to check.")] = "janus-nano",
    as_json: JsonOption = False,
) -> None:
    """Measure every goal of nano on held-out prompts and pictures; exit 1 where one is missed. About five minutes."""
    _needs("resvg_py", "scipy")

    from tools.nano.check import check as measure

    goals = measure(model, progress=console.note)
    table = console.table("figure", "value", "n", "95% interval", "goal", "met", title=f"{model}, run seed 0")
    for goal in goals:
        sign = "≤" if goal.at_most else "≥"
        table.add_row(
            goal.name,
            f"{goal.value:.4f}",
            str(goal.n),
            f"{goal.low:.4f} to {goal.high:.4f}",
            f"{sign} {goal.bound:g}",
            "yes" if goal.met else "NO",
        )
    if as_json:
        console.print_json({"model": model, "met": all(g.met for g in goals), "goals": [g.json() for g in goals]})
    else:
        console.print(table)
    if not all(goal.met for goal in goals):
        raise typer.Exit(1)


def _needs(*modules: str) -> None:
    """The extra's libraries, or one line that says how to get them."""
    import importlib.util

    from ecgvf.core.errors import SettingsError

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(f"{', '.join(missing)} is not installed: pip install 'ecgvf[nano]'")


if __name__ == "__main__":
    app()
