"""What a store contains of a concept: its sets stage by stage, and its paid calls."""

from collections import Counter

from ecgvf.core.files import JSON
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES, PAIRS, STAGES, VERDICTS, StageSet


def stage_summaries(run: ConceptRun) -> list[JSON]:
    """One summary per set, stage by stage, oldest first.

    Keys: stage, set, current, finished, seconds, counts, reasons (reason → rejected records) and settings; for a
    finished set of pairs also writers (writer → its statistics, see ``ecgvf.pairs.writer_stats``).
    """
    summaries = []
    for stage in STAGES:
        has_current = (run.folder(stage) / "current").is_file()
        current = run.current(stage).fingerprint if has_current else None
        for stage_set in run.sets(stage):
            counts, reasons = _counts(stage_set)
            summaries.append(
                {
                    "stage": stage.name,
                    "set": stage_set.fingerprint,
                    "current": stage_set.fingerprint == current,
                    "finished": stage_set.finished,
                    "seconds": round(stage_set.seconds, 1),
                    "counts": counts,
                    "reasons": reasons,
                    "settings": stage_set.settings,
                }
            )
            if stage == PAIRS and stage_set.finished:
                summaries[-1]["writers"] = stage_set.summary.get("writers", {})
    return summaries


def ledger_summary(run: ConceptRun) -> JSON | None:
    """The calls to LLMs about a concept: answered, dollars, and possibly more dollars; None without a ledger."""
    from ecgvf.llm.ledger import Ledger

    ledger = Ledger.load(run)
    if not ledger.file.is_file():
        return None
    spent = ledger.spent()
    answered = sum(attempt.answered for attempt in ledger.attempts())
    return {"file": str(ledger.file), "answered": answered, "dollars": str(spent.cost), "possibly": str(spent.possible)}


def _counts(stage_set: StageSet) -> tuple[JSON, JSON]:
    """The counts of a set, and its rejected records by reason."""
    if stage_set.stage == PAIRS and stage_set.shards():
        pairs = stage_set.records(PromptPair)
        rejected = Counter(pair.reason for pair in pairs if pair.reason is not None)
        splits = Counter(pair.split for pair in pairs if pair.reason is None)
        counts = {"pairs": splits["train"], "validation": splits["validation"], "tests": splits["test"]}
        if splits["retain"]:
            counts["retained"] = splits["retain"]
        return counts, dict(rejected.most_common())
    if not stage_set.finished:
        return {"shards": len(stage_set.shards())}, {}
    summary = stage_set.summary
    if stage_set.stage == ACCEPTANCE:
        keys = ("accepted_pairs", "pairs", "accepted_validation", "validation", "accepted_tests", "tests")
        optional = [key for key in ("accepted_retained", "retained") if key in summary]
        return {key: summary.get(key, 0) for key in (*keys, *optional)}, summary["reasons"]
    if stage_set.stage == VERDICTS:
        counts, reason = {"pictures": summary["pictures"], "present": summary["present"]}, "judge_failed"
    elif stage_set.stage == IMAGES:
        counts, reason = {"pictures": summary["pictures"]}, "render_failed"
    else:
        return {"rows": stage_set.manifest["rows"]}, {}
    return counts, {reason: summary["failed"]} if summary["failed"] else {}
