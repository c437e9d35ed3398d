"""The review page: a reviewer steps from record to record.

Each decision is a posted form, recorded on disk and answered with the next record. Scripts only add keys: the page
works without them.
"""

from typing import Any, get_args
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ecgvf.review import loopback
from ecgvf.review.cases import Cases, Order, Show

_CHOICES: dict[str, tuple[str, ...]] = {"show": get_args(Show), "order": get_args(Order)}

_DECISIONS: dict[str, bool | None] = {"accept": True, "reject": False, "withdraw": None}


def app(cases: Cases, reviewer: str, token: str) -> Starlette:
    """The application for one reviewer."""

    async def page(request: Request) -> Response:
        return _page(cases, reviewer, request)

    async def image(request: Request) -> Response:
        png = cases.image(request.path_params["record_id"], request.path_params["role"])
        return loopback.not_found() if png is None else loopback.image(png)

    async def decide(request: Request) -> Response:
        form = await request.form()
        record_id, decision = form.get("record_id"), form.get("decision")
        if not isinstance(record_id, str) or record_id not in cases.by_id or decision not in _DECISIONS:
            return loopback.bad_request("no such record or decision")
        accepted = _DECISIONS[str(decision)]
        filters = _filters(form)
        # The next record by the filters as they were before the decision; a withdrawal stays at its record.
        order = [case.pair.record_id for case in cases.select(cases.votes(), reviewer, **filters)]
        cases.decide(record_id, reviewer, accepted)
        index = order.index(record_id) if record_id in order and accepted is not None else len(order)
        at = order[index + 1] if index + 1 < len(order) else record_id
        return loopback.redirect(f"./?{_query(filters)}&at={at}")

    pages = {"": page, "picture/{record_id}/{role}.png": image}
    return loopback.application(token, get=pages, post={"decide": decide})


def _page(cases: Cases, reviewer: str, request: Request) -> Response:
    filters = _filters(request.query_params)
    votes = cases.votes()
    selected = cases.select(votes, reviewer, **filters)
    at = request.query_params.get("at")
    index = next((index for index, case in enumerate(selected) if case.pair.record_id == at), 0)
    return loopback.page(
        "page.html.j2",
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
    )


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
