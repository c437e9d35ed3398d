"""Take pictures of a report, for the README: its head and its images on a wide screen, and its charts on a phone, dark.

    ear report docs/benchmark --out build/report.html          # where the suite's store is: with images
    python -m tools.screenshots build/report.html              # docs/images/report.jpg and so on, see VIEWS

In headless Chromium (`apt-get install chromium`, or `playwright install chromium`). Exit code 1 if the page logs
errors.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM

VIEWS: dict[str, tuple[int, Literal["light", "dark"], str]] = {
    "report": (1280, "light", "top"),
    "report-gallery": (1280, "light", "gallery"),
    "report-phone": (390, "dark", "frontier"),
}
"""Name → width, colour scheme, and the section that comes first."""
HEIGHT = 1500


def main(
    report: Annotated[Path, typer.Argument(help="HTML file of `ear report`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the pictures.")] = Path("docs/images"),
) -> None:
    """Write a picture per view."""
    errors: list[str] = []
    with sync_playwright() as play, play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
        for name, (width, scheme, section) in VIEWS.items():
            page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.goto(report.resolve().as_uri())
            page.evaluate("name => document.getElementById(name)?.scrollIntoView()", section)
            page.wait_for_function("[...document.images].every(image => image.complete)")
            page.screenshot(path=out / f"{name}.jpg", type="jpeg", quality=85)
    for error in errors:
        typer.echo(error, err=True)
    raise typer.Exit(bool(errors))


if __name__ == "__main__":
    typer.run(main)
