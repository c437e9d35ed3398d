"""Compare evaluations on the same prompts and seeds: check that they can be compared, and compute differences."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ear.evaluation import figures
from ear.evaluation.figures import FigureRow
from ear.evaluation.outcomes import AnsweredQuestion, Outcome, selected
from ear.evaluation.result import Evaluation
from ecgvf.core.errors import DatasetError

_FACTS = ("figure", "group", "class", "phrases", "guidance", "temperature")
"""What a difference is of, in JSON."""


def same_tasks(evaluations: Sequence[Evaluation], names: Sequence[str]) -> None:
    """Raise ``DatasetError`` unless all evaluations are of one concept, split, model and judge, of the same files of
    dataset, model and judges, in one dtype, with the same prompts, seeds, sampling and questions."""
    first = evaluations[0]
    known = _tasks(first)
    for name, evaluation in zip(names[1:], evaluations[1:], strict=True):
        for what in ("concept", "split", "model", "judge"):
            expected, found = getattr(first, what), getattr(evaluation, what)
            if found != expected:
                raise DatasetError(
                    f"{name} has another {what} than {names[0]}, {found} instead of {expected}: compare evaluations of "
                    "one concept, split, model and judge"
                )
        for what in ("dataset", "model"):
            if (found := evaluation.origin[what]) != (expected := first.origin[what]):
                raise DatasetError(
                    f"{name} is of another {what} than {names[0]}, with the fingerprint {found} instead of {expected}: "
                    f"measure all with one {what}"
                )
        dtypes = [each.origin.get("dtype") for each in (first, evaluation)]
        if None not in dtypes and dtypes[0] != dtypes[1]:
            raise DatasetError(
                f"{name} was measured in {dtypes[1]}, {names[0]} in {dtypes[0]}: measure all with one --dtype"
            )
        _same_fidelity(first, evaluation, names[0], name)
        if difference := sorted(known ^ _tasks(evaluation)):
            (identity, seed, guidance, temperature), prompt = difference[0]
            where = "lacks" if difference[0] in known else "has also"
            raise DatasetError(
                f"{name} has outcomes of other prompts or seeds than {names[0]}: it {where} {identity!r} with seed "
                f"{seed}, guidance {guidance:g} and temperature {temperature:g}, the prompt {prompt!r}; measure all "
                "with equal options"
            )
        _same_judges(first, evaluation, names[0], name)
        _same_questions(first, evaluation, names[0], name)


def _tasks(evaluation: Evaluation) -> set[tuple[tuple[str, int, float, float], str]]:
    """(task, prompt) of each outcome after erasing: the id of a retained concept's prompt does not depend on it."""
    return {(outcome.task, outcome.prompt) for outcome in selected(evaluation.outcomes, "after")}


def _same_judges(first: Evaluation, second: Evaluation, name: str, other: str) -> None:
    """Raise ``DatasetError`` if a judge of both has other settings; CLIP may have looked at the images of one alone."""
    settings, others = (_settings_by_judge(each) for each in (first, second))
    for judge in sorted(settings.keys() & others.keys()):
        if settings[judge] != others[judge]:
            raise DatasetError(
                f"{other} was judged by another {judge} than {name}, of other weights, labels or bounds: measure all "
                "with equal --judge and --weights"
            )


def _settings_by_judge(evaluation: Evaluation) -> dict[str, list[Any]]:
    """Name of a judge → its settings: of the concept, of retained concepts, or of both."""
    found: dict[str, list[Any]] = {}
    for each in evaluation.origin["judges"]:
        found.setdefault(each["judge"], []).append(each)
    return found


def _same_fidelity(first: Evaluation, second: Evaluation, name: str, other: str) -> None:
    """Raise ``DatasetError`` unless FID, KID and CLIP score are of the same captions and encoders, or of none."""
    facts = [None if each.fidelity is None else each.fidelity.facts for each in (first, second)]
    if facts[0] != facts[1]:
        raise DatasetError(
            f"{other} has FID, KID and CLIP score of other captions or encoders than {name}, or none: measure all with "
            "equal options of --figures paper"
        )


def same_groups(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations with the first evaluation's groups, so that a group is the same concepts in all of them.

    Which concepts are rehearsed depends on the recipe. All must have the same tasks.
    """
    # Images of the sample "threshold", before erasing alone, are grouped without a recipe.
    groups = {outcome.concept: outcome.group for outcome in selected(evaluations[0].outcomes, "after")}
    return [
        replace(
            evaluation,
            outcomes=tuple(
                replace(outcome, group=groups.get(outcome.concept, outcome.group)) for outcome in evaluation.outcomes
            ),
        )
        for evaluation in evaluations
    ]


def differences(first: Evaluation, second: Evaluation) -> list[FigureRow]:
    """Every figure with ``first`` in place of before and ``second`` in place of after: ``change`` is their difference.

    Paired by prompt and seed. Both must have the same tasks and groups.
    """
    limits = figures.thresholds(first.outcomes)
    outcomes: list[Outcome] = [
        *(replace(outcome, condition="before") for outcome in selected(first.outcomes, "after")),
        *selected(second.outcomes, "after"),
    ]
    return [
        *figures.all_rows(outcomes, _answered(first, second), limits),
        *(first.fidelity.differences(second.fidelity) if first.fidelity and second.fidelity else ()),
    ]


def _answered(first: Evaluation, second: Evaluation) -> list[AnsweredQuestion]:
    """The questions, with the answer after erasing of ``first`` in place of before."""
    before = {_question(answer): answer.after for answer in first.answered}
    return [replace(answer, before=before[_question(answer)]) for answer in second.answered]


def _question(answer: AnsweredQuestion) -> tuple[str, str, str, str]:
    return answer.id, answer.image_id, answer.group, answer.kind


def _same_questions(first: Evaluation, second: Evaluation, name: str, other: str) -> None:
    """Raise ``DatasetError`` unless both answered the same questions, or none."""
    questions, others = ({_question(answer): answer.text for answer in each.answered} for each in (first, second))
    difference = sorted(questions.keys() ^ others.keys())
    difference = difference or [
        key
        for key in questions
        if questions[key] != others[key] and None not in (questions[key], others[key])  # cells of earlier versions
    ]
    if difference:
        identity, image, group, kind = difference[0]
        raise DatasetError(
            f"{other} answered other questions than {name}, such as {identity!r} of image {image} ({group}, {kind}): "
            "measure all with equal --questions"
        )


def comparison_json(
    evaluations: Sequence[Evaluation], names: Sequence[str], changes: Sequence[Sequence[FigureRow]]
) -> dict[str, Any]:
    """``{"evaluations": [...], "differences": [...]}``; ``changes``: the ``differences`` of each further evaluation to
    the first."""
    return {
        "evaluations": [
            {"name": name, **evaluation.json()} for name, evaluation in zip(names, evaluations, strict=True)
        ],
        "differences": [
            {
                "first": names[0],
                "second": name,
                "figures": [
                    {key: value for key, value in row.json().items() if key in _FACTS}
                    | {"difference": row.change.json()}
                    for row in rows
                ],
            }
            for name, rows in zip(names[1:], changes, strict=True)
        ],
    }
