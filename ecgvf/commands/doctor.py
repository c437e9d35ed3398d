"""``doctor``: what this machine has for each job, and how to get the rest."""

from dataclasses import asdict
from itertools import groupby

import typer

from ecgvf.commands.options import JsonOption, StoreOption
from ecgvf.core import console

COLOURS = {"ok": "green", "absent": "yellow", "fault": "red"}


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check cores, GPU, memory, disk, models, keys, the Hub login and extras, and say how to get what is missing.

    Nothing is changed and no key is shown. Exit code 1 if not even Janus-nano can run here.
    """
    console.note("Looking at this machine, and asking the Hub if you are logged in…")
    from ecgvf.core.store import Store
    from ecgvf.doctor import diagnose

    root = Store(store).root
    checks = list(diagnose(root))
    healthy = all(check.state != "fault" for check in checks)
    table = console.table("", "", "state", "found", "to get it")
    for topic, group in groupby(checks, key=lambda check: check.topic):
        for number, check in enumerate(group):
            state = f"[{COLOURS[check.state]}]{check.state}[/]"
            table.add_row(
                "" if number else topic, check.name, state, console.escape(check.found), console.escape(check.advice)
            )
        table.add_section()
    console.print_result(
        {"ok": healthy, "store": str(root), "checks": [asdict(check) for check in checks]},
        table,
        "Janus-nano runs here: try `ear quickstart`." if healthy else "Janus-nano does not run here yet.",
    )
    if not healthy:
        raise typer.Exit(1)
