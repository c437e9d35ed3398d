"""Stage 1 without LLMs: pairs and evaluation prompts by a writer in this process, and the captions that ship."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.records import PromptPair, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.seeds import check_seed
from ecgvf.core.stage_set import StageSet
from ecgvf.pairs import captions
from ecgvf.pairs.answers import read_answer, to_records
from ecgvf.pairs.checks import PromptIndex, offline_reader_settings
from ecgvf.pairs.default_counts import (
    OFFLINE_PAIRS,
    PROMPTS_PER_CALL,
    RETAINED_PROMPTS,
    TEST_PROMPTS,
    VALIDATION_PROMPTS,
    check_captions,
    check_count,
)
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.splits import COUNT_NAMES, SPLIT_NAMES, SplitGenerator, counts_text, write_splits
from ecgvf.pairs.writer import Request

MAX_FRUITLESS_CALLS = 20
"""The offline writer stops after this many calls in a row without a new prompt."""


def generate_pairs(
    run: ConceptRun,
    *,
    pairs: int = OFFLINE_PAIRS,
    validation: int = VALIDATION_PROMPTS,
    tests: int = TEST_PROMPTS,
    seed: int = 0,
    writer: OfflineWriter | None = None,
    split: Literal["train", "validation", "test"] | None = None,
) -> StageSet:
    """Write ``pairs`` training pairs, ``validation`` and ``tests`` evaluation prompts; make the set current, return it.

    ``writer`` None is the offline writer. ``split`` writes only that split. The other splits, and always the retain
    split, stay as they are in the current set.

    If the writer runs out of new prompts, the set has fewer, and a note says so. An interrupted set is resumed, a
    finished one only made current. Raises ``SettingsError``, ``WriterError``, ``StoreError``, ``DiskFull``.
    """
    check_seed(seed, "seed")
    check_count("pairs", pairs)
    check_count("validation", validation, least=0)
    check_count("tests", tests, least=0)
    writer = writer or OfflineWriter()
    counts: dict[Split, int] = {"train": pairs, "validation": validation, "test": tests}
    if split is not None:
        counts = {split: counts[split]}
    generators = split_generators(writer, run.concept, counts, seed=seed)
    stage_set = write_splits(run, generators, writer.name)
    note_missing(stage_set, writer, counts)
    return stage_set


def write_captions(run: ConceptRun, retained: int = RETAINED_PROMPTS) -> StageSet:
    """Write the captions that ship as the retain split, and keep the other splits; make the set current, return it.

    ``retained`` is the number of captions of each retained concept, from 1 to ``RETAINED_PROMPTS``, which is how
    many each has. Raises ``SettingsError``, ``StoreError``, ``DiskFull``.
    """
    check_captions("retained", retained)
    reading = offline_reader_settings(run.concept.kind)
    settings = {**captions.settings(), COUNT_NAMES["retain"]: retained, **reading}
    generator = CaptionSplit(settings=settings, concept=run.concept, per_concept=retained)
    return write_splits(run, {"retain": generator}, captions.NAME)


def split_generators(
    writer: OfflineWriter, concept: Concept, counts: Mapping[Split, int], *, seed: int, build_round: int = 0
) -> dict[Split, SplitGenerator]:
    """How ``writer`` makes each split of ``counts`` (split → number of prompts). Raises ``WriterError``."""
    writer.check(concept)
    reading = offline_reader_settings(concept.kind)
    generators: dict[Split, SplitGenerator] = {}
    for split, count in counts.items():
        settings = {"writer": writer.settings(), COUNT_NAMES[split]: count, "seed": seed}
        settings |= {"per_call": PROMPTS_PER_CALL, **reading}
        request = Request(concept=concept, split=split, count=count, iteration=0, seed=seed, build_round=build_round)
        generators[split] = OfflineSplit(settings=settings, writer=writer, request=request)
    return generators


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineSplit(SplitGenerator):
    """A split by the offline writer."""

    writer: OfflineWriter
    request: Request
    """For all of its prompts; the writer gets requests for at most ``PROMPTS_PER_CALL``."""

    def records(self, accepted: PromptIndex) -> list[PromptPair]:
        """Records until ``request.count`` of them are accepted, with the rejects in between."""
        concept, split, missing = self.request.concept, self.request.split, self.request.count
        records: list[PromptPair] = []
        iteration = fruitless = 0
        with console.progress(f"{SPLIT_NAMES[split]} by {self.writer.name}", missing) as bar:
            while missing and fruitless < MAX_FRUITLESS_CALLS:
                count = min(PROMPTS_PER_CALL, missing)
                answer = self.writer.write(replace(self.request, count=count, iteration=iteration))
                drafts = read_answer(concept, answer.text, split)
                answer_records = to_records(concept, answer.provenance, drafts, accepted, missing)
                new = sum(record.reason is None for record in answer_records)
                bar.advance(new)
                records += answer_records
                missing, iteration, fruitless = missing - new, iteration + 1, 0 if new else fruitless + 1
        return records


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSplit(SplitGenerator):
    """The retain split, made of the captions that ship."""

    concept: Concept
    per_concept: int
    """Number of captions of each retained concept."""

    def records(self, accepted: PromptIndex) -> list[PromptPair]:
        answer = captions.write(self.concept, self.per_concept)
        drafts = read_answer(self.concept, answer.text, "retain")
        return to_records(self.concept, answer.provenance, drafts, accepted, len(drafts))


def note_missing(stage_set: StageSet, writer: OfflineWriter, counts: Mapping[Split, int]) -> None:
    """Print a note for each split of ``counts`` with fewer accepted prompts than that."""
    for split, count in counts.items():
        accepted = stage_set.summary[split]["accepted"]
        if accepted < count:
            console.note(
                f"only {counts_text({split: accepted}, {split: count})} by {writer.name}: "
                f"its last {MAX_FRUITLESS_CALLS} calls gave nothing new"
            )
