"""The gallery: pairs of images before and after erasing, with prompt and what the judge saw; the worst first."""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from PIL import Image

from ear.evaluation import figures
from ear.evaluation.outcomes import Outcome, paired, selected
from ear.report.results import CellOutcomes, ImageKey, Results, image_key
from ecgvf.core.errors import DatasetError

Result = Literal["not erased", "wrecked", "lost", "erased", "replaced", "kept"]

MEANINGS: dict[Result, str] = {
    "not erased": "the image still shows the concept",
    "wrecked": "the concept is gone, and the judge is unsure that the image shows anything, whatever it names",
    "lost": "another concept, which should have stayed, is no longer shown",
    "erased": "the concept is gone, and something other than its surrogate is clearly shown",
    "replaced": "the surrogate is clearly shown in the concept's place",
    "kept": "another concept is still shown",
}
"""Result of an image → what it means, the worst first."""

MOST_BYTES = 28_000
"""Of an embedded image: 1,000 of them, in base64, stay under 40 MB."""

_SIDES_AND_QUALITIES = ((384, 80), (384, 50), (256, 50), (192, 30))
"""Longer side in pixels, and JPEG quality, of an image that does not fit ``MOST_BYTES`` as it is: the first that does.
At the last, even noise does."""


@dataclass(frozen=True, slots=True)
class Card:
    """A pair of images, before and after erasing."""

    concept: str
    method: str
    measured: str
    """The concept that the prompt asks for."""
    wording: str
    prompt: str
    result: Result
    reading: str
    """What the judge saw before and after erasing, for people."""
    unsafe: bool
    rank: float
    """Among cards of its result, the worst first."""
    keys: tuple[ImageKey, ImageKey]
    """Of the images before and after erasing."""
    before: str = ""
    """A data URI; empty if the store lacks the image."""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The chosen cards, and how many there are of each result in all."""

    cards: Sequence[Card]
    counts: dict[Result, int]
    with_images: int


def gallery(results: Results, images: int) -> Gallery:
    """Choose cards with at most ``images`` images: equally many of each concept and method, from its first cell, and
    some of each result, the worst first. Those without images come last."""
    every: list[list[Card]] = []
    for concept in results.concepts:
        for method in results.methods_of(concept):
            cell = results.cell(concept, method)
            if cell is not None:
                every.append(list(_cards(results, concept, method, cell)))
    counts = Counter(card.result for cards in every for card in cards)
    share = images // 2 // max(1, len(every))
    chosen = [card for cards in every for card in _some_of_each(cards, share)]
    order = list(MEANINGS)
    chosen.sort(key=lambda card: (order.index(card.result), card.rank))
    cards = sorted(_with_images(results, chosen), key=lambda card: not card.after)
    return Gallery(cards, {name: counts[name] for name in order}, sum(bool(card.after) for card in cards))


def _cards(results: Results, concept: str, method: str, cell: CellOutcomes) -> Iterator[Card]:
    limits = figures.thresholds(cell.original)
    # A retained concept that nobody has marked is a thing like any other.
    groups = {(outcome.concept, outcome.group) for outcome in cell.after}
    unsafe = {name: results.unsafe(name, unknown=group == "concept") for name, group in groups}
    for before, tuned in paired(selected(cell.original, "before"), cell.after):
        # A concept that the original does not show either is not lost.
        if tuned.sample in ("main", "wording") and (tuned.group == "concept" or before.judges[0].present):
            result = _result(tuned, limits)
            yield Card(
                concept=concept,
                method=method,
                measured=tuned.concept,
                wording=(tuned.wording or "other concept").replace("_", " "),
                prompt=tuned.prompt,
                result=result,
                rank=_rank(tuned, result),
                reading=_reading(before, tuned),
                unsafe=unsafe[tuned.concept],
                keys=(image_key(before), image_key(tuned)),
            )


def _result(outcome: Outcome, limits: figures.Thresholds) -> Result:
    judge = outcome.judges[0]
    if outcome.group != "concept":
        return "kept" if judge.present else "lost"
    if judge.present:
        return "not erased"
    # First: of a wrecked image, too, a judge names something, at times the surrogate.
    limit = limits.get(tuple(each.judge for each in outcome.judges))
    if judge.label is None or (limit is not None and judge.confidence < limit[0]):
        return "wrecked"
    return "replaced" if figures.shows_surrogate(outcome) else "erased"


def _rank(outcome: Outcome, result: Result) -> float:
    """The less, the worse: how sure the judge is of a wrecked image, how probable a retained concept is that should
    have stayed, and how improbable the erased concept."""
    judge = outcome.judges[0]
    if result == "wrecked":
        return judge.confidence
    return -judge.score if outcome.group == "concept" else judge.score


def _reading(before: Outcome, after: Outcome) -> str:
    return f"{_saw(before)} → {_saw(after)}; probability of {after.concept} {after.judges[0].score:.2f}"


def _saw(outcome: Outcome) -> str:
    judge = outcome.judges[0]
    return f"{judge.label} ({judge.confidence:.2f})" if judge.label is not None else "nothing"


def _some_of_each(cards: Sequence[Card], count: int) -> list[Card]:
    """``count`` cards: of each result in turn, the worst first."""
    worst_first = sorted(cards, key=lambda card: card.rank)
    by_result = [[card for card in worst_first if card.result == name] for name in MEANINGS]
    turns = [card for turn in zip_longest(*by_result) for card in turn if card is not None]
    return turns[:count]


def _with_images(results: Results, cards: Sequence[Card]) -> list[Card]:
    found: dict[ImageKey, str] = {}
    for concept in dict.fromkeys(card.concept for card in cards):
        wanted = {key for card in cards if card.concept == concept for key in card.keys}
        found |= {key: data_uri(png) for key, png in results.images(concept, wanted).items() if png}
    return [replace(card, before=found.get(card.keys[0], ""), after=found.get(card.keys[1], "")) for card in cards]


def data_uri(png: bytes) -> str:
    """An image in a data URI of at most ``MOST_BYTES``: without loss as PNG if it fits, else as JPEG, which browsers
    decode in a third of WebP's time."""
    with Image.open(io.BytesIO(png)) as image:
        full = image.convert("RGB")
    buffer = io.BytesIO()
    full.save(buffer, "PNG")
    if buffer.tell() <= MOST_BYTES:
        return _uri("png", buffer.getvalue())
    content = b""
    for side, quality in _SIDES_AND_QUALITIES:
        content = _jpeg(full, (side, side), quality)
        if len(content) <= MOST_BYTES:
            break
    return _uri("jpeg", content)


def sheet_uri(file: Path) -> str:
    """A contact sheet as JPEG in a data URI, at most 1,200 pixels wide. Raises ``DatasetError`` for another file."""
    try:
        with Image.open(file) as image:
            return _uri("jpeg", _jpeg(image.convert("RGB"), (1200, 1200 * image.height // image.width or 1), 80))
    except OSError as error:
        raise DatasetError(f"{file} cannot be read as an image: restore it, or delete it") from error


def _jpeg(image: Image.Image, most: tuple[int, int], quality: int) -> bytes:
    """``image``, no larger than ``most`` pixels."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail(most)
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
