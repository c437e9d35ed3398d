"""All writers at once: six writers of half a second's latency, eighteen calls; wall time over the ideal.

A writer's three calls follow one another, since each lists the prompts before it; so the ideal is three latencies,
however many writers there are. The SDKs are imported and warmed beforehand.

    python -m benchmarks.writers

The last line of standard output is JSON: ``writers``, ``calls`` that arrived, ``pairs`` accepted, ``latency_s``,
``wall_s``, ``ideal_s``, ``one_after_the_other_s``, ``over_ideal`` and its ``bound``, ``cpus``, ``load`` (of the last
minute), ``python`` and ``met``. Exit code 1 if the ratio is above its bound, or if calls are missing or sent twice.
"""

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish, program
from ecgvf.core.concepts import find
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.llm.registry import Registry
from ecgvf.pairs.generation_plan import plan_generation
from ecgvf.pairs.llm_writers import generate_with_llms
from tests.llm_server import SIX, LlmServer

LATENCY, ITERATIONS = 0.5, 3

BOUND = 1.5
"""Wall time over the ideal, at most."""


def main(out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None) -> None:
    """Measure, and print a line of JSON."""
    for writer in Registry().all():
        os.environ.setdefault(writer.config.key or "", "loopback")
    with tempfile.TemporaryDirectory() as folder, LlmServer().running() as server:
        registry = Registry(server.registry(Path(folder)))
        writers = registry.select(",".join(SIX))
        church = find("church")
        generate_with_llms(
            ConceptRun(Store(Path(folder) / "warm"), church), plan_generation(church, writers, iterations=1)
        )
        server.latency, server.requests = LATENCY, []
        began = time.monotonic()
        stage = generate_with_llms(
            ConceptRun(Store(Path(folder) / "store"), church), plan_generation(church, writers, iterations=ITERATIONS)
        )
        wall = time.monotonic() - began
        kept = stage.summary["train"]["accepted"]
    ideal = LATENCY * ITERATIONS
    result = {
        "writers": len(writers),
        "calls": len(server.requests),
        "latency_s": LATENCY,
        "pairs": kept,
        "wall_s": round(wall, 3),
        "ideal_s": ideal,
        "one_after_the_other_s": LATENCY * ITERATIONS * len(writers),
        "over_ideal": round(wall / ideal, 3),
        "bound": BOUND,
        "met": wall <= BOUND * ideal and len(server.requests) == ITERATIONS * len(writers) and kept > 0,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()
