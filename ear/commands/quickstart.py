"""``ear quickstart``: the whole job on Janus-nano, as the commands that a user would type."""

import shlex

import typer

from ecgvf.commands.options import StoreOption
from ecgvf.core import console

PASSES = 14
"""Passes over the pairs, of the recipe's 20: enough for this job, in no more time than the former default recipe takes
(docs/decisions/0017-on-policy.md)."""

STEPS = (
    ("Write prompt pairs: a church, and what stands in its place", "ecgvf generate --concept church --writers offline"),
    ("Render both prompts of each pair, from one seed", "ecgvf render"),
    ("Judge the images, and keep the pairs that pass", "ecgvf filter"),
    ("Show what each stage did", "ecgvf status"),
    (
        "Erase the concept church from Janus-nano, in fewer passes than usual to save time",
        f"ear train --dataset ecgvf/church --option passes={PASSES}",
    ),
    ("Render a prompt before and after", 'ear generate --prompt "a church on a hill of grass under a blue sky"'),
    ("Measure the concept and all retained concepts, before and after", "ear eval --dataset ecgvf/church"),
    ("Write the report", "ear report"),
)
"""What each step is for, and its command."""


def quickstart(
    context: typer.Context,
    store: StoreOption = None,
) -> None:
    """Erase the concept church from Janus-nano: every step from prompts to a report, in about ten minutes on two cores.

    Each step is a command, printed before it runs. If interrupted, the same command resumes.
    """
    from ecgvf.cli import app as ecgvf_app

    programs = {"ecgvf": typer.main.get_command(ecgvf_app), "ear": context.find_root().command}
    for number, (purpose, line) in enumerate(STEPS, 1):
        program, *arguments = shlex.split(line)
        if store is not None:
            arguments += ["--store", str(store)]
        console.print(
            f"\n[bold]{number}/{len(STEPS)} {purpose}[/bold]",
            f"[cyan]$ {console.escape(shlex.join([program, *arguments]))}[/cyan]",
        )
        # Without standalone mode it returns the exit code; an error's one line is printed by then.
        if code := programs[program].main(arguments, prog_name=program, standalone_mode=False):
            raise typer.Exit(code)
