"""Which shard comes next. Everything that is written is written here, by the driver."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.engine.work import Description, Filling


@dataclass(frozen=True)
class Job:
    """One shard to make."""

    filling: int
    """Position of its set among those of the schedule."""
    name: str
    """Of the setup."""
    index: int
    circumstances: JSON
    """Those of the set when the job was handed out."""


class Schedule:
    """The missing shards of several sets. A later set comes first, so that a shard is judged as soon as it is there."""

    def __init__(self, fillings: Sequence[Filling], missing: Sequence[Sequence[int]]) -> None:
        self._fillings = fillings
        self._missing = [set(indices) for indices in missing]
        self.due = [sum(fillings[number].sizes[index] for index in each) for number, each in enumerate(missing)]
        self._circumstances: dict[int, JSON] = {}
        self._bars: dict[int, console.Bar] = {}
        self._done = [sum(filling.sizes) - due for filling, due in zip(fillings, self.due, strict=True)]
        numbers = {id(filling.shard_set): number for number, filling in enumerate(fillings)}
        self._after = [
            [numbers[id(each)] for each in filling.after if id(each) in numbers] for filling in fillings
        ]  # positions of the sets that this schedule fills as well
        self._ready = [
            deque(index for index in indices if self._has_inputs(number, index))
            for number, indices in enumerate(missing)
        ]

    def begin(self, description: Callable[[str], Description], bar: Callable[[str, int, int], console.Bar]) -> None:
        """Record the circumstances of each set that lacks shards."""
        for number, filling in enumerate(self._fillings):
            if self._missing[number]:
                circumstances = {**description(filling.name).circumstances, **filling.circumstances}
                self._circumstances[number] = filling.shard_set.begin(circumstances)
                self._bars[number] = bar(filling.description, sum(filling.sizes), self._done[number])

    @property
    def left(self) -> int:
        """Shards that are still to be written, those that were handed out included."""
        return sum(map(len, self._missing))

    def next(self) -> Job | None:
        """A shard to make now; None if every missing one is handed out, or waits for another."""
        for number in reversed(range(len(self._fillings))):
            if self._ready[number]:
                index = self._ready[number].popleft()
                return Job(number, self._fillings[number].name, index, self._circumstances[number])
        return None

    def tasks(self, job: Job) -> Any:
        """What the worker gets."""
        return self._fillings[job.filling].shards[job.index]

    def location(self, job: Job) -> str:
        """Path of the job's shard, for messages."""
        return str(self._fillings[job.filling].shard_set.shard(job.index))

    def advance(self, job: Job, tasks: int) -> None:
        """Show that ``tasks`` of a shard are done."""
        self._bars[job.filling].update(self._done[job.filling] + tasks, self._fillings[job.filling].description)

    def write(self, job: Job, table: pa.Table) -> None:
        """Write a shard, unless the circumstances changed meanwhile; then it is made again under the new ones."""
        filling, number = self._fillings[job.filling], job.filling
        if job.circumstances != self._circumstances[number]:
            self.again(job)
            return
        filling.shard_set.write_shard(job.index, table)
        self._missing[number].remove(job.index)
        self._done[number] += filling.sizes[job.index]
        self.advance(job, 0)
        for later, sources in enumerate(self._after):
            if number in sources and job.index in self._missing[later] and self._has_inputs(later, job.index):
                self._ready[later].append(job.index)

    def again(self, job: Job) -> None:
        """Hand a shard out again, before all others."""
        self._ready[job.filling].appendleft(job.index)

    def halve_batches(self, job: Job, size: int) -> None:
        """Make a shard again whose batches of ``size`` did not fit in memory, and those after it, in smaller ones."""
        if self._circumstances[job.filling]["batch_size"] == size:
            self._circumstances[job.filling] = self._fillings[job.filling].shard_set.halve_batches(size)
        self.again(job)

    def _has_inputs(self, number: int, index: int) -> bool:
        return not any(index in self._missing[source] for source in self._after[number])


@contextmanager
def open_schedule(fillings: Sequence[Filling], describe: Callable[[str], Description]) -> Iterator[Schedule]:
    """The schedule of what is missing in ``fillings``, with a progress bar for each set."""
    schedule = Schedule(fillings, [filling.shard_set.missing(len(filling.shards)) for filling in fillings])
    with console.progress_bars() as bar:
        schedule.begin(describe, bar)
        yield schedule
