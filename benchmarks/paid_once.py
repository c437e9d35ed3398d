"""The whole campaign of calls: 1,002 of them, a fifth met with faults, and 20 kills at random moments.

    python -m benchmarks.paid_once docs/paid-once.json     # make faults

Six writers are called over real HTTP by the real SDKs, in a process that SIGKILL ends and that is started again. No
answered call may be sent again once its answer was flushed, no pair may be lost, and the amount that the server charged
must lie between the ledger's cost and that cost with its open intents. The last line of standard output is JSON. Exit
code 1 if any of this fails.
"""

import os
import platform
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish
from ecgvf.core import console
from ecgvf.llm.registry import Registry
from tests.campaign import campaign

ITERATIONS, KILLS = 167, 20


def main(out: Annotated[Path | None, typer.Argument(help="Where to keep the JSON.")] = None) -> None:
    """Send calls under faults and kills, and compare ledger, records and money."""
    console.json_mode()
    for writer in Registry().all():
        os.environ.setdefault(writer.config.key or "", "loopback")
    with tempfile.TemporaryDirectory() as folder:
        seen = campaign(Path(folder), iterations=ITERATIONS, kills=KILLS)
    result = {
        "benchmark": "paid once",
        **seen,
        "met": seen["holds"],
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    finish(result, out)


if __name__ == "__main__":
    typer.run(main)
