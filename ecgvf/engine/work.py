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
    """What a worker is."""

    facts: JSON
    """What must be the same on every worker: the model's fingerprint, dtype and sampling, the judge's hash."""
    circumstances: JSON
    """What a new set records of the first worker, and every worker then keeps: batch size, threads, device."""


class Worker(Protocol):
    """Makes the tables of shards."""

    @property
    def description(self) -> Description: ...

    def __call__(self, tasks: Any, circumstances: JSON, advance: Advance) -> pa.Table:
        """The table of one shard: ``tasks`` are ``Filling.shards[index]``. ``circumstances`` are those of the set.

        Raises ``BatchTooLarge`` if a batch of ``circumstances["batch_size"]`` does not fit in memory.
        """


Setup = Callable[[], AbstractContextManager[Worker]]
"""Opens a worker where it works, once for all its shards: this loads the model. For other processes it is pickled."""


@dataclass(frozen=True, kw_only=True)
class Filling:
    """A set to fill."""

    name: str
    """Of its setup among those of the pool."""
    shard_set: ShardSet
    shards: Sequence[Any]
    """What the worker gets for each shard; an item is read when its shard is due."""
    sizes: Sequence[int]
    """Number of tasks of each shard."""
    description: str
    """For the progress bar."""
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    """Override and add to those of the worker."""
    after: tuple[ShardSet, ...] = ()
    """Sets whose shard of the same index comes first; those that are not filled meanwhile have theirs."""


class Pool(Protocol):
    """The workers of an engine."""

    def describe(self, name: str) -> Description:
        """What the workers of the setup ``name`` are; the first one is opened to find out."""

    def fill(self, *fillings: Filling) -> list[int]:
        """Write every missing shard of the sets, and return how many tasks of each this run did.

        Several sets are filled together: a shard is judged as soon as it is rendered. Raises what a worker raises,
        and ``EngineError`` if workers keep dying or differ from each other.
        """


class Engine(Protocol):
    """Where the workers are."""

    def open(self, setups: Mapping[str, Setup]) -> AbstractContextManager[Pool]:
        """Workers for ``setups``, by name, until the block ends."""


class ShardTables(Sequence[list[pa.Table]]):
    """For each of ``count`` shards, its tables in ``sets``: the tasks of a stage that reads other stages' shards."""

    def __init__(self, count: int, *sets: ShardSet) -> None:
        self._count, self._sets = count, sets

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return [shard_set.read_shard(index) for shard_set in self._sets]
