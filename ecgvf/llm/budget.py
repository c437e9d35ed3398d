"""Money: cost estimates, and a hard limit that reserves what every call in flight may cost."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from ecgvf.core.errors import SettingsError
from ecgvf.llm.calls import Call
from ecgvf.llm.registry import Rates

DEFAULT_USD = Decimal(5)
"""A run's default budget."""

_OVERHEAD_TOKENS = 400
"""Allowance for the schema and for whatever a provider adds to a prompt."""

_TOKENS_PER_ITEM = 120
"""Output tokens per requested prompt or pair, if the writer uses few tokens for thinking."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The cost of one call before it is sent, in tokens and US dollars."""

    call: Call
    exact: bool
    """Whether the prompt is final. The prompt of a later call will list what the writer has written by then."""
    answered: bool
    """Whether the ledger has its answer already, so that it will not be sent."""
    input_tokens: int
    output_tokens: int
    likely: Decimal
    most: Decimal


def check_budget(usd: Decimal) -> None:
    """Raise ``SettingsError`` unless ``usd`` is a positive, finite amount."""
    if not (usd.is_finite() and usd > 0):
        raise SettingsError(f"--budget-usd {usd}: it must be a positive number")


class BudgetReached(Exception):
    """The next call could exceed the budget."""


class Budget:
    """The maximum cost of a run in US dollars, including the earlier runs that it resumes.

    The maximum cost of a call is reserved before it is sent, so that calls in flight cannot exceed the limit together;
    then the reservation is replaced by the actual cost. A call that may have been charged counts in full.
    """

    def __init__(self, limit: Decimal, spent: Decimal = Decimal(0)) -> None:
        self.limit, self.spent = limit, spent
        self.reserved = Decimal(0)
        self._settled = asyncio.Condition()

    async def reserve(self, most: Decimal, *, wait: bool = True) -> None:
        """Reserve ``most``; with ``wait``, wait for calls in flight to settle. Raises ``BudgetReached``."""
        async with self._settled:
            while self.spent + self.reserved + most > self.limit:
                if not (wait and self.reserved):
                    raise BudgetReached(
                        f"${dollars(self.spent + self.reserved)} of ${dollars(self.limit)} is spent or reserved, "
                        f"and the next call may cost ${dollars(most)}"
                    )
                await self._settled.wait()
            self.reserved += most

    async def settle(self, most: Decimal, cost: Decimal) -> None:
        """Release a reservation and count ``cost``."""
        async with self._settled:
            self.reserved -= most
            self.spent += cost
            self._settled.notify_all()


def input_tokens(call: Call) -> int:
    """An upper estimate of the tokens of a call's prompt: one per three bytes, and the overhead."""
    return len(call.prompt.encode()) // 3 + _OVERHEAD_TOKENS


def likely_output_tokens(call: Call) -> int:
    """An estimate of the tokens of a call's answer, for a writer that uses few tokens for thinking."""
    return min(call.max_output_tokens, _TOKENS_PER_ITEM * call.count)


def most_usd(call: Call, rates: Rates) -> Decimal:
    """The most that ``call`` can cost: its answer uses all of ``max_output_tokens``."""
    return rates.cost(input_tokens(call), call.max_output_tokens)


def dollars(amount: Decimal) -> str:
    """An amount in US dollars for printing, to a hundredth of a cent."""
    return f"{amount:.4f}"
