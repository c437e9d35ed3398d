"""A set of squares to fill, and the workers that square: what an engine does, without a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ecgvf.core.shard_set import ShardSet
from ecgvf.engine import Description, Engine, FillPlan, Setup

SHARDS = [[0, 1, 2], [3, 4], [5, 6], [7], [8, 9]]


def setup(behave: Callable[[list[int], dict[str, Any]], None] = lambda *_: None, **facts: Any) -> Setup:
    """A worker that squares numbers in batches of 8, after ``behave``. It is nested, so that it is pickled by value."""

    class Squares:
        description = Description({"fact": 1, **facts}, {"batch_size": 8})

        def __call__(self, tasks: list[int], circumstances: Any, advance: Any) -> pa.Table:
            behave(tasks, circumstances)
            advance(len(tasks))
            return pa.table(
                {"square": [task * task for task in tasks], "batch": [circumstances["batch_size"]] * len(tasks)}
            )

    @contextmanager
    def opened() -> Iterator[Squares]:
        yield Squares()

    return opened


def squares(folder: Path, **options: Any) -> FillPlan:
    shard_set = ShardSet(folder, {"numbers": 10}, "test")
    sizes = [len(shard) for shard in SHARDS]
    return FillPlan(
        setup="squares",
        shard_set=shard_set,
        tasks=lambda index: SHARDS[index],
        sizes=sizes,
        description="squaring",
        **options,
    )


def fill(engine: Engine, *plans: FillPlan, **setups: Setup) -> list[int]:
    with engine.open({"squares": setup(), **setups}) as pool:
        return pool.fill(*plans)


def contents(*folders: Path) -> dict[str, bytes]:
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for each in folders for file in each.glob("*.parquet")}
