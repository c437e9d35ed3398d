"""Commands of nano's developers: ``python -m tools.nano build``, ``check``, ``judges``, ``questions`` and ``oracle``.

Users need none of them: the weights and the questions ship in ``data/nano``.
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
    help="Build Janus-nano, measure its goals and write its questions (extra `nano`).",
)


@app.callback()
def memory() -> None:
    from ecgvf.core.allocator import keep_freed_memory

    keep_freed_memory()  # a step of training takes a quarter less


@app.command()
def build(
    work: Annotated[Path, typer.Option(help="Folder of checkpoints; a second call resumes from them.")] = Path(
        "nano-work"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder for the weights.", show_default="data/nano")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Part to build, repeatable: {', '.join(PARTS)}.", show_default="all")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Training time of the language model.")] = 75.0,
) -> None:
    """Build nano from scratch; resumable. Two hours on 2 cores."""
    from ecgvf.core.errors import SettingsError

    unknown = [name for name in part or () if name not in PARTS]
    if unknown:
        raise SettingsError(f"no part named {unknown[0]!r}: use {', '.join(PARTS)}")
    _require_resvg()
    from tools.nano import build as builder

    builder.build(work, out or data_dir() / "nano", tuple(part or PARTS), language_model_seconds=60 * minutes)


@app.command()
def check(
    model: Annotated[str, typer.Option(help="Name or folder of the nano to check.")] = "janus-nano",
    as_json: JsonOption = False,
) -> None:
    """Measure every goal of nano on held-out prompts and images; exit 1 if one is missed. About five minutes.

    `n` is the number of prompts, or of composed scenes.
    """
    _require_resvg()
    from tools.nano import check as checker

    goals = checker.check(model, progress=console.note)
    table = console.table("figure", "value", "n", "95% interval", "goal", "met", title=f"{model}, run seed 0")
    for goal in goals:
        figure, sign = goal.figure, "≤" if goal.at_most else "≥"
        table.add_row(
            goal.name,
            f"{figure.value:.4f}",
            str(figure.n),
            f"{figure.low:.4f} to {figure.high:.4f}",
            f"{sign} {goal.bound:g}",
            "yes" if goal.met else "NO",
        )
    met = all(goal.met for goal in goals)
    if as_json:
        console.print_json({"model": model, "met": met, "goals": [goal.json() for goal in goals]})
    else:
        console.print(table)
    if not met:
        raise typer.Exit(1)


@app.command()
def judges(
    seed: Annotated[int, typer.Option(help="Seed of the prompts, images and corruptions.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure the judges on the drawings of every designer, on Janus-nano's images, and on images of nothing.

    `n` is the number of prompts, or of composed scenes.
    """
    _require_resvg()
    from tools.nano import judge_comparison

    rows = judge_comparison.compare(seed, progress=console.note)
    if as_json:
        console.print_json({"seed": seed, "rows": [row.json() for row in rows]})
        return
    columns = ("figure", "judge", "images", "value", "n", "95% interval")
    table = console.table(*columns, title=f"Nano's judges, seed {seed}")
    for row in rows:
        share, interval = row.share, f"{row.share.low:.3f} to {row.share.high:.3f}"
        table.add_row(row.figure, row.judge, row.images, f"{share.value:.3f}", str(share.n), interval)
    console.print(table)


@app.command()
def questions(
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="data/nano/questions.parquet")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the scenes and of the yes/no questions.")] = 0,
) -> None:
    """Write the questions about composed images that the evaluation sends to a model."""
    _require_resvg()
    from ecgvf.core.errors import SettingsError
    from ecgvf.world.questions import questions_path

    if seed and out is None:
        raise SettingsError(f"--seed {seed} would replace the questions that ship, of seed 0: name a file with --out")
    from tools.nano import question_set

    path = out or questions_path()
    rows = question_set.write(path, seed)
    console.note(f"{path}: {rows} questions about {question_set.IMAGES} images")


@app.command()
def oracle(
    work: Annotated[Path, typer.Option(help="Folder of checkpoints; a second call resumes from them.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and its card.")],
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Thing that no training image, caption or question is about. Repeatable.", show_default="none"
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the language model.", show_default="Janus-nano's own")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights, scenes and captions.")] = 0,
) -> None:
    """Train nano's language model again without some things, or with all (a control); resumable. 90 minutes."""
    _require_resvg()
    from tools.nano import oracle as trainer

    trainer.train_oracle(work, out, tuple(without or ()), steps=steps, seed=seed, progress=console.note)


def _require_resvg() -> None:
    """Raise ``SettingsError`` if the extra is not installed."""
    import importlib.util

    from ecgvf.core.errors import SettingsError

    if importlib.util.find_spec("resvg_py") is None:
        raise SettingsError("resvg_py is not installed: pip install 'ecgvf[nano]'")


if __name__ == "__main__":
    app()
