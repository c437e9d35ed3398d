"""The miniature world as other designers draw it: what the second judges, object-c and style-b, learn from.

Nano's own world has four designers, whom its codec and its judges object-a and object-b have all seen. These fourteen
are others. A judge must recognise drawings that it has never seen, so everything that is fixed in nano's world varies
here: colours, proportions, place, size and outline.
"""

import colorsys
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ecgvf.world.grammar import PLAIN
from tools.nano.painting import SIDE, Pixels, as_bytes, background, paint
from tools.nano.world import (
    COMPANION_SIZE,
    COMPANIONS,
    GROUND_LINE,
    GROUNDS,
    SKIES,
    STYLES,
    THING_SIZE,
    rasterise,
    things,
)

COLOURED = ("fxemoji", "streamline-emojis")
"""Sets in the colours of the things. The others are icons in one or two colours, which are chosen anew each time."""
COLOURED_SHARE = 0.6
OWN_COLOURS_SHARE = 0.5
"""Share of the icons in two colours of one of the thing's coloured drawings."""
RASTER = 56
"""Longer side of a drawing before it is warped, in pixels."""


@dataclass(frozen=True, slots=True)
class SecondScene:
    """Everything that determines an image; `seed` decides the variation, and None is none."""

    thing: str | None
    drawing: str | None
    """``SET:NAME``; None without a thing."""
    sky: str
    ground: str
    companion: str | None
    style: str
    seed: int | None


@cache
def second_drawings() -> dict[str, dict[str, dict[str, object]]]:
    """Thing or companion → ``SET:NAME`` → SVG body with its width and height."""
    loaded = json.loads((Path(__file__).parent / "second_drawings.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, dict[str, object]]] = loaded["drawings"]
    return table


def second_scene_pool(name: str, count: int, *, varied: bool = True, empty: bool = False) -> list[SecondScene]:
    """`count` random scenes, the same for the same `name`; `empty` ones show no thing."""
    rng = random.Random(f"ecgvf.nano.second:{name}")
    scenes = []
    for _ in range(count):
        thing = None if empty else rng.choice(things())
        scenes.append(
            SecondScene(
                thing=thing,
                drawing=_choose_drawing(thing, rng) if thing else None,
                sky=rng.choice(SKIES),
                ground=rng.choice(GROUNDS),
                companion=rng.choice(COMPANIONS) if rng.random() < 0.3 else None,
                style=PLAIN if rng.random() < 0.3 else rng.choice(STYLES[1:]),
                seed=rng.getrandbits(32),
            )
        )
    return scenes if varied else [replace(scene, seed=None) for scene in scenes]


def _choose_drawing(name: str, rng: random.Random) -> str:
    """One in the thing's own colours with `COLOURED_SHARE`, if there is one."""
    names = sorted(second_drawings()[name])
    coloured = [drawing for drawing in names if _is_coloured(drawing)]
    return rng.choice(coloured if coloured and rng.random() < COLOURED_SHARE else names)


def _is_coloured(drawing: str) -> bool:
    return drawing.partition(":")[0] in COLOURED


def compose_second(scene: SecondScene) -> Pixels:
    """The scene's image, float32 ``[64, 64, 3]`` in 0…1."""
    rng = np.random.default_rng(scene.seed if scene.seed is not None else 0)
    varied = scene.seed is not None
    canvas = background(scene.sky, scene.ground)
    if scene.thing is not None and scene.drawing is not None:
        sprite = _colour(scene.thing, scene.drawing, rng, varied)
        _blend(canvas, _place(sprite, SIDE / 2, GROUND_LINE, THING_SIZE, rng, varied))
    if scene.companion is not None:
        names = sorted(second_drawings()[scene.companion])
        sprite = _raster(scene.companion, names[rng.integers(len(names))], RASTER // 2)
        _blend(canvas, _place(sprite, SIDE - 10, GROUND_LINE + 2, COMPANION_SIZE, rng, varied))
    return paint(canvas, scene.style)


def compose_second_batch(scenes: Sequence[SecondScene]) -> NDArray[np.uint8]:
    """The images of several scenes, uint8 ``[N, 64, 64, 3]``."""
    return as_bytes(map(compose_second, scenes), len(scenes))


@cache
def _raster(name: str, drawing: str, size: int) -> Pixels:
    return rasterise(second_drawings()[name][drawing], size)


def _colour(thing: str, drawing: str, rng: np.random.Generator, varied: bool) -> Pixels:
    """The sprite in other colours. An icon in one colour gets a body, its filled silhouette, in a second one."""
    sprite = _raster(thing, drawing, RASTER)
    alpha = sprite[..., 3:]
    if _is_coloured(drawing):
        if not varied:
            return sprite
        turn = rng.uniform(0, 1) if rng.random() < 0.25 else rng.normal(0, 0.04)
        matrix = _hue_rotation(turn, saturation=rng.uniform(0.5, 1.3))
        rgb = np.clip((sprite[..., :3] @ matrix) * rng.uniform(0.75, 1.15), 0, alpha)
        return np.concatenate((rgb, alpha), -1).astype(np.float32)
    light, dark = _two_colours(thing, rng)
    if rng.random() < 0.25:
        light, dark = dark, light
    strokes = sprite[..., 3:] * (1 - 0.75 * sprite[..., :3].max(-1, keepdims=True))
    body = np.maximum(alpha[..., 0], ndimage.binary_fill_holes(alpha[..., 0] > 0.15))[..., None].astype(np.float32)
    rgb = light * (body - strokes).clip(0) + dark * strokes
    return np.concatenate((rgb, body), -1).astype(np.float32)


def _hue_rotation(turn: float, saturation: float) -> Pixels:
    """A matrix ``[3, 3]`` that turns the hue by `turn` of a circle around grey; YIQ's axes."""
    to_yiq = np.array([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]])
    cos, sin = saturation * np.cos(2 * np.pi * turn), saturation * np.sin(2 * np.pi * turn)
    rotation = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    matrix: Pixels = (to_yiq @ rotation @ np.linalg.inv(to_yiq)).astype(np.float32)
    return matrix


def _two_colours(thing: str, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A light and a dark colour, float32 ``[3]`` each: of two places of a coloured drawing, or any."""
    palettes = _palettes(thing)
    if not palettes or rng.random() >= OWN_COLOURS_SHARE:
        return _random_colour(rng, bright=True), _random_colour(rng, bright=False)
    palette = palettes[rng.integers(len(palettes))]
    pair = palette[rng.integers(len(palette), size=2)]
    first, second = pair if pair[0].sum() >= pair[1].sum() else pair[::-1]
    return first, second


@cache
def _palettes(thing: str) -> list[Pixels]:
    """The colours of the opaque pixels of each coloured drawing, float32 ``[N, 3]``."""
    sprites = [_raster(thing, name, RASTER) for name in sorted(second_drawings()[thing]) if _is_coloured(name)]
    return [sprite[sprite[..., 3] > 0.95][:, :3] for sprite in sprites]


def _random_colour(rng: np.random.Generator, bright: bool) -> Pixels:
    value = rng.uniform(0.65, 1.0) if bright else rng.uniform(0.1, 0.6)
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, 0.9), value), np.float32)


def _place(sprite: Pixels, centre: float, bottom: float, size: float, rng: np.random.Generator, varied: bool) -> Pixels:
    """The sprite on an empty image, float32 ``[64, 64, 4]``; varied in place, size, proportions, slant and outline."""
    height, width = sprite.shape[:2]
    scale = np.array([size / max(height, width)] * 2)
    slant = turn = 0.0
    if varied:
        scale *= rng.uniform(0.88, 1.12) * np.exp(rng.normal(0, 0.1, 2))
        centre, bottom = centre + rng.normal(0, 2), min(bottom + rng.normal(0, 1.5), SIDE)
        slant, turn = rng.normal(0, 0.08), rng.normal(0, 0.07)
        if rng.random() < 0.5:
            sprite = sprite[:, ::-1]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    if varied:
        for axis in (y, x):
            axis += ndimage.zoom(rng.normal(0, 1.0, (5, 5)), SIDE / 5, order=1)
    offset_y, offset_x = y - (bottom - height * scale[0] / 2), x - centre
    offset_x = offset_x + slant * offset_y
    rows = (np.cos(turn) * offset_y - np.sin(turn) * offset_x) / scale[0] + (height - 1) / 2
    columns = (np.sin(turn) * offset_y + np.cos(turn) * offset_x) / scale[1] + (width - 1) / 2
    placed = [ndimage.map_coordinates(sprite[..., channel], (rows, columns), order=1) for channel in range(4)]
    return np.stack(placed, -1)


def _blend(canvas: Pixels, layer: Pixels) -> None:
    """Blend premultiplied `layer`, ``[64, 64, 4]``, over `canvas` in place."""
    canvas *= 1 - layer[..., 3:]
    canvas += layer[..., :3]
