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
            help="Pairs to request in each call to a writer.",
            show_default=f"{PROMPTS_PER_CALL}; offline {OFFLINE_PAIRS}",
        ),
    ] = None
    iterations: Annotated[
        int | None, typer.Option(help="Calls to each writer.", show_default=f"{ITERATIONS}; offline 1")
    ] = None
    validation: Annotated[
        int | None,
        typer.Option(help="Validation prompts, of all writers together.", show_default=f"{VALIDATION_PROMPTS}"),
    ] = None
    tests: Annotated[
        int | None, typer.Option(help="Test prompts, of all writers together.", show_default=f"{TEST_PROMPTS}")
    ] = None
    count: Annotated[
        int | None,
        typer.Option(
            help="With --split: its prompts. For retain: prompts of each retained concept. For train use --pairs.",
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
    fresh: Annotated[bool, typer.Option("--fresh", help="Send and pay for every call again.")] = False
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the batch endpoints (OpenAI, Anthropic): half the price, within a day.")
    ] = False

    def counts(self, split: "Split | None") -> dict[str, int]:
        """The counts that the user gave, as keywords of the API, which has defaults for the others.

        ``split`` is the only one to write; None: all but retain. Raises ``SettingsError`` for a count of another split.
        """
        from ecgvf.pairs.splits import SPLIT_NAMES

        options = ("pairs", "iterations", "validation", "tests", "count")
        given: dict[str, int] = {option: n for option in options if (n := getattr(self, option)) is not None}
        for option in given.keys() & {"pairs", "iterations"}:
            check_count(f"--{option}", given[option])
        if "count" in given and split in (None, "train"):
            raise SettingsError(
                f"--count {self.count}: name the prompts' split, such as --split test --count {self.count}; training "
                "pairs are counted by --pairs, in each iteration"
            )
        if split is None:
            return given
        keywords = _KEYWORDS[split]
        for option, number in given.items():
            if option not in keywords:
                counted = "--pairs" if split == "train" else "--count N"
                advice = (
                    f"; for {_OWN[option]} prompts --split {_OWN[option]} --count {number}" if option in _OWN else ""
                )
                raise SettingsError(
                    f"--{option} {number}: only {SPLIT_NAMES[split]} are written, counted by {counted}{advice}"
                )
        counts = {keywords[option]: number for option, number in given.items()}
        if len(counts) < len(given):
            raise SettingsError(" and ".join(f"--{option} {n}" for option, n in given.items()) + ": leave one out")
        return counts


_KEYWORDS: "dict[Split, dict[str, str]]" = {
    "train": {"pairs": "pairs", "iterations": "iterations"},
    "validation": {"validation": "validation", "count": "validation"},
    "test": {"tests": "tests", "count": "tests"},
    "retain": {"count": "retained"},
}
"""Split → the options that count its prompts, with the keyword that each sets."""

_OWN = {"validation": "validation", "tests": "test"}
"""Option → the split whose prompts alone it counts."""


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
    """Write target/surrogate prompt pairs for a concept: for training, validation and test."""
    from ecgvf import Run
    from ecgvf.commands import pairs_output as output
    from ecgvf.commands.select_writers import select_writers
    from ecgvf.core.seeds import check_seed

    check_seed(seed)
    run = Run.from_definition(concept, store)
    if seed and reparse:
        raise SettingsError("--reparse parses the stored answers and sends nothing: leave --seed out")
    if reparse:
        output.print_set(_reparse(run, writing, amount), writing, store)
        return
    writers, named = select_writers(writing, keys=not amount.dry_run)
    if writers and seed:
        raise SettingsError(f"--seed {seed} is for the offline writer, and LLMs write: leave it out")
    if writers:
        stage_set = _generate_with_llms(run, writers, writing, amount, confirmed=named or writing.yes)
    else:
        stage_set = _generate_offline(run, writing, amount, seed)
    if stage_set is None:
        return
    if not (writers or named):
        wrote = "took the captions that ship" if amount.split == "retain" else "the offline writer wrote"
        console.note(f"no key of an LLM writer is set (see `ecgvf writers`): {wrote}")
    output.print_set(stage_set, writing, store, (amount.split or "train") if writers else None, amount.batch)


_ALLOWED_WITH_REPARSE = {"budget_usd", "yes", "registry"}
"""They do no harm without a call."""


def _reparse(run: "Run", writing: WriterArguments, amount: GenerateArguments) -> "StageSet":
    from ecgvf.pairs.llm_writers import reparse

    given = [
        f"--{field.name.replace('_', '-')}"
        for group in (amount, writing)
        for field in fields(group)
        if field.name not in _ALLOWED_WITH_REPARSE and getattr(group, field.name) != field.default
    ]
    if given:
        raise SettingsError(f"--reparse parses the stored answers and sends nothing: leave {given[0]} out")
    return reparse(run)


def _generate_offline(run: "Run", writing: WriterArguments, amount: GenerateArguments, seed: int) -> "StageSet | None":
    """Write with the offline writer; None after a dry run."""
    from ecgvf.pairs.offline import OfflineWriter

    if amount.fresh or amount.batch or writing.templates is not None:
        raise SettingsError("--fresh, --batch and --templates are for LLM writers: name some with --writers")
    counts = amount.counts(amount.split)
    if amount.dry_run:
        if amount.split != "retain":
            OfflineWriter().check(run.concept)
        costs = {"likely_usd": "0", "most_usd": "0", "calls": []}
        console.print_result(
            {"concept": run.concept.name, "split": amount.split, **costs},
            "The offline writer writes: nothing is sent, nothing is paid.",
        )
        return None
    iterations = counts.pop("iterations", 1)
    counts["pairs"] = counts.get("pairs", OFFLINE_PAIRS) * iterations
    return run.generate(**counts, split=amount.split, surrogates=writing.surrogates, seed=seed)


def _generate_with_llms(
    run: "Run",
    writers: "Sequence[LLMWriter]",
    writing: WriterArguments,
    amount: GenerateArguments,
    *,
    confirmed: bool,
) -> "StageSet | None":
    """Print and confirm the cost, then write with LLMs; None after a dry run."""
    from ecgvf.commands import pairs_output as output
    from ecgvf.pairs.generation_plan import estimate_costs, plan_generation
    from ecgvf.pairs.llm_writers import generate_with_llms, open_ledger

    split = amount.split or "train"
    counts = amount.counts(split)
    with console.status("planning the calls"):
        plans = plan_generation(
            run.concept,
            writers,
            split=split,
            surrogate_choice=writing.surrogates,
            templates=writing.templates,
            batch=amount.batch,
            **counts,
        )
        estimates = estimate_costs(plans, open_ledger(run, plans), fresh=amount.fresh)
    if amount.dry_run:
        output.print_dry_run(plans, estimates, writing.budget)
        return None
    console.print(*output.estimate_lines(plans, estimates, writing.budget))
    output.confirm(estimates, confirmed)
    # The same plans as the estimate's: they have parsed the stored answers already.
    return generate_with_llms(run, plans, budget_usd=writing.budget, fresh=amount.fresh)
