"""Measure FID, KID and CLIP score: render captions before and after, encode, compare with the reference pictures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ear.evaluation.fidelity import figures, published
from ear.evaluation.fidelity.captions import Captions, nano_captions, read_captions
from ear.evaluation.fidelity.encoders import Encoders, nano_encoders, photograph_encoders
from ear.evaluation.fidelity.features import FeatureSet, image_features, picture_features
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.figures import FigureRow
from ear.evaluation.images import evaluation_images
from ear.method.open_adapter import AnyAdapter
from ear.retained_concepts import in_nano_world
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.figures import Figure
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """The figures, and all that decides what they mean."""

    label: str
    """Before each figure's name: whose features, and whether the protocol is the published one."""
    captions: str
    n: int
    """Images before, as many as after."""
    reference_n: int
    features: str
    resizing: str
    clip: str
    seed: int
    as_published: bool
    own_text: int
    """Images whose CLIP score is with their own caption."""
    rows: tuple[FigureRow, ...]

    @property
    def description(self) -> str:
        """What was measured, in one paragraph."""
        text = (
            f"{self.label}: {self.n} images of {self.captions}, evaluation seed {self.seed}, against "
            f"{self.reference_n} pictures. Features: {self.features}; resizing: {self.resizing}. CLIP: {self.clip}, "
            f"{self.own_text} of {self.n} images with their own caption."
        )
        return f"{text} As published: {'; '.join(published.PROTOCOL)}." if self.as_published else text

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it, under ``paper``."""
        facts = {name: getattr(self, name) for name in _FACTS}
        protocol = list(published.PROTOCOL) if self.as_published else []
        return {**facts, "protocol": protocol, "figures": [row.json() for row in self.rows]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What ``json`` returned. Raises ``KeyError`` and ``TypeError`` for anything else."""
        rows = tuple(_row(**row) for row in content["figures"])
        return cls(**{name: content[name] for name in _FACTS}, rows=rows)


_FACTS = (
    "label",
    "captions",
    "n",
    "reference_n",
    "features",
    "resizing",
    "clip",
    "seed",
    "as_published",
    "own_text",
)


@dataclass(frozen=True)
class FidelityMeasurement:
    """Captions and encoders, opened before anything is rendered, so that a wrong file costs nothing."""

    dataset: Dataset
    settings: FidelitySettings
    captions: Captions
    encoders: Encoders
    seed: int

    @classmethod
    def open(cls, dataset: Dataset, model: JanusModel, settings: FidelitySettings, seed: int) -> Self:
        """Raises ``DatasetError``, ``SettingsError`` and ``JudgeError`` as the parts do."""
        on_nano, published = in_nano_world(dataset), settings.as_published
        if settings.coco is not None and settings.coco_images is not None:
            captions = read_captions(
                settings.coco, settings.coco_images, settings.captions, seed, as_published=published
            )
        elif on_nano:
            captions = nano_captions(settings.captions, seed, as_published=published)
        else:
            raise SettingsError("--figures paper needs --coco FILE and --coco-images DIR: captions and their pictures")
        encoders = nano_encoders() if on_nano else photograph_encoders(settings, str(model.device))
        return cls(dataset, settings, captions, encoders, seed)

    def measure(
        self, store: Store, model: JanusModel, adapter: AnyAdapter, adapter_hash: str, batch_size: int | None
    ) -> Fidelity:
        """Render and encode what the store lacks, and compute the figures. Raises ``DatasetError``."""
        as_published = self.settings.as_published
        if as_published:
            model, batch_size = replace(model, padding_masked=False), published.BATCH
        prompts, run = self.captions.prompts, ConceptRun(store, self.dataset.concept)
        own = [prompt.prompt for prompt in prompts]
        texts = published.texts_by_file_name(own) if as_published else own
        sampling = Sampling(**self.dataset.sampling)
        sets = []
        for tuned in (None, adapter):
            images = evaluation_images(
                store,
                model,
                self.dataset,
                prompts,
                sampling,
                adapter=tuned,
                adapter_hash=None if tuned is None else adapter_hash,
                batch_size=batch_size,
            )
            sets.append(image_features(run, self.encoders, images, texts, jpeg=as_published))
        reference = picture_features(run, self.encoders, self.captions.pictures)
        if not as_published and not sets[0].n == sets[1].n == reference.n:
            raise DatasetError(
                f"{sets[0].n} images before, {sets[1].n} after and {reference.n} pictures: FID needs equal numbers"
            )
        label = f"{self.encoders.label}, as published" if as_published else self.encoders.label
        return Fidelity(
            label=label,
            captions=self.captions.name,
            n=len(prompts),
            reference_n=reference.n,
            features=self.encoders.features_name,
            resizing=self.encoders.resizing,
            clip=self.encoders.clip_name,
            seed=self.seed,
            as_published=as_published,
            own_text=sum(own_text == text for own_text, text in zip(own, texts, strict=True)),
            rows=tuple(self._rows(label, sets[0], sets[1], reference, sampling)),
        )

    def _rows(
        self, label: str, before: FeatureSet, after: FeatureSet, reference: FeatureSet, sampling: Sampling
    ) -> list[FigureRow]:
        with console.progress("FID, with its interval", figures.GROUPS + 1) as bar:
            found = {"fid": figures.frechet(before, after, reference, bar.advance)}
        if not self.settings.as_published:  # the paper has none
            found["kid"] = figures.kernel(before, after, reference)
        found["clip_score"] = figures.clip_score(before, after, [prompt.id for prompt in self.captions.prompts])
        return [
            FigureRow(
                figure=name,
                group=label,
                guidance=sampling.guidance,
                temperature=sampling.temperature,
                before=old,
                after=new,
                change=change,
            )
            for name, (old, new, change) in found.items()
        ]


def _row(
    *, figure: str, group: str, guidance: float, temperature: float, ceiling: None, **values: dict[str, float | None]
) -> FigureRow:
    """The row whose ``FigureRow.json`` these are."""
    before, after, change = (_figure(values[name]) for name in ("before", "after", "change"))
    return FigureRow(
        figure=figure,
        group=group,
        guidance=guidance,
        temperature=temperature,
        before=before,
        after=after,
        change=change,
    )


def _figure(values: Mapping[str, float | None]) -> Figure:
    """The figure whose ``Figure.json`` these are."""

    def number(name: str) -> float:
        value = values[name]
        return math.nan if value is None else float(value)

    return Figure(number("value"), int(number("n")), number("low"), number("high"))
