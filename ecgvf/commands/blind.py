"""``review --images``: reviewers say what images show, and how far the judges agree with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.grouping import to_argv
from ecgvf.commands.local_page import serve_page
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import DatasetError

if TYPE_CHECKING:
    from rich.table import Table
    from starlette.applications import Starlette

    from ecgvf.core.store import Store
    from ecgvf.review.agreement import JudgeAgreement, LabelShare
    from ecgvf.review.images import ImageRows
    from ecgvf.review.labels import LabelsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindArguments:
    """What is labelled blind, and where the labels go."""

    images: Annotated[
        Path | None,
        typer.Option(help="Label the images of this file of `ear eval --outcomes` blind.", show_default="review pairs"),
    ] = None
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Number of images to label, half before and half after erasing.", show_default="all"),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the sample and of its order.")] = 0
    out: Annotated[
        Path | None, typer.Option(help="JSON Lines file for the labels.", show_default="FILE.labels.jsonl")
    ] = None
    as_json: JsonOption = False
    """The labels and the judges' agreement, without serving the page."""


def review_blind(arguments: BlindArguments, reviewer: str, port: int, store: Path | None) -> None:
    """Serve the blind page, then print the labels and the judges' agreement; ``--json`` prints only.

    Raises ``DatasetError`` for a file without images to label, or ``--json`` without labels; ``SettingsError``.
    """
    from ecgvf.core.store import Store
    from ecgvf.review.images import ImageRows
    from ecgvf.review.labels import LabelsFile

    assert arguments.images is not None
    rows = ImageRows(arguments.images)
    labels = LabelsFile(arguments.out or arguments.images.with_suffix(".labels.jsonl"))
    if arguments.as_json:
        if not _print_result(rows, labels, arguments):
            raise DatasetError(f"{labels.path} has no label of an image of {rows.path}: omit --json to label them")
        return
    with TemporaryDirectory(prefix="ecgvf-") as folder:
        images = rows.sample(arguments.sample, arguments.seed, Path(folder))
        labels.check()
        unsafe = _unsafe({image.concept for image in images}, Store(store))

        def application(token: str) -> "Starlette":
            from ecgvf.review.blind import app

            return app(images, labels, reviewer, token, unsafe)

        done = len({image.key for image in images} & labels.read().get(reviewer, {}).keys())
        of_images = console.counted(len(images), "image")
        title = f"[bold]{console.escape(str(rows.path))}[/bold]: {done} of {of_images} labelled by {reviewer}"
        serve_page(title, port, application)
    if not _print_result(rows, labels, arguments):
        console.print(f"No labels in {console.escape(str(labels.path))}.")


def _unsafe(names: set[str], store: "Store") -> set[str]:
    """The concepts whose images are blurred."""
    from ecgvf.core.concepts import may_be_unsafe

    kept = {name: store.concept(name).unsafe for name in names & set(store.concepts())}
    return {name for name in names if may_be_unsafe(name, kept.get(name))}


def _print_result(rows: "ImageRows", labels: "LabelsFile", arguments: BlindArguments) -> bool:
    """Print labels and agreement; False if there are no labels."""
    from ecgvf.publish.redaction import public_command
    from ecgvf.review.agreement import judge_agreement, label_shares

    given = labels.read()
    shares, agreements = label_shares(rows, given), judge_agreement(rows, given)
    if shares:
        facts = {
            "command": public_command(["ecgvf", "review", *to_argv(arguments)]),
            "images": str(rows.path),
            "labels": str(labels.path),
            "shares": [share.json() for share in shares],
            "agreement": [agreement.json() for agreement in agreements],
        }
        tables = (_shares_table(shares), *([_agreement_table(agreements)] if agreements else []))
        console.print_result(facts, *tables, f"Labels in {console.escape(str(labels.path))}.")
    return bool(shares)


def _shares_table(shares: "Sequence[LabelShare]") -> "Table":
    table = console.table("reviewer", "condition", "label", "share", title="labels")
    for share in shares:
        table.add_row(console.escape(share.reviewer), share.condition, share.label, str(share.share))
    return table


def _agreement_table(agreements: "Sequence[JudgeAgreement]") -> "Table":
    table = console.table("judge", "reviewer", "condition", "agree", "Cohen's kappa", title="judges and labels")
    for found in agreements:
        names = (console.escape(found.judge), console.escape(found.reviewer), found.condition)
        table.add_row(*names, str(found.agreement.share), str(found.agreement.kappa))
    return table
