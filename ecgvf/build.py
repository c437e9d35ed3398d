"""``ecgvf build``: generate, render and filter in rounds, until exactly N pairs are accepted.

Each round requests from each writer exactly the pairs that it still lacks, so that all writers have equal shares in the
end. A round has sets of its own, like any run; finally the rounds' shards are merged into one set per stage, which all
later commands read. An interrupted build resumes from its finished sets.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecgvf.core import console
from ecgvf.core.errors import WriterError
from ecgvf.core.pytorch import import_pytorch
from ecgvf.core.records import Acceptance, PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.sampling import check_sampling
from ecgvf.core.seeds import check_seed
from ecgvf.core.stage_set import PAIRS, StageSet
from ecgvf.filter.acceptance import FilterResult
from ecgvf.filter.bounds import Bounds
from ecgvf.filter.stage import filter_images, open_encoder, open_judge
from ecgvf.judges.factory import JudgeOptions
from ecgvf.judges.judge import Judge
from ecgvf.judges.predictions import load_judge
from ecgvf.merge_rounds import merge_rounds
from ecgvf.pairs.default_counts import ACCEPTED_PAIRS, ROUNDS, TEST_PROMPTS, VALIDATION_PROMPTS, check_count
from ecgvf.pairs.generation_plan import check_names, split_evenly
from ecgvf.pairs.offline import OfflineWriter
from ecgvf.pairs.rounds import OfflineRounds, RoundRequest, RoundWriter, goals
from ecgvf.world.domain import NANO

_ADVICE = {
    "written": "the writers wrote nothing new: give the concept more terms and surrogates, or use other writers",
    "no_answer": "the lines above say why a writer did not answer; raise --budget-usd if that stopped it, and run "
    "the same command again: answered calls are not paid again",
    "malformed": "most answers could not be parsed as pairs: check `ecgvf templates show` and the rejects' details",
    "duplicate": "the writers repeat themselves: give the concept more terms and surrogates, or use other writers",
    "render_failed": "most images failed to render: run `ecgvf status` for the reasons",
    "judge_failed": "the judge failed on most images: use another --judge",
    "target_absent": "the judge seldom sees the concept in the target images: render with another --model or a higher "
    "--guidance{near}",
    "concept_leaked": "the surrogate images show the concept: choose surrogates that are further from it",
    "unsteady": "the pairs pass with some seeds only: lower --share",
    "off_prompt": "the images are far from their prompts: lower --clip-floor, or render with another --model",
    "changed_elsewhere": "the images of a pair differ too much: raise --most-change",
    "reviewed": "reviewers rejected most pairs: change what they objected to",
}
"""Most frequent reason → what to change."""


@dataclass(slots=True)
class WriterProgress:
    """One writer's pairs over all rounds."""

    goal: int
    written: int = 0
    """Training pairs, those rejected in stage 1 included."""
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rounds_without_pair: int = 0
    """Number of rounds, up to the last one, without a new pair."""

    @property
    def missing(self) -> int:
        """Accepted pairs that the writer still lacks."""
        return self.goal - self.accepted

    def add(self, acceptance: StageSet) -> None:
        """Count one round."""
        pairs = acceptance.source(PAIRS)
        self.rounds_without_pair = 0 if pairs.summary["train"]["accepted"] else self.rounds_without_pair + 1
        for pair, row in zip(pairs.records(PromptPair), acceptance.records(Acceptance), strict=True):
            if pair.split == "train":
                self.written += 1
                self.accepted += row.accepted
                self.reasons.update([row.reason] if row.reason is not None else [])

    def json(self) -> dict[str, Any]:
        """``{"goal", "written", "accepted", "reasons"}``."""
        return {"goal": self.goal, "written": self.written, "accepted": self.accepted, "reasons": dict(self.reasons)}


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The outcome of a build."""

    filtered: FilterResult
    """The result of all rounds together; its acceptance set is the current one."""
    rounds: int
    writers: dict[str, WriterProgress]
    reached: bool
    """Whether exactly as many pairs were accepted as requested."""

    @property
    def advice(self) -> str:
        """What to change if the goal was not reached, by the most frequent reason."""
        reasons = sum((writer.reasons for writer in self.writers.values()), Counter[str]())
        most_frequent = reasons.most_common(1)[0][0] if reasons else "written"
        near = ", ".join(self.filtered.near_misses)
        return _ADVICE[most_frequent].format(near=f", or accept near misses ({near}) by --labels" if near else "")


def build(
    run: ConceptRun,
    *,
    accepted: int = ACCEPTED_PAIRS,
    validation: int = VALIDATION_PROMPTS,
    tests: int = TEST_PROMPTS,
    rounds: int = ROUNDS,
    writers: Sequence[RoundWriter] | None = None,
    seed: int = 0,
    model: str = NANO,
    guidance: float | None = None,
    batch_size: int | None = None,
    dtype: str = "auto",
    judge: str | Judge | None = None,
    options: JudgeOptions | None = None,
    bounds: Bounds | None = None,
    device: str = "auto",
) -> BuildResult:
    """Build a dataset of exactly ``accepted`` pairs in at most ``rounds`` rounds.

    ``validation`` and ``tests`` are the numbers of evaluation prompts to write, accepted or not. ``writers`` None is
    the offline writer. ``model`` to ``dtype`` as in ``render``, ``judge`` to ``device`` as in ``filter_images``. If the
    rounds do not suffice or the writers write nothing new, the pairs stay and ``reached`` is False.

    Raises ``SettingsError``, ``WriterError`` if no writer answered at all, and as the stages do.
    """
    writers = writers if writers is not None else [OfflineRounds(OfflineWriter())]
    check_names([writer.name for writer in writers])
    check_seed(seed)
    check_sampling(guidance, None)
    _check_counts(rounds, validation, tests)
    import_pytorch()
    from ecgvf.janus import load
    from ecgvf.render import RenderOptions, check_renderer, render

    progress = {
        writer.name: WriterProgress(goal) for writer, goal in zip(writers, goals(accepted, len(writers)), strict=True)
    }
    # Before anything is paid, so that a wrong name or a missing file costs nothing.
    check_renderer(run.concept, model, batch_size)
    judge = open_judge(run.concept, model, judge, options or JudgeOptions(), device)
    load_judge(judge)
    encoder = open_encoder(bounds or Bounds(), device)
    janus = load(model, device=device, dtype=dtype)
    rendering = RenderOptions(model=janus, guidance=guidance, batch_size=batch_size, seed=seed)

    def filter_pairs(pairs: StageSet) -> StageSet:
        # Until the rounds are merged, nothing becomes current: a killed build leaves no single round as the dataset.
        images = render(run, rendering, set_id=pairs.fingerprint, current=False).images
        filtered = filter_images(
            run,
            judge=judge,
            options=options,
            bounds=bounds,
            encoder=encoder,
            model=janus,
            device=device,
            set_id=images.fingerprint,
            current=False,
        )
        return filtered.acceptance

    acceptances = _run_rounds(
        run, writers, progress, filter_pairs, validation=validation, tests=tests, rounds=rounds, seed=seed
    )
    if not acceptances:
        raise WriterError(f"no writer answered: {_ADVICE['no_answer']}")
    filtered = merge_rounds(acceptances)
    numbers = {acceptance.source(PAIRS).settings.get("round", 0) for acceptance in acceptances}
    return BuildResult(filtered, len(numbers), progress, filtered.accepted["train"] == accepted)


def _check_counts(rounds: int, validation: int, tests: int) -> None:
    for name, number, least in (("rounds", rounds, 1), ("validation", validation, 0), ("tests", tests, 0)):
        check_count(f"--{name}", number, least)


def _run_rounds(
    run: ConceptRun,
    writers: Sequence[RoundWriter],
    progress: dict[str, WriterProgress],
    filter_pairs: Callable[[StageSet], StageSet],
    *,
    validation: int,
    tests: int,
    rounds: int,
    seed: int,
) -> list[StageSet]:
    """The acceptance sets of all rounds: one per round and writer that answered."""
    validation_of, tests_of = (
        dict(zip(progress, split_evenly(count, len(writers)), strict=True)) for count in (validation, tests)
    )
    acceptances: list[StageSet] = []
    for number in range(rounds):
        active = [
            writer
            for writer in writers
            if progress[writer.name].missing > 0 and progress[writer.name].rounds_without_pair < writer.patience
        ]
        if not active:
            break
        missing = ", ".join(
            f"{console.counted(progress[writer.name].missing, 'pair')} by {writer.name}" for writer in active
        )
        console.note(f"Round {number + 1}: {missing}")
        for writer in active:
            own = progress[writer.name]
            request = RoundRequest(
                number=number,
                counts={
                    "train": own.missing,
                    "validation": validation_of[writer.name] if number == 0 else 0,
                    "test": tests_of[writer.name] if number == 0 else 0,
                },
                seed=seed,
                earlier=[acceptance.source(PAIRS) for acceptance in acceptances],
            )
            pairs = writer.write(run, request)
            if pairs is not None:
                acceptances.append(filter_pairs(pairs))
                own.add(acceptances[-1])
            if own.missing and (pairs is None or pairs.summary.get("set_aside")):
                # The next run sends the rest of this round first; another would depend on what is answered by now.
                own.reasons["no_answer"] += own.missing
                own.rounds_without_pair = writer.patience
    return acceptances
