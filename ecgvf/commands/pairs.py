"""``writers``, ``generate``, ``templates``: stage 1, prompt pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import (
    JsonOption,
    NewConceptOption,
    RegistryOption,
    StoreOption,
    TemplatesOption,
    WriterArguments,
)
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf import Run
    from ecgvf.core.records import Split
    from ecgvf.core.stage_set import StageSet
    from ecgvf.llm.registry import LLMWriter

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)
templates_app = typer.Typer(
    cls=console.CommandGroup,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show the requests that LLM writers get.",
)
app.add_typer(templates_app, name="templates")


@app.command("writers")
def list_writers(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the LLMs that can write pairs: model, price, limits, and whether their key is set."""
    from ecgvf.llm.registry import Registry

    console.json_mode(as_json)
    known = Registry(registry)
    worst = known.unknown_price
    if as_json:
        rows = [
            {
                "name": writer.name,
                "key_set": writer.ready,
                "priced": writer.priced,
                **writer.config.model_dump(mode="json"),
            }
            for writer in known.all()
        ]
        console.print_json({"writers": rows, "unknown_price": worst.model_dump(mode="json")})
        return
    table = console.table("writer\nmodel\nbase URL", "key", "$ per 1M in / out\nper minute\nstructure", show_lines=True)
    for writer in known.all():
        config = writer.config
        price = f"{writer.rates.input} / {writer.rates.output}" if writer.priced else "unknown"
        key = "none needed" if config.key is None else f"{config.key}\n{'set' if writer.ready else 'missing'}"
        limits = f"{config.requests_per_minute} calls, {config.tokens_per_minute} tokens"
        lines = (f"{writer.name}\n{config.model}\n{config.base_url}", key, f"{price}\n{limits}\n{config.structure}")
        table.add_row(*map(console.escape, lines))
    console.print(table)
    console.print(f"An unknown price counts as ${worst.input} / ${worst.output} per million tokens, the worst case.")
    if ready := [writer.name for writer in known.ready()]:
        console.print(f"[bold]ecgvf generate[/bold] calls {', '.join(ready)}, after you have confirmed the cost.")
    else:
        console.print("No key of the default writers is set: [bold]ecgvf generate[/bold] takes the offline writer.")


class PairsSplit(StrEnum):
    """The two parts of a set of pairs, as an option's values."""

    train = "train"
    test = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateArguments:
    """How much to write, and whether to send anything."""

    pairs: Annotated[
        int | None, typer.Option("--pairs", help="Pairs per iteration of a writer.", show_default="10; offline 60")
    ] = None
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Iterations of each writer.", show_default="3; offline 1")
    ] = None
    tests: Annotated[
        int | None,
        typer.Option("--tests", "--count", help="Test prompts, by all writers together.", show_default="100"),
    ] = None
    split: Annotated[
        PairsSplit | None,
        typer.Option("--split", help="Write this part and keep the other.", show_default="train; offline both"),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print prompts, calls and cost; send nothing.")] = False
    fresh: Annotated[bool, typer.Option("--fresh", help="Send and pay for every call again.")] = False
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the batch endpoints (OpenAI, Anthropic): half the price, within a day.")
    ] = False

    @property
    def part(self) -> "Split | None":
        """The split as the stages name it."""
        return None if self.split is None else self.split.value


@app.command()
@grouped
def generate(
    *,
    concept: NewConceptOption = None,
    writing: WriterArguments,
    amount: GenerateArguments,
    reparse: Annotated[bool, typer.Option("--reparse", help="Parse the stored answers again; send nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the offline writer.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write target/surrogate prompt pairs and test prompts for a concept."""
    from ecgvf import Run
    from ecgvf.commands import pairs_output as output

    console.json_mode(as_json)
    run = Run.fresh(store, concept)
    if reparse:
        output.print_set(_reparse(run, writing, amount), as_json)
        return
    writers, named = output.select_writers(
        writing.writers, writing.writer_url, writing.writer_model, writing.registry, keys=not amount.dry_run
    )
    if writers:
        stage_set = _generate_with_llms(run, writers, writing, amount, confirmed=named or writing.yes, as_json=as_json)
    else:
        stage_set = _generate_offline(run, writing, amount, seed, as_json)
    if stage_set is None:
        return
    if not (writers or named):
        console.note("no key of an LLM writer is set (see `ecgvf writers`): the offline writer wrote")
    output.print_set(stage_set, as_json)


def _reparse(run: "Run", writing: WriterArguments, amount: GenerateArguments) -> "StageSet":
    from ecgvf.core.errors import SettingsError
    from ecgvf.pairs.llm_writers import reparse

    options = {
        "--dry-run": amount.dry_run,
        "--fresh": amount.fresh,
        "--batch": amount.batch,
        "--writers": writing.writers,
        "--split": amount.split,
        "--writer-url": writing.writer_url,
    }
    if given := [name for name, value in options.items() if value]:
        raise SettingsError(f"--reparse parses the stored answers and sends nothing: leave {given[0]} out")
    return reparse(run)


def _generate_offline(
    run: "Run", writing: WriterArguments, amount: GenerateArguments, seed: int, as_json: bool
) -> "StageSet | None":
    """The set by the offline writer; None after a dry run."""
    from ecgvf.core.errors import SettingsError

    if amount.fresh or amount.batch or writing.templates is not None:
        raise SettingsError("--fresh, --batch and --templates are for LLM writers: name some with --writers")
    if amount.dry_run:
        console.print("The offline writer writes: nothing is sent, nothing is paid.")
        if as_json:
            costs = {"likely_usd": "0", "most_usd": "0", "calls": []}
            console.print_json({"concept": run.concept.name, "split": amount.part, **costs})
        return None
    pairs = (60 if amount.pairs is None else amount.pairs) * (1 if amount.iterations is None else amount.iterations)
    return run.generate(pairs=pairs, tests=100 if amount.tests is None else amount.tests, split=amount.part, seed=seed)


def _generate_with_llms(
    run: "Run",
    writers: "Sequence[LLMWriter]",
    writing: WriterArguments,
    amount: GenerateArguments,
    *,
    confirmed: bool,
    as_json: bool,
) -> "StageSet | None":
    """The set by LLMs, after printing and confirming the cost; None after a dry run."""
    from ecgvf.commands import pairs_output as output
    from ecgvf.core.errors import SettingsError
    from ecgvf.pairs.generate import PROMPTS_PER_CALL
    from ecgvf.pairs.generation_plan import ITERATIONS, estimate_costs, plan_generation
    from ecgvf.pairs.llm_writers import generate_with_llms, open_ledger

    if amount.part != "test" and amount.tests is not None:
        raise SettingsError(
            f"LLMs write pairs and test prompts apart: --split test --count {amount.tests} for the latter"
        )
    if amount.part == "test" and (amount.pairs is not None or amount.iterations is not None):
        raise SettingsError("--pairs and --iterations are for pairs: --split test --count N requests N test prompts")
    plan = plan_generation(
        run.concept,
        writers,
        split=amount.part or "train",
        pairs=PROMPTS_PER_CALL if amount.pairs is None else amount.pairs,
        iterations=ITERATIONS if amount.iterations is None else amount.iterations,
        tests=100 if amount.tests is None else amount.tests,
        templates=writing.templates,
        batch=amount.batch,
    )
    estimates = estimate_costs(plan, open_ledger(run, plan), fresh=amount.fresh)
    if amount.dry_run:
        output.print_dry_run(plan, estimates, writing.budget, as_json)
        return None
    output.print_estimate(plan, estimates, writing.budget)
    output.confirm(estimates, confirmed)
    # The same plan as the estimate's: it has parsed the stored answers already.
    return generate_with_llms(run, plan, budget_usd=writing.budget, fresh=amount.fresh)


@templates_app.command("show")
def show_templates(
    concept: Annotated[str, typer.Argument(help="A shipped concept, or the path of a YAML file.")],
    count: Annotated[int, typer.Option(min=1, help="Prompts requested in one call.")] = 10,
    iteration: Annotated[int, typer.Option(min=0, help="Index of the call, from 0.")] = 0,
    folder: TemplatesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the exact requests that LLM writers get for a concept."""
    from ecgvf.core.concepts import find
    from ecgvf.pairs.templates import FILES, load

    about = find(concept)
    requests = []
    for split in FILES:
        template = load(about.kind, split, folder)
        text = template.render(about, count=count, iteration=iteration)
        requests.append({"template": template.name, "hash": template.hash, "file": str(template.file), "text": text})
    if as_json:
        console.print_json({"concept": about.name, "templates": requests})
        return
    for request in requests:
        name, file = console.escape(request["template"]), console.escape(request["file"])
        console.print(f"[bold]{name}[/bold]  {request['hash'][:12]}  {file}\n")
        console.print(console.escape(request["text"]))
