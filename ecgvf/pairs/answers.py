"""Read an answer, whoever wrote it: the one place where answers are parsed and checked."""

from dataclasses import replace

from ecgvf.core.concepts import Concept, Surrogates
from ecgvf.core.records import Split
from ecgvf.pairs.checks import find_fault, is_copied
from ecgvf.pairs.parsing import Draft, parse, unparsed


def read_answer(
    concept: Concept,
    text: str,
    split: Split,
    language: str | None = None,
    *,
    prompt: str = "",
    surrogates: Surrogates = "free",
) -> list[Draft]:
    """All drafts of an answer, in order, each with its ``fault`` if it is malformed. Never raises, drops nothing.

    ``language`` (ISO 639-1) is the requested one; None: any. ``prompt`` is the request that was sent: a copy of the
    example in it counts as unparsed, and a draft has a surrogate if the example has one. ``surrogates`` is what was to
    stand for the concept. Near duplicates are found where records are built (``generate.to_records``).
    """
    examples = [draft for draft in parse(prompt, split) if draft.parsed]
    drafts = []
    for draft in parse(text, split):
        if draft.parsed and is_copied(draft, examples):
            draft = unparsed("copied from the example", draft.raw)
        elif draft.parsed:
            draft = replace(draft, fault=find_fault(concept, draft, language, split=split, surrogates=surrogates))
            if split != "retain" and draft.surrogate is None and any(example.surrogate for example in examples):
                draft = replace(draft, fault=draft.fault or "the surrogate is missing")
        drafts.append(draft)
    return drafts
