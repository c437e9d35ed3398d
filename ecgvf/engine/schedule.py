"""Which shard comes next. Everything that is written is written here, by the driver."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.core.shard_set import BatchTooLarge
from ecgvf.engine.work import Description, FillPlan


@dataclass(frozen=True)
class Job:
    """One shard to make."""

    plan: int
    """Index of its plan in the schedule."""
    setup: str
    """Name of the setup whose worker makes it."""
    index: int
    """Index of the shard in its set."""
    circumstances: JSON
    """The circumstances of the set when the job was handed out."""


class Schedule:
    """The missing shards of several sets. Shards of later sets go first, so that an image is judged once it exists."""

    def __init__(self, plans: Sequence[FillPlan], missing: Sequence[Sequence[int]]) -> None:
        self._plans = plans
        self._missing = [set(indices) for indices in missing]
        self.due = [sum(plans[number].sizes[index] for index in each) for number, each in enumerate(missing)]
        self._circumstances: dict[int, JSON] = {}
        self._bars: dict[int, console.Bar] = {}
        self._done = [sum(plan.sizes) - due for plan, due in zip(plans, self.due, strict=True)]
        numbers = {id(plan.shard_set): number for number, plan in enumerate(plans)}
        self._after = [
            [numbers[id(each)] for each in plan.after if id(each) in numbers] for plan in plans
        ]  # positions of the sets that this schedule fills as well
        self._ready = [
            deque(index for index in indices if self._has_inputs(number, index))
            for number, indices in enumerate(missing)
        ]

    def begin(self, description: Callable[[str], Description], bar: Callable[[str, int, int], console.Bar]) -> None:
        """Record the circumstances of each set that lacks shards, and show its progress bar."""
        for number, plan in enumerate(self._plans):
            if self._missing[number]:
                circumstances = {**description(plan.setup).circumstances, **plan.circumstances}
                self._circumstances[number] = plan.shard_set.begin(circumstances)
                self._bars[number] = bar(plan.description, sum(plan.sizes), self._done[number])

    @property
    def left(self) -> int:
        """Number of shards not yet written, including those handed out."""
        return sum(map(len, self._missing))

    def next(self) -> Job | None:
        """The next shard to make; None while all missing ones are handed out or wait for another set's shard."""
        for number in reversed(range(len(self._plans))):
            if self._ready[number]:
                index = self._ready[number].popleft()
                return Job(number, self._plans[number].setup, index, self._circumstances[number])
        return None

    def tasks(self, job: Job) -> Any:
        """The tasks of the job's shard."""
        return self._plans[job.plan].tasks(job.index)

    def location(self, job: Job) -> str:
        """Path of the job's shard, for messages."""
        return str(self._plans[job.plan].shard_set.shard(job.index))

    def advance(self, job: Job, tasks: int) -> None:
        """Show that ``tasks`` of a shard are done."""
        self._bars[job.plan].update(self._done[job.plan] + tasks, self._plans[job.plan].description)

    def write(self, job: Job, table: pa.Table) -> None:
        """Write a shard; if the set's circumstances have changed since it was handed out, hand it out again instead."""
        plan, number = self._plans[job.plan], job.plan
        if job.circumstances != self._recorded(number):
            self.again(job)
            return
        plan.shard_set.write_shard(job.index, table)
        self._missing[number].remove(job.index)
        self._done[number] += plan.sizes[job.index]
        self.advance(job, 0)
        for later, sources in enumerate(self._after):
            if number in sources and job.index in self._missing[later] and self._has_inputs(later, job.index):
                self._ready[later].append(job.index)

    def again(self, job: Job) -> None:
        """Hand a shard out again, before all others."""
        self._ready[job.plan].appendleft(job.index)

    def halve_batches(self, job: Job, error: BatchTooLarge) -> None:
        """Halve the batch that did not fit in memory, unless the set's are smaller by now; hand the shard out again."""
        if self._recorded(job.plan)["batch_size"] == error.size:
            self._circumstances[job.plan] = self._plans[job.plan].shard_set.halve_batches(error.tried)
        self.again(job)

    def _recorded(self, number: int) -> JSON:
        """The circumstances of a set, read again: another driver may have changed them."""
        self._circumstances[number] = self._plans[number].shard_set.circumstances
        return self._circumstances[number]

    def _has_inputs(self, number: int, index: int) -> bool:
        return not any(index in self._missing[source] for source in self._after[number])


@contextmanager
def open_schedule(plans: Sequence[FillPlan], describe: Callable[[str], Description]) -> Iterator[Schedule]:
    """The schedule of what is missing in ``plans``, with a progress bar for each set."""
    schedule = Schedule(plans, [plan.shard_set.missing(len(plan.sizes)) for plan in plans])
    with console.progress_bars() as bar:
        schedule.begin(describe, bar)
        yield schedule
