"""Run a stage over its shards: in this process, in one process per GPU, or on a Ray cluster.

A stage says what makes a shard (``Setup``) and which shards there are (``Filling``); it knows nothing of the engine.

    with engine.open({"images": setup}) as pool:
        pool.describe("images")                   # what the worker is: its model's fingerprint, its batch size
        pool.fill(Filling("images", ...))         # shards that are missing

work.py       what a stage offers, and what an engine does with it
schedule.py   which shard comes next, and what was written; the only place where shards are written
host.py       what runs in a worker: setups, opened when their first shard comes
local.py      this process; one process per visible GPU
cluster.py    actors of a Ray cluster
pool.py       the loop that hands shards to workers outside this process

Workers send tables and write nothing: the driver alone writes shards, logs and manifests.
"""

from ecgvf.engine.local import Processes, ThisProcess, local_engine
from ecgvf.engine.work import Description, Engine, Filling, Pool, Setup, Worker

__all__ = [
    "Description",
    "Engine",
    "Filling",
    "Pool",
    "Processes",
    "Setup",
    "ThisProcess",
    "Worker",
    "local_engine",
]
