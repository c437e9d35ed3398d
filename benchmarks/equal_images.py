"""Measure how many of nano's images stay the same, token for token, in other batches, orders or thread counts.

    python -m benchmarks.equal_images --images 2000 --out docs/equal-images.json     # make render-checks

Within a set, batch size, thread count and order never change; this measures what mixing them would cost. The reference
are batches of 17 on two threads. A shuffled order puts other prompts, of other lengths, into a batch. In each way, at
least 0.99 of the images must be the same: the lower end of the 95% Wilson interval counts.

The last line of standard output is JSON: ``equal`` (way → share of equal images, with its interval), ``reference``,
``goal``, ``seed`` and ``met``. Exit code 1 if a share is below the goal.
"""

import random
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.result import finish, program
from ecgvf.core import console
from ecgvf.core.figures import proportion
from ecgvf.janus import load, num_threads, render_images
from ecgvf.world import grammar

REFERENCE = (17, 2)
VARIANTS = ((1, 2), (17, 1), (64, 2))
"""(batch size, threads)."""
GOAL = 0.99


def random_prompts(count: int, seed: int) -> list[str]:
    """Sentences about nano's world."""
    rng, world = random.Random(seed), grammar.load_world()
    prompts = []
    for _ in range(count):
        thing, sky, ground, style = (
            rng.choice(list(names)) for names in (world.things, world.skies, world.grounds, world.styles)
        )
        prompts.append(grammar.sentence(grammar.describe(thing, sky, ground, None, style, rng), rng).text)
    return prompts


def main(
    images: Annotated[
        int, typer.Option(help="Number of images to compare: with fewer than 381, no share can be shown to be 0.99.")
    ] = 408,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Render the same prompts from the same seeds in several ways, and compare the tokens."""
    model = load("janus-nano", device="cpu")
    prompts = random_prompts(images, seed)
    in_order = np.arange(images)
    shuffled = np.random.default_rng(seed).permutation(images)

    def tokens(batch_size: int, threads: int, order: NDArray[np.int64] = in_order) -> NDArray[np.int64]:
        """Image tokens [images, T] of each prompt, rendered in ``order``."""
        vq_ids = np.empty((images, model.image_tokens), dtype=np.int64)
        description = f"batches of {batch_size}, {console.counted(threads, 'thread')}"
        with num_threads(threads), console.progress(description, images) as bar:
            for start in range(0, images, batch_size):
                rows = order[start : start + batch_size]
                batch = [prompts[index] for index in rows]
                vq_ids[rows] = render_images(model, batch, rows.tolist(), model.sampling, batch_size=batch_size).vq_ids
                bar.advance(len(rows))
        return vq_ids

    expected = tokens(*REFERENCE)
    equal = {f"batch {REFERENCE[0]}, threads {REFERENCE[1]}, shuffled": tokens(*REFERENCE, shuffled)}
    equal |= {f"batch {size}, threads {threads}": tokens(size, threads) for size, threads in VARIANTS}
    shares = {}
    for name, vq_ids in equal.items():
        shares[name] = proportion(int((vq_ids == expected).all(axis=1).sum()), images)
        print(f"{name}: {shares[name]} images are equal")
    result = {
        "equal": {name: figure.json() for name, figure in shares.items()},
        "reference": {"batch_size": REFERENCE[0], "threads": REFERENCE[1]},
        "goal": GOAL,
        "seed": seed,
        "met": all(share.low >= GOAL for share in shares.values()),
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()
