"""The protocol of the paper's released scripts, as far as it is known. It is never the default.

The scripts do not always compute what the figures' names promise: almost no CLIP score is of an image and its own
prompt. Repeating them shows what a printed figure is worth.
"""

from collections.abc import Sequence

BATCH = 4
"""Captions rendered at once, padded on the left without a mask."""

PROTOCOL = (
    f"captions in batches of {BATCH} in the file's order, padded on the left without a mask",
    "the list's evaluation seeds are ignored",
    "images go through JPEG (Pillow's quality 75; the scripts' is not known)",
    "FID against every picture in the folder, not only those of the captions",
    "CLIP pairs images sorted by file name (1, 10, 100, …) with captions in the file's order",
    "accuracy is as usual, by the judge of this evaluation; the paper's is by ResNet-50's top label, NudeNet's nine "
    "exposed classes from 0.25 up, or a style classifier's top k, with k not stated",
)
"""The steps that are repeated, for reports."""


def texts_by_file_name(texts: Sequence[str]) -> list[str]:
    """The text that the scripts pair with each image: image i is the file ``i + 1``.jpg, and files are sorted by name.

    Of 30,000 images only the first gets its own text.
    """
    order = file_name_order(len(texts))
    paired = [""] * len(texts)
    for text, image in zip(texts, order, strict=True):
        paired[image] = text
    return paired


def file_name_order(n: int) -> list[int]:
    """The numbers, from 0, of images that are files ``1.jpg`` to ``n``.jpg, sorted by file name."""
    return sorted(range(n), key=lambda index: f"{index + 1}.jpg")
