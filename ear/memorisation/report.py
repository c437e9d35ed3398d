"""The findings for people: a table, and a contact sheet of the largest clusters."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from ear.evaluation.control_tokens import STARTOFTEXT
from ear.memorisation.analysis import Analysis, Findings
from ear.memorisation.images import ImageGroup
from ecgvf.core import console, contact_sheet
from ecgvf.core.files import content_hash, write_atomic

FILE = "memorisation.png"
_RESULT = re.compile(r"memorisation(-[0-9a-f]{8})?\.json")
CLUSTERS, IMAGES = 3, 6
"""Clusters to show of each finding, the largest, and images to show of each cluster."""
NAME = 18
"""Letters of a group's name that fit beside the images."""


def file_name(options: Sequence[object]) -> str:
    """The contact sheet's name: ``FILE``, with a hash of ``options`` if there are any, since each measurement has its
    own file."""
    return f"memorisation-{content_hash({'options': list(options)}, 8)}.png" if options else FILE


def files_in(folder: Path) -> list[Path]:
    """The results beside the contact sheets in ``folder``, that of the defaults first."""
    found = [file for file in folder.glob("memorisation*.json") if _RESULT.fullmatch(file.name)]
    return sorted(found, key=lambda file: (len(file.name), file.name))


def table(analysis: Analysis, *, title: str) -> Table:
    """A row per group and method."""
    columns = ("images", STARTOFTEXT, "by", "n", "near duplicates", "clusters", "largest", "prompts of the largest")
    page = console.table(*columns, title=title)
    for each in analysis.findings:
        largest = each.clusters[0] if each.clusters else ()
        prompts = [each.group.prompts[index] for index in largest[:2]]
        page.add_row(
            console.escape(each.group.name),
            "with" if each.group.token else "without",
            each.method,
            str(each.share.n),
            f"{sum(map(len, each.clusters))} ({each.share.value:.3f})",
            str(len(each.clusters)),
            str(len(largest)),
            console.escape(" | ".join(prompts)),
        )
    page.caption, page.caption_justify = console.escape(analysis.description), "left"
    return page


def write_sheet(analysis: Analysis, file: Path, *, title: str, blurred: bool) -> Path:
    """Write a PNG with a row per cluster, the largest of each finding; returns ``file``."""
    shown = [(each, cluster) for each in analysis.findings for cluster in each.clusters[:CLUSTERS]]
    images = _images([(each.group, cluster[:IMAGES]) for each, cluster in shown])
    columns = [(str(number + 1), np.stack([row[number] for row in images])) for number in range(IMAGES if shown else 0)]
    rows = [(_label(each, cluster), each.group.prompts[cluster[0]]) for each, cluster in shown]
    heading = title if shown else f"{title}: none"
    png = contact_sheet.comparison(rows, columns, title=heading, blurred=[blurred] * len(rows))
    write_atomic(file, png)
    return file


def _label(findings: Findings, cluster: Sequence[int]) -> str:
    token = "token" if findings.group.token else "no token"
    name = findings.group.name
    short = name if len(name) <= NAME else f"…{name[1 - NAME :]}"
    return f"{short}, {token}, {findings.method}: {len(cluster)}"


def _images(clusters: Sequence[tuple[ImageGroup, Sequence[int]]]) -> list[list[NDArray[np.uint8]]]:
    """For each cluster of a group, ``IMAGES`` squares of the sheet's side: its images, then white squares."""
    side, wanted = contact_sheet.SIDE, defaultdict[ImageGroup, set[int]](set)
    for group, cluster in clusters:
        wanted[group].update(cluster)
    read = {group: group.selected(indices) for group, indices in wanted.items()}  # a group may have many clusters
    blank = np.full((side, side, 3), 255, dtype=np.uint8)

    def square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Of one size: folders may hold images of several."""
        return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))

    return [
        [*(square(read[group][index]) for index in cluster), *[blank] * (IMAGES - len(cluster))]
        for group, cluster in clusters
    ]
