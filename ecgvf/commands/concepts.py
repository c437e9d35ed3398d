"""``concepts``: list, explain and start concepts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.errors import ConceptError, StoreError
from ecgvf.core.files import disk_errors, shortened, write_atomic

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False, help="List, explain and start concepts.")


@app.callback()
def concepts(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List the shipped concepts, or explain a concept: `ecgvf concepts explain church`."""
    if ctx.invoked_subcommand is None:
        list_concepts()


@app.command("list")
def list_concepts(as_json: JsonOption = False) -> None:
    """List the shipped concepts."""
    from ecgvf.core.concepts import find, names

    shipped = [find(name) for name in names()]
    table = console.table("concept", "kind", "terms", "judged by labels of", "window", "unsafe")
    table.columns[0].no_wrap = True  # names are copied from here
    for concept in shipped:
        row = (concept.name, concept.kind, ", ".join(concept.terms), ", ".join(concept.judge_labels))
        table.add_row(*map(console.escape, row), str(concept.window), "yes" if concept.unsafe else "")
    console.print_result(
        {"concepts": [concept.model_dump(mode="json") for concept in shipped]},
        table,
        "Details: [bold]ecgvf concepts explain NAME[/bold]. Your own concept: [bold]ecgvf concepts new NAME[/bold].",
    )


@app.command("explain")
def explain_concept(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped concept, or the path of a YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Explain a concept, and how each of its fields is used."""
    from ecgvf.core.concepts import find, names
    from ecgvf.judges.label_sets import check_labels
    from ecgvf.pairs.neighbours import neighbour_warnings

    concept = find(name)
    if name not in names():  # tests check those that ship
        with console.status("checking its labels"):
            check_labels(concept)
    for warning in neighbour_warnings(concept):
        console.warn(warning)
    labels, near = (
        "\n".join(f"{label_set}: {', '.join(labels)}" for label_set, labels in sets.items())
        for sets in (concept.judge_labels, concept.near_labels)
    )
    rows = [
        ("kind", concept.kind, "which templates the writers fill, and which judge is the default"),
        ("terms", ", ".join(concept.terms), "words that name the concept; none in a surrogate prompt"),
        (
            "unseen_terms",
            ", ".join(concept.unseen_terms) or "none",
            "kept for evaluation, in no training pair",
        ),
        ("surrogates", ", ".join(concept.surrogates), "named by surrogate prompts in place of the term"),
        ("neighbours", ", ".join(concept.neighbours) or "none", "never rehearsed in training, always measured"),
        ("judge_labels", labels or "none", "the judge's labels that mean the concept is in the image"),
        ("near_labels", near or "none", "reported as near misses, never accepted"),
        (
            "window",
            str(concept.window),
            "image tokens per optimizer step of paper, paper-rows and published, for a model of 576",
        ),
        ("unsafe", "yes" if concept.unsafe else "no", "images blurred in reports, dataset gated on the Hub"),
    ]
    table = console.table("field", "value", "what it decides", title=console.escape(concept.name))
    for field, value, meaning in rows:
        table.add_row(field, console.escape(value), meaning)
    console.print_result(concept.model_dump(mode="json"), table, console.escape(concept.description))


@app.command("new")
def new_concept(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens: lighthouse, art-deco.")
    ],
    kind: Annotated[Literal["object", "style", "nudity"], typer.Option(help="Kind of concept.")] = "object",
    to: Annotated[Path | None, typer.Option(help="File to write.", show_default="./NAME.yaml")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented YAML file for a concept of your own, to be edited."""
    from ecgvf.core.concepts import names, template

    text = template(name, kind)
    file = to or Path(f"{name}.yaml")
    try:
        with disk_errors(file):
            if file.exists():
                raise ConceptError(f"{file} exists: choose another file with --to, or delete it")
        write_atomic(file, text.encode())
    except StoreError as error:
        reason = getattr(error.__cause__, "strerror", None) or "not a file"
        raise ConceptError(f"cannot write {shortened(file)} ({reason}): choose another file with --to") from error
    # A name without an ending or a slash would be taken for a shipped concept.
    named = str(file) if file.suffix in {".yaml", ".yml"} or len(file.parts) > 1 else f"./{file}"
    if name in names():
        console.warn(
            f"a concept {name!r} ships: --concept {name} is that one, --concept {named} is yours, and in a store each "
            "replaces the other; choose another NAME to have both"
        )
    console.print_result(
        {"concept": name, "kind": kind, "file": str(file)},
        f"Wrote {console.escape(str(file))}. Edit it, then: ecgvf generate --concept {console.escape(named)}",
    )
