"""What a store holds of a concept: its sets, stage by stage, oldest first."""

from collections import Counter
from typing import Any

from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, STAGES, VERDICTS, Stage, StageSet

JSON = dict[str, Any]


def status(run: ConceptRun) -> list[JSON]:
    """One entry per set: stage, set, current, finished, seconds, rows, settings, and what the stage counts.

    A set of pairs also has ``writers``: writer → its yield (``pairs.yields``) and what it was asked and cost.

    ``counts`` is what a stage has to tell in numbers; ``reasons`` is why records were rejected, reason → how many.
    """
    entries = []
    for stage in STAGES:
        current = _current(run, stage)
        for one in run.sets(stage):
            counts, reasons = _counts(stage, one)
            entries.append(
                {
                    "stage": stage.name,
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


def paid(run: ConceptRun) -> JSON | None:
    """What the ledger about a concept holds: calls answered, dollars, and possibly more dollars; None without one."""
    from ecgvf.llm.ledger import Ledger

    ledger = Ledger.load(run)
    if not ledger.file.is_file():
        return None
    spent = ledger.spent()
    answered = sum(attempt.answered for attempt in ledger.attempts())
    return {"file": str(ledger.file), "answered": answered, "dollars": str(spent.cost), "possibly": str(spent.open)}


def _current(run: ConceptRun, stage: Stage) -> str | None:
    file = run.folder(stage) / "current"
    return run.current(stage).fingerprint if file.is_file() else None


def _counts(stage: Stage, one: StageSet) -> tuple[JSON, JSON]:
    if stage == PAIRS and one.shards():
        pairs = one.records(PromptPair)
        rejected = Counter(pair.reason for pair in pairs if pair.reason is not None)
        splits = Counter(pair.split for pair in pairs if pair.reason is None)
        return {"pairs": splits["train"], "tests": splits["test"]}, {str(why): n for why, n in rejected.most_common()}
    if not one.finished:
        return {"shards": len(one.shards())}, {}
    summary = one.summary
    if stage == IMAGES:
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
