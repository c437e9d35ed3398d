"""The images to compare: in a folder of ``ear generate --prompts``, or of prompts rendered before and after erasing."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ear.evaluation.control_tokens import STARTOFTEXT
from ear.evaluation.images import evaluation_images, renderable
from ear.evaluation.prompts import EvaluationPrompt
from ear.method.open_adapter import AnyAdapter
from ear.prompt_images import IMAGES, INDEX, SCHEMA, SHARDS
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.files import read_json
from ecgvf.core.png import decode
from ecgvf.core.stage_set import StageSet
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel


@dataclass(frozen=True)
class ImageGroup:
    """Images to compare with each other."""

    name: str
    """"before", "after", or the folder's path."""
    token: bool
    """Whether the prompts contain ``STARTOFTEXT``."""
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    """As rendered."""
    source: "StageSet | tuple[Path, ...]"
    """The rendered set, or the files."""

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """RGB [H, W, 3] of each image, one at a time. Raises ``DatasetError`` for a file that cannot be read."""
        if isinstance(self.source, StageSet):
            for table in self.source.tables():
                yield from map(decode, table["image"].to_pylist())
            return
        for file in self.source:
            yield _read(file)

    def selected(self, indices: Collection[int]) -> dict[int, NDArray[np.uint8]]:
        """RGB [H, W, 3] of the images at ``indices`` alone, by index. Raises as ``pixels`` does."""
        if not isinstance(self.source, StageSet):
            return {index: _read(self.source[index]) for index in indices}
        encoded = chain.from_iterable(table["image"] for table in self.source.tables(["image"]))
        return {index: decode(image.as_py()) for index, image in enumerate(encoded) if index in indices}

    @property
    def bare_prompts(self) -> list[str]:
        """The prompts without ``STARTOFTEXT``, in lower case: two prompts are different if these are."""
        return [without_token(prompt).casefold() for prompt in self.prompts]


def without_token(prompt: str) -> str:
    """``prompt`` without every ``STARTOFTEXT``, with single spaces."""
    return " ".join(prompt.replace(STARTOFTEXT, " ").split())


def adapter_groups(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    adapter: AnyAdapter,
    adapter_hash: str,
    prompts: Sequence[EvaluationPrompt],
) -> list[ImageGroup]:
    """Four groups: before and after, without and with ``STARTOFTEXT`` before each prompt, from the same seeds.

    Prompts that the model refuses are left out, with a note. What the store has is not rendered again. Raises
    ``DatasetError`` if no prompt is left, or if the logits of a prompt are not finite.
    """
    sampling, groups = dataset.sampling, []
    bare = renderable(model, [replace(prompt, prompt=without_token(prompt.prompt)) for prompt in prompts])
    marked = renderable(model, [replace(prompt, prompt=f"{STARTOFTEXT} {prompt.prompt}") for prompt in bare])
    bare = [replace(prompt, prompt=without_token(prompt.prompt)) for prompt in marked]
    for name, tuned in (("before", None), ("after", adapter)):
        for token, asked in ((False, bare), (True, marked)):
            identity = None if tuned is None else adapter_hash
            images = evaluation_images(store, model, dataset, asked, sampling, adapter=tuned, adapter_hash=identity)
            texts = tuple(prompt.prompt for prompt in asked)
            groups.append(ImageGroup(name, token, tuple(prompt.id for prompt in asked), texts, images))
    return groups


def folder_groups(folder: Path) -> list[ImageGroup]:
    """The images of a folder of ``ear generate --prompts``, without and with ``STARTOFTEXT`` in the prompt.

    Failed prompts are left out. Raises ``DatasetError`` for another folder, and for a missing image.
    """
    index = folder / INDEX
    if not index.is_file():
        raise DatasetError(f"{folder} has no {INDEX}: name a folder that `ear generate --prompts FILE --out` finished")
    try:
        rows = pq.read_table(index, columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DatasetError(f"{index} is not what `ear generate --prompts` wrote: render the prompts again") from error
    rows = [row for row in rows if row["image"] is not None]
    for row in rows:
        if Path(row["image"]).parent != Path(IMAGES):
            raise DatasetError(f"{index} names the image {row['image']!r}, which is not in {folder / IMAGES}")
        if not (folder / row["image"]).is_file():
            raise DatasetError(f"{folder / row['image']} is missing: restore it, or delete {folder} and render again")
    groups = [(token, [row for row in rows if (STARTOFTEXT in row["prompt"]) == token]) for token in (False, True)]
    return [
        ImageGroup(
            str(folder),
            token,
            tuple(row["id"] for row in chosen),
            tuple(row["prompt"] for row in chosen),
            tuple(folder / row["image"] for row in chosen),
        )
        for token, chosen in groups
        if chosen
    ]


def folder_model(folder: Path) -> str | None:
    """Name of the model that rendered the folder; None if it does not say."""
    manifest = folder / SHARDS / "manifest.json"
    model = read_json(manifest).get("model") if manifest.is_file() else None
    return None if model is None else str(model)


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        return decode(file.read_bytes())
    except OSError as error:
        raise DatasetError(f"{file} cannot be read as an image ({error}): restore it") from error
