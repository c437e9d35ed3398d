"""The miniature world: compose a scene into a 64 px image.

An image has a sky, a ground, one thing as drawn by one designer, perhaps a companion, and a style. Positions are fixed:
a small model spends nothing on jitter, so that a church is sharp rather than averaged.
"""

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from ecgvf.world.grammar import PLAIN, load_world
from tools.nano.painting import SIDE, Pixels, as_bytes, background, paint

GROUND_LINE = 60
"""Row on which a thing stands."""
THING_SIZE, COMPANION_SIZE = 44, 18
"""Longer side of a drawing, in pixels."""
SKIES = tuple(load_world().skies)
GROUNDS = tuple(load_world().grounds)
COMPANIONS = tuple(load_world().companions)
STYLES = tuple(load_world().styles)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that determines an image."""

    thing: str
    designer: str
    sky: str
    ground: str
    companion: str | None
    style: str

    @property
    def combination(self) -> tuple[str, str, str, str | None, str]:
        """Thing, sky, ground, companion and style: the arguments of the grammar's ``describe`` and ``held_out``."""
        return self.thing, self.sky, self.ground, self.companion, self.style


@cache
def drawings() -> dict[str, dict[str, dict[str, object]]]:
    """Thing or companion → designer → SVG body with its width and height."""
    loaded = json.loads((Path(__file__).parent / "drawings.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, dict[str, object]]] = loaded["drawings"]
    return table


def things() -> list[str]:
    """Names of the things of the world in alphabetical order, companions excluded."""
    return sorted(load_world().things)


def random_scene(rng: random.Random, *, thing: str | None = None, style: str | None = None) -> Scene:
    """A uniformly random scene; two in five are plain, three in ten have a companion."""
    thing = thing or rng.choice(things())
    companion = rng.choice(COMPANIONS) if rng.random() < 0.3 else None
    return Scene(
        thing=thing,
        designer=rng.choice(sorted(drawings()[thing])),
        sky=rng.choice(SKIES),
        ground=rng.choice(GROUNDS),
        companion=companion,
        style=style or (PLAIN if rng.random() < 0.4 else rng.choice(STYLES[1:])),
    )


def compose(scene: Scene, alter: Callable[[Pixels], object] | None = None) -> Pixels:
    """The scene's image, float32 ``[64, 64, 3]`` in 0…1.

    `alter` changes in place what is painted before the companion and the style: background and thing.
    """
    canvas = background(scene.sky, scene.ground)
    _paste(canvas, _sprite(scene.thing, scene.designer, THING_SIZE), SIDE // 2, GROUND_LINE)
    if alter:
        alter(canvas)
    if scene.companion:
        _paste(canvas, _sprite(scene.companion, "noto", COMPANION_SIZE), SIDE - 10, GROUND_LINE + 2)
    return paint(canvas, scene.style)


def compose_batch(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """The images of several scenes, uint8 ``[N, 64, 64, 3]``."""
    return as_bytes(map(compose, scenes), len(scenes))


@cache
def _sprite(name: str, designer: str, size: int) -> Pixels:
    """The drawing as premultiplied RGBA, float32 ``[H, W, 4]``, cropped; its longer side has `size` pixels."""
    return rasterise(drawings()[name][designer], size)


def rasterise(drawing: dict[str, object], size: int) -> Pixels:
    """The drawing as premultiplied RGBA, float32 ``[H, W, 4]``, cropped; its longer side has `size` pixels."""
    width, height = drawing["width"], drawing["height"]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="256" height="256">{drawing["body"]}</svg>'
    )
    large = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))).convert("RGBA")
    large = large.crop(large.getchannel("A").point(lambda alpha: 255 * (alpha > 24)).getbbox())
    scale = size / max(large.size)
    small = large.resize(
        (max(1, round(large.width * scale)), max(1, round(large.height * scale))), Image.Resampling.LANCZOS
    )
    rgba: Pixels = np.asarray(small, np.float32) / np.float32(255)
    rgba[..., :3] *= rgba[..., 3:]
    return rgba


def _paste(canvas: Pixels, sprite: Pixels, centre: int, bottom: int) -> None:
    """Blend `sprite` into `canvas` in place; what exceeds the left or right border is cut off."""
    height, width = sprite.shape[:2]
    left, top = centre - width // 2, bottom - height
    first = max(0, -left)
    last = width - max(0, left + width - SIDE)
    target = canvas[top:bottom, left + first : left + last]
    target *= 1 - sprite[:, first:last, 3:]
    target += sprite[:, first:last, :3]
