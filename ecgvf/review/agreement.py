"""How far each judge agrees with the labels that reviewers gave blind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ecgvf.core.concepts import folded, inflected
from ecgvf.core.errors import DatasetError
from ecgvf.core.figures import Figure, proportion
from ecgvf.filter.compare import Agreement, agreement
from ecgvf.review.images import CONDITIONS, ImageRows
from ecgvf.review.labels import ANSWERS, Answer, ImageKey, Labels

Seen = Literal["concept", "surrogate", "neither"]
"""What a judge can say: not every judge knows a label for nothing."""

POOLED = "pooled"
"""Both conditions together."""


@dataclass(frozen=True, slots=True)
class LabelShare:
    """How many of a reviewer's labels in one condition are ``label``."""

    reviewer: str
    condition: str
    label: Answer
    share: Figure

    def json(self) -> dict[str, Any]:
        """``{"reviewer", "condition", "label", "share": figure}``."""
        named = {"reviewer": self.reviewer, "condition": self.condition, "label": self.label}
        return named | {"share": self.share.json()}


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """How far a judge and a reviewer agree on the images of one condition that both have seen.

    They agree on an image if both see the concept, both the surrogate, or both neither.
    """

    reviewer: str
    judge: str
    condition: str
    agreement: Agreement

    def json(self) -> dict[str, Any]:
        """``{"reviewer", "judge", "condition", "agreement": figure, "kappa": figure}``."""
        return {"reviewer": self.reviewer, "judge": self.judge, "condition": self.condition, **self.agreement.json()}


def label_shares(rows: ImageRows, labels: Labels) -> list[LabelShare]:
    """What each reviewer saw in the images of ``rows``, by condition."""
    shares = []
    for reviewer, given in labels.items():
        known = {key: given[key] for key in rows.judged(given.keys())}
        for condition in CONDITIONS:
            found = [answer for key, answer in known.items() if key.condition == condition]
            if found:
                counted = ((answer, proportion(found.count(answer), len(found))) for answer in ANSWERS)
                shares += [LabelShare(reviewer, condition, answer, share) for answer, share in counted]
    return shares


def judge_agreement(rows: ImageRows, labels: Labels) -> list[JudgeAgreement]:
    """Each judge against each reviewer, by condition and pooled; labels of images that ``rows`` lacks do not count.

    A judge sees the concept if it says so, else the surrogate if its best label names it. Raises ``DatasetError`` for
    verdicts that cannot be read.
    """
    results = []
    for reviewer, given in labels.items():
        by_judge: dict[str, dict[ImageKey, Seen]] = {}
        for key, (surrogate, verdicts) in rows.judged(given.keys()).items():
            for judge, seen in _seen(verdicts, surrogate, rows).items():
                by_judge.setdefault(judge, {})[key] = seen
        for judge, answers in by_judge.items():
            for condition, seen_in in _by_condition(answers).items():
                labelled = [_coarse(given[key]) for key in seen_in]
                found = agreement(labelled, list(seen_in.values()))
                results.append(JudgeAgreement(reviewer, judge, condition, found))
    return results


def _seen(verdicts: Any, surrogate: str, rows: ImageRows) -> dict[str, Seen]:
    """Judge → what it saw in one image."""
    try:
        return {verdict["judge"]: _says(verdict, surrogate) for verdict in verdicts or []}
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{rows.path}: the column 'judges' needs lists of judge, present and top (label, probability)"
        ) from error


def _says(verdict: Mapping[str, Any], surrogate: str) -> Seen:
    if verdict["present"]:
        return "concept"
    best = max(verdict["top"] or [], key=lambda top: float(top["probability"]), default=None)
    # "wind-turbine" is a label, "wind turbine" its term
    named = best is not None and re.fullmatch(inflected(folded(surrogate)), folded(best["label"]))
    return "surrogate" if named else "neither"


def _coarse(answer: Answer) -> Seen:
    return answer if answer in ("concept", "surrogate") else "neither"


def _by_condition(answers: Mapping[ImageKey, Seen]) -> dict[str, dict[ImageKey, Seen]]:
    """The conditions that occur, each with its images, then all together."""
    parts = {name: {key: answer for key, answer in answers.items() if key.condition == name} for name in CONDITIONS}
    return {name: part for name, part in parts.items() if part} | {POOLED: dict(answers)}
