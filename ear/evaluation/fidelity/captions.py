"""Captions and the pictures that they describe: COCO's, joined by id, or those of nano's world.

They are in the order of a hash of id and text, so that neither the order of the file nor that of the folder changes
anything, and the first N are a random sample.
"""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ear.evaluation.fidelity.settings import FEWEST
from ear.evaluation.prompts import EvaluationPrompt
from ecgvf.core import seeds
from ecgvf.core.errors import DatasetError
from ecgvf.judges.files import SUFFIXES
from ecgvf.pairs.tables import read_table
from ecgvf.world import grammar
from ecgvf.world.questions import load_questions

PURPOSE = "caption"
NANO = "the 256 drawings that ship with nano"

_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True)
class Captions:
    """N captions and the reference pictures."""

    name: str
    """What they are, for reports."""
    prompts: tuple[EvaluationPrompt, ...]
    pictures: tuple[Path | bytes, ...]
    """Of each caption: an image file, or its bytes. As published, the whole folder."""


def read_captions(file: Path, folder: Path, count: int | None, seed: int, *, as_published: bool = False) -> Captions:
    """``count`` (None: all) captions of ``file`` with the pictures in ``folder`` of the same ids.

    A picture's id is its name without suffix, or the number at its end: 42 is ``COCO_val2014_000000000042.jpg``. A
    caption's seed is the file's; without one it is derived from ``seed`` and the id. ``as_published``: the captions are
    in the file's order, their seeds are ignored, and the pictures are all those in ``folder``.

    Raises ``DatasetError`` for captions without ids, without pictures, and for fewer than ``count``.
    """
    table = read_table(file)
    if any(row.id is None for row in table.rows):
        raise DatasetError(f"{file} has rows without the id of a picture: add a column image_id or coco_id")
    pictures = picture_files(folder)
    prompts = [_prompt(str(row.id), row.target, None if as_published else row.seed, seed) for row in table.rows]
    chosen = _first(prompts, count, str(file), in_order=as_published)
    missing = [prompt.id for prompt in chosen if find_picture(pictures, prompt.id) is None]
    if len(missing) == len(chosen):
        raise DatasetError(
            f"no picture in {folder} has an id of {file.name}: it asks for {missing[0]} and there is "
            f"{next(iter(pictures.values())).name}; name the folder of its pictures"
        )
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of the {len(chosen)} pictures of {file.name}, such as {missing[0]}: "
            "complete it, or remove those rows"
        )
    if as_published:
        return Captions(file.name, tuple(chosen), tuple(sorted(set(pictures.values()))))
    found = tuple(picture for prompt in chosen if (picture := find_picture(pictures, prompt.id)) is not None)
    return Captions(file.name, tuple(chosen), found)


def nano_captions(count: int | None, seed: int, *, as_published: bool = False) -> Captions:
    """``count`` (None: all) of the drawings of nano's world that ship, with sentences of its grammar.

    The drawings are nano's questions': eight of each thing, none of them among its training images.
    ``as_published``: all drawings are reference pictures, whatever the ``count``.
    """
    images = {question.image_id: question for question in load_questions()}
    prompts = []
    for name, drawn in images.items():
        rng = random.Random(seeds.derive(0, name, PURPOSE))
        scene = (drawn.thing, drawn.sky, drawn.ground, drawn.companion, drawn.style)
        text = grammar.sentence(grammar.describe(*scene, rng, everything=True), rng).text
        prompts.append(_prompt(name, text, None, seed))
    chosen = _first(prompts, count, NANO, in_order=as_published)
    if as_published:
        return Captions(NANO, tuple(chosen), tuple(question.image for question in images.values()))
    return Captions(NANO, tuple(chosen), tuple(images[prompt.id].image for prompt in chosen))


def picture_files(folder: Path) -> dict[str, Path]:
    """Id → image file: the name without suffix, and the number at its end without leading zeros.

    Raises ``DatasetError`` for a folder without images, and for two images of one number.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}: name that of the pictures with --coco-images")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise DatasetError(f"no images in {folder}: name the folder of the pictures with --coco-images")
    pictures: dict[str, Path] = {}
    for file in files:
        for key in dict.fromkeys([file.stem, *_number(file.stem)]):
            if key in pictures:
                raise DatasetError(f"{pictures[key]} and {file.name} have one id, {key}: remove one of them")
            pictures[key] = file
    return pictures


def find_picture(pictures: Mapping[str, Path], identity: str) -> Path | None:
    """The picture of a caption's id, which may have leading zeros, or be a file's name."""
    for key in (identity, Path(identity).stem, *_number(identity)):
        if key in pictures:
            return pictures[key]
    return None


def _number(name: str) -> list[str]:
    match = _NUMBER.search(name)
    return [str(int(match[1]))] if match else []


def _prompt(identity: str, text: str, seed: int | None, run_seed: int) -> EvaluationPrompt:
    own = seeds.derive(run_seed, identity, PURPOSE) if seed is None else seed
    return EvaluationPrompt(id=identity, prompt=text, seed=own)


def _first(
    prompts: Sequence[EvaluationPrompt], count: int | None, name: str, *, in_order: bool
) -> list[EvaluationPrompt]:
    if len(prompts) < (count or FEWEST):
        raise DatasetError(f"{name}: {count or FEWEST} captions are needed, but there are {len(prompts)}")
    return (list(prompts) if in_order else sorted(prompts, key=_order))[:count]


def _order(prompt: EvaluationPrompt) -> bytes:
    return hashlib.sha256(f"{prompt.id}\0{prompt.prompt}".encode()).digest()
