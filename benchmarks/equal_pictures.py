"""How many of nano's pictures stay the same, token for token, when they are drawn in other batches or by other threads.

    python -m benchmarks.equal_pictures [--pictures 128]

A set's pictures never mix batch sizes or thread counts; this says what it would cost if they did. Everything is
compared with batches of 16 on one thread; the last line is JSON.
"""

import json
import random
from typing import Annotated

import typer

from ecgvf.janus import draw, load, threads
from ecgvf.world import grammar

REFERENCE = (16, 1)
OTHERS = ((1, 1), (4, 1), (64, 1), (16, 2))
"""(pictures in a batch, threads)."""


def prompts(count: int, seed: int) -> list[str]:
    """Sentences about nano's world."""
    rng, world = random.Random(seed), grammar.load_world()

    def one() -> str:
        thing, sky, ground, style = (
            rng.choice(list(names)) for names in (world.things, world.skies, world.grounds, world.styles)
        )
        return grammar.sentence(grammar.describe(thing, sky, ground, None, style, rng), rng).text

    return [one() for _ in range(count)]


def main(
    pictures: Annotated[int, typer.Option(help="How many are compared.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
) -> None:
    """Draw the same prompts from the same seeds in several ways, and compare the tokens."""
    model = load("janus-nano", device="cpu")
    texts, seeds = prompts(pictures, seed), list(range(pictures))

    def drawn(batch: int, count: int) -> list[bytes]:
        with threads(count):
            return [ids.tobytes() for ids in draw(model, texts, seeds, model.sampling, batch_size=batch).vq_ids]

    expected = drawn(*REFERENCE)
    shares = {}
    for batch, count in OTHERS:
        same = sum(one == other for one, other in zip(expected, drawn(batch, count), strict=True))
        shares[f"batch {batch}, threads {count}"] = same / pictures
        print(f"batches of {batch}, {count} thread(s): {same} of {pictures} pictures are equal")
    print(json.dumps({"equal": shares, "reference": REFERENCE, "pictures": pictures, "seed": seed}))


if __name__ == "__main__":
    typer.run(main)
