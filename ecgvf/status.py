"""What a store holds of a concept: its sets, stage by stage, oldest first."""

from collections import Counter
from typing import Any

from ecgvf.records import PromptPair, from_table
from ecgvf.store import ACCEPTANCE, PAIRS, PICTURES, STAGES, VERDICTS, StageSet, Store

JSON = dict[str, Any]


def status(store: Store, concept: str) -> list[JSON]:
    """One entry per set: stage, set, current, finished, seconds, rows, settings, and what the stage counts.

    A set of pairs also has ``writers``: writer → its yield (``pairs.yields``) and what it was asked and cost.

    ``counts`` is what a stage has to tell in numbers; ``reasons`` is why records were rejected, reason → how many.
    """
    entries = []
    for stage in STAGES:
        current = _current(store, concept, stage)
        for one in store.sets(concept, stage):
            counts, reasons = _counts(stage, one)
            entries.append(
                {
                    "stage": stage,
                    "set": one.fingerprint,
                    "current": one.fingerprint == current,
                    "finished": one.finished,
                    "seconds": round(one.seconds, 1),
                    "counts": counts,
                    "reasons": reasons,
                    "settings": one.settings,
                    **({"writers": one.summary.get("writers", {})} if stage == PAIRS and one.finished else {}),
                }
            )
    return entries


def paid(store: Store, concept: str) -> JSON | None:
    """What the ledger about a concept holds: calls answered, dollars, and possibly more dollars; None without one."""
    from ecgvf.pairs.ledger import Ledger

    file = Ledger.of(store, concept)
    if not file.is_file():
        return None
    ledger = Ledger(file)
    spent = ledger.spent()
    answered = sum(attempt.answered for attempt in ledger.attempts())
    return {"file": str(file), "answered": answered, "dollars": str(spent.cost), "possibly": str(spent.open)}


def _current(store: Store, concept: str, stage: str) -> str | None:
    file = store.folder(concept, stage) / "current"
    return store.current(concept, stage).fingerprint if file.is_file() else None


def _counts(stage: str, one: StageSet) -> tuple[JSON, JSON]:
    if stage == PAIRS and one.shards():
        pairs = from_table(PromptPair, one.read())
        rejected = Counter(pair.reason for pair in pairs if pair.reason is not None)
        splits = Counter(pair.split for pair in pairs if pair.reason is None)
        return {"pairs": splits["train"], "tests": splits["test"]}, {str(why): n for why, n in rejected.most_common()}
    if not one.finished:
        return {"shards": len(one.shards())}, {}
    summary = one.summary
    if stage == PICTURES:
        failed = summary["failed"]
        return {"pictures": summary["pictures"]}, {"render_failed": failed} if failed else {}
    if stage == VERDICTS:
        failed = summary["failed"]
        counts = {"pictures": summary["pictures"], "present": summary["present"]}
        return counts, {"judge_failed": failed} if failed else {}
    if stage == ACCEPTANCE:
        keys = ("accepted_pairs", "pairs", "accepted_tests", "tests")
        return {key: summary[key] for key in keys}, summary["reasons"]
    return {"rows": one.manifest["rows"]}, {}
