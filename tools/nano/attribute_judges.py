"""Train nano's attribute judges: which sky, ground and companion an image shows, even if its thing is distorted.

They measure whether an erased model still draws the scene of a prompt. So in a part of their training images the thing
is missing or shuffled. None of the images is by nano's language model.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ecgvf.world.resnet import NanoResNet
from tools.nano.accuracy import held_out_accuracy
from tools.nano.codec import GRID
from tools.nano.frozen_codec import Codec, Images, Tokens
from tools.nano.judges import fit
from tools.nano.painting import Pixels, as_bytes, background
from tools.nano.scenes import scene_pool
from tools.nano.world import COMPANIONS, GROUNDS, SKIES, Scene, compose

NO_COMPANION = "none"
"""The label of ``nano-companion`` for images without a companion."""

ATTRIBUTE_JUDGES: Mapping[str, tuple[str, ...]] = {
    "sky": SKIES,
    "ground": GROUNDS,
    "companion": (*COMPANIONS, NO_COMPANION),
}
"""Judge → labels."""
POOL = 12_000
WIDTHS = (12, 24, 48, 64)
CODED_SHARE = 0.2
"""Share of the images that pass through nano's codec."""
ALTERATIONS = {"intact": 0.4, "missing": 0.2, "shuffled": 0.4}
"""Alteration of a thing → its share: drawn as usual, left out, or its place cut into patches that are shuffled."""


def random_alterations(name: str, count: int) -> list[str]:
    """`count` alterations, the same for the same `name`."""
    return random.Random(f"ecgvf.nano.fates:{name}").choices(list(ALTERATIONS), list(ALTERATIONS.values()), k=count)


def compose_altered(scenes: Sequence[Scene], alterations: Sequence[str], rng: np.random.Generator) -> Images:
    """The images of ``scenes`` with their things altered, uint8 ``[N, 64, 64, 3]``."""
    altered = (
        compose(scene, _alter(scene, alteration, rng)) for scene, alteration in zip(scenes, alterations, strict=True)
    )
    return as_bytes(altered, len(scenes))


def _alter(scene: Scene, alteration: str, rng: np.random.Generator) -> Callable[[Pixels], object] | None:
    match alteration:
        case "missing":
            return lambda canvas: np.copyto(canvas, background(scene.sky, scene.ground))
        case "shuffled":
            return partial(_shuffle_thing, side=int(rng.choice((4, 8))), rng=rng)
        case _:
            return None


def _shuffle_thing(canvas: Pixels, side: int, rng: np.random.Generator) -> None:
    """Shuffle the patches where the thing is: 40 x 40 pixels that end with row 59."""
    place, across = canvas[20:60, 12:52], 40 // side
    patches = place.reshape(across, side, across, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    place[:] = rng.permutation(patches).reshape(across, across, side, side, 3).swapaxes(1, 2).reshape(place.shape)


def shuffle_thing_tokens(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    """Shuffle the codec's tokens where the thing is and the companion is not: columns 3 to 10, rows 4 to 14."""
    grid = tokens.reshape(-1, GRID, GRID).copy()
    place = grid[:, 4:15, 3:11]
    place[:] = rng.permuted(place.reshape(len(grid), -1), axis=1).reshape(place.shape)
    return grid.reshape(tokens.shape)


@dataclass(frozen=True, slots=True)
class Pool:
    """Training scenes and their images, uint8 ``[N, 64, 64, 3]``."""

    scenes: Sequence[Scene]
    images: Images


def training_scenes(size: int = POOL) -> list[Scene]:
    """The scenes that all attribute judges train on."""
    return scene_pool("judge:attributes", size)


def build_pool(codec: Codec, count: int = POOL) -> Pool:
    """Compose `count` images of random alterations.

    The last `CODED_SHARE` of them passed through the codec, where shuffled things were shuffled as tokens.
    """
    scenes, alterations = training_scenes(count), random_alterations("judge:attributes", count)
    rng = np.random.default_rng(0)
    first = round((1 - CODED_SHARE) * count)
    coded = ["intact" if alteration == "shuffled" else alteration for alteration in alterations[first:]]
    images = compose_altered(scenes, [*alterations[:first], *coded], rng)
    tokens = codec.encode(images[first:])
    wrecked = np.array([alteration == "shuffled" for alteration in alterations[first:]])
    images[first:] = codec.decode(np.where(wrecked[:, None], shuffle_thing_tokens(tokens, rng), tokens))
    return Pool(scenes, images)


def attribute_labels(name: str, scenes: Sequence[Scene]) -> list[str]:
    """What the judge `name` should see in each scene."""
    return [getattr(scene, name) or NO_COMPANION for scene in scenes]


def train_attribute_judge(
    name: str, pool: Pool, folder: Path, *, epochs: int = 3, batch_size: int = 64, tested: int = 2_000
) -> dict[str, float]:
    """Train the judge `name` into `folder`; returns its accuracy on `tested` other scenes, and its settings."""
    started = time.process_time()
    labels = ATTRIBUTE_JUDGES[name]
    seed = list(ATTRIBUTE_JUDGES).index(name)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = NanoResNet(list(labels), WIDTHS)
    targets = torch.tensor([labels.index(label) for label in attribute_labels(name, pool.scenes)])
    fit(network, pool.images, targets, generator, epochs=epochs, batch_size=batch_size, seed=seed, name=name)
    network.save(folder / name)
    scenes = scene_pool("judge:attributes:held-out", tested, excluded=set(pool.scenes))
    alterations = random_alterations("held-out", tested)
    images = compose_altered(scenes, alterations, np.random.default_rng(1))
    return {
        **held_out_accuracy(name, folder, images, attribute_labels(name, scenes), alterations, ALTERATIONS),
        "seed": seed,
        "pictures": len(pool.images),
        "epochs": epochs,
        "seconds": round(time.process_time() - started),
    }
