"""What the figures of the paper's table are measured on."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ecgvf.core.errors import SettingsError

FEWEST = 20
"""Captions: ten subsets of two images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelitySettings:
    """Captions, reference pictures and the weights of the encoders.

    Raises ``SettingsError`` for captions without pictures or pictures without captions, and for too few.
    """

    coco: Path | None = None
    """File of captions with the ids of their pictures (None: nano's own captions, for nano)."""
    coco_images: Path | None = None
    """Folder of the pictures."""
    column: tuple[str, ...] = ()
    """Columns of the file, as in ``ecgvf.pairs.tables.read_table``."""
    captions: int | None = None
    """How many captions (None: all of them)."""
    inception: Path | None = None
    """Weights of Inception-v3."""
    clip: str | None = None
    """CLIP's folder or Hub id (None: OpenAI's ViT-B/32)."""
    as_published: bool = False
    """Repeat the protocol of the paper's released scripts (``released_protocol``)."""

    def __post_init__(self) -> None:
        if (self.coco is None) != (self.coco_images is None):
            raise SettingsError("--coco FILE and --coco-images DIR belong together: name both")
        if self.column and self.coco is None:
            raise SettingsError(f"--column {self.column[0]} is of the file of captions: name it with --coco")
        if self.captions is not None and self.captions < FEWEST:
            raise SettingsError(f"--captions {self.captions}: at least {FEWEST}, or the figures have no interval")

    @property
    def given(self) -> list[str]:
        """The options that are not their defaults, as on the command line."""
        values = asdict(self).items()
        return [f"--{name.replace('_', '-')}" for name, value in values if value not in (None, False, ())]
