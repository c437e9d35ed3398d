"""``writers``, ``generate``, ``templates``: stage 1, prompt pairs."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.options import JsonOption, NewConceptOption, StoreOption
from ecgvf.commands.writer_options import (
    BudgetOption,
    RegistryOption,
    TemplatesOption,
    WriterModelOption,
    WritersOption,
    WriterUrlOption,
    YesOption,
)
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.core.records import Split

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)
templates_app = typer.Typer(
    cls=console.CommandGroup,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show what the LLM writers are asked.",
)
app.add_typer(templates_app, name="templates")


@app.command("writers")
def list_writers(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the LLMs that can write pairs: model, price, limits, and whether their key is set."""
    from ecgvf.llm.registry import Registry

    console.json_mode(as_json)
    known = Registry(registry)
    if as_json:
        rows = [
            {"name": one.name, "key_set": one.ready, "priced": one.priced, **one.config.model_dump(mode="json")}
            for one in known.all()
        ]
        console.print_json({"writers": rows, "unknown_price": known.unknown_price.model_dump(mode="json")})
        return
    table = console.table("writer\nmodel\nasked at", "key", "$ per 1M in / out\nper minute\nstructure", show_lines=True)
    for one in known.all():
        entry = one.config
        price = f"{one.rates.input} / {one.rates.output}" if one.priced else "unknown"
        key = "none needed" if entry.key is None else f"{entry.key}\n{'set' if one.ready else 'missing'}"
        limits = f"{entry.requests_per_minute} calls, {entry.tokens_per_minute} tokens"
        lines = (f"{one.name}\n{entry.model}\n{entry.base_url}", key, f"{price}\n{limits}\n{entry.structure}")
        table.add_row(*map(console.escape, lines))
    console.print(table)
    worst = known.unknown_price
    console.print(f"An unknown price counts as ${worst.input} / ${worst.output} per million tokens, the worst case.")
    ready = [one.name for one in known.ready()]
    if ready:
        console.print(f"[bold]ecgvf generate[/bold] asks {', '.join(ready)}, after telling the cost and asking you.")
    else:
        console.print("No key of the default writers is set: [bold]ecgvf generate[/bold] takes the offline writer.")


class PairsSplit(StrEnum):
    """The two parts of a set of pairs, as an option's values."""

    train = "train"
    test = "test"


@app.command()
def generate(
    concept: NewConceptOption = None,
    writers: WritersOption = None,
    writer_url: WriterUrlOption = None,
    writer_model: WriterModelOption = None,
    pairs: Annotated[
        int | None, typer.Option(help="Pairs per iteration of a writer. [default: 10; offline 60]")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Iterations of each writer. [default: 3; offline 1]")] = None,
    tests: Annotated[
        int | None, typer.Option("--tests", "--count", help="Test prompts, by all writers together. [default: 100]")
    ] = None,
    split: Annotated[
        PairsSplit | None, typer.Option(help="Write this part and keep the other. [default: train; offline both]")
    ] = None,
    budget_usd: BudgetOption = 5.0,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show prompts, calls and cost; send nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask everything anew, and pay anew.")] = False,
    reparse: Annotated[bool, typer.Option("--reparse", help="Read the old answers again, without a call.")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="Half the price, within a day: OpenAI, Anthropic.")] = False,
    folder: TemplatesOption = None,
    registry: RegistryOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the offline writer.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write target/surrogate prompt pairs and test prompts for a concept."""
    from ecgvf.commands import pairs_output as show
    from ecgvf.core.concepts import find
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    opened = Store(store)
    about = find(concept) if concept is not None else opened.concept()
    run = ConceptRun(opened, about)
    part: Split | None = None if split is None else "train" if split is PairsSplit.train else "test"
    if reparse:
        asks = {"--dry-run": dry_run, "--fresh": fresh, "--batch": batch, "--writers": writers, "--split": split}
        if named_too := [name for name, given in {**asks, "--writer-url": writer_url}.items() if given]:
            raise SettingsError(f"--reparse reads the answers that are there and asks nobody: leave {named_too[0]} out")
        from ecgvf.pairs.llm_writers import reparse as read_again

        show.print_set(read_again(run), as_json)
        return
    chosen, named = show.select_writers(writers, writer_url, writer_model, registry, keys=not dry_run)
    if not chosen:
        if fresh or batch or folder is not None:
            raise SettingsError("--fresh, --batch and --templates are for LLM writers: name some with --writers")
        total = (60 if pairs is None else pairs) * (1 if iterations is None else iterations)
        if dry_run:
            console.print("The offline writer writes: nothing is sent, nothing is paid.")
            if as_json:
                console.print_json(
                    {"concept": about.name, "split": part, "likely_usd": "0", "most_usd": "0", "calls": []}
                )
            return
        from ecgvf.pairs.generate import generate_pairs as write

        done = write(run, pairs=total, tests=100 if tests is None else tests, seed=seed, split=part)
        if not named:
            console.note("no key of an LLM writer is set (see `ecgvf writers`): the offline writer wrote")
        show.print_set(done, as_json)
        return
    if part != "test" and tests is not None:
        raise SettingsError(f"LLMs write pairs and test prompts apart: --split test --count {tests} for the latter")
    if part == "test" and (pairs is not None or iterations is not None):
        raise SettingsError("--pairs and --iterations are for pairs: --split test --count N asks for N test prompts")
    from decimal import Decimal

    from ecgvf.pairs.generate import PROMPTS_PER_CALL
    from ecgvf.pairs.generation_plan import ITERATIONS, estimate_costs, plan_generation
    from ecgvf.pairs.llm_writers import generate_with_llms, open_ledger

    plan = plan_generation(
        about,
        chosen,
        split=part or "train",
        pairs=PROMPTS_PER_CALL if pairs is None else pairs,
        iterations=ITERATIONS if iterations is None else iterations,
        tests=100 if tests is None else tests,
        templates=folder,
        batch=batch,
    )
    budget = Decimal(str(budget_usd))
    calls = estimate_costs(plan, open_ledger(run, plan), fresh=fresh)
    if dry_run:
        show.print_dry_run(plan, calls, budget, as_json)
        return
    show.print_estimate(plan, calls, budget)
    if not named:
        show.confirm_cost(calls, yes)
    show.print_set(generate_with_llms(run, plan, budget_usd=budget, fresh=fresh), as_json)


@templates_app.command("show")
def show_templates(
    concept: Annotated[str, typer.Argument(help="A shipped concept, or a YAML file's path.")],
    count: Annotated[int, typer.Option(min=1, help="Prompts asked for in one call.")] = 10,
    iteration: Annotated[int, typer.Option(min=0, help="Which of the calls, from 0.")] = 0,
    folder: TemplatesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the LLM writers are asked about a concept, word for word."""
    from ecgvf.core.concepts import find
    from ecgvf.pairs.templates import FILES, load

    about = find(concept)
    filled = []
    for split in FILES:
        template = load(about.kind, split, folder)
        text = template.render(about, count=count, iteration=iteration)
        filled.append({"template": template.name, "hash": template.hash, "file": str(template.file), "text": text})
    if as_json:
        console.print_json({"concept": about.name, "templates": filled})
        return
    for one in filled:
        console.print(
            f"[bold]{console.escape(one['template'])}[/bold]  {one['hash'][:12]}  {console.escape(one['file'])}\n"
        )
        console.print(console.escape(one["text"]))
