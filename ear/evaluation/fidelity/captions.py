"""Captions and the pictures that they describe: COCO's, joined by id, or those of nano's world.

They are sorted by a hash of id and text, so that the order of file and folder does not matter, and the first N are a
random sample.
"""

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ear.evaluation.fidelity.settings import FEWEST
from ear.evaluation.prompts import EvaluationPrompt
from ecgvf.core import console, seeds
from ecgvf.core.errors import DatasetError
from ecgvf.core.shard_set import fingerprint
from ecgvf.judges.files import SUFFIXES
from ecgvf.pairs.tables import PromptRow, read_table
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
    """The picture of each caption, as a file or its bytes. As published: all pictures of the folder."""
    seeds: str
    """Where the seeds of the images come from, for reports."""

    @property
    def fingerprint(self) -> str:
        """12 hex digits: a hash of ids, captions and seeds in their order."""
        return fingerprint({"captions": [[prompt.id, prompt.prompt, prompt.seed] for prompt in self.prompts]})


def read_captions(
    file: Path,
    folder: Path,
    count: int | None,
    seed: int,
    *,
    columns: Sequence[str] = (),
    as_published: bool = False,
) -> Captions:
    """``count`` (None: all) captions of ``file`` with the pictures in ``folder`` of the same ids.

    A picture's id is its name without suffix, or the number at its end: 42 is ``COCO_val2014_000000000042.jpg``. A
    caption without a seed in the file has a seed derived from ``seed`` and the id. ``columns`` as in ``read_table``.
    ``as_published``: captions stay in the file's order, their seeds are ignored, and all pictures in ``folder`` count.

    Raises ``DatasetError`` for rows without an id or a caption, for captions without a picture, for duplicates, and for
    fewer captions than ``count``.
    """
    rows = read_table(file, columns).rows
    _refuse_incomplete(file, rows)
    files = picture_files(folder)
    prompts = [_prompt(str(row.id), row.target, None if as_published else row.seed, seed) for row in rows]
    chosen = _first(prompts, count, str(file), in_order=as_published)
    pictures = _pictures_of(chosen, file, folder, files)
    given = not as_published and all(row.seed is not None for row in rows)
    return Captions(
        file.name,
        tuple(chosen),
        tuple(files if as_published else pictures),
        f"seeds of {file.name}" if given else _derived(seed),
    )


def nano_captions(count: int | None, seed: int, *, as_published: bool = False) -> Captions:
    """``count`` (None: all) of the shipped drawings of nano's world, with sentences of its grammar as captions.

    The drawings are those of nano's questions: eight of each thing, none of which nano was trained on.
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
    pictures = [question.image for question in images.values()]
    if not as_published:
        pictures = [images[prompt.id].image for prompt in chosen]
    return Captions(NANO, tuple(chosen), tuple(pictures), _derived(seed))


def picture_files(folder: Path) -> list[Path]:
    """The images in ``folder`` that are not hidden, sorted by name. Raises ``DatasetError`` if there are none."""
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}: name that of the pictures with --coco-images")
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DatasetError(f"no images in {folder}: name the folder of the pictures with --coco-images")
    return files


def _refuse_incomplete(file: Path, rows: Sequence[PromptRow]) -> None:
    for row in rows:
        if row.id is None:
            raise DatasetError(
                f"{file}, row {row.number}: no id of a picture; add it, in a column image_id or coco_id, or name its "
                "column with --column"
            )
        if not row.target:
            raise DatasetError(f"{file}, row {row.number}: no caption; add it, or remove the row")


def _pictures_of(captions: Sequence[EvaluationPrompt], file: Path, folder: Path, files: Sequence[Path]) -> list[Path]:
    """The picture of each caption of ``file`` among the ``files`` of ``folder``. Raises ``DatasetError``."""
    by_id: dict[str, list[Path]] = defaultdict(list)
    for picture in files:
        for key in dict.fromkeys([picture.stem, *_number(picture.stem)]):
            by_id[key].append(picture)
    found = [_picture_of(caption.id, by_id) for caption in captions]
    missing = [caption.id for caption, picture in zip(captions, found, strict=True) if picture is None]
    if len(missing) == len(captions):
        raise DatasetError(
            f"no picture in {folder} has an id of {file.name}: it asks for {missing[0]} and there is "
            f"{files[0].name}; name the folder of its pictures"
        )
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of the {len(captions)} pictures of {file.name}, such as {missing[0]}: "
            "complete it, or remove those rows"
        )
    pictures = [picture for picture in found if picture is not None]
    texts = zip(pictures, (caption.prompt for caption in captions), strict=True)
    (picture, text), times = Counter(texts).most_common(1)[0]
    if times > 1:
        raise DatasetError(f"{file} has the caption {text!r} of {picture.name} {times} times: keep one row")
    if (different := len(set(pictures))) < len(pictures):
        counts = f"{len(pictures)} captions of {different} pictures"
        console.note(f"{file.name} has {counts}: FID counts a picture once for each of its captions")
    return pictures


def _picture_of(identity: str, by_id: Mapping[str, Sequence[Path]]) -> Path | None:
    """The picture of a caption's id, which is a file name, or a number that may have leading zeros; else None."""
    stem = Path(identity).stem  # also of "42.0", as pandas writes numbers
    for key in (identity, stem, *(_number(stem) if stem.isdecimal() else [])):
        if pictures := by_id.get(key):
            if len(pictures) > 1:
                raise DatasetError(f"{pictures[0]} and {pictures[1].name} have one id, {key}: remove one of them")
            return pictures[0]
    return None


def _number(name: str) -> list[str]:
    match = _NUMBER.search(name)
    return [str(int(match[1]))] if match else []


def _prompt(identity: str, text: str, seed: int | None, run_seed: int) -> EvaluationPrompt:
    own = seeds.derive(run_seed, identity, PURPOSE) if seed is None else seed
    return EvaluationPrompt(id=identity, prompt=text, seed=own)


def _derived(seed: int) -> str:
    return f"evaluation seed {seed}"


def _first(
    prompts: Sequence[EvaluationPrompt], count: int | None, name: str, *, in_order: bool
) -> list[EvaluationPrompt]:
    if len(prompts) < (count or FEWEST):
        raise DatasetError(f"{name}: {count or FEWEST} captions are needed, but there are {len(prompts)}")
    return (list(prompts) if in_order else sorted(prompts, key=_order))[:count]


def _order(prompt: EvaluationPrompt) -> bytes:
    return hashlib.sha256(f"{prompt.id}\0{prompt.prompt}".encode()).digest()
