"""Images that another method rendered, in a folder as ``ear generate --prompts`` writes it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ear.evaluation.attacks.fit import FittedAttack
from ear.evaluation.images import SCHEMA, STAGE, image_table, shards
from ear.evaluation.measure import Measurement
from ear.evaluation.prompts import EvaluationPrompt
from ear.method.facts import all_names
from ear.prompt_images import INDEX
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.png import decode, encode
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import StageSet
from ecgvf.janus import JanusModel, Sampling


@dataclass(frozen=True)
class SubmittedImages:
    """Stands in for an adapter: its images are read instead of rendered, and have no image tokens."""

    name: str
    """Name of the method."""
    folder: Path
    concept: Concept
    hash: str
    """Hash of the files, 16 hex digits."""
    rewrites = False
    """Prompts stay as they are."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts like those of an adapter: the method's name in place of the recipe."""
        erased = sorted(all_names(self.concept))
        return {"concept": self.concept.name, "erased": erased, "recipe": {"name": self.name}}

    @property
    def concepts(self) -> list[str]:
        """The concept that its method erased."""
        return [self.concept.name]

    def active(self, model: JanusModel) -> AbstractContextManager[JanusModel]:
        """Raise ``SettingsError``: nothing else can be asked of the method."""
        raise SettingsError(f"{self.name}: images of the prompts alone cannot have figures that need a model")

    def stage_set(self, run: ConceptRun, prompts: Sequence[EvaluationPrompt], size: int) -> StageSet:
        """A finished set with an image per prompt, ``size`` pixels wide and high, without image tokens.

        Raises ``DatasetError`` for a prompt whose image is missing, unreadable or of another size.
        """
        settings = {
            "submitted": self.hash,
            "cases": fingerprint({"cases": [[prompt.prompt, prompt.seed] for prompt in prompts]}),
            "columns": SCHEMA.names,
        }
        stage_set = run.stage_set(STAGE, settings)

        def work(shard: Sequence[EvaluationPrompt], _: object, advance: Callable[[int], None]) -> pa.Table:
            images = [self._image(prompt, size) for prompt in shard]
            advance(len(shard))
            return image_table(shard, images, [[] for _ in shard])

        stage_set.fill(shards(prompts), work, description=f"reading the images of {self.name}")
        stage_set.finish({"pictures": len(prompts)}, current=False)
        return stage_set

    def _image(self, prompt: EvaluationPrompt, size: int) -> bytes:
        path = self._files.get((prompt.prompt, prompt.seed))
        if path is None:
            raise DatasetError(
                f"{self.folder / INDEX} has no image of {prompt.prompt!r} with seed {prompt.seed}: render every "
                "evaluation prompt from its seed"
            )
        file = (self.folder / path).resolve()
        if not file.is_relative_to(self.folder.resolve()):
            raise DatasetError(f"{self.folder / INDEX} names {path!r}, which is not in its folder")
        try:
            pixels = decode(file.read_bytes())
        except OSError as error:
            reason = error.strerror or error
            raise DatasetError(f"{file} cannot be read as an image ({reason}): render it again") from error
        height, width, _ = pixels.shape
        if (height, width) != (size, size):
            raise DatasetError(f"{file} has {width} x {height} pixels: the model renders {size} x {size}")
        return encode(pixels)

    @cached_property
    def _files(self) -> dict[tuple[str, int], str]:
        """(prompt, seed) → path of the image."""
        file = self.folder / INDEX
        columns = pa.schema([("prompt", pa.string()), ("seed", pa.int64()), ("image", pa.string())])
        try:
            rows = pq.read_table(file, columns=columns.names).cast(columns).to_pylist()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(
                f"{file} has no columns prompt, seed and image: `ear generate --prompts` writes them"
            ) from error
        return {(row["prompt"], row["seed"]): row["image"] for row in rows if row["image"] is not None}


@dataclass(frozen=True)
class SubmittedMeasurement(Measurement):
    """A measurement of images that another method rendered, without what needs image tokens."""

    adapter: SubmittedImages

    def tuned_images(
        self, prompts: Sequence[EvaluationPrompt], sampling: Sampling, attack: FittedAttack | None
    ) -> StageSet:
        """The submitted images of ``prompts``. Raises as ``SubmittedImages.stage_set`` does."""
        return self.adapter.stage_set(ConceptRun(self.store, self.dataset.concept), prompts, self.model.image_size)

    def agreement(
        self, prompts: Sequence[EvaluationPrompt], frozen: Sequence[Sequence[int]] | None, sampling: Sampling
    ) -> list[float | None]:
        """None for every prompt."""
        return [None] * len(prompts)
