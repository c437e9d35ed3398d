"""Runs in a worker: opens each setup when its first shard comes, and keeps it open."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from ecgvf.core.changes import changes
from ecgvf.core.errors import EngineError
from ecgvf.core.files import JSON
from ecgvf.core.shard_set import Advance, versions
from ecgvf.engine.work import Description, Setup, Worker


class Host:
    """The workers of one process, one per setup. ``close`` closes them."""

    def __init__(self, setups: Mapping[str, Setup]) -> None:
        self._setups = setups
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}

    def describe(self, name: str) -> Description:
        """The description of the setup's worker, with package versions (but Python's) added to its facts."""
        description = self._worker(name).description
        packages = {package: version for package, version in versions().items() if package != "python"}
        return Description({"versions": packages, **description.facts}, description.circumstances)

    def run(self, name: str, tasks: Any, circumstances: JSON, advance: Advance) -> pa.Table:
        """The table of a shard."""
        return self._worker(name)(tasks, circumstances, advance)

    def run_if(self, facts: JSON, name: str, tasks: Any, circumstances: JSON) -> pa.Table:
        """The table of a shard. Raises ``EngineError`` unless ``facts`` are this worker's too."""
        differences = changes(facts, self.describe(name).facts)
        if differences:
            listed = ", ".join(f"{key}: {here} here, {there} there" for key, here, there in differences)
            raise EngineError(f"a worker differs from the first worker ({listed}): install the same on every machine")
        return self.run(name, tasks, circumstances, lambda _: None)

    def close(self) -> None:
        """Close all workers."""
        self._workers.clear()
        self._stack.close()

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            self._workers[name] = self._stack.enter_context(self._setups[name]())
        return self._workers[name]
