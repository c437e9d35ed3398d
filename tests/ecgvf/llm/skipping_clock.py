"""An event loop whose clock does not wait."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _SkippingSelector(selectors.DefaultSelector):
    """Advances the loop's clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += (timeout or 0) + 1e-6  # two readings of a clock differ
        return super().select(0)


def without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of ``coroutine``, in whose loop time passes at once."""
    clock = _SkippingSelector()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
