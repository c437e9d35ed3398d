"""``generate``: stage 1, prompt pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption, NewConceptOption, StoreOption, WriterArguments
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.pairs.default_counts import (
    ITERATIONS,
    OFFLINE_PAIRS,
    PROMPTS_PER_CALL,
    RETAINED_PROMPTS,
    TEST_PROMPTS,
    VALIDATION_PROMPTS,
    check_captions,
    check_count,
)

if TYPE_CHECKING:
    from ecgvf import Run
    from ecgvf.core.records import Split
    from ecgvf.core.stage_set import StageSet
    from ecgvf.llm.registry import LLMWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateArguments:
    """How many prompts to write, of which split, and how to send the calls."""

    pairs: Annotated[
        int | None,
        typer.Option(
            help="Pairs per call to an LLM; in total for the offline writer.",
            show_default=f"{PROMPTS_PER_CALL}; offline {OFFLINE_PAIRS}",
        ),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(
            help="Calls to each LLM; the offline writer multiplies --pairs by it.",
            show_default=f"{ITERATIONS}; offline 1",
        ),
    ] = None
    validation: Annotated[
        int | None,
        typer.Option(
            help="Number of validation prompts, without --split. For LLMs use --split validation and --count.",
            show_default=f"offline {VALIDATION_PROMPTS}",
        ),
    ] = None
    tests: Annotated[
        int | None,
        typer.Option(
            help="Number of test prompts, without --split. For LLMs use --split test and --count.",
            show_default=f"offline {TEST_PROMPTS}",
        ),
    ] = None
    count: Annotated[
        int | None,
        typer.Option(
            help="Prompts of the --split, of all writers together; for retain, of each retained concept. For train "
            "use --pairs.",
            show_default=f"{VALIDATION_PROMPTS} validation, {TEST_PROMPTS} test, {RETAINED_PROMPTS} of each retained "
            "concept",
        ),
    ] = None
    split: Annotated[
        Literal["train", "validation", "test", "retain"] | None,
        typer.Option(
            help="Write only this split and keep the others. retain: prompts of retained concepts; not needed for "
            "Janus-nano.",
            show_default="train; offline all but retain",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print prompts, calls and cost; send nothing.")] = False
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Send and pay for every call again; so does a build by these writers."),
    ] = False
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the batch endpoints (OpenAI, Anthropic): half the price, within a day.")
    ] = False

    def check_counts(self, split: "Split | None") -> None:
        """Raise ``SettingsError`` for a count that is out of range, or not of ``split`` (None: all but retain)."""
        least = {"pairs": 1, "iterations": 1} if split in (None, "train") else {"count": 1}
        if split is None:
            least |= {"validation": 0, "tests": 0}
        for option in ("pairs", "iterations", "validation", "tests", "count"):
            number = getattr(self, option)
            if number is None:
                continue
            if option not in least:
                raise SettingsError(f"--{option} {number}: {_instead(option, number, split)}")
            check_count(f"--{option}", number, least[option])


def _instead(option: str, number: int, split: "Split | None") -> str:
    """What to write in place of a count that is not of ``split``."""
    if option == "count":
        return (
            "training pairs are counted by --pairs and --iterations; other prompts by their split, as in --split test "
            f"--count {number}"
        )
    if split in (None, "train"):
        named = "validation" if option == "validation" else "test"
        return f"write these prompts by themselves, with --split {named} --count {number}"
    return f"with --split {split}, use --count {number}"


@grouped
def generate(
    *,
    concept: NewConceptOption = None,
    writer_options: WriterArguments,
    options: GenerateArguments,
    reparse: Annotated[bool, typer.Option("--reparse", help="Parse the stored answers again; send nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the offline writer.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write target/surrogate prompt pairs for a concept."""
    from ecgvf import Run
    from ecgvf.commands import pairs_output as output
    from ecgvf.commands.select_writers import select_writers
    from ecgvf.core.seeds import check_seed

    check_seed(seed)
    run = Run.from_definition(concept, store)
    if seed and reparse:
        raise SettingsError("--reparse parses the stored answers and sends nothing: leave --seed out")
    if reparse:
        pairs = _reparse(run, writer_options, options)
        output.print_set(pairs, output.command_after(pairs, writer_options, store))
        return
    writers, named = select_writers(writer_options, keys=not options.dry_run)
    if writers and seed:
        raise SettingsError(f"--seed {seed} is for the offline writer, and LLMs write: leave it out")
    if writers:
        stage_set = _generate_with_llms(run, writers, writer_options, options, confirmed=named or writer_options.yes)
    else:
        stage_set = _generate_offline(run, writer_options, options, seed)
    if stage_set is None:
        return
    if not (writers or named):
        wrote = "took the captions that ship" if options.split == "retain" else "the offline writer wrote"
        console.note(f"no key of an LLM writer is set (see `ecgvf writers`): {wrote}")
    output.print_set(stage_set, output.command_after(stage_set, writer_options, store, options.batch))


_ALLOWED_WITH_REPARSE = {"budget_usd", "yes", "registry"}
"""They do no harm without a call."""


def _reparse(run: "Run", writer_options: WriterArguments, options: GenerateArguments) -> "StageSet":
    from ecgvf.pairs.llm_writers import reparse

    extra_options = [
        f"--{field.name.replace('_', '-')}"
        for group in (options, writer_options)
        for field in fields(group)
        if field.name not in _ALLOWED_WITH_REPARSE and getattr(group, field.name) != field.default
    ]
    if extra_options:
        raise SettingsError(f"--reparse parses the stored answers and sends nothing: leave {extra_options[0]} out")
    return reparse(run)


def _generate_offline(
    run: "Run", writer_options: WriterArguments, options: GenerateArguments, seed: int
) -> "StageSet | None":
    """Write with the offline writer; None after a dry run."""
    from ecgvf.pairs.offline import OfflineWriter
    from ecgvf.pairs.splits import COUNT_NAMES

    if options.fresh or options.batch or writer_options.templates is not None:
        raise SettingsError("--fresh, --batch and --templates are for LLM writers: name some with --writers")
    options.check_counts(split := options.split)
    if split == "retain" and (seed or writer_options.surrogates != "single"):
        raise SettingsError("--split retain takes captions that ship: leave --seed and --surrogates out")
    if split == "retain" and options.count is not None:
        check_captions("--count", options.count)
    if split is None or split == "train":
        pairs = (options.pairs or OFFLINE_PAIRS) * (options.iterations or 1)
        check_count("--pairs times --iterations,", pairs)
        counts = {"pairs": pairs, "validation": options.validation, "tests": options.tests}
    else:
        counts = {COUNT_NAMES[split]: options.count}
    if options.dry_run:
        if split != "retain":
            OfflineWriter().check(run.concept)
        costs = {"likely_usd": "0", "most_usd": "0", "calls": []}
        console.print_result(
            {"concept": run.concept.name, "split": split, **costs},
            "The offline writer writes: nothing is sent, nothing is paid.",
        )
        return None
    return run.generate(**counts, split=split, surrogates=writer_options.surrogates, seed=seed)


def _generate_with_llms(
    run: "Run",
    writers: "Sequence[LLMWriter]",
    writer_options: WriterArguments,
    options: GenerateArguments,
    *,
    confirmed: bool,
) -> "StageSet | None":
    """Print and confirm the cost, then write with LLMs; None after a dry run."""
    from ecgvf.commands import pairs_output as output
    from ecgvf.pairs.generation_plan import estimate_costs, plan_generation
    from ecgvf.pairs.llm_writers import NothingUsable, generate_with_llms, open_ledger

    split = options.split or "train"
    options.check_counts(split)
    with console.status("planning the calls"):
        plans = plan_generation(
            run.concept,
            writers,
            split=split,
            count=options.pairs if split == "train" else options.count,
            iterations=options.iterations,
            surrogate_choice=writer_options.surrogates,
            templates=writer_options.templates,
            batch=options.batch,
        )
        estimates = estimate_costs(plans, open_ledger(run, plans), fresh=options.fresh)
    if options.dry_run:
        output.print_dry_run(plans, estimates, writer_options.budget)
        return None
    console.print(*output.estimate_lines(plans, estimates, writer_options.budget))
    output.confirm(estimates, confirmed)
    # The same plans as the estimate's: they have parsed the stored answers already.
    try:
        return generate_with_llms(run, plans, budget_usd=writer_options.budget, fresh=options.fresh)
    except NothingUsable as error:
        output.print_set(error.stage_set)
        raise
