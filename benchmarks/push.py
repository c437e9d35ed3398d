"""How much memory and time a push of 2,000 pairs with pictures takes, against the Hub on loopback.

    python -m benchmarks.push [--pairs 2000] [--side 384]

The pictures are noise of the size that Janus-Pro draws, so that PNG cannot shrink them: the most that a push can meet.
The Hub runs in a process of its own. The last line is JSON; exit 1 where the push took more than ``BOUND_MB``.
"""

import json
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

SHARD = 32
BOUND_MB = 512
"""What a push may take beside the libraries, however many pairs there are."""


def serve(folder: str, pipe: Connection) -> None:
    """The Hub, until the other end of ``pipe`` closes."""
    from tests.hub_server import Hub

    with Hub(Path(folder)).running() as hub:
        pipe.send(hub.url)
        pipe.poll(None)


def fill(root: Path, pairs: int, side: int) -> None:
    """A finished run of noise: every pair accepted."""
    from ecgvf.core import concepts
    from ecgvf.core.png import encode
    from ecgvf.core.records import Acceptance, PromptPair, Rendering, Verdict, to_table
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, VERDICTS
    from ecgvf.core.store import Store
    from tests.ecgvf.small_run import church_pairs

    store, church = Store(root), concepts.find("church")
    store.remember(church)
    records = church_pairs(pairs, 0)
    written = ConceptRun(store, concepts.find("church")).stage_set(PAIRS, {"pairs": pairs})
    written.write_shard(0, to_table(PromptPair, records))
    written.finish({})
    sampling = {"guidance": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    pictures = store.stage(
        "church",
        IMAGES,
        {
            "pairs": written.fingerprint,
            "model": "noise",
            "renderer": "0",
            "sampling": sampling,
            "seed": 0,
            "side": side,
        },
    )
    verdicts = store.stage(
        "church", VERDICTS, {"pictures": pictures.fingerprint, "judge": "none", "judge_hash": "0", "accepted": []}
    )
    chance = np.random.default_rng(0)
    for index in range(0, pairs, SHARD):
        drawn, seen = [], []
        for record in records[index : index + SHARD]:
            for role, prompt in record.prompts():
                noise = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
                ids = tuple(chance.integers(0, 2**14, 576).tolist())
                common: dict[str, Any] = {"record_id": record.record_id, "role": role}
                drawn.append(
                    Rendering(**common, seed=index, renderer="0", prompt_sent=prompt, image=encode(noise), vq_ids=ids)
                )
                there = role == "target"
                seen.append(
                    Verdict(
                        **common,
                        judge="none",
                        judge_hash="0",
                        label_set="none",
                        present=there,
                        score=float(there),
                        top_labels=(),
                    )
                )
        pictures.write_shard(index // SHARD, to_table(Rendering, drawn))
        verdicts.write_shard(index // SHARD, to_table(Verdict, seen))
    pictures.finish({"pictures": 2 * pairs})
    verdicts.finish({})
    settings = {
        "pairs": written.fingerprint,
        "pictures": pictures.fingerprint,
        "verdicts": verdicts.fingerprint,
        "rule": "all",
    }
    accepted = ConceptRun(store, concepts.find("church")).stage_set(ACCEPTANCE, settings)
    decisions = [Acceptance(record_id=record.record_id, accepted=True, reason=None) for record in records]
    accepted.write_shard(0, to_table(Acceptance, decisions))
    accepted.finish({"accepted_pairs": pairs, "reasons": {}})


def push(root: str, pipe: Connection) -> None:
    """One push in a fresh process, so that the peak is its own."""
    import datasets  # noqa: F401  # before the baseline: the libraries' memory is not the push's
    import huggingface_hub  # noqa: F401

    from ecgvf.core.store import Store
    from ecgvf.publish import push as pushing

    before, started = peak(), time.monotonic()
    with pushing.prepare(Store(root), "owner/ecgvf") as plan:
        prepared, files = time.monotonic(), plan.files
        pushing.upload(plan)
    pipe.send(
        {
            "peak_mb": round(peak(), 1),
            "libraries_mb": round(before, 1),
            "write_seconds": round(prepared - started, 1),
            "upload_seconds": round(time.monotonic() - prepared, 1),
            "files": len(files),
            "uploaded_mb": round(sum(size for _, size in files) / 1e6, 1),
        }
    )


def peak() -> float:
    """Most resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main(
    pairs: Annotated[int, typer.Option(help="Pairs, of two pictures each.")] = 2000,
    side: Annotated[int, typer.Option(help="Pixels.")] = 384,
) -> None:
    """Push noise, and say what it took."""
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "store", pairs, side)
        ours, theirs = fresh.Pipe()
        hub = fresh.Process(target=serve, args=(f"{folder}/hub", theirs), daemon=True)
        hub.start()
        os.environ |= {
            "HF_ENDPOINT": ours.recv(),
            "HF_HOME": f"{folder}/hf",
            "HF_TOKEN": "hf_owner",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        result, end = fresh.Pipe()
        pushing = fresh.Process(target=push, args=(f"{folder}/store", end))
        pushing.start()
        end.close()
        told = result.recv()
        pushing.join()
        ours.send("done")
        hub.join(5)
    taken = round(told["peak_mb"] - told["libraries_mb"], 1)
    met = taken <= BOUND_MB
    print(f"{pairs} pairs, {told['uploaded_mb']} MB uploaded, {taken} MB beside the libraries (bound {BOUND_MB} MB)")
    print(json.dumps({"pairs": pairs, "side": side, **told, "taken_mb": taken, "bound_mb": BOUND_MB, "met": met}))
    raise typer.Exit(0 if met else 1)


if __name__ == "__main__":
    typer.run(main)
