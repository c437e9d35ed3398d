"""What each writer was worth: how many it wrote, how many were kept and why not the others, and how varied they are."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any

from ecgvf.core.records import PromptPair, Split
from ecgvf.pairs import checks

COMPARED = 200
"""Prompts whose similarity is measured, evenly spaced where there are more."""


@dataclass(slots=True)
class Yield:
    """One writer's yield in one set. ``parsed`` are drafts that could be read; ``kept`` are accepted by stage 1."""

    parsed: int = 0
    kept: int = 0
    why_not: dict[str, int] = field(default_factory=dict)
    """Reason and fault → how many."""
    distinct_1: float | None = None
    """Different words over all words of the kept target prompts; None where there are none."""
    distinct_2: float | None = None
    """Different pairs of neighbouring words over all of them."""
    self_similarity: float | None = None
    """Mean Jaccard similarity of the word sets of two kept target prompts."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return asdict(self)


def yields(rows: Iterable[PromptPair]) -> dict[str, Yield]:
    """Writer → its yield, in the order in which the writers appear."""
    found: dict[str, Yield] = {}
    prompts: dict[str, list[str]] = {}
    faults: dict[str, Counter[str]] = {}
    for row in rows:
        one = found.setdefault(row.writer, Yield())
        one.parsed += bool(row.target)
        one.kept += row.reason is None
        if row.reason is None:
            prompts.setdefault(row.writer, []).append(row.target)
        else:
            faults.setdefault(row.writer, Counter())[f"{row.reason}: {fault_of(row.detail or '')}"] += 1
    for name, one in found.items():
        kept = prompts.get(name, [])
        one.why_not = dict(faults.get(name, Counter()).most_common())
        one.distinct_1, one.distinct_2 = distinct(kept, 1), distinct(kept, 2)
        one.self_similarity = self_similarity(kept)
    return found


def worth(rows: Iterable[PromptPair], paid: Mapping[Split, Mapping[str, Any]]) -> dict[str, Any]:
    """What a manifest says of the writers of ``rows``; ``paid`` is what is known of the LLMs that wrote each part."""
    told = together(list(paid.values()))
    writers = {name: one.to_json() for name, one in yields(rows).items()}
    for name, figures in told.get("writers", {}).items():
        writers[name] = writers.get(name, Yield().to_json()) | figures
    for name, why in told.get("set_aside", {}).items():
        writers[name]["set_aside"] = why
    return {"writers": writers, **({**told, "writers": writers, "paid": dict(paid)} if paid else {})}


def together(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of paid calls, several times, as one: figures and dollars added up. Empty where there were none."""
    if not told:
        return {}
    writers: dict[str, dict[str, Any]] = {}
    for name, figures in ((name, figures) for one in told for name, figures in one["writers"].items()):
        writers[name] = _added(writers[name], figures) if name in writers else dict(figures)
    return {
        "writers": writers,
        "set_aside": {name: why for one in told for name, why in one["set_aside"].items()},
        "spent": {key: str(sum(Decimal(one["spent"][key]) for one in told)) for key in ("dollars", "possibly")},
    }


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **one,
        **{key: one[key] + other[key] for key in ("asked", "written", "calls")},
        "outcomes": dict(Counter(one["outcomes"]) + Counter(other["outcomes"])),
        "tokens": {key: one["tokens"][key] + other["tokens"][key] for key in ("input", "output")},
        **{key: str(Decimal(one[key]) + Decimal(other[key])) for key in ("dollars", "possibly")},
        "models_answered": sorted({*one["models_answered"], *other["models_answered"]}),
        "priced": one["priced"] and other["priced"],
    }


def fault_of(detail: str) -> str:
    """The kind of fault that a reject's detail tells, without the words of this one."""
    if detail.startswith("like "):
        return "like another"
    return re.sub(r"\d+%?", "some", re.split(r"[:('\"]|, said| \[", detail, maxsplit=1)[0]).strip() or "unnamed"


def distinct(prompts: Sequence[str], n: int) -> float | None:
    """Share in [0, 1] of different n-grams among all n-grams of words (Li et al. 2016); None where there is none."""
    grams: list[tuple[str, ...]] = []
    for prompt in prompts:
        words = checks.words(prompt)
        grams += [(word,) for word in words] if n == 1 else list(pairwise(words))
    return round(len(set(grams)) / len(grams), 4) if grams else None


def self_similarity(prompts: Sequence[str]) -> float | None:
    """Mean Jaccard similarity in [0, 1] of two prompts' word sets, over at most ``COMPARED``; None below two."""
    step = max(1, -(-len(prompts) // COMPARED))
    sets = [frozenset(checks.words(prompt)) for prompt in prompts[::step]]
    alike = [len(one & other) / (len(one | other) or 1) for one, other in combinations(sets, 2)]
    return round(sum(alike) / len(alike), 4) if alike else None
