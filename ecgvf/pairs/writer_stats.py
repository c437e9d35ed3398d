"""Statistics per writer: how many prompts it wrote, how many were kept, why others were not, and how varied."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any

from ecgvf.core.records import PromptPair, Split
from ecgvf.pairs.checks import words

MAX_COMPARED = 200
"""Maximum number of prompts to compare with each other; of more, evenly spaced ones are taken."""

Spending = Mapping[str, Any]
"""What the calls for one split have cost: ``writers`` (calls, tokens, dollars), ``set_aside``, ``spent``."""


@dataclass(frozen=True, slots=True)
class WriterStats:
    """One writer's records in one set; field names are keys of the manifest."""

    parsed: int = 0
    """Drafts that could be parsed."""
    kept: int = 0
    """Records that stage 1 accepted."""
    why_not: dict[str, int] = field(default_factory=dict)
    """Reason and fault → number of rejects."""
    distinct_1: float | None = None
    """Distinct words over all words of the kept target prompts; None if there are none."""
    distinct_2: float | None = None
    """The same for pairs of neighbouring words."""
    self_similarity: float | None = None
    """Mean Jaccard similarity of the word sets of two kept target prompts."""


def stats_by_writer(records: Iterable[PromptPair]) -> dict[str, WriterStats]:
    """Writer → its statistics, in the order in which the writers appear."""
    by_writer: dict[str, list[PromptPair]] = {}
    for record in records:
        by_writer.setdefault(record.writer, []).append(record)
    return {writer: _stats(written) for writer, written in by_writer.items()}


def _stats(records: Sequence[PromptPair]) -> WriterStats:
    kept = [record.target for record in records if record.reason is None]
    faults = Counter(
        f"{record.reason}: {fault_category(record.detail or '')}" for record in records if record.reason is not None
    )
    return WriterStats(
        parsed=sum(bool(record.target) for record in records),
        kept=len(kept),
        why_not=dict(faults.most_common()),
        distinct_1=distinct(kept, 1),
        distinct_2=distinct(kept, 2),
        self_similarity=self_similarity(kept),
    )


def summarize_writers(records: Iterable[PromptPair], spending: Mapping[Split, Spending]) -> dict[str, Any]:
    """What the manifest says about the writers of ``records``; ``spending`` has the splits that LLMs wrote."""
    writers = {name: asdict(stats) for name, stats in stats_by_writer(records).items()}
    if not spending:
        return {"writers": writers}
    total = total_spending(list(spending.values()))
    for name, figures in total["writers"].items():
        writers[name] = writers.get(name, asdict(WriterStats())) | figures
    for name, why in total["set_aside"].items():
        writers[name]["set_aside"] = why
    return {**total, "writers": writers, "paid": dict(spending)}


def total_spending(parts: Sequence[Spending]) -> dict[str, Any]:
    """The sum of several spendings; empty if there are none."""
    if not parts:
        return {}
    writers: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, figures in part["writers"].items():
            writers[name] = _sum_figures(writers[name], figures) if name in writers else dict(figures)
    return {
        "writers": writers,
        "set_aside": {name: why for part in parts for name, why in part["set_aside"].items()},
        "spent": {key: str(sum(Decimal(part["spent"][key]) for part in parts)) for key in ("dollars", "possibly")},
    }


def _sum_figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **first,
        **{key: first[key] + second[key] for key in ("asked", "written", "calls")},
        "outcomes": dict(Counter(first["outcomes"]) + Counter(second["outcomes"])),
        "tokens": {key: first["tokens"][key] + second["tokens"][key] for key in ("input", "output")},
        **{key: str(Decimal(first[key]) + Decimal(second[key])) for key in ("dollars", "possibly")},
        "models_answered": sorted({*first["models_answered"], *second["models_answered"]}),
        "priced": first["priced"] and second["priced"],
    }


def fault_category(detail: str) -> str:
    """The kind of fault in a reject's ``detail``: what precedes a colon, without numbers."""
    if detail.startswith("like "):
        return "like another"
    return re.sub(r"\d+", "some", detail.partition(":")[0]).strip() or "unnamed"


def distinct(prompts: Sequence[str], n: int) -> float | None:
    """Share in [0, 1] of distinct n-grams among all n-grams of words, ``n`` 1 or 2; None if there are none.

    Distinct-n of Li et al. 2016 (https://arxiv.org/abs/1510.03055).
    """
    ngrams = [ngram for tokens in map(words, prompts) for ngram in (pairwise(tokens) if n == 2 else tokens)]
    return round(len(set(ngrams)) / len(ngrams), 4) if ngrams else None


def self_similarity(prompts: Sequence[str]) -> float | None:
    """Mean Jaccard similarity in [0, 1] of two prompts' word sets, over at most ``MAX_COMPARED``; None below two."""
    step = max(1, -(-len(prompts) // MAX_COMPARED))
    vocabularies = [frozenset(words(prompt)) for prompt in prompts[::step]]
    similarities = [len(a & b) / (len(a | b) or 1) for a, b in combinations(vocabularies, 2)]
    return round(sum(similarities) / len(similarities), 4) if similarities else None
