"""The sets of a build's rounds, merged into one set per stage: their shards, one after the other."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ecgvf.core.records import PromptPair, from_table
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter.acceptance import FilterResult, write_acceptance
from ecgvf.filter.clip_score import CLIP_SCORES
from ecgvf.pairs.splits import SHARDS, tally
from ecgvf.pairs.writer_stats import summarize_writers, total_spending


def merge_rounds(acceptances: Sequence[StageSet]) -> FilterResult:
    """Merge the sets that led to ``acceptances``; make the merged ones and their acceptance current."""
    run = acceptances[0].run
    pairs = _merge_pairs([acceptance.source(PAIRS) for acceptance in acceptances])
    images, verdicts = (
        _merge_sets([acceptance.source(stage) for acceptance in acceptances], pairs) for stage in (IMAGES, VERDICTS)
    )
    by_round = [acceptance.settings.get("bounds", {}) for acceptance in acceptances]
    bounds: dict[str, Any] = dict(by_round[0])
    if "verdicts" in bounds:
        by_seed = zip(*(each["verdicts"] for each in by_round), strict=True)
        sets = [[run.open(VERDICTS, set_id) for set_id in set_ids] for set_ids in by_seed]
        bounds["verdicts"] = [_merge_sets(seed, pairs).fingerprint for seed in sets]
    if "likeness" in bounds:
        scores = [run.open(CLIP_SCORES, each["likeness"]) for each in by_round]
        bounds["likeness"] = _merge_sets(scores, pairs).fingerprint
    for merged in (pairs, images, verdicts):
        merged.make_current()
    run.store.remember(run.concept)
    return write_acceptance(images, verdicts, bounds)


def _merge_pairs(sets: Sequence[StageSet]) -> StageSet:
    if len(sets) == 1:
        return sets[0]
    merged = sets[0].run.stage_set(
        PAIRS, {**sets[0].settings, "gathered": [stage_set.fingerprint for stage_set in sets]}
    )
    if not merged.finished:
        shards = {split: shard for split, shard in SHARDS.items() if sets[0].done(shard)}
        for shard in shards.values():
            if not merged.done(shard):
                merged.write_shard(shard, pa.concat_tables([stage_set.read_shard(shard) for stage_set in sets]))
        parts = {split: from_table(PromptPair, merged.read_shard(shard)) for split, shard in shards.items()}
        known = [stage_set.summary.get("paid", {}) for stage_set in sets]
        paid = {
            split: total_spending([each[split] for each in known if split in each])
            for split in SHARDS
            if any(split in each for each in known)
        }
        merged.finish(
            {
                "writer": ", ".join(dict.fromkeys(stage_set.summary["writer"] for stage_set in sets)),
                **{split: tally(rows) for split, rows in parts.items()},
                **summarize_writers((row for rows in parts.values() for row in rows), paid),
            },
            current=False,
        )
    return merged


def _merge_sets(sets: Sequence[StageSet], pairs: StageSet) -> StageSet:
    """Merge ``sets``, of one stage, over the merged ``pairs``, after merging the sets that they were made from."""
    first = sets[0]
    run, stage, settings = first.run, first.stage, dict(first.settings)
    if len(sets) == 1:
        return first
    if stage == IMAGES:
        # Its shards are cut differently from those of ``ecgvf render``, which must never resume it.
        settings |= {"pairs": pairs.fingerprint, "gathered": [stage_set.fingerprint for stage_set in sets]}
    else:
        settings["pictures"] = _merge_sets([stage_set.source(IMAGES) for stage_set in sets], pairs).fingerprint
    if "parts" in settings:  # an ensemble's members
        by_member = zip(*(stage_set.settings["parts"] for stage_set in sets), strict=True)
        members = [[run.open(stage, set_id) for set_id in set_ids] for set_ids in by_member]
        settings["parts"] = [_merge_sets(member, pairs).fingerprint for member in members]
    merged = run.stage_set(stage, settings)
    if not merged.finished:
        merged.record_circumstances(**next((each.circumstances for each in sets if each.shards()), {}))
        for index, table in enumerate(table for stage_set in sets for table in stage_set.tables()):
            if not merged.done(index):
                merged.write_shard(index, table)
        merged.finish(_add([stage_set.summary for stage_set in sets]), current=False)
    return merged


def _add(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the counts in ``summaries``, also nested ones; keep the first of other values."""
    total: dict[str, Any] = {}
    for summary in summaries:
        for key, value in summary.items():
            if isinstance(value, dict):
                total[key] = _add([total.get(key, {}), value])
            elif isinstance(value, int | float):
                total[key] = total.get(key, 0) + value
            else:
                total.setdefault(key, value)
    return total
