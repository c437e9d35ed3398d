"""Workers outside this process: the driver hands shards out and writes the tables that come back."""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from ecgvf.core import console
from ecgvf.core.errors import EngineError
from ecgvf.core.shard_set import BatchTooLarge
from ecgvf.engine.schedule import Job, Schedule, open_schedule
from ecgvf.engine.work import Description, FillPlan

_STARTING = "while starting"
"""When workers died that had no shard yet."""


class WorkerDied(Exception):
    """A worker ended without an answer; the message says how."""


class WorkerGroup(Protocol):
    """Starts workers, each with a ``Host``, and calls them."""

    max_workers: int
    """Maximum number of workers at once."""

    def start(self, count: int) -> None:
        """Start workers until there are ``count``, including those that are still starting."""

    def idle(self) -> Sequence[Hashable]:
        """Workers that have started and wait for a call."""

    def call(self, worker: Hashable, method: str, *arguments: Any) -> None:
        """Call a method of an idle worker's host; ``wait`` returns the answer."""

    def wait(self) -> tuple[Hashable, Any]:
        """Wait for a worker; return it with its answer: None once it has started, an exception if it failed or died."""


class WorkerPool:
    """The pool of a group of workers. A shard whose worker dies goes to another worker, up to ``retries`` times."""

    def __init__(self, group: WorkerGroup, retries: int) -> None:
        self._group, self._retries = group, retries
        self._descriptions: dict[str, Description] = {}
        self._deaths: dict[str, int] = {}

    def describe(self, name: str) -> Description:
        """See ``Pool.describe``."""
        asked: Hashable | None = None  # at most one worker: another's answer would be taken for the next name's
        while name not in self._descriptions:
            self._group.start(1)
            if asked is None and (idle := self._group.idle()):
                asked = idle[0]
                self._group.call(asked, "describe", name)
            worker, answer = self._group.wait()
            asked = None if worker == asked else asked
            if isinstance(answer, WorkerDied):
                self._count_death(_STARTING, answer)
            elif isinstance(answer, Exception):
                raise answer
            elif isinstance(answer, Description):
                self._descriptions[name] = answer
        return self._descriptions[name]

    def fill(self, *plans: FillPlan) -> list[int]:
        """See ``Pool.fill``."""
        jobs: dict[Hashable, Job] = {}
        with open_schedule(plans, self.describe) as schedule:
            while schedule.left:
                self._group.start(min(self._group.max_workers, schedule.left))
                self._hand_out(schedule, jobs)
                worker, answer = self._group.wait()
                job = jobs.pop(worker, None)
                if isinstance(answer, pa.Table):
                    # The worker gets its next shard before this one is written: it never waits for the disk.
                    self._hand_out(schedule, jobs)
                    self._deaths.pop(_STARTING, None)
                if job is not None or isinstance(answer, Exception):
                    self._take(schedule, job, answer)
        return schedule.due

    def _hand_out(self, schedule: Schedule, jobs: dict[Hashable, Job]) -> None:
        for worker in self._group.idle():
            if (job := schedule.next()) is None:
                return
            jobs[worker] = job
            facts, tasks = self._descriptions[job.setup].facts, schedule.tasks(job)
            self._group.call(worker, "run_if", facts, job.setup, tasks, job.circumstances)

    def _take(self, schedule: Schedule, job: Job | None, answer: Any) -> None:
        if isinstance(answer, WorkerDied):
            self._count_death(_STARTING if job is None else f"while making {schedule.location(job)}", answer)
            if job is not None:
                schedule.again(job)
        elif isinstance(answer, BatchTooLarge) and job is not None:
            schedule.halve_batches(job, answer)
        elif isinstance(answer, Exception):
            raise answer
        elif job is not None and isinstance(answer, pa.Table):
            schedule.write(job, answer)

    def _count_death(self, when: str, death: WorkerDied) -> None:
        self._deaths[when] = count = self._deaths.get(when, 0) + 1
        died = f"a worker died {when} ({death})" if count == 1 else f"{count} workers died {when} (the last: {death})"
        if count > self._retries:
            raise EngineError(
                f"{died}: if memory ran out, use a smaller --batch-size; run the same command again to resume"
            ) from death
        console.note(f"a worker died {when} ({death}): another worker takes over")
