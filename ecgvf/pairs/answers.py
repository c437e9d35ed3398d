"""From the text of an answer, whoever wrote it, to drafts, and from drafts to records."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace

from ecgvf.core.concepts import Concept, SurrogateChoice
from ecgvf.core.records import PromptPair, Reason, Split, malformed_id, record_id
from ecgvf.pairs.checks import PromptIndex, find_fault, is_copied
from ecgvf.pairs.parsing import Draft, parse, unparsed
from ecgvf.pairs.wording import wording_of
from ecgvf.pairs.writer import Provenance

MAX_DETAIL_CHARACTERS = 10_000
"""How much of an answer a reject keeps; the ledger keeps an LLM's whole answer."""


def read_answer(
    concept: Concept,
    text: str,
    split: Split,
    language: str | None = None,
    *,
    prompt: str = "",
    surrogate_choice: SurrogateChoice = "free",
) -> list[Draft]:
    """Parse and check an answer: all of its drafts in order, each with a ``fault`` if malformed. Never raises.

    ``language`` is the requested language (ISO 639-1; None: any). ``prompt`` is the request: a copy of its example
    counts as unparsed, and if the example has a surrogate, every draft must have one; each of its lines that names a
    retained concept allows one prompt about it. ``surrogate_choice`` is what was requested in place of the concept.
    Near duplicates are found where records are built (``to_records``).
    """
    examples = [draft for draft in parse(prompt, split) if draft.parsed]
    numbers = Counter[str]()  # retained concept → prompts about it
    drafts = []
    for draft in parse(text, split):
        if draft.parsed and is_copied(draft, examples):
            draft = unparsed("copied from the example", draft.raw)
        elif draft.parsed:
            fault = find_fault(concept, draft, language, split=split, surrogate_choice=surrogate_choice)
            if fault is None and split == "retain" and prompt:
                name = str(draft.retained_concept)
                numbers[name] += 1
                fault = _unlisted(name, numbers[name], prompt)
            draft = replace(draft, fault=fault)
            if split != "retain" and draft.surrogate is None and any(example.surrogate for example in examples):
                draft = replace(draft, fault=draft.fault or "the surrogate is missing")
        drafts.append(draft)
    return drafts


def _unlisted(name: str, number: int, prompt: str) -> str | None:
    """The fault of the ``number``-th prompt about ``name`` unless that many lines of the request name it."""
    before = [line[: -len(name)] for line in map(str.strip, prompt.splitlines()) if line.endswith(name)]
    listed = sum(re.fullmatch(r"[\W\d]*", mark) is not None for mark in before)  # "- ", "1. ", …
    if number <= listed:
        return None
    again = " again" if listed else ""
    return f"the prompt is about a concept that was not requested{again}: {name!r}"


def to_records(
    concept: Concept, provenance: Provenance, drafts: Iterable[Draft], accepted: PromptIndex, count: int
) -> list[PromptPair]:
    """The records of an answer's checked drafts, until ``count`` are accepted; a writer may write more than that.

    A draft that is malformed or near one of the ``accepted`` is rejected with its reason; the others join ``accepted``.
    """
    records: list[PromptPair] = []
    for position, draft in enumerate(drafts):
        if not count:
            break
        record = _to_record(concept, provenance, position, draft, accepted)
        if record.reason is None:
            accepted.add(record.target)
            count -= 1
        records.append(record)
    return records


def _to_record(
    concept: Concept, provenance: Provenance, position: int, draft: Draft, accepted: PromptIndex
) -> PromptPair:
    """The record of the draft at ``position`` in its answer, from 0."""
    retained = provenance.split == "retain"
    reason: Reason | None = None
    detail = draft.fault
    if draft.fault is not None:
        reason = "malformed"
    elif duplicate := accepted.near_duplicate(draft.target):
        reason, detail = "duplicate", f"like {duplicate!r}"
    raw = draft.raw
    if len(raw) > MAX_DETAIL_CHARACTERS:
        raw = f"{raw[:MAX_DETAIL_CHARACTERS]}… ({len(raw)} characters)"
    if reason is None:
        identity = record_id(concept.name, draft.target, draft.surrogate)
    else:  # so that two equal rejects are two records
        identity = malformed_id(provenance.call_id, position)
    return PromptPair(
        record_id=identity,
        concept=concept.name,
        kind=concept.kind,
        target=draft.target,
        surrogate=draft.surrogate,
        target_term=concept.term_in(draft.target) or draft.target_term,
        surrogate_term=draft.surrogate_term or None,
        **asdict(provenance),
        reason=reason,
        detail=f"{detail}: {raw}" if detail else None,
        wording=wording_of(concept, draft.target, draft.wording) if reason is None and not retained else None,
        retained_concept=draft.retained_concept,
    )
