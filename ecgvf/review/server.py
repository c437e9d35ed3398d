"""The review page: Starlette on loopback, behind a token, with no assets from elsewhere.

A reviewer steps from record to record; each decision is a posted form, recorded on disk and answered with the next
record. Scripts only add keys: the page works without them.
"""

import secrets
import socket
from typing import Any, get_args
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ecgvf.review.cases import Cases, Order, Show

HOST = "127.0.0.1"

_CHOICES: dict[str, tuple[str, ...]] = {"show": get_args(Show), "order": get_args(Order)}

_DECISIONS: dict[str, bool | None] = {"accept": True, "reject": False, "withdraw": None}

_TEMPLATES = Environment(
    loader=PackageLoader("ecgvf.review"), autoescape=select_autoescape(default=True), undefined=StrictUndefined
)


def app(cases: Cases, reviewer: str, token: str) -> Starlette:
    """The application for one reviewer. Every path begins with the token; without it the answer is 404."""

    async def page(request: Request) -> Response:
        return _page(cases, reviewer, request) if _authorized(request, token) else _not_found()

    async def image(request: Request) -> Response:
        png = cases.image(request.path_params["record_id"], request.path_params["role"])
        if not _authorized(request, token) or png is None:
            return _not_found()
        return Response(png, media_type="image/png", headers=_headers() | {"Cache-Control": "private, max-age=3600"})

    async def decide(request: Request) -> Response:
        # Any site can make a browser post this form, but no other site knows the token.
        if not _authorized(request, token):
            return _not_found()
        form = await request.form()
        record_id, decision = form.get("record_id"), form.get("decision")
        if not isinstance(record_id, str) or record_id not in cases.by_id or decision not in _DECISIONS:
            return PlainTextResponse("no such record or decision\n", 400, _headers())
        accepted = _DECISIONS[str(decision)]
        filters = _filters(form)
        # The next record by the filters as they were before the decision; a withdrawal stays at its record.
        order = [case.pair.record_id for case in cases.select(cases.votes(), reviewer, **filters)]
        cases.decide(record_id, reviewer, accepted)
        index = order.index(record_id) if record_id in order and accepted is not None else len(order)
        at = order[index + 1] if index + 1 < len(order) else record_id
        return RedirectResponse(f"./?{_query(filters)}&at={at}", 303, _headers())

    return Starlette(
        routes=[
            Route("/{token}/", page),
            Route("/{token}/picture/{record_id}/{role}.png", image),
            Route("/{token}/decide", decide, methods=["POST"]),
        ],
        # Refuses requests by any other host name, which a site could point at loopback (DNS rebinding).
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def _page(cases: Cases, reviewer: str, request: Request) -> Response:
    filters = _filters(request.query_params)
    votes = cases.votes()
    selected = cases.select(votes, reviewer, **filters)
    at = request.query_params.get("at")
    index = next((index for index, case in enumerate(selected) if case.pair.record_id == at), 0)
    nonce = secrets.token_urlsafe(16)
    html = _TEMPLATES.get_template("page.html.j2").render(
        cases=cases,
        concept=cases.concept,
        reviewer=reviewer,
        choices=_CHOICES,
        filters=filters,
        query=_query(filters),
        case=selected[index] if selected else None,
        index=index,
        count=len(selected),
        previous=selected[index - 1].pair.record_id if index > 0 else None,
        next=selected[index + 1].pair.record_id if index + 1 < len(selected) else None,
        votes=votes.get(selected[index].pair.record_id, {}) if selected else {},
        agreements=cases.agreements(votes),
        progress=cases.progress(votes, reviewer),
        nonce=nonce,
    )
    return HTMLResponse(html, headers=_headers(nonce))


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one. Raises ``OSError`` if the port is in use."""
    return socket.create_server((HOST, port))


def serve(application: Starlette, listener: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run([listener])


def _authorized(request: Request, token: str) -> bool:
    return secrets.compare_digest(str(request.path_params["token"]).encode(), token.encode())


def _filters(fields: Any) -> dict[str, Any]:
    """The arguments of ``Cases.select`` from a query or a form; an unknown value counts as absent."""
    filters: dict[str, Any] = {name: values[0] for name, values in _CHOICES.items()}
    filters |= {name: fields[name] for name, values in _CHOICES.items() if fields.get(name) in values}
    filters |= {name: fields.get(name) or None for name in ("writer", "reason")}
    return filters | {"least": _score(fields.get("least"), 0.0), "most": _score(fields.get("most"), 1.0)}


def _score(text: Any, default: float) -> float:
    try:
        score = float(text)
    except (TypeError, ValueError):
        return default
    return score if 0 <= score <= 1 else default


def _query(filters: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in filters.items() if value is not None})


def _not_found() -> Response:
    return PlainTextResponse("not found\n", 404, _headers())


def _headers(nonce: str | None = None) -> dict[str, str]:
    source = f"'nonce-{nonce}'" if nonce is not None else "'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; img-src 'self' data:; style-src {source}; "
        f"script-src {source}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
