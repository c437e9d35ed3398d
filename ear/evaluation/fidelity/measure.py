"""Measure FID, KID and CLIP score: encode the reference pictures, render captions before and after, encode, compare."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

from ear.evaluation import statistics
from ear.evaluation.fidelity import figures, released_protocol
from ear.evaluation.fidelity.captions import Captions, nano_captions, read_captions
from ear.evaluation.fidelity.encoders import Encoders, nano_encoders, photograph_encoders
from ear.evaluation.fidelity.features import FeatureSet, image_features, picture_features
from ear.evaluation.fidelity.figures import Estimate
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.figures import FigureRow
from ear.evaluation.images import evaluation_images
from ear.method.open_adapter import AnyAdapter
from ear.retained_concepts import in_nano_world
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling
from ecgvf.render import refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """FID, KID and CLIP score, before and after erasing, and everything that decides what they mean."""

    label: str
    """Prefix of each figure's name: the encoder of the features, and "as published" if that is the protocol."""
    captions: str
    n: int
    """Number of images before, and of images after."""
    reference_n: int
    features: str
    resizing: str
    clip: str
    seeds: str
    """Where the images' seeds come from."""
    as_published: bool
    own_text: int
    """Images whose CLIP score is with their own caption."""
    hashes: Mapping[str, str]
    """Of captions and seeds, reference pictures, and the weights of both encoders."""
    rows: tuple[FigureRow, ...]
    replicates: Mapping[str, tuple[float, ...]]
    """Figure → the values after erasing whose spread decides ``differences`` (``figures.Estimate``)."""

    @property
    def description(self) -> str:
        """What was measured, in one paragraph."""
        text = (
            f"{self.label}: images of {self.n} captions from {self.captions}, {self.seeds}, against "
            f"{self.reference_n} pictures. Features: {self.features}; resizing: {self.resizing}. CLIP: {self.clip}, "
            f"{self.own_text} of {self.n} images with their own caption."
        )
        return f"{text} As published: {'; '.join(released_protocol.PROTOCOL)}." if self.as_published else text

    @property
    def facts(self) -> dict[str, Any]:
        """What figures must have in common to be compared."""
        return {name: getattr(self, name) for name in _FACTS}

    def differences(self, other: "Fidelity") -> list[FigureRow]:
        """Every figure with this after in place of before, and that of ``other``, which has equal facts, as after."""

        def estimate(of: Fidelity, row: FigureRow) -> Estimate:
            return Estimate(row.after.value, of.replicates[row.figure], row.after.n)

        return [
            replace(new, before=old.after, change=estimate(self, old).difference(estimate(other, new)))
            for old, new in zip(self.rows, other.rows, strict=True)
        ]

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it, under ``paper``."""
        protocol = list(released_protocol.PROTOCOL) if self.as_published else []
        replicates = {figure: list(values) for figure, values in self.replicates.items()}
        return {
            **self.facts,
            "protocol": protocol,
            "figures": [row.json() for row in self.rows],
            "replicates": replicates,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What ``json`` returned. Raises ``KeyError`` and ``TypeError`` for anything else."""
        return cls(
            **{name: content[name] for name in _FACTS},
            rows=tuple(FigureRow.from_json(row) for row in content["figures"]),
            replicates={figure: tuple(values) for figure, values in content["replicates"].items()},
        )


_FACTS = [each.name for each in fields(Fidelity) if each.name not in ("rows", "replicates")]


@dataclass(frozen=True)
class FidelityMeasurement:
    """Captions, encoders and the pictures' features: opened before anything is rendered, so that a wrong file costs
    nothing."""

    dataset: Dataset
    settings: FidelitySettings
    captions: Captions
    encoders: Encoders
    reference: FeatureSet

    @classmethod
    def open(cls, store: Store, model: JanusModel, dataset: Dataset, settings: FidelitySettings, seed: int) -> Self:
        """Read captions, pictures and weights. Raises ``DatasetError``, ``SettingsError``, ``JudgeError``."""
        on_nano, as_published = in_nano_world(dataset), settings.as_published
        if settings.coco is not None and settings.coco_images is not None:
            captions = read_captions(
                settings.coco,
                settings.coco_images,
                settings.captions,
                seed,
                columns=settings.column,
                as_published=as_published,
            )
        elif on_nano:
            captions = nano_captions(settings.captions, seed, as_published=as_published)
        else:
            raise SettingsError("--figures paper needs --coco FILE and --coco-images DIR: captions and their pictures")
        if on_nano and (given := {"--inception", "--clip"}.intersection(settings.given)):
            raise SettingsError(f"{min(given)}: nano's figures are of its own features; leave it out")
        for caption in captions.prompts:
            if (reason := refusal(model, caption.prompt)) is not None:
                raise DatasetError(f"{captions.name}: {caption.prompt[:60]!r} cannot be rendered: {reason}")
        encoders = nano_encoders() if on_nano else photograph_encoders(settings, str(model.device))
        reference = picture_features(ConceptRun(store, dataset.concept), encoders, captions.pictures)
        return cls(dataset, settings, captions, encoders, reference)

    def measure(
        self, store: Store, model: JanusModel, adapter: AnyAdapter, adapter_hash: str, batch_size: int | None
    ) -> Fidelity:
        """Render and encode what the store lacks, and compute the figures."""
        as_published = self.settings.as_published
        if as_published:
            model, batch_size = replace(model, padding_masked=False), released_protocol.BATCH
        prompts, run = self.captions.prompts, ConceptRun(store, self.dataset.concept)
        own = [prompt.prompt for prompt in prompts]
        texts = released_protocol.texts_by_file_name(own) if as_published else own
        sampling = self.dataset.sampling
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
        label = f"{self.encoders.label}, as published" if as_published else self.encoders.label
        rows, replicates = self._figures(label, sets[0], sets[1], sampling)
        return Fidelity(
            label=label,
            captions=self.captions.name,
            n=len(prompts),
            reference_n=self.reference.n,
            features=self.encoders.features_name,
            resizing=self.encoders.resizing,
            clip=self.encoders.clip_name,
            seeds=self.captions.seeds,
            as_published=as_published,
            own_text=sum(own_text == text for own_text, text in zip(own, texts, strict=True)),
            hashes={
                "captions": self.captions.fingerprint,
                "pictures": self.reference.shards.settings["pictures"],
                "features": self.encoders.features_hash,
                "clip": self.encoders.clip.weights_hash,
            },
            rows=tuple(rows),
            replicates=replicates,
        )

    def _figures(
        self, label: str, before: FeatureSet, after: FeatureSet, sampling: Sampling
    ) -> tuple[list[FigureRow], dict[str, tuple[float, ...]]]:
        """The rows, and each figure's replicates after erasing."""
        with console.progress("FID, with its interval", figures.JACKKNIFE_GROUPS + 1) as bar:
            distances = {"fid": figures.frechet(before, after, self.reference, bar.advance)}
        if not self.settings.as_published:  # the paper has none
            distances["kid"] = figures.kernel(before, after, self.reference)
        row = partial(FigureRow, group=label, guidance=sampling.guidance, temperature=sampling.temperature)
        rows = [
            row(figure=name, before=old.figure(), after=new.figure(), change=old.difference(new))
            for name, (old, new) in distances.items()
        ]
        ids = [prompt.id for prompt in self.captions.prompts]
        cosines = before.cosines(), after.cosines()
        old, new = (statistics.mean(each, ids, shares=False) for each in cosines)
        change = statistics.difference(*cosines, ids, shares=False)
        rows.append(row(figure="clip_score", before=old, after=new, change=change))
        replicates = {name: new.replicates for name, (_, new) in distances.items()}
        return rows, replicates | {"clip_score": figures.group_means(cosines[1])}
