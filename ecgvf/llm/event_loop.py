"""Run a coroutine to its end, also where an event loop runs already, as in Jupyter."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of ``coroutine``, by ``asyncio.run``; if this thread runs an event loop, in another thread.

    Ctrl-C cancels the coroutine, and is raised once that has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    cancel: Future[Callable[[], object]] = Future()

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        cancel.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        return await coroutine

    with ThreadPoolExecutor(1) as other:
        running = other.submit(asyncio.run, cancellable())
        while True:
            try:
                return running.result()
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            except KeyboardInterrupt:
                if running.done():
                    raise
                cancel.result()()
