"""``review``: reviewers overrule the judge on a local page."""

import re
import secrets
from typing import Annotated

import typer

from ecgvf.commands.options import ConceptOption, StoreOption
from ecgvf.core import console
from ecgvf.core.errors import SettingsError


def review(
    concept: ConceptOption = None,
    reviewer: Annotated[str, typer.Option(help="Name of the reviewer: letters, digits and ._@-.")] = "reviewer",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    store: StoreOption = None,
) -> None:
    """Serve a local page that shows each pair; decisions made there overrule the judge."""
    from ecgvf import Run
    from ecgvf.filter.acceptance import current_acceptance
    from ecgvf.review.cases import Cases

    if not re.fullmatch(r"[\w.@-]{1,64}", reviewer):
        raise SettingsError(f"--reviewer {reviewer!r}: use letters, digits and ._@-")
    run = Run.load(store, concept)
    try:
        from ecgvf.review.server import HOST, app, listen, serve
    except ImportError as missing:
        raise SettingsError("`ecgvf review` needs the extra review: pip install 'ecgvf[review]'") from missing
    cases = Cases(run)
    try:
        socket = listen(port)
    except OSError as error:
        problem = f"--port {port} is unavailable ({error.strerror})"
        raise SettingsError(f"{problem}: use another, or 0 for a free one") from error
    token = secrets.token_urlsafe(24)
    console.print(
        f"[bold]{run.concept.name}[/bold]: {len(cases.by_id)} records. Open this page; Ctrl-C ends the review:",
        f"  http://{HOST}:{socket.getsockname()[1]}/{token}/",
    )
    try:
        serve(app(cases, reviewer, token), socket)
    finally:
        socket.close()
        acceptance = current_acceptance(run)
        summary = acceptance.summary
        console.print(
            f"{summary['accepted_pairs']} of {summary['pairs']} pairs accepted, {summary['reviewed']} records decided "
            f"by reviewers. Set {acceptance.fingerprint}."
        )
