"""Two judges, or a judge twice with other settings, on the same pictures: how far do they agree?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from ecgvf.core.errors import SettingsError
from ecgvf.core.records import PromptPair, Role, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter.decide import verdicts_by_record

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two lists of yes and no about the same things."""

    n: int
    same: int
    low: float | None
    """95% Wilson interval of the share that is the same; None for n = 0."""
    high: float | None
    kappa: float | None
    """Cohen's; None where there is nothing to agree on, or where chance alone would agree on everything."""
    kappa_low: float | None
    """Its 95% interval, by the large-sample standard error of Cohen (1960)."""
    kappa_high: float | None

    def json(self) -> JSON:
        value = self.same / self.n if self.n else None
        return {
            "agreement": {"value": value, "n": self.n, "low": self.low, "high": self.high},
            "kappa": {"value": self.kappa, "n": self.n, "low": self.kappa_low, "high": self.kappa_high},
        }


@dataclass(frozen=True, slots=True)
class Disputed:
    """A picture on which the two do not agree."""

    record_id: str
    role: Role
    prompt: str
    one: Verdict
    other: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of verdicts on the same pictures; a picture that one of them failed on is left out."""

    one: StageSet
    other: StageSet
    agreement: Agreement
    disputed: tuple[Disputed, ...]


def agreement(one: Sequence[bool], other: Sequence[bool]) -> Agreement:
    """How far two lists of answers to the same questions agree."""
    # scikit-learn and SciPy take seconds to import, and nothing else here needs them.
    from scipy.stats import binomtest
    from sklearn.metrics import cohen_kappa_score

    n, same = len(one), sum(a == b for a, b in zip(one, other, strict=True))
    if not n:
        return Agreement(0, 0, None, None, None, None, None)
    interval = binomtest(same, n).proportion_ci(method="wilson")
    by_chance = (sum(one) * sum(other) + (n - sum(one)) * (n - sum(other))) / n**2
    if by_chance == 1:
        return Agreement(n, same, float(interval.low), float(interval.high), None, None, None)
    kappa = float(cohen_kappa_score(list(one), list(other), labels=[False, True]))
    spread = 1.96 * sqrt(same / n * (1 - same / n) / n) / (1 - by_chance)
    return Agreement(
        n, same, float(interval.low), float(interval.high), kappa, max(-1.0, kappa - spread), min(1.0, kappa + spread)
    )


def compare(run: ConceptRun, sets: tuple[str, str] | None = None) -> Comparison:
    """The current verdicts and the newest others on the same pictures, or two ``sets`` by the start of their names.

    Raises ``SettingsError`` where there are no two, or where they looked at other pictures.
    """
    if sets is not None:
        one, other = (run.open(VERDICTS, name) for name in sets)
    else:
        one = run.current(VERDICTS)
        others = [
            before
            for before in run.sets(VERDICTS)
            if before.finished
            and before.fingerprint != one.fingerprint
            and before.settings["pictures"] == one.settings["pictures"]
        ]
        if not others:
            raise SettingsError(
                f"only one judge has looked at these pictures of {run.concept.name!r} ({one.settings['judge']}): "
                f"run `ecgvf filter --judge NAME` with another one first"
            )
        other = others[-1]
    if one.settings["pictures"] != other.settings["pictures"]:
        raise SettingsError(
            f"{one.fingerprint} and {other.fingerprint} are verdicts on other pictures: name two on the same"
        )
    pictures = run.open(IMAGES, one.settings["pictures"])
    pairs = run.open(PAIRS, pictures.settings["pairs"]).records(PromptPair)
    seen, seen_too = verdicts_by_record(one), verdicts_by_record(other)
    both: list[tuple[Verdict, Verdict]] = []
    disputed: list[Disputed] = []
    for pair in pairs:
        for role, prompt in pair.prompts():
            here, there = seen.get(pair.record_id, {}).get(role), seen_too.get(pair.record_id, {}).get(role)
            if here is None or there is None or here.failure is not None or there.failure is not None:
                continue
            both.append((here, there))
            if here.present != there.present:
                disputed.append(Disputed(pair.record_id, role, prompt, here, there))
    figures = agreement([here.present for here, _ in both], [there.present for _, there in both])
    return Comparison(one, other, figures, tuple(disputed))
