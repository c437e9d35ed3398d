"""``ecgvf``: one thin command per stage. Parse, call, print.

Heavy libraries are imported inside the commands that need them, so that ``ecgvf --help`` answers at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ecgvf
from ecgvf import console
from ecgvf.nano.cli import app as nano_app

if TYPE_CHECKING:
    from ecgvf.store import Store

app = typer.Typer(
    cls=console.Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Build a benchmark for concept erasure: concept → pairs → pictures → verdicts → dataset.",
)
concepts_app = typer.Typer(
    cls=console.Commands, pretty_exceptions_enable=False, help="List, explain and start concepts."
)
app.add_typer(concepts_app, name="concepts", invoke_without_command=True)
templates_app = typer.Typer(
    cls=console.Commands,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show what the LLM writers are asked.",
)
app.add_typer(templates_app, name="templates")
app.add_typer(nano_app, name="nano")


class Kind(StrEnum):
    """Kinds of concept, as an option's values."""

    object = "object"
    style = "style"
    nudity = "nudity"


StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the runs. [default: $ECGVF_STORE, or ./ecgvf-store]")
]
ConceptOption = Annotated[
    str | None, typer.Option("--concept", help="A concept of the store. [default: the last one generated]")
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="Start of a set's fingerprint. [default: the current set]")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry", envvar="ECGVF_WRITERS", help="Your own YAML of writers, over the shipped ones. [default: none]"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def main() -> None:
    """Entry point of the ``ecgvf`` script."""
    app()


def _version(on: bool) -> None:
    if on:
        console.say(f"ecgvf {ecgvf.__version__}")
        raise typer.Exit


@app.callback()
def _ecgvf(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Build a benchmark for concept erasure: concept → pairs → pictures → verdicts → dataset."""


def open_store(root: Path | None) -> "Store":
    """The store of ``--store``."""
    from ecgvf.store import Store

    return Store(root)


# Concepts


@concepts_app.callback()
def concepts(ctx: typer.Context) -> None:
    """List the concepts that ship, or explain one: `ecgvf concepts explain church`."""
    if ctx.invoked_subcommand is None:
        list_concepts()


@concepts_app.command("list")
def list_concepts(as_json: JsonOption = False) -> None:
    """List the concepts that ship."""
    from rich.table import Table

    from ecgvf.concepts import find, names

    console.quiet_stdout(as_json)
    known = [find(name) for name in names()]
    if as_json:
        console.emit({"concepts": [concept.model_dump(mode="json") for concept in known]})
        return
    table = Table("concept", "kind", "terms", "judged by labels of", "window", "unsafe")
    for concept in known:
        row = (concept.name, concept.kind, ", ".join(concept.terms), ", ".join(concept.judge_labels))
        table.add_row(*map(console.plain, row), str(concept.window), "yes" if concept.unsafe else "")
    console.say(table)
    console.say(
        "More on one: [bold]ecgvf concepts explain NAME[/bold]. Your own: [bold]ecgvf concepts new NAME[/bold]."
    )


@concepts_app.command("explain")
def explain_concept(
    name: Annotated[str, typer.Argument(help="A shipped concept, or the path of a YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a concept is, and how each of its fields is used."""
    from rich.table import Table

    from ecgvf.concepts import find

    console.quiet_stdout(as_json)
    concept = find(name)
    if as_json:
        console.emit(concept.model_dump(mode="json"))
        return
    labels = "\n".join(f"{label_set}: {', '.join(labels)}" for label_set, labels in concept.judge_labels.items())
    rows = [
        ("kind", concept.kind, "which templates the writers fill, and which judge looks"),
        ("terms", ", ".join(concept.terms), "in every target prompt, in no surrogate prompt"),
        ("surrogates", ", ".join(concept.surrogates), "named by surrogate prompts in the term's place"),
        ("neighbours", ", ".join(concept.neighbours) or "none", "never rehearsed in training; their loss is measured"),
        ("judge labels", labels or "none", "the judge's labels that mean the concept is in the picture"),
        ("window", str(concept.window), "image tokens per optimizer step, for a model of 576"),
        ("unsafe", "yes" if concept.unsafe else "no", "pictures blurred in reports, dataset gated on the Hub"),
    ]
    table = Table("field", "value", "what it decides", title=console.plain(concept.name))
    for field, value, meaning in rows:
        table.add_row(field, console.plain(value), meaning)
    console.say(table)
    console.say(console.plain(concept.description))


@concepts_app.command("new")
def new_concept(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens: lighthouse, art-deco.")],
    kind: Annotated[Kind, typer.Option(help="What sort of thing it is.")] = Kind.object,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write. [default: ./NAME.yaml]")] = None,
) -> None:
    """Write a commented YAML for a concept of your own, to be edited."""
    from ecgvf.concepts import template
    from ecgvf.errors import ConceptError
    from ecgvf.store import write_atomic

    text = template(name, kind.value)
    file = to if to is not None else Path(f"{name}.yaml")
    if file.exists():
        raise ConceptError(f"{file} is there already: choose another file with --to, or delete it")
    write_atomic(file, text.encode())
    console.say(f"Wrote {console.plain(str(file))}. Edit it, then: ecgvf generate --concept {console.plain(str(file))}")


# Stage 1: pairs


@app.command("writers")
def list_writers(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the LLMs that can write pairs: model, price, limits, and whether their key is set."""
    from rich.table import Table

    from ecgvf.pairs.registry import Registry

    console.quiet_stdout(as_json)
    known = Registry(registry)
    if as_json:
        rows = [
            {"name": one.name, "key_set": one.ready, "priced": one.priced, **one.entry.model_dump(mode="json")}
            for one in known.all()
        ]
        console.emit({"writers": rows, "unknown_price": known.unknown_price.model_dump(mode="json")})
        return
    table = Table("writer", "model", "asked at", "key", "$ per 1M in / out", "per minute", "structure")
    for one in known.all():
        entry = one.entry
        price = f"{one.rates.input} / {one.rates.output}" if one.priced else "unknown"
        key = "none needed" if entry.key is None else f"{entry.key} {'set' if one.ready else 'missing'}"
        limits = f"{entry.requests_per_minute} calls, {entry.tokens_per_minute} tokens"
        table.add_row(*map(console.plain, (one.name, entry.model, entry.base_url, key, price, limits, entry.structure)))
    console.say(table)
    worst = known.unknown_price
    console.say(f"An unknown price counts as ${worst.input} / ${worst.output} per million tokens, the worst case.")
    ready = [one.name for one in known.ready()]
    if ready:
        console.say(f"[bold]ecgvf generate[/bold] asks {', '.join(ready)}, after telling the cost and asking you.")
    else:
        console.say("No key of the default writers is set: [bold]ecgvf generate[/bold] takes the offline writer.")


@app.command()
def generate(
    concept: Annotated[
        str | None,
        typer.Option("--concept", help="A shipped concept, or a YAML file's path. [default: the last one generated]"),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Training pairs.")] = 60,
    tests: Annotated[int, typer.Option(help="Test prompts.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write target/surrogate prompt pairs and test prompts for a concept."""
    from rich.table import Table

    from ecgvf.concepts import find
    from ecgvf.pairs.generate import examples
    from ecgvf.pairs.generate import generate as write

    console.quiet_stdout(as_json)
    opened = open_store(store)
    written = write(
        opened,
        find(concept) if concept is not None else opened.concept(),
        pairs=pairs,
        tests=tests,
        seed=seed,
    )
    summary = written.summary
    if as_json:
        console.emit({"concept": written.concept, "set": written.fingerprint, "path": str(written.path), **summary})
        return
    train, test = summary["train"], summary["test"]
    table = Table("target prompt", "surrogate prompt", title=f"{written.concept}: some of the pairs")
    for pair in examples(written, 4):
        table.add_row(console.plain(pair.target), console.plain(pair.surrogate or ""))
    console.say(table)
    console.say(
        f"[bold]{written.concept}[/bold]: {train['accepted']} pairs and {test['accepted']} test prompts by "
        f"{summary['writer']}; rejected {train['malformed'] + test['malformed']} malformed, "
        f"{train['duplicate'] + test['duplicate']} duplicate."
    )
    console.say(f"Set {written.fingerprint} in {console.plain(str(written.path))}. Next: [bold]ecgvf render[/bold]")


@templates_app.command("show")
def show_templates(
    concept: Annotated[str, typer.Argument(help="A shipped concept, or a YAML file's path.")],
    count: Annotated[int, typer.Option(min=1, help="Prompts asked for in one call.")] = 10,
    iteration: Annotated[int, typer.Option(min=0, help="Which of the calls, from 0.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own templates. [default: the shipped ones]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the LLM writers are asked about a concept, word for word."""
    from ecgvf.concepts import find
    from ecgvf.pairs.templates import FILES, load

    about = find(concept)
    filled = []
    for split in FILES:
        template = load(about.kind, split, folder)
        text = template.render(about, count=count, iteration=iteration)
        filled.append({"template": template.name, "hash": template.hash, "file": str(template.file), "text": text})
    if as_json:
        console.emit({"concept": about.name, "templates": filled})
        return
    for one in filled:
        console.say(
            f"[bold]{console.plain(one['template'])}[/bold]  {one['hash'][:12]}  {console.plain(one['file'])}\n"
        )
        console.say(console.plain(one["text"]))


# Stage 2: pictures


@app.command()
def render(
    concept: ConceptOption = None,
    model: Annotated[
        str, typer.Option(help="janus-nano, janus-pro-1b, janus-pro-7b, a folder, or a Hub id.")
    ] = "janus-nano",
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance. [default: the model's own]")] = None,
    temperature: Annotated[float, typer.Option(help="Of sampling; 0 takes the most likely token.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Pictures drawn at once.")] = 16,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")] = "auto",
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw both prompts of each pair with the same seed, and every test prompt."""
    console.quiet_stdout(as_json)
    opened = open_store(store)
    known = opened.concept(concept)
    from ecgvf.render import render as draw

    done = draw(
        opened,
        known,
        model=model,
        guidance=guidance,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        chosen=chosen,
    )
    stage, summary = done.stage, done.stage.summary
    if as_json:
        console.emit(
            {"concept": known.name, "set": stage.fingerprint, "path": str(stage.path), "new": done.fresh, **summary}
        )
        return
    drawn = summary["pictures"] - summary["failed"]
    console.say(
        f"[bold]{known.name}[/bold]: {drawn} pictures by {console.plain(stage.settings['model'])} "
        f"({done.fresh} new), {summary['failed']} failed."
    )
    for why, count in summary["failures"].items():
        console.say(f"  {count} × {console.plain(why)}")
    console.say(f"Set {stage.fingerprint} in {console.plain(str(stage.path))}. Next: [bold]ecgvf filter[/bold]")


# Stage 3: verdicts


@app.command("filter")
def filter_pairs(
    concept: ConceptOption = None,
    judge: Annotated[
        str | None,
        typer.Option(help="nano-object-a, nano-object-b, nano-style or resnet50. [default: by the model that drew]"),
    ] = None,
    device: DeviceOption = "auto",
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a judge look at the pictures, and accept the pairs that hold. What is not yet drawn is drawn first."""
    console.quiet_stdout(as_json)
    opened = open_store(store)
    known = opened.concept(concept)
    from ecgvf.judges import filter_pictures

    done = filter_pictures(opened, known, judge=judge, device=device, chosen=chosen)
    if as_json:
        console.emit({"concept": known.name, "set": done.stage.fingerprint, "judge": done.judge, **done.stage.summary})
        return
    console.say(
        f"[bold]{known.name}[/bold]: {done.judge} accepts {done.accepted_pairs} of {done.pairs} pairs "
        f"and {done.accepted_tests} of {done.tests} test prompts."
    )
    for reason, count in done.reasons.items():
        console.say(f"  {count} × {reason}")
    console.say(
        f"Set {done.stage.fingerprint} in {console.plain(str(done.stage.path))}. "
        f"Next: [bold]ear train --dataset ecgvf/{known.name}[/bold]"
    )


@app.command()
def status(
    concept: ConceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show stage by stage how many there are, how many were accepted, why others were not, and the time it took."""
    from rich.table import Table

    from ecgvf.status import status as look

    console.quiet_stdout(as_json)
    opened = open_store(store)
    known = opened.concept(concept)
    entries = look(opened, known.name)
    if as_json:
        console.emit({"concept": known.name, "store": str(opened.root), "sets": entries})
        return
    table = Table(
        "stage", "set", "how many", "why not", "seconds", title=f"{known.name} in {console.plain(str(opened.root))}"
    )
    for entry in entries:
        mark = (
            "[green]current[/green]" if entry["current"] else "" if entry["finished"] else "[yellow]unfinished[/yellow]"
        )
        table.add_row(
            entry["stage"],
            f"{entry['set']} {mark}",
            ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in entry["counts"].items()),
            ", ".join(f"{count} {reason}" for reason, count in entry["reasons"].items()),
            f"{entry['seconds']:.1f}",
        )
    console.say(table)
