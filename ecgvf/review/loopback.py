"""A local page that nobody else can open: Starlette on loopback, behind a token, with no assets from elsewhere."""

import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ecgvf.core.errors import EcgvfError

HOST = "127.0.0.1"

Handler = Callable[[Request], Awaitable[Response]]

_TEMPLATES = Environment(
    loader=PackageLoader("ecgvf.review"), autoescape=select_autoescape(default=True), undefined=StrictUndefined
)


def application(token: str, *, get: Mapping[str, Handler], post: Mapping[str, Handler]) -> Starlette:
    """Serve the handlers at ``/TOKEN/PATH``; without the token the answer is 404."""
    return Starlette(
        routes=[
            Route(f"/{{token}}/{path}", _guarded(handler, token), methods=[method])
            for method, handlers in (("GET", get), ("POST", post))
            for path, handler in handlers.items()
        ],
        # Refuses requests by any other host name, which a site could point at loopback (DNS rebinding).
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={EcgvfError: _failed},
    )


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one. Raises ``OSError`` if the port is in use."""
    return socket.create_server((HOST, port))


def serve(application: Starlette, listener: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", access_log=False, server_header=False)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has closed
        uvicorn.Server(config).run([listener])


def page(template: str, **content: Any) -> Response:
    """The HTML of ``template``; only its own scripts and styles run."""
    nonce = secrets.token_urlsafe(16)
    html = _TEMPLATES.get_template(template).render(nonce=nonce, **content)
    return HTMLResponse(html, headers=_headers(nonce))


def image(file: bytes) -> Response:
    """A PNG, which the browser may keep."""
    return Response(file, media_type="image/png", headers=_headers() | {"Cache-Control": "private, max-age=3600"})


def redirect(address: str) -> Response:
    """The answer to a form: go on at ``address``."""
    return RedirectResponse(address, 303, _headers())


def not_found() -> Response:
    """The answer to a wrong address."""
    return PlainTextResponse("not found\n", 404, _headers())


def bad_request(reason: str) -> Response:
    """The answer to a form that the page did not send."""
    return PlainTextResponse(f"{reason}\n", 400, _headers())


def _guarded(handler: Handler, token: str) -> Handler:
    # Any site can make a browser post a form here, but no other site knows the token.
    async def guarded(request: Request) -> Response:
        given = str(request.path_params["token"])
        return await handler(request) if secrets.compare_digest(given.encode(), token.encode()) else not_found()

    return guarded


async def _failed(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"not kept: {error}\n", 500, _headers())


def _headers(nonce: str | None = None) -> dict[str, str]:
    source = f"'nonce-{nonce}'" if nonce is not None else "'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; img-src 'self' data:; style-src {source}; "
        f"script-src {source}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
