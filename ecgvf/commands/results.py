"""What the commands that fill a set print alike."""

import shlex
from pathlib import Path
from typing import Any

from ecgvf.core import console
from ecgvf.core.files import is_remote
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, StageSet


def set_facts(stage_set: StageSet) -> dict[str, Any]:
    """The facts of ``--json`` that name a set."""
    return {"concept": stage_set.run.concept.name, "set": stage_set.fingerprint, "path": str(stage_set.path)}


def location(stage_set: StageSet) -> str:
    """Where the set is."""
    return f"Set {stage_set.fingerprint} in {console.escape(str(stage_set.path))}."


def rendering_command(run: ConceptRun) -> str:
    """The command that renders the pairs of ``run``: by the model of its earlier images, else by one that can."""
    if run.sets(IMAGES):
        return "ecgvf filter"  # it renders missing images as the others were
    return "ecgvf render" if run.concept.labels("nano") else "ecgvf render --model janus-pro-1b"


def publishing_command(run: ConceptRun, local: str) -> str:
    """``local``, or the command that exports a dataset from object storage, where nothing else can take it from."""
    return f"ecgvf export --out ecgvf-{run.concept.name}" if is_remote(run.store.root) else local


def next_command(command: str, **given: str | Path | bool | None) -> str:
    """The last line of a result: the command that comes next, with the options that the user has given here."""
    words = shlex.split(command)
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        words += [] if value in (None, False) else [option] if value is True else [option, str(value)]
    return f"Next: [bold]{console.escape(shlex.join(words))}[/bold]"
