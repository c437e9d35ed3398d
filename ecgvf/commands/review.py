"""``review``: reviewers overrule the judge on a local page, or label images blind."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.blind import BlindArguments, review_blind
from ecgvf.commands.grouping import grouped
from ecgvf.commands.local_page import serve_page
from ecgvf.commands.options import ConceptOption, StoreOption
from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ecgvf import Run


@grouped
def review(
    *,
    concept: ConceptOption = None,
    reviewer: Annotated[str, typer.Option(help="Name of the reviewer: letters, digits and ._@-.")] = "reviewer",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    blind: BlindArguments,
    store: StoreOption = None,
) -> None:
    """Serve a local page that shows each pair; decisions made there overrule the judge.

    With --images it shows single images, and does not tell where they come from; reviewers say what they see.
    """
    from ecgvf import Run

    if not re.fullmatch(r"[\w.@-]{1,64}", reviewer):
        raise SettingsError(f"--reviewer {reviewer!r}: use letters, digits and ._@-")
    if blind.images is None:
        if blind != BlindArguments():
            raise SettingsError("--sample, --seed, --out and --json are about --images FILE: name the file")
        _review_pairs(Run.load(concept, store), reviewer, port)
    elif concept is not None:
        raise SettingsError(f"--concept {concept} selects pairs, and --images has its own concepts: use one of them")
    else:
        review_blind(blind, reviewer, port, store)


def _review_pairs(run: "Run", reviewer: str, port: int) -> None:
    from ecgvf.filter.acceptance import current_acceptance
    from ecgvf.filter.decisions import check_writable, decisions_file
    from ecgvf.review.cases import Cases

    check_writable(run)
    cases = Cases(run)

    def application(token: str) -> "Starlette":
        from ecgvf.review.server import app

        return app(cases, reviewer, token)

    serve_page(f"[bold]{run.concept.name}[/bold]: {console.counted(len(cases.by_id), 'record')}", port, application)
    acceptance = current_acceptance(run)
    summary = acceptance.summary
    decisions = decisions_file(run)
    where = f" Decisions in {console.escape(str(decisions))}." if decisions.is_file() else ""
    console.print(
        f"{summary['accepted_pairs']} of {console.counted(summary['pairs'], 'pair')} accepted, "
        f"{console.counted(summary['reviewed'], 'record')} decided by reviewers. Set {acceptance.fingerprint}.{where}"
    )
