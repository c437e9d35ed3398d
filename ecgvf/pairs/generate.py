"""Stage 1 without LLMs: pairs and evaluation prompts by a writer in this process, and the captions that ship."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.records import PromptPair, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.seeds import check_seed
from ecgvf.core.stage_set import StageSet
from ecgvf.pairs import captions
from ecgvf.pairs.answers import read_answer, to_records
from ecgvf.pairs.checks import PromptIndex, reader_settings
from ecgvf.pairs.default_counts import (
    OFFLINE_PAIRS,
    PROMPTS_PER_CALL,
    RETAINED_PROMPTS,
    TEST_PROMPTS,
    VALIDATION_PROMPTS,
)
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.splits import SPLIT_NAMES, SplitGenerator, keep_split, write_set
from ecgvf.pairs.writer import Request, Writer

MAX_FRUITLESS_CALLS = 20
"""The offline writer stops after this many calls in a row without a new prompt."""

_COUNTS: dict[Split, str] = {"train": "pairs", "validation": "validation", "test": "tests"}
"""Split → the setting with the number of prompts requested."""


def generate_pairs(
    run: ConceptRun,
    *,
    pairs: int = OFFLINE_PAIRS,
    validation: int = VALIDATION_PROMPTS,
    tests: int = TEST_PROMPTS,
    retained: int = RETAINED_PROMPTS,
    seed: int = 0,
    writer: Writer | None = None,
    split: Split | None = None,
    build_round: int | None = None,
    earlier: Sequence[StageSet] = (),
) -> StageSet:
    """Write ``pairs`` training pairs, ``validation`` and ``tests`` evaluation prompts; make the set current, return it.

    ``writer`` None is the offline writer. ``split`` writes only that split and keeps the others of the current set.
    ``split="retain"`` takes ``retained`` of the shipped captions of each retained concept; by default the retain split
    is kept. ``build_round`` and ``earlier`` are for ``ecgvf build``: the round's number, and the sets of the rounds
    before, whose prompts are not written again; such a set has no retain split.

    If the writer runs out of new prompts, the set has fewer, and a note says so. An interrupted set is resumed, a
    finished one only made current. Raises ``SettingsError``, ``WriterError``, ``StoreError``, ``DiskFull``.
    """
    check_seed(seed)
    if pairs < 1:
        raise SettingsError(f"--pairs {pairs}: it must be at least 1")
    for name, number in (("validation", validation), ("tests", tests)):
        if number < 0:
            raise SettingsError(f"--{name} {number}: it must be 0 or more")
    if split == "retain":
        return _write_captions(run, retained)
    writer = writer or OfflineWriter()
    writer.check(run.concept)
    counts: dict[Split, int] = {"train": pairs, "validation": validation, "test": tests}
    splits: dict[Split, SplitGenerator] = {}
    for name, number in counts.items():
        if split not in (None, name):
            splits[name] = keep_split(run, name)
            continue
        request = Request(
            concept=run.concept, split=name, count=number, iteration=0, seed=seed, build_round=build_round or 0
        )
        splits[name] = _split_by(writer, request)
    if build_round is None:
        splits["retain"] = keep_split(run, "retain")
    stage_set = write_set(run, splits, writer.name, build_round=build_round or 0, earlier=earlier)
    for name, number in counts.items():
        accepted = stage_set.summary[name]["accepted"]
        if split in (None, name) and accepted < number:
            console.note(
                f"only {accepted} of {number} {SPLIT_NAMES[name]} by {writer.name}: "
                f"its last {MAX_FRUITLESS_CALLS} calls gave nothing new"
            )
    return stage_set


def _write_captions(run: ConceptRun, per_concept: int) -> StageSet:
    """The current set with the captions that ship as its retain split, ``per_concept`` of each retained concept."""
    if per_concept < 1:
        raise SettingsError(f"--count {per_concept}: it must be at least 1")
    settings = {**captions.settings(), "retained": per_concept, **reader_settings(run.concept.kind)}

    def records(accepted: PromptIndex) -> list[PromptPair]:
        answer = captions.write(run.concept, per_concept)
        drafts = read_answer(run.concept, answer.text, "retain")
        return to_records(run.concept, answer.provenance, drafts, accepted, len(drafts))

    splits = {split: keep_split(run, split) for split in SPLIT_NAMES}
    return write_set(run, splits | {"retain": SplitGenerator(settings, records)}, captions.NAME)


def _split_by(writer: Writer, total: Request) -> SplitGenerator:
    """The split that ``writer`` writes: ``total`` is a request for all of its prompts."""
    settings = {"writer": writer.settings(), _COUNTS[total.split]: total.count, "seed": total.seed}
    settings |= {"per_call": PROMPTS_PER_CALL, **reader_settings(total.concept.kind)}
    return SplitGenerator(settings, partial(_write, writer, total))


def _write(writer: Writer, total: Request, accepted: PromptIndex) -> list[PromptPair]:
    """The records of ``total.count`` accepted prompts, and the rejects in between, in as many requests as it takes."""
    records: list[PromptPair] = []
    missing, iteration, fruitless = total.count, 0, 0
    with console.progress(f"{SPLIT_NAMES[total.split]} by {writer.name}", total.count) as bar:
        while missing and fruitless < MAX_FRUITLESS_CALLS:
            answer = writer.write(replace(total, count=min(PROMPTS_PER_CALL, missing), iteration=iteration))
            drafts = read_answer(total.concept, answer.text, total.split)
            written = to_records(total.concept, answer.provenance, drafts, accepted, missing)
            new = sum(record.reason is None for record in written)
            bar.advance(new)
            records += written
            missing, iteration, fruitless = missing - new, iteration + 1, 0 if new else fruitless + 1
    return records
