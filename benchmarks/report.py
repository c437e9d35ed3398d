"""Whether a report of 1,000 images stays small, and answers at once: in headless Chromium.

    python -m benchmarks.report --out docs/report.json

The images are of 384 px, as Janus-Pro's, and as large as images get in a report before they are made smaller. Measured
are the file's bytes, and the milliseconds from choosing a filter, from "Show more" and from enlarging a pair until the
images that this brings onto the screen are decoded and the page is painted.

The last line of standard output is JSON: ``images``, ``bytes``, ``milliseconds`` (what was done → ``n``, ``median``,
``worst``), ``chromium``, ``goals`` and ``met``. Exit code 1 if the file has ``MOST_BYTES`` or more, or if an answer
takes longer than ``MOST_MS``.
"""

import io
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.result import finish, program
from ear.report import open_results, write_report
from tests.browser import CHROMIUM
from tests.ear.evaluation.small_outcomes import erased, evaluation, kept

PAIRS = 500
SIDE, GRAIN = 384, 6.0
"""Pixels, and the standard deviation of noise on them: with more of it images are embedded smaller, with less in fewer
bytes."""
MOST_BYTES = 40_000_000
MOST_MS = 100.0

MS_UNTIL_PAINTED = """async (act) => {
  // Only of what is displayed: asking a hidden card for its place takes longer than answering.
  const onScreen = () => [...document.querySelectorAll(".card:not([hidden]) img, dialog[open] img")].filter((image) => {
    // Of an image in a card, the card's place: what a card off the screen has inside is not laid out.
    const place = (image.closest(".card") ?? image).getBoundingClientRect();
    return place.top < innerHeight && place.bottom > 0;
  });
  const before = new Set(onScreen());
  const started = performance.now();
  act();
  await Promise.all(onScreen().filter((image) => !before.has(image)).map((image) => image.decode()));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - started;
}"""
"""Milliseconds that ``act`` takes until the images that it brings onto the screen are decoded and painted."""


def picture(rng: np.random.Generator) -> bytes:
    """A PNG of soft colours under grain."""
    soft = Image.fromarray(rng.integers(40, 216, (12, 12, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grained = np.asarray(soft) + rng.normal(0, GRAIN, (SIDE, SIDE, 1))
    buffer = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write(folder: Path) -> Path:
    """A report of ``PAIRS`` pairs: half of the erased concept, of which some are still there, half of a retained."""
    rng = np.random.default_rng(0)
    half = PAIRS // 2
    outcomes = [*erased(half, half // 5), *kept("castle", "neighbours", half, lost=half // 5)]
    shown = [replace(each, image=picture(rng) if each.condition != "ceiling" else b"") for each in outcomes]
    evaluation(shown).save(folder / "evaluation.parquet")
    return write_report(open_results(folder / "evaluation.parquet", folder / "store"), folder / "report.html")


def answers(page: Page) -> Iterator[tuple[str, float]]:
    """(what was done, milliseconds until it was painted)."""
    options = "all => all.map((each) => [each.parentElement.name, each.value])"
    values = page.locator("select option").evaluate_all(options)
    page.evaluate("document.getElementById('filters').scrollIntoView()")  # so that cards are on the screen
    for name, value in [*values, *((name, "") for name, _ in values)]:
        field = f"document.querySelector('select[name={name}]')"
        act = f"() => {{ {field}.value = {value!r}; {field}.dispatchEvent(new Event('change', {{bubbles: true}})); }}"
        yield "filter", page.evaluate(f"({MS_UNTIL_PAINTED})({act})")
    while page.locator("#more").is_visible():
        yield "more", page.evaluate(f"({MS_UNTIL_PAINTED})(() => document.getElementById('more').click())")
    for number in range(0, PAIRS, PAIRS // 10):
        act = f"() => document.querySelectorAll('.pair')[{number}].click()"
        yield "enlarge", page.evaluate(f"({MS_UNTIL_PAINTED})({act})")
        page.keyboard.press("Escape")


def summary(times: Sequence[float]) -> dict[str, Any]:
    return {"n": len(times), "median": round(statistics.median(times), 1), "worst": round(max(times), 1)}


def main(out: Annotated[Path | None, typer.Option("--out", help="JSON file of the result.")] = None) -> None:
    """Write the report, open it and use it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        file = write(Path(folder))
        size = file.stat().st_size
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        images = page.locator(".card img").count()
        times: dict[str, list[float]] = {}
        for what, milliseconds in answers(page):
            times.setdefault(what, []).append(milliseconds)
        version = browser.version
        browser.close()
    worst = max(max(each) for each in times.values())
    result = {
        "images": images,
        "bytes": size,
        "milliseconds": {what: summary(each) for what, each in times.items()},
        "chromium": version,
        "goals": {"bytes": MOST_BYTES, "milliseconds": MOST_MS},
        "met": images == 2 * PAIRS and size < MOST_BYTES and worst <= MOST_MS,
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()
