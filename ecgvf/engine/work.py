"""What a stage offers to an engine, and what an engine does with it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from ecgvf.core.files import JSON
from ecgvf.core.shard_set import Advance, ShardSet


@dataclass(frozen=True, slots=True)
class Description:
    """How a worker computes."""

    facts: JSON
    """Must be equal on all workers: the model's fingerprint, dtype and sampling, the judge's hash."""
    circumstances: JSON
    """Batch size, threads, device. A new set records those of the first worker, and all workers keep to them."""


class Worker(Protocol):
    """Makes the tables of shards."""

    @property
    def description(self) -> Description: ...

    def __call__(self, tasks: Any, circumstances: JSON, advance: Advance) -> pa.Table:
        """The table of one shard.

        ``tasks`` is ``FillPlan.tasks(index)``; ``circumstances`` are the set's. Calls ``advance(n)`` after each ``n``
        tasks. Raises ``BatchTooLarge`` if a batch of up to ``circumstances["batch_size"]`` does not fit in memory.
        """


Setup = Callable[[], AbstractContextManager[Worker]]
"""Opens a worker (loads its model) in the process where it works, once for all its shards; pickled to get there."""


@dataclass(frozen=True, kw_only=True)
class FillPlan:
    """The shards of one set, and the setup whose workers make them."""

    setup: str
    """Name of the setup in ``Engine.open``."""
    shard_set: ShardSet
    """The set to fill; shards that it has are not made again."""
    tasks: Callable[[int], Any]
    """Index of a shard → its tasks; called when the shard is due."""
    sizes: Sequence[int]
    """Number of tasks in each shard."""
    description: str
    """Label of the progress bar."""
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    """Added to the worker's circumstances; on a conflict these win."""
    after: tuple[ShardSet, ...] = ()
    """Sets whose shard of the same index must exist first. A set that the same pool is not filling must be complete."""


class Pool(Protocol):
    """The workers of an engine."""

    def describe(self, name: str) -> Description:
        """Describe the workers of the setup ``name``; opens the first one."""

    def fill(self, *plans: FillPlan) -> list[int]:
        """Write all missing shards of the plans' sets; return the number of tasks done now, per plan.

        Several sets are filled together: a shard is judged as soon as it is rendered. Raises what a worker raises,
        and ``EngineError`` if workers keep dying or their facts differ.
        """


class Engine(Protocol):
    """A place where workers run: this process, one process per GPU, a Ray cluster."""

    def open(self, setups: Mapping[str, Setup]) -> AbstractContextManager[Pool]:
        """Open a pool whose workers use ``setups`` (name → setup). Leaving the block ends the workers."""
