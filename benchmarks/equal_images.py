"""Measure how many of nano's images stay the same, token for token, in other batches or with other thread counts.

    python -m benchmarks.equal_images [--images 128]

Within a set, batch size and thread count never change; this measures what mixing them would cost. Everything is
compared with batches of 16 on one thread; the last line is JSON.
"""

import json
import random
from typing import Annotated

import typer

from ecgvf.janus import load, num_threads, render_images
from ecgvf.world import grammar

REFERENCE = (16, 1)
VARIANTS = ((1, 1), (4, 1), (64, 1), (16, 2))
"""(batch size, threads)."""


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
    images: Annotated[int, typer.Option(help="Number of images to compare.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
) -> None:
    """Render the same prompts from the same seeds in several ways, and compare the tokens."""
    model = load("janus-nano", device="cpu")
    prompts, seeds = random_prompts(images, seed), list(range(images))

    def tokens(batch_size: int, threads: int) -> list[bytes]:
        with num_threads(threads):
            rendered = render_images(model, prompts, seeds, model.sampling, batch_size=batch_size)
        return [ids.tobytes() for ids in rendered.vq_ids]

    expected = tokens(*REFERENCE)
    shares = {}
    for batch_size, threads in VARIANTS:
        equal = sum(ids == same for ids, same in zip(tokens(batch_size, threads), expected, strict=True))
        shares[f"batch {batch_size}, threads {threads}"] = equal / images
        print(f"batches of {batch_size}, {threads} thread(s): {equal} of {images} images are equal")
    print(json.dumps({"equal": shares, "reference": REFERENCE, "images": images, "seed": seed}))


if __name__ == "__main__":
    typer.run(main)
