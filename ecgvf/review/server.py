"""The review page: Starlette on loopback, behind a token, with no asset from anywhere else.

A reviewer walks from record to record; every decision is a form that is posted, kept on disk, and answered with the
next record. Scripts add keys and nothing else: without them the page works by clicking.
"""

import secrets
import socket
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ecgvf.review.cases import Cases, summary

HOST = "127.0.0.1"

FILTERS = {
    "show": ("all", "undecided", "accepted", "rejected", "disputed"),
    "order": ("written", "doubtful"),
}

_ENVIRONMENT = Environment(
    loader=PackageLoader("ecgvf.review"), autoescape=select_autoescape(default=True), undefined=StrictUndefined
)


def app(cases: Cases, reviewer: str, token: str) -> Starlette:
    """The application for one reviewer. Every address begins with the token; whoever lacks it gets 404."""

    async def page(request: Request) -> Response:
        if not _known(request, token):
            return _nothing()
        asked = _asked(request.query_params)
        votes = cases.votes()
        found = cases.chosen(votes, reviewer, **asked)
        at = request.query_params.get("at")
        place = next((place for place, case in enumerate(found) if case.pair.record_id == at), 0)
        nonce = secrets.token_urlsafe(16)
        html = _ENVIRONMENT.get_template("page.html.j2").render(
            concept=cases.concept,
            judge=cases.judge,
            reviewer=reviewer,
            filters=FILTERS,
            asked=asked,
            query=_query(asked),
            writers=cases.writers,
            reasons=sorted({case.judged.reason for case in cases.all.values() if case.judged.reason}),
            case=found[place] if found else None,
            place=place,
            count=len(found),
            before=found[place - 1].pair.record_id if place > 0 else None,
            after=found[place + 1].pair.record_id if place + 1 < len(found) else None,
            votes=votes.get(found[place].pair.record_id, {}) if found else {},
            agreements=cases.agreements(votes),
            progress=summary(cases, votes, reviewer),
            nonce=nonce,
        )
        return HTMLResponse(html, headers=_headers(nonce))

    async def picture(request: Request) -> Response:
        png = cases.picture(request.path_params["record_id"], request.path_params["role"])
        if not _known(request, token) or png is None:
            return _nothing()
        return Response(png, media_type="image/png", headers=_headers() | {"Cache-Control": "private, max-age=3600"})

    async def decide(request: Request) -> Response:
        # A form may be posted from anywhere; the token cannot be known there.
        if not _known(request, token):
            return _nothing()
        form = await request.form()
        record_id, decision = form.get("record_id"), form.get("decision")
        if record_id not in cases.all or decision not in _DECISIONS or not isinstance(record_id, str):
            return PlainTextResponse("no such record or decision\n", 400, _headers())
        asked = _asked(form)
        votes = cases.votes()
        order = [case.pair.record_id for case in cases.chosen(votes, reviewer, **asked)]
        cases.decide(record_id, reviewer, _DECISIONS[str(decision)])
        place = order.index(record_id) if record_id in order else -1
        forward = order[place + 1] if 0 <= place < len(order) - 1 else record_id
        stay = _DECISIONS[str(decision)] is None
        return RedirectResponse(f"./?{_query(asked)}&at={record_id if stay else forward}", 303, _headers())

    return Starlette(
        routes=[
            Route("/{token}/", page),
            Route("/{token}/picture/{record_id}/{role}.png", picture),
            Route("/{token}/decide", decide, methods=["POST"]),
        ],
        # Another site's name that points here is refused before anything is looked up.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


_DECISIONS: dict[str, bool | None] = {"accept": True, "reject": False, "withdraw": None}


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0 takes a free one. Raises ``OSError`` where the port is taken."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((HOST, port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def serve(application: Starlette, on: socket.socket) -> None:
    """Answer until Ctrl-C."""
    import uvicorn

    uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False, server_header=False)).run([on])


def _known(request: Request, token: str) -> bool:
    return secrets.compare_digest(str(request.path_params["token"]).encode(), token.encode())


def _asked(given: Any) -> dict[str, Any]:
    """The filters of a query or a form; what is not known counts as not asked for."""
    asked: dict[str, Any] = {name: values[0] for name, values in FILTERS.items()}
    asked |= {name: given[name] for name, values in FILTERS.items() if given.get(name) in values}
    asked |= {name: given.get(name) or None for name in ("writer", "reason")}
    return asked | {name: _score(given.get(name), otherwise) for name, otherwise in (("least", 0.0), ("most", 1.0))}


def _score(given: Any, otherwise: float) -> float:
    try:
        score = float(given)
    except (TypeError, ValueError):
        return otherwise
    return score if 0 <= score <= 1 else otherwise


def _query(asked: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in asked.items() if value is not None})


def _nothing() -> Response:
    return PlainTextResponse("nothing here\n", 404, _headers())


def _headers(nonce: str | None = None) -> dict[str, str]:
    own = f"'nonce-{nonce}'" if nonce is not None else "'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; img-src 'self' data:; style-src {own}; script-src {own}; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-JudgeOptions": "nosniff",
        "Cache-Control": "no-store",
    }
