"""The review page as people open it: in Chromium, and from the command line."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette

from ecgvf.review.loopback import listen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here: apt-get install chromium"
)
"""Skips where there is no Chromium; in CI, which installs it, the test fails without."""


@contextmanager
def browsed(application: Starlette, token: str) -> Iterator[Any]:
    """The served application in Playwright; it must neither log errors nor load anything from elsewhere."""
    errors: list[str] = []
    requested: list[str] = []
    with (
        _served(application, token) as address,
        sync_playwright() as play,
        play.chromium.launch(timeout=180_000, executable_path=CHROMIUM, args=["--no-sandbox"]) as chromium,
    ):
        page = chromium.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        yield page
    assert errors == []
    assert all(url.startswith((address, "data:")) for url in requested)


@contextmanager
def _served(application: Starlette, token: str) -> Iterator[str]:
    import uvicorn

    with listen(0) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/"
        server.should_exit = True
        thread.join(timeout=30)


@contextmanager
def reviewing(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process of `ecgvf review` with these options, killed in the end, and the address that it prints."""
    command = [sys.executable, "-c", "from ecgvf.cli import main; main()", "review", *options]
    # A shell that runs the tests in the background has its children ignore SIGINT, unless they are told otherwise.
    default = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=default) as child:
        try:
            yield child, next(line for line in child.stdout or [] if "http://" in line).strip()
        finally:
            child.kill()


def post(address: str, **fields: str) -> str:
    """Post a form; the page that follows."""
    with urllib.request.urlopen(address, urllib.parse.urlencode(fields).encode(), timeout=20) as answer:
        return str(answer.read().decode())
