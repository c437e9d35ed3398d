"""The review page as people open it: in Chromium, and from the command line."""

import functools
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette

from ecgvf.review.loopback import listen
from tests.browser import launched, opened


@contextmanager
def browsed(application: Starlette, token: str) -> Iterator[Any]:
    """The served application in Chromium, as ``opened`` opens it."""
    with _served(application, token) as address, launched() as chromium, opened(chromium, address) as page:
        yield page


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
