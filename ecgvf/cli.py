"""``ecgvf``: one thin command per stage. Parse, call, print.

Heavy libraries are imported inside the commands that need them, so that ``ecgvf --help`` answers at once.
"""

import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ecgvf
from ecgvf import console
from ecgvf.nano.cli import app as nano_app
from ecgvf.options import ConceptOption, DeviceOption, JsonOption, SetOption, StoreOption
from ecgvf.publish.cli import app as publish_app

if TYPE_CHECKING:
    from ecgvf.concepts import Concept
    from ecgvf.judges import Options
    from ecgvf.records import Split, Verdict
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
app.add_typer(publish_app)
app.add_typer(nano_app, name="nano")


class Kind(StrEnum):
    """Kinds of concept, as an option's values."""

    object = "object"
    style = "style"
    nudity = "nudity"


RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry", envvar="ECGVF_WRITERS", help="Your own YAML of writers, over the shipped ones. [default: none]"
    ),
]


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
    labels, near = (
        "\n".join(f"{label_set}: {', '.join(labels)}" for label_set, labels in sets.items())
        for sets in (concept.judge_labels, concept.near_labels)
    )
    rows = [
        ("kind", concept.kind, "which templates the writers fill, and which judge looks"),
        ("terms", ", ".join(concept.terms), "in every target prompt, in no surrogate prompt"),
        ("surrogates", ", ".join(concept.surrogates), "named by surrogate prompts in the term's place"),
        ("neighbours", ", ".join(concept.neighbours) or "none", "never rehearsed in training; their loss is measured"),
        ("judge labels", labels or "none", "the judge's labels that mean the concept is in the picture"),
        ("near labels", near or "none", "shown as near misses, never accepted"),
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


class PairsSplit(StrEnum):
    """The two parts of a set of pairs, as an option's values."""

    train = "train"
    test = "test"


@app.command()
def generate(
    concept: Annotated[
        str | None,
        typer.Option("--concept", help="A shipped concept, or a YAML file's path. [default: the last one generated]"),
    ] = None,
    writers: Annotated[
        str | None,
        typer.Option(help="gpt,claude,…; paper; or offline. [default: every family whose key is set, else offline]"),
    ] = None,
    writer_url: Annotated[str | None, typer.Option(help="A server of your own, compatible with OpenAI's.")] = None,
    writer_model: Annotated[str | None, typer.Option(help="The model that this server is asked for.")] = None,
    pairs: Annotated[
        int | None, typer.Option(help="Pairs per iteration of a writer. [default: 10; offline 60]")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Iterations of each writer. [default: 3; offline 1]")] = None,
    tests: Annotated[int, typer.Option("--tests", "--count", help="Test prompts, by all writers together.")] = 100,
    split: Annotated[
        PairsSplit | None, typer.Option(help="Write this part and keep the other. [default: train; offline both]")
    ] = None,
    budget_usd: Annotated[float, typer.Option(help="The most that this run may cost, in US dollars.")] = 5.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before paying.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show prompts, calls and cost; send nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask everything anew, and pay anew.")] = False,
    reparse: Annotated[bool, typer.Option("--reparse", help="Read the old answers again, without a call.")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="Half the price, within a day: OpenAI, Anthropic.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own templates. [default: the shipped ones]")
    ] = None,
    registry: RegistryOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the offline writer.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write target/surrogate prompt pairs and test prompts for a concept."""
    from ecgvf.concepts import find
    from ecgvf.errors import SettingsError
    from ecgvf.pairs import show

    console.quiet_stdout(as_json)
    opened = open_store(store)
    about = find(concept) if concept is not None else opened.concept()
    part: Split | None = None if split is None else "train" if split is PairsSplit.train else "test"
    if reparse:
        from ecgvf.pairs.paid import reparse as read_again

        show.written(read_again(opened, about), as_json)
        return
    chosen, named = show.choose(writers, writer_url, writer_model, registry, keys=not dry_run)
    if not chosen:
        from ecgvf.pairs.generate import generate as write

        if fresh or batch or folder is not None:
            raise SettingsError("--fresh, --batch and --templates are for LLM writers: name some with --writers")
        if dry_run:
            console.say("The offline writer writes: nothing is sent, nothing is paid.")
            return
        total = (60 if pairs is None else pairs) * (1 if iterations is None else iterations)
        done = write(opened, about, pairs=total, tests=tests, seed=seed, split=part)
        if not named:
            console.note("no key of an LLM writer is set (see `ecgvf writers`): the offline writer wrote")
        show.written(done, as_json)
        return
    from decimal import Decimal

    from ecgvf.pairs.generate import PER_CALL
    from ecgvf.pairs.paid import ITERATIONS, foreseen, generate_paid, planned
    from ecgvf.pairs.paid import opened as ledger_of

    plan = planned(
        about,
        chosen,
        split=part or "train",
        pairs=PER_CALL if pairs is None else pairs,
        iterations=ITERATIONS if iterations is None else iterations,
        tests=tests,
        templates=folder,
        batch=batch,
    )
    budget = Decimal(str(budget_usd))
    calls = foreseen(plan, ledger_of(opened, plan), fresh=fresh, half=batch)
    if dry_run:
        show.dry_run(plan, calls, budget, as_json)
        return
    show.estimate(plan, calls, budget)
    if not named:
        show.agree(calls, yes)
    show.written(generate_paid(opened, plan, budget_usd=budget, fresh=fresh, batch=batch), as_json)


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


JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="nano-object-a, nano-object-b, nano-style, resnet50, torchvision:NAME, timm:NAME, hf:ID, style, nudenet, "
        "clip, or several joined by +. [default: by who drew, and the concept's kind]",
    ),
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Accepted labels, with commas. [default: the concept's]")
]
LabelSetOption = Annotated[
    str | None, typer.Option("--label-set", help="A label set of the concept: nudenet-strict. [default: the judge's]")
]
TopKOption = Annotated[
    int | None, typer.Option("--top-k", help="An accepted label is among the best so many. [default: 1; style 3]")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", help="What the score has to reach. [default: nudenet 0.25, clip 0.5, others none]"),
]
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", help="V1 or V2 (resnet50), a file, a folder, or a Hub id. [default: the judge's own]"),
]
TextOption = Annotated[
    list[str] | None, typer.Option("--text", help="For clip: what it looks for, in words. Repeatable.")
]
ContrastOption = Annotated[
    list[str] | None, typer.Option("--contrast", help="For clip: what else there may be, in words. Repeatable.")
]
CombineOption = Annotated[
    str, typer.Option("--combine", help="Of several judges: all, any, or majority have to see it.")
]


def _judge_options(
    labels: str | None,
    label_set: str | None,
    top_k: int | None,
    threshold: float | None,
    weights: str | None,
    text: list[str] | None,
    contrast: list[str] | None,
    combine: str,
    device: str,
) -> "Options":
    from ecgvf.judges import Options

    return Options(
        labels=tuple(part.strip() for part in labels.split(",") if part.strip()) if labels is not None else None,
        label_set=label_set,
        top_k=top_k,
        threshold=threshold,
        weights=weights,
        text=tuple(text) if text else None,
        contrast=tuple(contrast) if contrast else None,
        combine=combine,
        device=device,
    )


@app.command("filter")
def filter_pairs(
    concept: ConceptOption = None,
    judge: JudgeOption = None,
    labels: LabelsOption = None,
    label_set: LabelSetOption = None,
    top_k: TopKOption = None,
    threshold: ThresholdOption = None,
    weights: WeightsOption = None,
    text: TextOption = None,
    contrast: ContrastOption = None,
    combine: CombineOption = "all",
    seeds: Annotated[int, typer.Option(help="Draw each prompt from so many seeds.")] = 1,
    share: Annotated[float, typer.Option(help="Of these seeds, the share in which a pair has to hold.")] = 1.0,
    clip_floor: Annotated[
        float | None, typer.Option("--clip-floor", help="Least CLIP cosine of a picture and its prompt. [default: off]")
    ] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", help="The CLIP model of --clip-floor: a folder or a Hub id.")
    ] = None,
    most_change: Annotated[
        float | None,
        typer.Option("--most-change", help="Most a pair's pictures may differ outside the concept. [default: off]"),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare two judges' verdicts instead.")] = False,
    sets: Annotated[
        str | None, typer.Option("--sets", help="Two verdict sets for --compare, with a comma. [default: the last two]")
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
    if compare or sets is not None:
        _compare(opened, known, sets, as_json)
        return
    from ecgvf.judges import Rule, filter_pictures

    done = filter_pictures(
        opened,
        known,
        judge=judge,
        options=_judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device),
        rule=Rule(seeds=seeds, share=share, clip_floor=clip_floor, clip=clip, most_change=most_change),
        device=device,
        chosen=chosen,
    )
    if as_json:
        console.emit({"concept": known.name, "set": done.stage.fingerprint, "judge": done.judge, **done.stage.summary})
        return
    console.say(
        f"[bold]{known.name}[/bold]: {console.plain(done.judge)} accepts {done.accepted_pairs} of {done.pairs} pairs "
        f"and {done.accepted_tests} of {done.tests} test prompts."
    )
    for reason, count in done.reasons.items():
        near = ", ".join(f"{count} {console.plain(label)}" for label, count in done.near_misses.items())
        console.say(f"  {count} × {reason}" + (f" (near misses: {near})" if near and reason == "target_absent" else ""))
    if done.reviewed:
        console.say(f"  {done.reviewed} decided by people")
    console.say(
        f"Set {done.stage.fingerprint} in {console.plain(str(done.stage.path))}. "
        f"Next: [bold]ear train --dataset ecgvf/{known.name}[/bold]"
    )


def _compare(store: "Store", concept: "Concept", sets: str | None, as_json: bool) -> None:
    from rich.table import Table

    from ecgvf.errors import SettingsError
    from ecgvf.judges.compare import compare

    names = sets.split(",") if sets is not None else None
    if names is not None and len(names) != 2:
        raise SettingsError(f"--sets {sets}: name two sets, with a comma between them")
    found = compare(store, concept, None if names is None else (names[0], names[1]))
    sides = [
        {"set": one.fingerprint, "judge": one.settings["judge"], "label_set": one.settings["label_set"]}
        for one in (found.one, found.other)
    ]
    if as_json:
        disputed = [
            {
                "record_id": one.record_id,
                "role": one.role,
                "prompt": one.prompt,
                "present": [one.one.present, one.other.present],
                "score": [one.one.score, one.other.score],
            }
            for one in found.disputed
        ]
        console.emit({"concept": concept.name, "sets": sides, **found.agreement.json(), "disputed": disputed})
        return
    one, other = (f"{side['judge']} {side['set'][:6]}" for side in sides)
    figures = found.agreement
    if found.disputed:
        table = Table("picture of", one, other, title=f"{concept.name}: disputed")
        for case in found.disputed:
            table.add_row(
                console.plain(f"{case.role}: {case.prompt}"),
                *(console.plain(_verdict_in_words(verdict)) for verdict in (case.one, case.other)),
            )
        console.say(table)
    console.say(
        f"[bold]{concept.name}[/bold]: {console.plain(one)} and {console.plain(other)} agree on {figures.same} of "
        f"{figures.n} pictures{_between(figures.low, figures.high)}; "
        f"Cohen's kappa {_number(figures.kappa)}{_between(figures.kappa_low, figures.kappa_high)}."
    )


def _verdict_in_words(verdict: "Verdict") -> str:
    seen = ", ".join(f"{label} {score:.2f}" for label, score in verdict.top_labels[:2]) or "nothing"
    return f"{'yes' if verdict.present else 'no'} {verdict.score:.2f} ({seen})"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95% {low:.3f} to {high:.3f})"


@app.command()
def build(
    concept: Annotated[
        str | None,
        typer.Option("--concept", help="A shipped concept, or a YAML file's path. [default: the last one generated]"),
    ] = None,
    accepted: Annotated[int, typer.Option(help="Pairs that have to hold.")] = 50,
    tests: Annotated[int, typer.Option(help="Test prompts to write.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds at most.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    model: Annotated[
        str, typer.Option(help="janus-nano, janus-pro-1b, janus-pro-7b, a folder, or a Hub id.")
    ] = "janus-nano",
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance. [default: the model's own]")] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures drawn at once.")] = 16,
    judge: JudgeOption = None,
    labels: LabelsOption = None,
    label_set: LabelSetOption = None,
    top_k: TopKOption = None,
    threshold: ThresholdOption = None,
    weights: WeightsOption = None,
    text: TextOption = None,
    contrast: ContrastOption = None,
    combine: CombineOption = "all",
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate, render and filter in rounds until so many pairs hold, or say why not (exit 1)."""
    from rich.table import Table

    from ecgvf.build import build as build_rounds
    from ecgvf.concepts import find

    console.quiet_stdout(as_json)
    opened = open_store(store)
    known = find(concept) if concept is not None else opened.concept()
    done = build_rounds(
        opened,
        known,
        accepted=accepted,
        tests=tests,
        rounds=rounds,
        seed=seed,
        model=model,
        guidance=guidance,
        batch_size=batch_size,
        device=device,
        judge=judge,
        options=_judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device),
    )
    stage, have = done.filtered.stage, done.filtered.accepted_pairs
    if as_json:
        told = {"concept": known.name, "set": stage.fingerprint, "judge": done.filtered.judge, "rounds": done.rounds}
        writers = {name: one.json() for name, one in done.writers.items()}
        console.emit({**told, "reached": done.reached, "writers": writers, **stage.summary})
    else:
        if not done.reached:
            table = Table("writer", "goal", "accepted", "written", "why not", title=f"{known.name}: what came of it")
            for name, one in done.writers.items():
                why = ", ".join(f"{count} {reason}" for reason, count in one.reasons.most_common())
                table.add_row(console.plain(name), str(one.goal), str(one.accepted), str(one.written), why)
            console.say(table)
        console.say(
            f"[bold]{known.name}[/bold]: {have} of {accepted} pairs hold after {done.rounds} rounds, and "
            f"{done.filtered.accepted_tests} of {done.filtered.tests} test prompts; judge "
            f"{console.plain(done.filtered.judge)}."
        )
    if not done.reached:
        console.fail(f"{have} of {accepted} pairs after {done.rounds} of {rounds} rounds: {done.advice}")
        raise typer.Exit(1)
    console.say(f"Set {stage.fingerprint} in {console.plain(str(stage.path))}. Next: [bold]ecgvf review[/bold]")


@app.command("judge")
def judge_pictures(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.", show_default=False)],
    judge: JudgeOption = None,
    concept: Annotated[
        str | None, typer.Option("--concept", help="A shipped concept, or a YAML file's path: what to look for.")
    ] = None,
    labels: LabelsOption = None,
    label_set: LabelSetOption = None,
    top_k: TopKOption = None,
    threshold: ThresholdOption = None,
    weights: WeightsOption = None,
    text: TextOption = None,
    contrast: ContrastOption = None,
    combine: CombineOption = "all",
    without: Annotated[
        list[Path] | None,
        typer.Option(
            "--without", help="Pictures without the concept: find the threshold that parts the others from these."
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show what a judge sees in any picture, or find the threshold that parts pictures that you know."""
    from rich.table import Table

    from ecgvf.concepts import find
    from ecgvf.judges import choose
    from ecgvf.judges.pictures import files_in, look_at_files
    from ecgvf.judges.pictures import threshold as best_threshold

    console.quiet_stdout(as_json)
    about = find(concept) if concept is not None else None
    options = _judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device)
    looking = choose(about, None, judge, options)
    files = files_in(pictures)
    if without:
        parted = best_threshold(looking, files, files_in(without))
        told = {
            "threshold": parted.value,
            "balanced_accuracy": parted.balanced_accuracy,
            "with": parted.shown,
            "without": parted.not_shown,
        }
        if as_json:
            console.emit({"judge": looking.name, **told})
            return
        console.say(
            f"[bold]--threshold {parted.value:.4g}[/bold] parts {parted.shown} pictures with from {parted.not_shown} "
            f"without, with a balanced accuracy of {parted.balanced_accuracy:.3f} on these very pictures."
        )
        return
    seen = list(look_at_files(looking, files))
    if as_json:
        rows = [
            {"picture": str(file), **(asdict(one) if not isinstance(one, str) else {"failure": one})}
            for file, one in seen
        ]
        console.emit({"judge": looking.name, "weights": looking.weights_hash, "pictures": rows})
        return
    wanted = bool(looking.criterion.accepted)
    table = Table("picture", *(["there", "score"] if wanted else []), "sees", title=console.plain(looking.name))
    for file, one in seen:
        if isinstance(one, str):
            table.add_row(console.plain(str(file)), *(["", ""] if wanted else []), console.plain(one))
            continue
        near = looking.criterion.near_miss(one.top_labels)
        labels_seen = [
            f"{box.label} {box.score:.2f} at {box.left},{box.top} {box.width}x{box.height}" for box in one.boxes
        ]
        labels_seen = labels_seen or [f"{label} {score:.2f}" for label, score in one.top_labels] or ["nothing"]
        answer = "yes" if one.present else f"no, near miss: {near}" if near is not None else "no"
        table.add_row(
            console.plain(str(file)),
            *([console.plain(answer), f"{one.score:.3f}"] if wanted else []),
            console.plain("\n".join(labels_seen)),
        )
    console.say(table)


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

    from ecgvf.errors import SettingsError

    if not re.fullmatch(r"[\w.@-]{1,64}", reviewer):
        raise SettingsError(f"--reviewer {reviewer!r}: use letters, digits and ._@-")
    opened = open_store(store)
    known = opened.concept(concept)
    from ecgvf.judges.decide import settled
    from ecgvf.review.cases import Cases

    try:
        from ecgvf.review.server import HOST, app, listen, serve
    except ImportError as missing:
        raise SettingsError("`ecgvf review` needs the extra review: pip install 'ecgvf[review]'") from missing
    cases = Cases(opened, known)
    try:
        on = listen(port)
    except OSError as error:
        raise SettingsError(
            f"--port {port} cannot be had ({error.strerror}): take another, or 0 for a free one"
        ) from error
    token = secrets.token_urlsafe(24)
    console.say(f"[bold]{known.name}[/bold]: {len(cases.all)} records to look at. Open this page, and end with Ctrl-C:")
    console.say(f"  http://{HOST}:{on.getsockname()[1]}/{token}/")
    try:
        serve(app(cases, reviewer, token), on)
    finally:
        on.close()
        stage = settled(opened, known)
        console.say(
            f"{stage.summary['accepted_pairs']} of {stage.summary['pairs']} pairs hold, "
            f"{stage.summary['reviewed']} records decided by people. Set {stage.fingerprint}."
        )


@app.command()
def status(
    concept: ConceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show stage by stage how many there are, how many were accepted, why others were not, and the time it took."""
    from rich.table import Table

    from ecgvf.status import paid
    from ecgvf.status import status as look

    console.quiet_stdout(as_json)
    opened = open_store(store)
    known = opened.concept(concept)
    entries = look(opened, known.name)
    ledger = paid(opened, known.name)
    if as_json:
        console.emit({"concept": known.name, "store": str(opened.root), "sets": entries, "ledger": ledger})
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
    current = next((entry for entry in entries if entry["stage"] == "pairs" and entry["current"]), None)
    if current is not None and current.get("writers"):
        from ecgvf.pairs.show import yields

        yields(current)
    if ledger is not None:
        console.say(
            f"{ledger['answered']} calls to LLMs answered, ${ledger['dollars']} paid, ${ledger['possibly']} possibly: "
            f"{console.plain(ledger['file'])}"
        )
