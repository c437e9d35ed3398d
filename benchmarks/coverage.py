"""How often the 95% intervals of `ear.evaluation` contain the truth, in simulated evaluations.

    python -m benchmarks.coverage --out docs/coverage.json

Each setting draws prompts, and images of them that resemble each other, with a known true figure. ``rejected`` are
other intervals on the same draws. Prints a Markdown table for docs/decisions/0013-intervals.md.

The last line of standard output is JSON: number of ``settings``, ``simulations`` of each, ``seed``, the ``lowest``
coverage of an interval in use, its ``goal`` and ``met``. The file has ``rows``, too. Exit code 1 if an interval in use
covers less than ``GOAL`` in any setting.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.result import finish, program
from ear.evaluation.statistics import difference, mean, ratio
from ecgvf.core import console
from ecgvf.core.figures import Figure, kappa, proportion

GOAL = 0.93
CORRELATION = 0.5
"""Of two images of one prompt."""
PROMPTS, IMAGES = (20, 64, 200), (1, 4)

Columns = tuple[NDArray[Any], ...]
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Setting:
    """A distribution to draw evaluations from, and its true figure."""

    figure: Callable[..., Figure]
    name: str
    prompts: int
    images: int
    truth: float
    draw: Callable[[np.random.Generator], Columns]
    """The arguments of ``figure``."""
    rejected: Mapping[str, Callable[..., Ends]]


def probabilities(rng: np.random.Generator, share: float, prompts: int, images: int) -> NDArray[np.float64]:
    """A probability per prompt around ``share``, repeated for each of its images: float64 [prompts x images]."""
    if images == 1 or share in (0, 1):
        return np.full(prompts * images, share)
    spread = (1 - CORRELATION) / CORRELATION
    return np.repeat(rng.beta(share * spread, (1 - share) * spread, prompts), images)


def names(prompts: int, images: int) -> NDArray[np.str_]:
    """The prompt of each image: [prompts x images]."""
    return np.repeat([f"prompt {number}" for number in range(prompts)], images)


def share_setting(share: float, prompts: int, images: int) -> Setting:
    def draw(rng: np.random.Generator) -> Columns:
        shown = rng.random(prompts * images) < probabilities(rng, share, prompts, images)
        return shown.astype(float), names(prompts, images)

    def plain(values: NDArray[np.float64], names: NDArray[np.str_]) -> Ends:
        return plain_bootstrap(values, np.ones_like(values), prompts)

    return Setting(
        mean, f"{share}", prompts, images, share, draw, {"Wilson, of images": wilson, "plain bootstrap": plain}
    )


def rare_setting(rare: float, prompts: int) -> Setting:
    """Probabilities near 0, all different, of which a share of ``rare`` is 0.95 instead: what a judge gives a concept
    that is gone from nearly all images."""

    def draw(rng: np.random.Generator) -> Columns:
        return np.where(rng.random(prompts) < rare, 0.95, 0.006 * rng.random(prompts)), names(prompts, 1)

    def plain(values: NDArray[np.float64], names: NDArray[np.str_]) -> Ends:
        return plain_bootstrap(values, np.ones_like(values), prompts)

    truth = rare * 0.95 + (1 - rare) * 0.003
    return Setting(mean, f"near 0, rarely ({rare}) 0.95", prompts, 1, truth, draw, {"plain bootstrap": plain})


def change_settings(before: float, lost: float, gained: float, prompts: int, images: int) -> tuple[Setting, Setting]:
    """A share ``before`` of images shows something; ``lost`` of these do not after, and ``gained`` of the others do."""

    def draw(rng: np.random.Generator) -> Columns:
        old = rng.random(prompts * images) < probabilities(rng, before, prompts, images)
        losing = rng.random(prompts * images) < probabilities(rng, lost, prompts, images)
        gaining = rng.random(prompts * images) < probabilities(rng, gained, prompts, images)
        return old.astype(float), np.where(old, ~losing, gaining).astype(float), names(prompts, images)

    def plain_difference(old: NDArray[np.float64], new: NDArray[np.float64], names: NDArray[np.str_]) -> Ends:
        return plain_bootstrap(new - old, np.ones_like(old), prompts)

    def plain_ratio(old: NDArray[np.float64], new: NDArray[np.float64], names: NDArray[np.str_]) -> Ends:
        return plain_bootstrap(new, old, prompts)

    after, name = before * (1 - lost) + (1 - before) * gained, f"{before}, lost {lost}, gained {gained}"
    others: dict[str, Callable[..., Ends]] = {"plain bootstrap": plain_difference}
    if images == 1:
        others["conditional"] = conditional
    return (
        Setting(difference, name, prompts, images, after - before, draw, others),
        Setting(ratio, name, prompts, images, after / before, draw, {"plain bootstrap": plain_ratio}),
    )


def kappa_setting(right: float, prompts: int) -> Setting:
    """Two raters see which of four labels is true with probability ``right``, and otherwise guess."""
    labels, occurs = np.array(["concept", "surrogate", "else", "nothing"]), np.array([0.1, 0.3, 0.3, 0.3])

    def draw(rng: np.random.Generator) -> Columns:
        truth, *guesses = (rng.choice(labels, prompts, p=occurs) for _ in range(3))
        first, second = (np.where(rng.random(prompts) < right, truth, guess) for guess in guesses)
        return first, second

    return Setting(kappa, f"right {right}", prompts, 1, right**2, draw, {"Cohen": cohen})


def settings() -> Iterator[Setting]:
    for prompts, images in product(PROMPTS, IMAGES):
        for share in (0.02, 0.1, 0.5, 0.95):
            yield share_setting(share, prompts, images)
        # Nearly the same; a retained concept with a few that differ, in one direction, in both; half lost; erased.
        for before, lost, gained in (
            (0.95, 0.005, 0),
            (0.95, 0.05, 0),
            (0.9, 0.03, 0.2),
            (0.6, 0.5, 0.05),
            (0.95, 0.95, 0.02),
        ):
            yield from change_settings(before, lost, gained, prompts, images)
    for prompts in PROMPTS:
        yield rare_setting(0.01, prompts)
    for right, prompts in product((0.98, 0.9, 0.6), PROMPTS[1:]):
        yield kappa_setting(right, prompts)


def wilson(values: NDArray[np.float64], prompts: NDArray[np.str_]) -> Ends:
    """Wilson's of ``values``, 0 or 1 per image, as if images were independent."""
    figure = proportion(int(values.sum()), len(values))
    return figure.low, figure.high


def conditional(before: NDArray[np.float64], after: NDArray[np.float64], prompts: NDArray[np.str_]) -> Ends:
    """Clopper and Pearson's of the direction in which the prompts that differ do, times their share: in [-1, 1].

    ``before`` and ``after`` are 0 or 1 per prompt, of one image each.
    """
    differ = int((before != after).sum())
    if not differ:
        return 0.0, 0.0
    up = proportion(int((after > before).sum()), differ, method="exact")
    return (2 * up.low - 1) * differ / len(before), (2 * up.high - 1) * differ / len(before)


def plain_bootstrap(numerator: NDArray[np.float64], denominator: NDArray[np.float64], prompts: int) -> Ends:
    """Percentiles of a cluster bootstrap, not widened, however few prompts differ.

    ``numerator`` and ``denominator`` are [prompts x images]; a figure is the ratio of their sums.
    """
    chosen = np.random.default_rng(0).integers(0, prompts, (999, prompts))
    top, bottom = (column.reshape(prompts, -1).sum(axis=1)[chosen].sum(axis=1) for column in (numerator, denominator))
    low, high = np.quantile(top[bottom > 0] / bottom[bottom > 0], (0.025, 0.975))
    return float(low), float(high)


def cohen(first: NDArray[np.str_], second: NDArray[np.str_]) -> Ends:
    """By Cohen's large-sample standard error (1960), of two raters' labels, [n] each; the ends may leave [-1, 1]."""
    value, same = kappa(first.tolist(), second.tolist()).value, float((first == second).mean())
    by_chance = 1 - (1 - same) / (1 - value) if value < 1 else 0.0
    margin = 1.96 * math.sqrt(same * (1 - same) / len(first)) / (1 - by_chance)
    return value - margin, value + margin


def measure(setting: Setting, simulations: int, seed: int) -> list[dict[str, Any]]:
    """Coverage and mean width of the interval in use, then of the rejected ones; undefined figures do not count."""
    rng = np.random.default_rng(seed)
    ends: dict[str, list[Ends]] = {}
    for _ in range(simulations):
        columns = setting.draw(rng)
        figure = setting.figure(*(column.tolist() for column in columns))
        if math.isnan(figure.value):
            continue
        ends.setdefault("in use", []).append((figure.low, figure.high))
        for name, other in setting.rejected.items():
            ends.setdefault(name, []).append(other(*columns))
    return [
        {
            "figure": setting.figure.__name__,
            "setting": setting.name,
            "prompts": setting.prompts,
            "images": setting.images,
            "interval": name,
            "coverage": covered(found, setting.truth).json(),
            "width": float(np.mean([high - low for low, high in found])),
        }
        for name, found in ends.items()
    ]


def covered(ends: Sequence[Ends], truth: float) -> Figure:
    """How many intervals contain the truth, up to rounding."""
    return proportion(sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in ends), len(ends))


def markdown(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| figure | setting | images | interval | coverage, 20 prompts | 64 | 200 |"
    yield "|---|---|---|---|---|---|---|"
    cells: dict[tuple[str, ...], dict[int, str]] = {}
    for row in rows:
        key = tuple(str(row[column]) for column in ("figure", "setting", "images", "interval"))
        cells.setdefault(key, {})[row["prompts"]] = f"{row['coverage']['value']:.3f} ({row['width']:.3f})"
    for key, by_prompts in cells.items():
        yield f"| {' | '.join((*key, *(by_prompts.get(prompts, '') for prompts in PROMPTS)))} |"


def main(
    simulations: Annotated[int, typer.Option(help="Evaluations drawn per setting.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for all rows.")] = None,
) -> None:
    """Measure every setting."""
    found, rows = list(settings()), []
    with console.progress("settings", len(found)) as bar:
        for setting in found:
            rows += measure(setting, simulations, seed)
            bar.advance(1)
    print("\n".join(markdown(rows)))
    lowest = min(row["coverage"]["value"] for row in rows if row["interval"] == "in use")
    result = {"settings": len(found), "simulations": simulations, "seed": seed, "lowest": lowest, "goal": GOAL}
    result["met"] = lowest >= GOAL
    finish(result, out, also_in_file={"rows": rows})


app = program(main)

if __name__ == "__main__":
    app()
