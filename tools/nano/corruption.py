"""Corrupt images until they show nothing: kinds that the second object judge learns from, and kinds that it never sees.

A corruption maps images uint8 ``[N, 64, 64, 3]`` to as many images. Some work on the tokens of nano's frozen codec.
"""

from collections.abc import Callable

import numpy as np

from tools.nano.codec import CODES, GRID
from tools.nano.frozen_codec import Codec, Images, Tokens
from tools.nano.painting import SIDE
from tools.nano.second_world import compose_second_batch, second_scene_pool

Corruption = Callable[[Images, np.random.Generator], Images]


def trained_corruptions(codec: Codec) -> dict[str, Corruption]:
    """The kinds that the judge learns from."""
    return {
        "patches of 4 px shuffled": lambda images, rng: _shuffle_patches(images, 4, rng),
        "patches of 8 px shuffled": lambda images, rng: _shuffle_patches(images, 8, rng),
        "half of the height noise": _half_noise,
        "half of the height another image": _half_another,
        "half of the height background": _half_background,
        "tokens shuffled": lambda images, rng: codec.decode(_permute(codec.encode(images), rng)),
        "tokens random": lambda images, rng: codec.decode(_replace_tokens(codec.encode(images), rng)),
        "flat colours": _flat,
        "backgrounds without a thing": _backgrounds,
    }


def held_out_corruptions(codec: Codec) -> dict[str, Corruption]:
    """The kinds that no judge learns from."""
    return {
        "patches of 16 px shuffled": lambda images, rng: _shuffle_patches(images, 16, rng),
        "rows of 4 px shuffled": _shuffle_rows,
        "half of the width another image": lambda images, rng: _half_another(images.swapaxes(1, 2), rng).swapaxes(1, 2),
        "checkerboard of two images": _checkerboard,
        "tokens each from another image": lambda images, rng: codec.decode(_mix_tokens(codec.encode(images), rng)),
        "noise": lambda images, rng: rng.integers(0, 256, images.shape, np.uint8),
    }


def _shuffle_patches(images: Images, side: int, rng: np.random.Generator) -> Images:
    n, across = len(images), SIDE // side
    patches = images.reshape(n, across, side, across, side, 3).swapaxes(2, 3).reshape(n, across**2, side, side, 3)
    mixed: Images = np.stack([rng.permutation(patch) for patch in patches])
    return mixed.reshape(n, across, across, side, side, 3).swapaxes(2, 3).reshape(images.shape)


def _shuffle_rows(images: Images, rng: np.random.Generator) -> Images:
    rows = images.reshape(len(images), GRID, SIDE // GRID, SIDE, 3)
    return np.stack([rng.permutation(image) for image in rows]).reshape(images.shape)


def _half(images: Images, others: Images, rng: np.random.Generator) -> Images:
    """The upper or the lower half of each image from `others`; the thing's middle is row 38."""
    cut = rng.integers(32, 45, len(images))
    upper = np.arange(SIDE)[None] < cut[:, None]
    replaced = upper ^ (rng.random(len(images)) < 0.5)[:, None]
    return np.where(replaced[:, :, None, None], others, images)


def _half_noise(images: Images, rng: np.random.Generator) -> Images:
    return _half(images, rng.integers(0, 256, images.shape, np.uint8), rng)


def _half_another(images: Images, rng: np.random.Generator) -> Images:
    return _half(images, np.roll(images, 1, 0), rng)


def _half_background(images: Images, rng: np.random.Generator) -> Images:
    return _half(images, _backgrounds(images, rng), rng)


def _backgrounds(images: Images, rng: np.random.Generator) -> Images:
    return compose_second_batch(second_scene_pool(f"empty:{rng.integers(2**32)}", len(images), empty=True))


def _flat(images: Images, rng: np.random.Generator) -> Images:
    """One colour, or a slope between two, with a little noise."""
    ends = rng.uniform(0, 255, (2, len(images), 1, 1, 3))
    ends[1] = np.where(rng.random((len(images), 1, 1, 1)) < 0.5, ends[0], ends[1])
    slope = np.linspace(0, 1, SIDE)[None, :, None, None]
    noise = rng.normal(0, 1, images.shape) * rng.uniform(0, 12, (len(images), 1, 1, 1))
    flat: Images = np.clip(ends[0] * (1 - slope) + ends[1] * slope + noise, 0, 255).astype(np.uint8)
    return flat


def _checkerboard(images: Images, rng: np.random.Generator) -> Images:
    del rng
    rows, columns = np.mgrid[:SIDE, :SIDE] // 8
    return np.where(((rows + columns) % 2 == 0)[None, ..., None], images, np.roll(images, 1, 0))


def _permute(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    return rng.permuted(tokens, axis=1)


def _replace_tokens(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    """Half to all of an image's tokens by random ones."""
    replaced = rng.random(tokens.shape) < rng.uniform(0.5, 1, (len(tokens), 1))
    return np.where(replaced, rng.integers(0, CODES, tokens.shape), tokens)


def _mix_tokens(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    """Each position from an image drawn at random: every position's own distribution, and no image."""
    return np.take_along_axis(tokens, rng.integers(0, len(tokens), tokens.shape), 0)
