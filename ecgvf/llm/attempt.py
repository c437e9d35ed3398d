"""An attempt at a call, as the ledger keeps it: whether it was answered, and what it cost."""

from dataclasses import dataclass, field
from decimal import Decimal

from ecgvf.core.files import JSON
from ecgvf.llm.clients import read
from ecgvf.llm.clients.reply import Reply, Usage
from ecgvf.llm.registry import Rates


@dataclass(slots=True)
class Attempt:
    """One attempt at a call, as the ledger's lines have it."""

    intent: JSON
    """The line written before the request was sent."""
    answer: JSON | None = None
    """The line of the provider's answer, or of the failure; None if neither reached the disk."""

    @property
    def call(self) -> str:
        """The call's hash."""
        return str(self.intent["call"])

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""
        return int(self.intent["attempt"])

    @property
    def answered(self) -> bool:
        """Whether the provider answered: with status 200 and in its own format, whatever the content."""
        if self.answer is None or self.answer.get("status") != 200 or self.answer.get("lost"):
            return False
        # Without a cost it may be a body in any format, whose line a kill cut short before the mark.
        return self.answer.get("cost") is not None or self.reply.outcome != "unreadable"

    @property
    def charge_unknown(self) -> bool:
        """Whether nobody knows what it cost: it has no answer yet, its answer was lost, or that states no usage."""
        if self.answer is None or self.answer.get("lost"):
            return True
        return self.answer.get("status") == 200 and self.answer.get("cost") is None and self.usage is None

    @property
    def raw(self) -> str:
        """The provider's answer as it arrived; empty if there is none."""
        return str(self.answer.get("raw", "")) if self.answer else ""

    @property
    def reply(self) -> Reply:
        """The reply in the provider's answer."""
        return read(self.intent["sdk"], self.raw)

    @property
    def rates(self) -> Rates:
        """The price per token at the time of the call."""
        return Rates.model_validate(self.intent["price"])

    @property
    def reserved(self) -> Decimal:
        """The maximum cost in US dollars."""
        return Decimal(self.intent["reserved"])

    @property
    def usage(self) -> Usage | None:
        """The tokens that the answer states; None if it states none."""
        return self.reply.usage if self.answered else None

    @property
    def cost(self) -> Decimal:
        """The known cost in US dollars; 0 for a failure, and if ``charge_unknown``."""
        if not self.answered or self.answer is None:
            return Decimal(0)
        if self.answer.get("cost") is None:  # killed between the two steps
            return cost_of(self.usage, self.rates) or Decimal(0)
        return Decimal(self.answer["cost"])


@dataclass(slots=True)
class Spent:
    """The cost of several attempts, in US dollars."""

    cost: Decimal = Decimal(0)
    """Charged for certain."""
    possible: Decimal = Decimal(0)
    """Possibly charged on top: the maximum cost of the attempts whose charge is unknown."""
    tokens: Usage = field(default_factory=lambda: Usage(0, 0))

    @property
    def total(self) -> Decimal:
        """What counts toward a budget: ``cost`` and ``possible`` together."""
        return self.cost + self.possible


def cost_of(usage: Usage | None, rates: Rates) -> Decimal | None:
    """The cost of ``usage`` in US dollars; None if the usage is unknown."""
    return None if usage is None else rates.cost(usage.input_tokens, usage.output_tokens)
