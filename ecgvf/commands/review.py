"""``review``: people look at pairs and decide."""

import re
from typing import Annotated

import typer

from ecgvf.commands.options import ConceptOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def review(
    concept: ConceptOption = None,
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="Who decides: a name of letters, digits and ._@-.")
    ] = "reviewer",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0 takes a free one.")] = 0,
    store: StoreOption = None,
) -> None:
    """Serve a local page that shows each pair; what people decide there overrules the judge, and is recorded."""
    import secrets

    from ecgvf.core.errors import SettingsError

    if not re.fullmatch(r"[\w.@-]{1,64}", reviewer):
        raise SettingsError(f"--reviewer {reviewer!r}: use letters, digits and ._@-")
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store

    run = ConceptRun.load(Store(store), concept)
    known = run.concept
    from ecgvf.filter.acceptance import current_acceptance
    from ecgvf.review.cases import Cases

    try:
        from ecgvf.review.server import HOST, app, listen, serve
    except ImportError as missing:
        raise SettingsError("`ecgvf review` needs the extra review: pip install 'ecgvf[review]'") from missing
    cases = Cases(run)
    try:
        on = listen(port)
    except OSError as error:
        raise SettingsError(
            f"--port {port} cannot be had ({error.strerror}): take another, or 0 for a free one"
        ) from error
    token = secrets.token_urlsafe(24)
    console.print(
        f"[bold]{known.name}[/bold]: {len(cases.by_id)} records to look at. Open this page, and end with Ctrl-C:"
    )
    console.print(f"  http://{HOST}:{on.getsockname()[1]}/{token}/")
    try:
        serve(app(cases, reviewer, token), on)
    finally:
        on.close()
        stage = current_acceptance(run)
        console.print(
            f"{stage.summary['accepted_pairs']} of {stage.summary['pairs']} pairs hold, "
            f"{stage.summary['reviewed']} records decided by people. Set {stage.fingerprint}."
        )
