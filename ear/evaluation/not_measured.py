"""What an evaluation leaves out, mostly of the retained concepts, and why.

A group without images is "not measured", never 0 of 0.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from ear.evaluation.figures import GROUPS
from ear.retained_concepts import Group, RetainedConcept

_EMPTY: dict[Group, str] = {
    "neighbours": "there is none, or it is erased as well",
    "surrogates": "there is none, or it is erased as well",
    "rehearsed": "training rehearsed nothing",
    "unrehearsed": "training rehearsed every other concept",
}
"""Group → why it is empty."""


MOST_NAMED = 6
"""Most concepts that a table names; the JSON has all."""


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Concepts of a group that were left out, and why; without ``concepts``, the group itself is empty."""

    group: Group
    reason: str
    concepts: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.concepts:
            return f"{self.group} ({self.reason})"
        more = len(self.concepts) - MOST_NAMED
        names = ", ".join(self.concepts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{self.group}: {names} ({self.reason})"

    def json(self) -> dict[str, Any]:
        """As ``ear eval --json`` prints it."""
        return {"group": self.group, "reason": self.reason, "concepts": list(self.concepts)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What ``json`` returned."""
        return cls(content["group"], content["reason"], tuple(content["concepts"]))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What ``str`` returned, as a cell of a suite keeps it; the last of many concepts is "x and 3 more"."""
        what, _, reason = text.removesuffix(")").partition(" (")
        group, _, names = what.partition(": ")
        return cls(cast(Group, group), reason, tuple(names.split(", ")) if names else ())

    @classmethod
    def empty(cls, group: Group) -> Self:
        """A group that has no concept."""
        return cls(group, _EMPTY[group])


def left_out(
    concepts: Sequence[RetainedConcept], rehearsed: Collection[str], why_not: Callable[[RetainedConcept], str | None]
) -> list[NotMeasured]:
    """The empty groups, and by group and reason the concepts for which ``why_not`` returns a reason."""
    found = []
    for group in GROUPS:
        members = [concept for concept in concepts if concept.group(rehearsed) == group]
        if not members:
            found.append(NotMeasured.empty(group))
        reasons = {concept.name: reason for concept in members if (reason := why_not(concept)) is not None}
        for reason in dict.fromkeys(reasons.values()):
            found.append(NotMeasured(group, reason, tuple(name for name, each in reasons.items() if each == reason)))
    return found
