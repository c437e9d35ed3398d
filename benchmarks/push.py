"""Memory and time of a push of 2,000 pairs with images, to a Hub on loopback.

    python -m benchmarks.push

The images are noise of Janus-Pro's size, which PNG cannot compress: the worst case. The Hub runs in its own process.
The last line of standard output is JSON: ``pairs``, ``side``, ``peak_mb`` and ``libraries_mb`` (peak memory of the
pushing process, at its end and once the libraries are imported), ``taken_mb`` (their difference), ``bound_mb``,
``write_seconds``, ``upload_seconds``, ``files``, ``uploaded_mb`` and ``met``. Exit code 1 if ``taken_mb`` is above
``BOUND_MB``.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from benchmarks.memory import peak_mb
from benchmarks.result import finish, program

if TYPE_CHECKING:
    from ecgvf.core.records import PromptPair, Rendering, Verdict

SHARD = 32
BOUND_MB = 512
"""Most memory of a push beside the libraries, for any number of pairs."""


def serve(folder: str, pipe: Connection) -> None:
    """Run the Hub until the other end of ``pipe`` closes."""
    from tests.hub_server import Hub

    with Hub(Path(folder)).running() as hub:
        pipe.send(hub.url)
        pipe.poll(None)


def fill(root: Path, pairs: int, side: int) -> None:
    """Write a finished run of noise in which every pair is accepted."""
    from ecgvf.core import concepts
    from ecgvf.core.records import Acceptance, PromptPair, Rendering, Verdict, to_table
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
    from ecgvf.core.store import Store
    from tests.ecgvf.small_run import church_pairs

    run = ConceptRun(Store(root), concepts.find("church"))
    run.store.remember(run.concept)
    records = church_pairs(pairs, 0)
    pairs_set = run.stage_set(PAIRS, {"pairs": pairs})
    pairs_set.write_shard(0, to_table(PromptPair, records))
    pairs_set.finish({})
    sampling = {"guidance": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    settings = {"pairs": pairs_set.fingerprint, "model": "noise", "renderer": "0", "sampling": sampling, "seed": 0}
    images = run.stage_set(IMAGES, {**settings, "side": side})
    judged = {"pictures": images.fingerprint, "judge": "none", "judge_hash": "0", "accepted": []}
    verdicts = run.stage_set(VERDICTS, judged)
    rng = np.random.default_rng(0)
    for index in range(0, pairs, SHARD):
        rows = [row for record in records[index : index + SHARD] for row in _rows(record, index, side, rng)]
        renderings, predictions = zip(*rows, strict=True)
        images.write_shard(index // SHARD, to_table(Rendering, renderings))
        verdicts.write_shard(index // SHARD, to_table(Verdict, predictions))
    images.finish({"pictures": 2 * pairs})
    verdicts.finish({})
    sets = {"pairs": pairs_set.fingerprint, "pictures": images.fingerprint, "verdicts": verdicts.fingerprint}
    acceptance = run.stage_set(ACCEPTANCE, {**sets, "rule": "all"})
    decisions = [Acceptance(record_id=record.record_id, accepted=True, reason=None) for record in records]
    acceptance.write_shard(0, to_table(Acceptance, decisions))
    acceptance.finish({"accepted_pairs": pairs, "reasons": {}})


def _rows(
    record: "PromptPair", seed: int, side: int, rng: np.random.Generator
) -> Iterator["tuple[Rendering, Verdict]"]:
    """An image of noise of each prompt, and what the judge sees in it."""
    from ecgvf.core.png import encode
    from ecgvf.core.records import Rendering, Verdict

    for role, prompt in record.prompts():
        rendering = Rendering(
            record_id=record.record_id,
            role=role,
            seed=seed,
            renderer="0",
            prompt_sent=prompt,
            image=encode(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)),
            vq_ids=tuple(rng.integers(0, 2**14, 576).tolist()),
        )
        present = role == "target"
        verdict = Verdict(
            record_id=record.record_id,
            role=role,
            judge="none",
            judge_hash="0",
            label_set="none",
            present=present,
            score=float(present),
            top_labels=(),
        )
        yield rendering, verdict


def push(root: str, pipe: Connection) -> None:
    """Push once in a fresh process, so that its peak memory is the push's."""
    import datasets  # noqa: F401  # before the baseline: the memory of the libraries is not the push's
    import huggingface_hub  # noqa: F401

    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.publish.push import prepare, upload

    before, started = peak_mb(), time.monotonic()
    with prepare(ConceptRun(Store(root), Store(root).concept()), "owner/ecgvf") as plan:
        prepared, sizes = time.monotonic(), plan.sizes
        upload(plan)
    pipe.send(
        {
            "peak_mb": round(peak_mb(), 1),
            "libraries_mb": round(before, 1),
            "write_seconds": round(prepared - started, 1),
            "upload_seconds": round(time.monotonic() - prepared, 1),
            "files": len(sizes),
            "uploaded_mb": round(sum(sizes.values()) / 1e6, 1),
        }
    )


def main(
    pairs: Annotated[int, typer.Option(help="Pairs, of two images each.")] = 2000,
    side: Annotated[int, typer.Option(help="Side of an image, in pixels.")] = 384,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Push noise; print memory and time."""
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "store", pairs, side)
        hub_pipe, hub_end = fresh.Pipe()
        hub = fresh.Process(target=serve, args=(f"{folder}/hub", hub_end), daemon=True)
        hub.start()
        os.environ |= {
            "HF_ENDPOINT": hub_pipe.recv(),
            "HF_HOME": f"{folder}/hf",
            "HF_TOKEN": "hf_owner",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        push_pipe, push_end = fresh.Pipe()
        pushing = fresh.Process(target=push, args=(f"{folder}/store", push_end))
        pushing.start()
        push_end.close()
        measured = push_pipe.recv()
        pushing.join()
        hub_pipe.send("done")
        hub.join(5)
    taken = round(measured["peak_mb"] - measured["libraries_mb"], 1)
    met = taken <= BOUND_MB
    print(
        f"{pairs} pairs, {measured['uploaded_mb']} MB uploaded, {taken} MB beside the libraries (bound {BOUND_MB} MB)"
    )
    finish({"pairs": pairs, "side": side, **measured, "taken_mb": taken, "bound_mb": BOUND_MB, "met": met}, out)


app = program(main)

if __name__ == "__main__":
    app()
