"""Pages as people open them: in Chromium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("REQUIRE_CHROMIUM") != "1", reason="no Chromium here: apt-get install chromium"
)
"""Without Chromium, the test is skipped; with REQUIRE_CHROMIUM=1, as in `.ci/run`, it fails."""


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium, until the context ends."""
    if CHROMIUM is None:
        pytest.fail("no Chromium here: apt-get install chromium")
    with (
        sync_playwright() as play,
        play.chromium.launch(timeout=180_000, executable_path=CHROMIUM, args=["--no-sandbox"]) as chromium,
    ):
        yield chromium


@contextmanager
def opened(chromium: Browser, address: str, **options: Any) -> Iterator[Any]:
    """The page at ``address``; it must log no error and no warning, and load nothing from elsewhere."""
    errors: list[str] = []
    requested: list[str] = []
    with chromium.new_page(**options) as page:
        page.set_default_timeout(120_000)
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        yield page
    assert errors == []
    assert [url for url in requested if not url.startswith((address, "data:"))] == []
