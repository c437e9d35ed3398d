"""Clusters of near duplicates in each group, by hash and by features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ear.evaluation.fidelity.encoders import TextImageEncoder
from ear.memorisation.images import ImageGroup
from ear.memorisation.near_duplicates import BITS, clusters_by_features, clusters_by_hash, perceptual_hash
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.figures import Figure

Method = Literal["hash", "features"]


@dataclass(frozen=True)
class Findings:
    """The clusters of one group by one method."""

    group: ImageGroup
    method: Method
    clusters: tuple[tuple[int, ...], ...]
    """Indices of the images of each cluster, the largest cluster first."""

    @property
    def share(self) -> Figure:
        """Share of images in clusters, without an interval: the images of a cluster are not independent."""
        n = len(self.group.ids)
        return Figure(sum(map(len, self.clusters)) / n if n else math.nan, n, math.nan, math.nan)

    def json(self) -> dict[str, Any]:
        """``{"images", "token", "method", "in_clusters", "clusters": [{"size", "ids", "prompts"}]}``."""
        group = self.group
        return {
            "images": group.name,
            "token": group.token,
            "method": self.method,
            "in_clusters": self.share.json(),
            "clusters": [
                {
                    "size": len(cluster),
                    "ids": [group.ids[index] for index in cluster],
                    "prompts": [group.prompts[index] for index in cluster],
                }
                for cluster in self.clusters
            ],
        }


@dataclass(frozen=True)
class Analysis:
    """The findings of all groups, and the bounds of a near duplicate."""

    findings: tuple[Findings, ...]
    distance: int
    similarity: float
    encoder: str | None
    """Name of the encoder of the features; None: only hashes were compared."""

    @property
    def description(self) -> str:
        """The bounds, in a sentence."""
        features = f"a cosine of at least {self.similarity:g} between vectors of {self.encoder}"
        by_features = f"; features: {features}" if self.encoder is not None else "; features were not compared"
        return (
            f"Hash: at most {self.distance} of {BITS} bits differ{by_features}. Only pairs of different prompts count."
        )

    def json(self) -> dict[str, Any]:
        """As ``ear memorisation --json`` prints it."""
        bounds = {"distance": self.distance, "similarity": self.similarity, "encoder": self.encoder}
        return {**bounds, "findings": [each.json() for each in self.findings]}


def check_bounds(distance: int, similarity: float) -> None:
    """Raise ``SettingsError`` for bounds of a near duplicate that are out of range."""
    if not 0 <= distance < BITS:
        raise SettingsError(f"--distance {distance}: it must be between 0 and {BITS - 1} bits")
    if not -1 <= similarity <= 1:
        raise SettingsError(f"--similarity {similarity:g}: it must be between -1 and 1")


def analyse(
    groups: Sequence[ImageGroup],
    encoder: TextImageEncoder | None,
    encoder_name: str | None,
    *,
    distance: int = 6,
    similarity: float = 0.98,
) -> Analysis:
    """Compare the images of each group with each other; by hash only if ``encoder`` is None.

    Near duplicates differ in at most ``distance`` bits of 64, or have a cosine of at least ``similarity``. Raises
    ``SettingsError`` for bounds out of range, and for groups without two images.
    """
    check_bounds(distance, similarity)
    if not any(len(group.ids) > 1 for group in groups):
        raise SettingsError("there are not two images to compare: name more prompts")
    findings: list[Findings] = []
    with console.progress("comparing images", sum(len(group.ids) for group in groups)) as bar:
        for group in groups:
            prompts = group.bare_prompts
            hashes, features = _encoded(group, encoder, bar)
            found = clusters_by_hash(hashes, prompts, distance)
            findings.append(Findings(group, "hash", tuple(map(tuple, found))))
            if features is not None:
                found = clusters_by_features(features, prompts, similarity)
                findings.append(Findings(group, "features", tuple(map(tuple, found))))
    return Analysis(tuple(findings), distance, similarity, encoder_name if encoder is not None else None)


def _encoded(
    group: ImageGroup, encoder: TextImageEncoder | None, bar: console.Bar
) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    """Hashes [N, 64] and unit vectors [N, D] of a group's images, read one at a time."""
    hashes, vectors = [], []
    for pixels in group.pixels():
        hashes.append(perceptual_hash(pixels))
        if encoder is not None:
            vectors.append(encoder.encode_images(pixels[None])[0].float().cpu().numpy())
        bar.advance()
    return np.stack(hashes), np.stack(vectors) if encoder is not None else None
