"""A local page of a command: its address, and serving it until Ctrl-C."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from starlette.applications import Starlette


def serve_page(title: str, port: int, application: "Callable[[str], Starlette]") -> None:
    """Print ``title`` (rich markup) and the address of ``application(token)``, and serve it until Ctrl-C.

    Raises ``SettingsError`` without the extra ``review``, or if the port is unavailable.
    """
    try:
        from ecgvf.review.loopback import HOST, listen, serve
    except ImportError as missing:
        raise SettingsError("`ecgvf review` needs the extra review: pip install 'ecgvf[review]'") from missing
    token = secrets.token_urlsafe(24)
    try:
        socket = listen(port)
    except OSError as error:
        problem = f"--port {port} is unavailable ({error.strerror})"
        raise SettingsError(f"{problem}: use another, or 0 for a free one") from error
    console.print(
        f"{title}. Open this page; Ctrl-C ends the review:",
        f"  http://{HOST}:{socket.getsockname()[1]}/{token}/",
    )
    try:
        serve(application(token), socket)
    finally:
        socket.close()
