"""Run a stage over its shards: in this process, in one process per GPU, or on a Ray cluster.

A stage offers two things and knows nothing of the engine: a ``Setup`` opens a worker, which makes shards; a
``FillPlan`` lists the shards of a set.

    with engine.open({"images": setup}) as pool:
        pool.describe("images")                     # the model's fingerprint, the batch size
        pool.fill(FillPlan(setup="images", ...))    # writes the missing shards

work.py       the interfaces: Setup, Worker, FillPlan; Engine, Pool
schedule.py   decides which shard comes next, and writes them; nothing else writes shards
host.py       runs in a worker: opens a setup when its first shard comes
local.py      this process; one process per visible GPU
cluster.py    actors of a Ray cluster
pool.py       the loop that hands shards to workers outside this process

Workers send tables and write nothing: only the driver writes shards, logs and manifests.

To add an engine, implement ``Engine.open``. For workers outside this process ``pool.WorkerPool`` does the rest: give it
a ``WorkerGroup`` that starts and calls them, each with a ``Host``.
"""

from ecgvf.engine.local import Processes, ThisProcess, local_engine
from ecgvf.engine.work import Description, Engine, FillPlan, Pool, Setup, Worker

__all__ = [
    "Description",
    "Engine",
    "FillPlan",
    "Pool",
    "Processes",
    "Setup",
    "ThisProcess",
    "Worker",
    "local_engine",
]
