"""How far two judges, or one judge with two criteria, agree on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecgvf.core.errors import SettingsError
from ecgvf.core.figures import Figure, kappa, proportion
from ecgvf.core.records import PromptPair, Role, Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, VERDICTS, StageSet
from ecgvf.filter.acceptance import verdicts_by_record


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two lists of answers about the same things agree."""

    same: int
    share: Figure
    """``same`` of all."""
    kappa: Figure
    """Cohen's kappa, in [-1, 1]; undefined for empty lists, or if chance alone would agree on everything."""

    def json(self) -> dict[str, Any]:
        """``{"agreement": figure, "kappa": figure}``."""
        return {"agreement": self.share.json(), "kappa": self.kappa.json()}


@dataclass(frozen=True, slots=True)
class Dispute:
    """An image on which two judges disagree."""

    record_id: str
    role: Role
    prompt: str
    verdicts: tuple[Verdict, Verdict]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two verdict sets on the same images. Images on which one of the judges failed do not count."""

    sets: tuple[StageSet, StageSet]
    agreement: Agreement
    disputes: tuple[Dispute, ...]


def agreement(first: Sequence[str | bool], second: Sequence[str | bool]) -> Agreement:
    """The share of equal answers (yes or no, or one of several labels), and Cohen's kappa, with 95% intervals."""
    same = sum(a == b for a, b in zip(first, second, strict=True))
    return Agreement(same, proportion(same, len(first)), kappa(first, second))


def compare_verdicts(run: ConceptRun, set_ids: tuple[str, str] | None = None) -> Comparison:
    """Compare two verdict sets: those named by ``set_ids``, or the current one and the newest other on its images,
    except those of an ensemble's own members.

    Raises ``SettingsError`` if there are no two, or if they are about different images.
    """
    if set_ids is not None:
        first, second = (run.open(VERDICTS, set_id) for set_id in set_ids)
    else:
        first = run.current(VERDICTS)
        second = _newest_other(first)
    if first.settings["pictures"] != second.settings["pictures"]:
        raise SettingsError(
            f"{first.fingerprint} and {second.fingerprint} are verdicts on different images: name two on the same"
        )
    by_record = verdicts_by_record(first), verdicts_by_record(second)
    both: list[tuple[Verdict, Verdict]] = []
    disputes: list[Dispute] = []
    for pair in first.source(IMAGES).source(PAIRS).records(PromptPair):
        if pair.split == "retain":
            continue  # judged for another concept, perhaps by one and the same classifier
        for role, prompt in pair.prompts():
            a, b = (verdicts.get(pair.record_id, {}).get(role) for verdicts in by_record)
            if a is None or b is None or a.failure is not None or b.failure is not None:
                continue
            both.append((a, b))
            if a.present != b.present:
                disputes.append(Dispute(pair.record_id, role, prompt, (a, b)))
    return Comparison(
        (first, second), agreement([a.present for a, _ in both], [b.present for _, b in both]), tuple(disputes)
    )


def _newest_other(verdicts: StageSet) -> StageSet:
    own = {verdicts.fingerprint, *verdicts.settings.get("parts", [])}
    for other in reversed(verdicts.run.sets(VERDICTS)):
        same_images = other.settings["pictures"] == verdicts.settings["pictures"]
        if other.finished and same_images and other.fingerprint not in own:
            return other
    raise SettingsError(
        f"only one judge has classified these images of {verdicts.run.concept.name!r} ({verdicts.settings['judge']}): "
        "run `ecgvf filter --judge NAME` with another judge first"
    )
