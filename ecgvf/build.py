"""``ecgvf build``: generate, render and filter in rounds, until exactly so many pairs hold.

Each round asks each writer for what it still owes, and no more; so the writers' shares are equal in the end, and a
round never gives a pair too many. A round is a run like any other, with sets of its own. In the end the rounds' shards
are gathered, as they are, into one set per stage, which is what every later command reads. Cut off anywhere and run
again, it finds every finished set and goes on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import SettingsError, WriterError
from ecgvf.core.records import Acceptance, PromptPair, from_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, Stage, StageSet
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.clip_score import LIKENESS
from ecgvf.filter.decide import FilterResult, decide
from ecgvf.filter.stage import encoder_of, filter_images, ready
from ecgvf.judges.factory import JudgeOptions, create_judge
from ecgvf.judges.judge import Judge
from ecgvf.pairs.generate import SHARDS, tally
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.rounds import BuildWriter, Free, Round, goals, shares
from ecgvf.pairs.writer_stats import summarize_writers, total_spending
from ecgvf.render import opened, render

ROUNDS = 10


@dataclass(slots=True)
class Yield:
    """What came of one writer's pairs, over all rounds."""

    goal: int
    written: int = 0
    """Pairs that went to the model, and rejects of stage 1."""
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def owed(self) -> int:
        """Accepted pairs that are missing."""
        return self.goal - self.accepted

    def json(self) -> dict[str, Any]:
        return {"goal": self.goal, "written": self.written, "accepted": self.accepted, "reasons": dict(self.reasons)}


@dataclass(frozen=True, slots=True)
class Built:
    """How a build ended."""

    filtered: FilterResult
    """The decision on all rounds together, which is now the current one."""
    rounds: int
    writers: dict[str, Yield]
    reached: bool

    @property
    def advice(self) -> str:
        """What to change where the goal was not reached: it follows the commonest reason."""
        reasons = sum((one.reasons for one in self.writers.values()), Counter[str]())
        commonest = reasons.most_common(1)[0][0] if reasons else "written"
        near = ", ".join(self.filtered.near_misses)
        return _ADVICE[commonest].format(near=f", or accept near misses ({near}) by --labels" if near else "")


_ADVICE = {
    "written": "the writers ran dry: give the concept more terms and surrogates, or take other writers",
    "no_answer": "the lines above say why a writer did not answer; raise --budget-usd where that stopped it, and run "
    "the same command again: what was answered is not paid again",
    "malformed": "most answers were no pairs: look at `ecgvf templates show` and at the rejects' details",
    "duplicate": "the writers repeat themselves: give the concept more terms and surrogates, or take other writers",
    "render_failed": "most pictures could not be drawn: `ecgvf status` says why",
    "judge_failed": "the judge could not look at most pictures: take another --judge",
    "target_absent": "the model seldom draws the concept so that the judge sees it: draw with another --model or a "
    "higher --guidance{near}",
    "concept_leaked": "the surrogates' pictures show the concept: choose surrogates that are further from it",
    "unsteady": "the pairs hold with some seeds only: lower --share",
    "off_prompt": "the pictures are far from their prompts: lower --clip-floor, or draw with another --model",
    "changed_elsewhere": "the pictures of a pair differ too much: raise --most-change",
    "reviewed": "people rejected most pairs: change what they objected to",
}


@dataclass(frozen=True, slots=True)
class Looking:
    """How the pictures are drawn and judged, the same in every round; fields as in ``render`` and ``filter``."""

    model: str = "janus-nano"
    guidance: float | None = None
    batch_size: int = 16
    device: str = "auto"
    dtype: str = "auto"
    judge: str | None = None
    options: JudgeOptions | None = None
    rule: Bounds | None = None

    def checked(self, concept: Concept) -> Judge:
        """The judge of all rounds, once everything that drawing and looking need was found."""
        told = replace(self.options or JudgeOptions(), device=self.device)
        judge = ready(create_judge(concept, self.model, self.judge, told))
        encoder_of(self.rule, self.device)
        opened(
            concept,
            model=self.model,
            guidance=self.guidance,
            batch_size=self.batch_size,
            device=self.device,
            dtype=self.dtype,
        )
        return judge

    def at(self, run: ConceptRun, pairs: StageSet, seed: int, judge: Judge) -> FilterResult:
        """The decision on a set of pairs, drawn for it."""
        drawn = render(
            run,
            model=self.model,
            guidance=self.guidance,
            seed=seed,
            batch_size=self.batch_size,
            device=self.device,
            dtype=self.dtype,
            chosen=pairs.fingerprint,
        )
        return filter_images(
            run,
            judge=judge,
            options=self.options,
            rule=self.rule,
            device=self.device,
            chosen=drawn.stage.fingerprint,
        )


@dataclass(frozen=True, slots=True)
class _Round:
    pairs: StageSet
    filtered: FilterResult


def build(
    run: ConceptRun,
    *,
    accepted: int = 50,
    tests: int = 100,
    rounds: int = ROUNDS,
    writers: Sequence[BuildWriter] | None = None,
    seed: int = 0,
    looking: Looking | None = None,
) -> Built:
    """Build a dataset of exactly ``accepted`` pairs, and ``tests`` test prompts, in at most ``rounds`` rounds.

    Where the rounds do not suffice, or the writers run dry, what there is stays and ``reached`` is False. Raises
    ``SettingsError``, ``WriterError`` where no writer answered at all, and whatever the stages raise.
    """
    asked: Sequence[BuildWriter] = writers if writers is not None else [Free(OfflineWriter())]
    if rounds < 1 or tests < 0:
        raise SettingsError(f"--rounds {rounds} --tests {tests}: at least one round, and no negative number of tests")
    came = {one.name: Yield(goal) for one, goal in zip(asked, goals(accepted, len(asked)), strict=True)}
    tests_of = dict(zip(came, shares(tests, len(asked)), strict=True))
    done: list[_Round] = []
    fruitless = Counter[str]()
    looks = looking or Looking()
    judge = looks.checked(run.concept)  # before anything is paid: what is not there costs nothing
    for number in range(rounds):
        owing = [one for one in asked if came[one.name].owed > 0 and fruitless[one.name] < one.patience]
        if not owing:
            break
        console.print(
            f"Round {number + 1}: " + ", ".join(f"{came[one.name].owed} pairs by {one.name}" for one in owing)
        )
        for writer in owing:
            of = came[writer.name]
            owed = Round(
                number=number,
                pairs=of.owed,
                tests=tests_of[writer.name] if number == 0 else 0,
                seed=seed,
                before=[one.pairs for one in done],
            )
            pairs = writer.write(run, owed)
            if pairs is None:
                of.reasons["no_answer"] += of.owed
                fruitless[writer.name] = writer.patience
                continue
            fruitless[writer.name] = 0 if pairs.summary["train"]["accepted"] else fruitless[writer.name] + 1
            filtered = looks.at(run, pairs, seed, judge)
            done.append(_Round(pairs, filtered))
            _note(of, pairs, filtered)
    if not done:
        raise WriterError(f"no writer answered: {_ADVICE['no_answer']}")
    filtered = _gathered(run, done)
    return Built(
        filtered=filtered,
        rounds=len({one.pairs.settings.get("round", 0) for one in done}),
        writers=came,
        reached=filtered.accepted_pairs == accepted,
    )


def _note(of: Yield, pairs: StageSet, filtered: FilterResult) -> None:
    rows = pairs.records(PromptPair)
    for row, decision in zip(rows, filtered.stage.records(Acceptance), strict=True):
        if row.split == "train":
            of.written += 1
            of.accepted += decision.accepted
            of.reasons.update([decision.reason] if decision.reason is not None else [])


# Gathering: one set per stage out of the rounds' sets.


def _gathered(run: ConceptRun, rounds: Sequence[_Round]) -> FilterResult:
    decided = [one.filtered.stage for one in rounds]
    pairs = _pairs(run, [one.pairs for one in rounds])
    pictures, verdicts = (
        _stage(run, stage, [one.settings[stage.name] for one in decided], pairs) for stage in (IMAGES, VERDICTS)
    )
    bounds: dict[str, Any] = dict(decided[0].settings.get("bounds", {}))
    told = [one.settings.get("bounds", {}) for one in decided]
    if "verdicts" in bounds:
        # The first are the run's own, which have been gathered; gathering them again finds them.
        further = list(zip(*(one["verdicts"] for one in told), strict=True))
        bounds["verdicts"] = [_stage(run, VERDICTS, names, pairs).fingerprint for names in further]
    if "likeness" in bounds:
        names = [one["likeness"] for one in told]
        bounds["likeness"] = _stage(run, LIKENESS, names, pairs).fingerprint
    for current in (pairs, pictures, verdicts):
        current.finish({})
    return decide(run, pictures, verdicts, bounds)


def _pairs(run: ConceptRun, sets: Sequence[StageSet]) -> StageSet:
    if len(sets) == 1:
        return sets[0]
    settings = {**sets[0].settings, "gathered": [one.fingerprint for one in sets]}
    stage = run.stage_set(PAIRS, settings)
    if not stage.finished:
        for shard in SHARDS.values():
            if not stage.done(shard):
                stage.write_shard(shard, pa.concat_tables([one.read_shard(shard) for one in sets]))
        parts = {split: from_table(PromptPair, stage.read_shard(shard)) for split, shard in SHARDS.items()}
        told = [one.summary.get("paid", {}) for one in sets]
        paid = {
            split: total_spending([one[split] for one in told if split in one])
            for split in SHARDS
            if any(split in one for one in told)
        }
        stage.finish(
            {
                "writer": ", ".join(dict.fromkeys(one.summary["writer"] for one in sets)),
                **{split: tally(rows) for split, rows in parts.items()},
                **summarize_writers((row for rows in parts.values() for row in rows), paid),
            }
        )
    return stage


def _stage(run: ConceptRun, stage: Stage, sources: Sequence[str], pairs: StageSet) -> StageSet:
    """The sets ``sources`` of a stage as one, over the gathered ``pairs``; what they stand on is gathered with them."""
    sets = [run.open(stage, source) for source in sources]
    if len(sets) == 1:
        return sets[0]
    settings = dict(sets[0].settings)
    if stage == IMAGES:
        # Shards cut otherwise than ``ecgvf render`` cuts them, so that no run of it may go on here.
        settings |= {"pairs": pairs.fingerprint, "gathered": list(sources)}
    else:
        under = [one.settings["pictures"] for one in sets]
        settings["pictures"] = _stage(run, IMAGES, under, pairs).fingerprint
    if "parts" in settings:
        parts = zip(*(one.settings["parts"] for one in sets), strict=True)
        settings["parts"] = [_stage(run, stage, part, pairs).fingerprint for part in parts]
    gathered = run.stage_set(stage, settings)
    if not gathered.finished:
        gathered.record_circumstances(**sets[0].manifest["circumstances"])
        tables = (table for one in sets for table in one.tables())
        for index, table in enumerate(tables):
            if not gathered.done(index):
                gathered.write_shard(index, table)
        gathered.finish(_sum([one.summary for one in sets]), current=False)
    return gathered


def _sum(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts added up, nested ones too; words are those of the first."""
    total: dict[str, Any] = {}
    for summary in summaries:
        for key, value in summary.items():
            if isinstance(value, dict):
                total[key] = _sum([total.get(key, {}), value])
            elif isinstance(value, int | float):
                total[key] = total.get(key, 0) + value
            else:
                total.setdefault(key, value)
    return total
