"""``templates``: the requests that LLM writers get."""

from typing import Annotated

import typer

from ecgvf.commands.options import JsonOption, TemplatesOption
from ecgvf.core import console
from ecgvf.pairs.default_counts import MAX_PROMPTS

app = typer.Typer(
    cls=console.CommandGroup,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show the requests that LLM writers get.",
)


@app.callback()
def templates(as_json: JsonOption = False) -> None:
    """Show the requests that LLM writers get: `ecgvf templates show church`."""


@app.command("show")
def show_templates(
    concept: Annotated[str, typer.Argument(metavar="CONCEPT", help="A shipped concept, or the path of a YAML file.")],
    count: Annotated[int, typer.Option(min=1, max=MAX_PROMPTS, help="Prompts requested in one call.")] = 10,
    iteration: Annotated[int, typer.Option(min=0, help="Index of the call, from 0.")] = 0,
    folder: TemplatesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the exact requests that LLM writers get for a concept."""
    from ecgvf.core.concepts import find
    from ecgvf.pairs.captions import captioned_concepts
    from ecgvf.pairs.templates import load

    about = find(concept)
    requests: list[dict[str, str]] = []
    lines: list[str] = []
    retained = [each.name for each in captioned_concepts(about)]
    # As for one writer, whose calls go through the retained concepts again and again.
    subjects = [retained[line % len(retained)] for line in range(iteration * count, (iteration + 1) * count)]
    for split in ("train", "test", "retain"):  # validation is requested as test is
        template = load(about.kind, split, folder)
        listed = subjects if split == "retain" else []
        text = template.render(about, count=count, iteration=iteration, retained=listed)
        file = str(template.file)
        requests.append({"template": template.name, "hash": template.hash, "file": file, "text": text})
        lines.append(f"[bold]{console.escape(template.name)}[/bold]  {template.hash[:12]}  {console.escape(file)}\n")
        lines.append(console.escape(text))
    console.print_result({"concept": about.name, "templates": requests}, *lines)
