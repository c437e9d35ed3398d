"""What the commands that fill a set print alike."""

from typing import Any

from ecgvf.core import console
from ecgvf.core.stage_set import StageSet


def set_facts(stage_set: StageSet) -> dict[str, Any]:
    """The facts of ``--json`` that name a set."""
    return {"concept": stage_set.run.concept.name, "set": stage_set.fingerprint, "path": str(stage_set.path)}


def next_step(stage_set: StageSet, command: str) -> str:
    """The last line of a result: where the set is, and the command that comes next."""
    return f"Set {stage_set.fingerprint} in {console.escape(str(stage_set.path))}. Next: [bold]{command}[/bold]"
