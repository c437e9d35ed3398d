"""What nano's world is painted with: skies, grounds and styles, at 64 px."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE = 64
"""Side of an image, in pixels."""
HORIZON = 44
"""First row of the ground."""

Pixels = NDArray[np.float32]


def as_bytes(images: Iterable[Pixels], count: int) -> NDArray[np.uint8]:
    """`count` images in 0…1 as uint8 ``[N, 64, 64, 3]``."""
    batch = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for row, image in enumerate(images):
        batch[row] = np.round(image * 255)
    return batch


def background(sky: str, ground: str) -> Pixels:
    """A new image of the sky above the ground, float32 ``[64, 64, 3]`` in 0…1."""
    canvas = _sky(sky).copy()
    canvas[HORIZON:] = _ground(ground)
    return canvas


def paint(canvas: Pixels, style: str) -> Pixels:
    """The image in the style, float32 ``[64, 64, 3]`` in 0…1."""
    return _STYLES[style](canvas)


def _rgb(red: float, green: float, blue: float) -> Pixels:
    """A colour, or the weights of a mix of the channels; float32 ``[3]``."""
    return np.array((red, green, blue), np.float32)


@cache
def _sky(name: str) -> Pixels:
    top, bottom = {
        "blue": ((0.25, 0.55, 0.95), (0.72, 0.88, 1.0)),
        "sunset": ((0.55, 0.20, 0.45), (1.0, 0.62, 0.20)),
        "night": ((0.03, 0.04, 0.15), (0.10, 0.13, 0.35)),
        "storm": ((0.30, 0.32, 0.36), (0.58, 0.60, 0.63)),
        "dawn": ((0.98, 0.72, 0.80), (1.0, 0.90, 0.86)),
        "aurora": ((0.04, 0.10, 0.22), (0.08, 0.42, 0.38)),
    }[name]
    ramp = np.linspace(0, 1, HORIZON, dtype=np.float32)[:, None, None]
    sky = np.ones((SIDE, SIDE, 3), np.float32)
    sky[:HORIZON] = _rgb(*top) * (1 - ramp) + _rgb(*bottom) * ramp
    y, x = np.mgrid[:HORIZON, :SIDE].astype(np.float32)
    if name == "night":
        for row, column in ((6, 6), (10, 50), (18, 60), (22, 3), (3, 28), (14, 18), (30, 58), (5, 40)):
            sky[row : row + 2, column : column + 2] = (1.0, 0.98, 0.85)
    if name == "storm":
        for row, column, radius in ((8, 12, 9), (6, 30, 11), (10, 50, 10), (20, 62, 7), (22, 2, 7)):
            cloud = np.clip(1.2 - ((y - row) ** 2 * 2.5 + (x - column) ** 2) / radius**2, 0, 1)[..., None] * 0.6
            sky[:HORIZON] = sky[:HORIZON] * (1 - cloud) + _rgb(0.20, 0.21, 0.24) * cloud
    if name == "aurora":
        for height, phase in ((10, 0.0), (22, 2.0)):
            band = np.exp(-((y - height - 4 * np.sin(x / 10 + phase)) ** 2) / 12)[..., None] * 0.85
            sky[:HORIZON] = sky[:HORIZON] * (1 - band) + _rgb(0.35, 0.98, 0.60) * band
    return sky


@cache
def _ground(name: str) -> Pixels:
    base, accent = {
        "grass": ((0.30, 0.62, 0.22), (0.18, 0.45, 0.14)),
        "sand": ((0.93, 0.80, 0.52), (0.82, 0.66, 0.38)),
        "snow": ((0.96, 0.97, 1.0), (0.80, 0.86, 0.95)),
        "water": ((0.12, 0.38, 0.72), (0.45, 0.68, 0.92)),
        "road": ((0.33, 0.33, 0.36), (0.95, 0.92, 0.80)),
        "flowers": ((0.28, 0.55, 0.22), (0.93, 0.25, 0.45)),
    }[name]
    height = SIDE - HORIZON
    y, x = np.mgrid[:height, :SIDE]
    if name == "grass":
        marks = ((x + 3 * (y // 4)) % 8 < 2) & (y % 4 < 3)
    elif name == "sand":
        marks = (y + np.round(1.5 * np.sin(x / 5)).astype(int)) % 6 == 0
    elif name == "snow":
        marks = (y + np.round(2 * np.sin(x / 9)).astype(int)) % 8 < 2
    elif name == "water":
        marks = (y % 4 == 1) & ((x + 5 * (y // 4)) % 16 < 9)
    elif name == "road":
        marks = (np.abs(y - 17) <= 1) & (x % 16 < 10)
    else:
        marks = ((x + 4 * (y // 4)) % 8 < 3) & (y % 4 < 3)
    ground = np.where(marks[..., None], _rgb(*accent), _rgb(*base)).astype(np.float32)
    if name == "road":
        ground[:2] = (0.60, 0.60, 0.60)
    return ground


def _plain(canvas: Pixels) -> Pixels:
    return np.clip(canvas, 0, 1)


def _pixel_art(canvas: Pixels) -> Pixels:
    coarse = canvas.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3))
    vivid = np.clip((coarse - 0.5) * 1.1 + 0.5, 0, 1)
    blocks: Pixels = np.repeat(np.repeat(np.round(vivid * 4) / 4, 2, 0), 2, 1).astype(np.float32)
    return blocks


def _pencil_sketch(canvas: Pixels) -> Pixels:
    grey = np.clip(canvas, 0, 1) @ _rgb(0.30, 0.59, 0.11)
    blurred = ndimage.gaussian_filter(1 - grey, 2.0)
    lines = np.clip(grey / np.maximum(1 - blurred, 0.05), 0, 1)
    tone = 0.72 * lines + 0.28 * grey
    hatch = np.where((np.add.outer(np.arange(SIDE), np.arange(SIDE)) % 4 == 0) & (grey < 0.45), 0.85, 1.0)
    paper = _rgb(0.98, 0.96, 0.90)
    sketch: Pixels = ((0.15 + 0.85 * tone * hatch)[..., None] * paper).astype(np.float32)
    return sketch


def _watercolour(canvas: Pixels) -> Pixels:
    washed = ndimage.median_filter(np.clip(canvas, 0, 1), size=(3, 3, 1))
    washed = 0.30 + 0.70 * (washed * 0.85 + 0.15 * washed.mean(-1, keepdims=True))
    paper, edge = _paper()
    canvas = np.clip(washed * paper * edge + (1 - edge) * 0.99, 0, 1).astype(np.float32)
    return canvas


@cache
def _paper() -> tuple[Pixels, Pixels]:
    """The paper's grain, around 1, and its ragged edge, from 0 at the border to 1 inside; both ``[64, 64, 1]``."""
    rng = np.random.default_rng(900)
    grain = 1 + 0.18 * ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2.0)
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.minimum(np.minimum(x, SIDE - 1 - x), np.minimum(y, SIDE - 1 - y)).astype(np.float64)
    ragged = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2.5) * 12
    edge = np.clip((distance - 3 + ragged) / 2, 0, 1)
    return grain[..., None].astype(np.float32), edge[..., None].astype(np.float32)


def _van_gogh(canvas: Pixels) -> Pixels:
    """Colour smeared along a swirling flow field, stroke relief on top, palette pulled to ultramarine and yellow."""
    columns, rows, relief = _flow()
    smeared = np.clip(canvas, 0, 1)[rows, columns].mean(0)
    light = (smeared @ _rgb(0.30, 0.59, 0.11))[..., None]
    palette = _rgb(0.05, 0.12, 0.45) * (1 - light) + _rgb(1.0, 0.87, 0.35) * light
    painted = 0.68 * smeared + 0.32 * palette
    canvas = np.clip(painted + 0.13 * relief[..., None], 0, 1).astype(np.float32)
    return canvas


@cache
def _flow() -> tuple[NDArray[np.intp], NDArray[np.intp], Pixels]:
    """Columns and rows of the pixels that a stroke averages, ``[steps, 64, 64]`` each, and its relief in −1…1."""
    rng = np.random.default_rng(700)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    angle = 0.35 * np.sin(x / 9) + 0.25 * np.cos(y / 7)
    for centre_y, centre_x in ((10, 12), (14, 50)):
        distance = np.hypot(y - centre_y, x - centre_x)
        swirl = np.arctan2(y - centre_y, x - centre_x) + np.pi / 2
        near = np.exp(-((distance / 11) ** 2))
        angle = angle * (1 - near) + swirl * near
    along_x, along_y = np.cos(angle), np.sin(angle)
    noise = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 0.7)
    steps_x, steps_y, tones = [], [], []
    for direction in (-1, 1):
        at_x, at_y = x.copy(), y.copy()
        for step in range(6):
            column = np.clip(np.round(at_x), 0, SIDE - 1).astype(np.intp)
            row = np.clip(np.round(at_y), 0, SIDE - 1).astype(np.intp)
            tones.append(noise[row, column])
            if step <= 1:
                steps_x.append(column)
                steps_y.append(row)
            at_x += direction * along_x[row, column]
            at_y += direction * along_y[row, column]
    relief = np.mean(tones, 0)
    relief = np.clip(relief / (2 * relief.std()), -1, 1)
    return np.stack(steps_x), np.stack(steps_y), relief.astype(np.float32)


_STYLES = {
    "plain": _plain,
    "van-gogh": _van_gogh,
    "pixel-art": _pixel_art,
    "pencil-sketch": _pencil_sketch,
    "watercolour": _watercolour,
}
