"""Money: a hard stop before each call, with a reservation for every call in flight."""

import asyncio
from decimal import Decimal

from ecgvf.core.errors import SettingsError
from ecgvf.llm.clients import Call
from ecgvf.llm.registry import Rates

DEFAULT_USD = Decimal(5)
"""A run's budget unless the user says otherwise."""

_OVERHEAD_TOKENS = 400
"""For the schema and what a provider puts around a prompt."""


def checked(usd: Decimal) -> Decimal:
    """``usd``. Raises ``SettingsError`` for what is no amount of money."""
    if not (usd.is_finite() and usd > 0):
        raise SettingsError(f"--budget-usd {usd}: has to be a number, and more than nothing")
    return usd


class BudgetReached(Exception):
    """The next call could cost more than what is left."""


class Budget:
    """US dollars that a run may cost, those of its interrupted beginning included.

    What a call can cost at most is reserved before it is sent, so that calls in flight cannot overrun the limit
    together; the reservation is settled by what it did cost. A call of which nobody knows whether it was charged counts
    as charged in full.
    """

    def __init__(self, limit: Decimal, spent: Decimal = Decimal(0)) -> None:
        self.limit, self.spent = limit, spent
        self.reserved = Decimal(0)
        self._settled = asyncio.Condition()

    async def reserve(self, most: Decimal, *, wait: bool = True) -> None:
        """Set ``most`` aside; ``wait`` for calls in flight where they stand in the way. Raises ``BudgetReached``."""
        async with self._settled:
            while self.spent + self.reserved + most > self.limit:
                if not (wait and self.reserved):
                    raise BudgetReached(
                        f"${dollars(self.spent + self.reserved)} of ${dollars(self.limit)} are spent or reserved, "
                        f"and the next call may cost ${dollars(most)}"
                    )
                await self._settled.wait()
            self.reserved += most

    async def settle(self, most: Decimal, cost: Decimal) -> None:
        """Give a reservation back, and count ``cost``."""
        async with self._settled:
            self.reserved -= most
            self.spent += cost
            self._settled.notify_all()


def tokens_in(prompt: str) -> int:
    """Tokens of a prompt, rather too many than too few: one for three bytes, and what goes around it."""
    return len(prompt.encode()) // 3 + _OVERHEAD_TOKENS


def most(call: Call, rates: Rates) -> Decimal:
    """US dollars that ``call`` can cost at most: the whole of its answer's cap is used."""
    return rates.cost(tokens_in(call.prompt), call.max_output_tokens)


def likely(call: Call, rates: Rates) -> tuple[int, int, Decimal]:
    """Tokens in and out, and US dollars, that ``call`` will cost if the writer thinks little."""
    tokens = tokens_in(call.prompt), min(call.max_output_tokens, 120 * call.count)
    return *tokens, rates.cost(*tokens)


def dollars(amount: Decimal) -> str:
    """An amount as it is shown: to a hundredth of a cent."""
    return f"{amount:.4f}"
