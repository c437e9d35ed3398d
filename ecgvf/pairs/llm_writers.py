"""Pairs by LLMs: send the calls of the plans, and write a set of their answers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import EcgvfError, SettingsError, StageMissing, WriterError
from ecgvf.core.files import require_local
from ecgvf.core.records import PromptPair, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.llm import event_loop
from ecgvf.llm.attempt import Attempt
from ecgvf.llm.batch import dispatch_batches
from ecgvf.llm.budget import DEFAULT_USD, Budget, check_budget
from ecgvf.llm.dispatch import DispatchResult, dispatch
from ecgvf.llm.ledger import Ledger
from ecgvf.llm.secrets import secret_keys
from ecgvf.pairs.answer_reader import AnswerReader
from ecgvf.pairs.answers import to_records
from ecgvf.pairs.checks import PromptIndex, llm_reader_settings
from ecgvf.pairs.generation_plan import GenerationPlan, with_restarts
from ecgvf.pairs.splits import SPLIT_NAMES, SplitGenerator, split_records, write_splits
from ecgvf.pairs.writer import Provenance
from ecgvf.pairs.writer_stats import Spending

_WITHOUT_FRESH = "to go on, run the command again without --fresh, which would send and pay for every call again"


def open_ledger(run: ConceptRun, plans: Sequence[GenerationPlan]) -> Ledger:
    """Open the ledger of a run, to send calls; the keys of the plans' writers never reach it.

    Raises ``StoreError`` on object storage.
    """
    require_local(run.store.root, "the ledger of paid calls")
    return Ledger.load(run, secret_keys(plan.writer for plan in plans))


def complete(
    run: ConceptRun,
    plans: Sequence[GenerationPlan],
    *,
    budget_usd: Decimal = DEFAULT_USD,
    fresh: bool = False,
    in_budget: Callable[[Mapping[str, Any]], bool] | None = None,
) -> SplitGenerator:
    """Send those calls of ``plans``, all of one split, that have no answer yet; return the split's generator.

    ``budget_usd`` is the maximum cost, and ``in_budget`` selects the ledger's intents that count toward it (None: those
    of the plans). ``fresh`` starts the writers over: all calls are sent and paid again. A writer that keeps failing, or
    that would exceed the budget, is set aside with a warning. Raises ``SettingsError``, and ``StoreError`` if another
    run is sending calls.
    """
    check_budget(budget_usd)
    opened = open_ledger(run, plans)
    run.store.remember_new(run.concept)
    split, batch, template, reader = plans[0].split, plans[0].batch, plans[0].template, plans[0].reader
    with opened.writing() as ledger:
        if fresh:
            ledger.restart([plan.writer.name for plan in plans], split)
        plans = with_restarts(plans, ledger)
        if not batch:
            _check_no_batch(plans, ledger)
        budget = Budget(budget_usd, ledger.spent(in_budget or partial(_paid_by, plans)).total)
        send = dispatch_batches if batch else dispatch
        with console.progress(f"calls for {SPLIT_NAMES[split]}", sum(len(plan.counts) for plan in plans)) as bar:
            try:
                result = event_loop.run(send(plans, ledger, budget, bar.advance))
            except KeyboardInterrupt:
                console.note("every answer so far is on the disk and is not paid again")
                if fresh:
                    raise console.Interrupted("Run the command again without --fresh to go on.") from None
                raise
            except EcgvfError:
                if fresh:
                    console.note(_WITHOUT_FRESH)
                raise
        _warn(result)
        if fresh and result.set_aside:
            console.note(_WITHOUT_FRESH)
        asked: dict[str, Any] = {"template": template.name, "hash": template.hash, "language": template.language}
        if reader.surrogate_choice != "free":  # sets from before there was a choice are free
            asked["surrogates"] = reader.surrogate_choice
        generator = _split_generator(run, split, asked, result.answered, reader)
        return replace(generator, spending=_spending(plans, ledger, result))


def has_answers(generator: SplitGenerator) -> bool:
    """Whether it makes its split of at least one LLM's answer."""
    return bool((generator.settings or {}).get("calls"))


def generate_with_llms(
    run: ConceptRun,
    plans: Sequence[GenerationPlan],
    *,
    budget_usd: Decimal = DEFAULT_USD,
    fresh: bool = False,
    in_budget: Callable[[Mapping[str, Any]], bool] | None = None,
) -> StageSet:
    """Complete ``plans``, all of one split, and write the set of their answers; the other splits are kept.

    Parameters as of ``complete``. Raises ``WriterError`` if no writer answered, ``NothingUsable`` if nothing in the
    answers was accepted, with which the current set stays the current one, and as ``complete`` does.
    """
    generator = complete(run, plans, budget_usd=budget_usd, fresh=fresh, in_budget=in_budget)
    if not has_answers(generator):
        set_aside = generator.spending["set_aside"] if generator.spending else {}
        raise WriterError("no writer answered: " + "; ".join(f"{name}: {why}" for name, why in set_aside.items()))
    split, names = plans[0].split, ", ".join(plan.writer.name for plan in plans)
    stage_set = write_splits(run, {split: generator}, names, current=False)
    if stage_set.summary[split]["accepted"] or not (run.folder(PAIRS) / "current").is_file():
        stage_set.make_current()
        run.store.remember(run.concept)
    _check_usable(stage_set, split)
    return stage_set


class NothingUsable(WriterError):
    """Nothing that LLMs wrote for a split was accepted."""

    def __init__(self, message: str, stage_set: StageSet) -> None:
        super().__init__(message)
        self.stage_set = stage_set
        """The set of the rejected prompts."""


def _check_usable(stage_set: StageSet, split: Split) -> None:
    """Raise ``NothingUsable`` if nothing of ``split``, which LLMs wrote, was accepted."""
    counts, run = stage_set.summary[split], stage_set.run
    if counts["accepted"]:
        return
    current = run.current(PAIRS)
    until_then = "has none until then" if current.path == stage_set.path else f"stays {current.fingerprint}"
    raise NothingUsable(
        f"no usable {SPLIT_NAMES[split]}: rejected {counts['malformed']} malformed, {counts['duplicate']} duplicate; "
        f"`ecgvf status --concept {run.concept.name}` has the reasons: name other writers, or ask them again with "
        f"--fresh; the current set {until_then}",
        stage_set,
    )


def reparse(run: ConceptRun) -> StageSet:
    """Parse and check the current set's stored answers again; a changed parser or check gives a new set. Sends nothing.

    Raises ``StageMissing`` if no LLM wrote the current set, or if the ledger lacks its answers, ``SettingsError`` for
    splits that ``ecgvf build`` gathered from several sets: their settings name the calls of the first alone, and
    ``WriterError`` if nothing of a split is accepted any more; the current set then stays.
    """
    current = run.current(PAIRS)
    ledger = Ledger.load(run)
    generators: dict[Split, SplitGenerator] = {}
    for split in SPLIT_NAMES:
        settings = current.settings.get(split) or {}
        if "calls" not in settings:
            continue
        known = {call for calls in settings["calls"].values() for call in calls}
        if any(record.call_id not in known for record in split_records(current, split)):
            raise SettingsError(
                f"the {SPLIT_NAMES[split]} of the set {current.fingerprint} were gathered by `ecgvf build`, whose "
                "rounds cannot be parsed again at once: run that build again, or run `ecgvf generate` for another set"
            )
        answers = {
            name: [_stored(ledger, call, current) for call in calls] for name, calls in settings["calls"].items()
        }
        generator = _split_generator(run, split, settings, answers, _reader(run, settings))
        generators[split] = replace(generator, spending=current.summary.get("paid", {}).get(split))
    if not any(map(has_answers, generators.values())):
        raise StageMissing(f"no LLM wrote the current pairs of {run.concept.name!r}: there is no answer to parse again")
    stage_set = write_splits(run, generators, current.summary["writer"], current=False)
    for split in generators:
        if current.summary[split]["accepted"]:
            _check_usable(stage_set, split)
    stage_set.make_current()
    run.store.remember(run.concept)
    return stage_set


def _own(plans: Sequence[GenerationPlan], intent: Mapping[str, Any]) -> bool:
    return any(plan.owns(intent) for plan in plans)


def _paid_by(plans: Sequence[GenerationPlan], intent: Mapping[str, Any]) -> bool:
    """Whether the budget of the command that made ``plans`` pays for the call: builds have budgets of their own."""
    return any(plan.owns(intent) and bool(intent.get("build")) == plan.build for plan in plans)


def _check_no_batch(plans: Sequence[GenerationPlan], ledger: Ledger) -> None:
    """Raise ``SettingsError`` if a batch may hold calls of ``plans``: sent now, they would be paid twice.

    A batch that was submitted before its id was written is known by the mark in its intents alone.
    """
    waiting = [attempt for attempt in ledger.attempts() if attempt.answer is None and attempt.intent.get("batch")]
    batched = [attempt for attempt in waiting if _own(plans, attempt.intent)]
    if batched:
        names = ", ".join(sorted({attempt.intent["writer"] for attempt in batched}))
        split = plans[0].split
        command = "ecgvf generate" + ("" if split == "train" else f" --split {split}")
        raise SettingsError(
            f"{console.counted(len(batched), 'call')} of {names} may be in a batch: run `{command} --batch` with the "
            f"same concept, writers, templates and counts to collect them, or `{command} --fresh` to send them again "
            "and pay for both"
        )


def _reader(run: ConceptRun, settings: Mapping[str, Any]) -> AnswerReader:
    return AnswerReader(run.concept, settings["language"], settings.get("surrogates", "free"))


def _stored(ledger: Ledger, call: str, stage_set: StageSet) -> Attempt:
    answered = ledger.answered_attempt(call)
    if answered is None:
        raise StageMissing(
            f"{ledger.file} lacks answers of the set {stage_set.fingerprint}: restore it, or run the command that "
            "wrote the set again"
        )
    return answered


def _split_generator(
    run: ConceptRun,
    split: Split,
    template: Mapping[str, Any],
    answers: Mapping[str, list[Attempt]],
    reader: AnswerReader,
) -> SplitGenerator:
    """The generator of ``split`` from ``answers`` (writer → answered attempts).

    Its settings name the answered calls, so that equal settings mean equal records.
    """
    settings = {
        **{key: template[key] for key in ("template", "hash", "language", "surrogates") if key in template},
        **llm_reader_settings(run.concept.kind, split),
        "calls": {name: [attempt.call for attempt in attempts] for name, attempts in answers.items() if attempts},
    }
    attempts = [attempt for by_writer in answers.values() for attempt in by_writer]
    return LLMSplit(settings=settings, concept=run.concept, attempts=attempts, reader=reader)


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMSplit(SplitGenerator):
    """A split by LLMs, made of their answers."""

    concept: Concept
    attempts: Sequence[Attempt]
    """The answered ones, writer by writer."""
    reader: AnswerReader

    def records(self, accepted: PromptIndex) -> list[PromptPair]:
        records: list[PromptPair] = []
        for attempt in self.attempts:
            count = attempt.intent["request"]["count"]
            records += to_records(self.concept, _provenance(attempt), self.reader.drafts(attempt), accepted, count)
        return records


def _provenance(answered: Attempt) -> Provenance:
    intent = answered.intent
    return Provenance(
        writer=intent["writer"],
        split=intent["split"],
        iteration=intent["iteration"],
        call_id=answered.call,
        model_asked=intent["model"],
        model_answered=answered.reply.model,
        template=intent["request"]["template"],
        template_hash=intent["request"]["template_hash"],
    )


def _spending(plans: Sequence[GenerationPlan], ledger: Ledger, result: DispatchResult) -> Spending:
    """What the manifest says about the plans' calls."""
    total = ledger.spent(partial(_own, plans))
    writers = {}
    for plan in plans:
        answered = result.answered[plan.writer.name]
        replies = [attempt.reply for attempt in answered]
        spent = ledger.spent(plan.owns)
        writers[plan.writer.name] = {
            "asked": sum(attempt.intent["request"]["count"] for attempt in answered if not attempt.intent["repair"]),
            "written": sum(draft.parsed for attempt in answered for draft in plan.reader.drafts(attempt)),
            "calls": len(answered),
            "outcomes": dict(Counter(reply.outcome for reply in replies)),
            "model_asked": plan.writer.config.model,
            "models_answered": sorted(filter(None, {reply.model for reply in replies})),
            "tokens": {"input": spent.tokens.input_tokens, "output": spent.tokens.output_tokens},
            "dollars": str(spent.cost),
            "possibly": str(spent.possible),
            "priced": plan.writer.priced,
        }
    return {
        "writers": writers,
        "set_aside": result.set_aside,
        "spent": {"dollars": str(total.cost), "possibly": str(total.possible)},
    }


def _warn(result: DispatchResult) -> None:
    """Warn of models that answered in place of the requested ones, and of writers that did not finish."""
    for name, attempts in result.answered.items():
        models = {(attempt.intent["model"], attempt.reply.model) for attempt in attempts}
        for requested, answered in sorted(models):
            if answered not in ("", requested):
                console.warn(f"{name}: asked for {requested}, answered by {answered}")
    for name, why in result.set_aside.items():
        console.warn(f"{name} stopped after {console.counted(len(result.answered[name]), 'answer')}: {why}")
