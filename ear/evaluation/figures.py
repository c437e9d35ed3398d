"""The figures of an evaluation, computed from its outcomes and nothing else.

The unit of every interval is the prompt (``Outcome.id``): images of several seeds or adapters make a prompt's own share
more certain, and add no prompts. Figures of several concepts give each concept the same weight, however many images it
has: their numbers may depend on what a recipe rehearsed.

To add a figure, return its ``FigureRow`` from a function here and name it in ``table.NAMES``. A new function is called
from ``all_rows``, for `ear compare` and the rows of a suite, and is a property of ``Evaluation`` (result.py) and one of
its ``parts``, for `ear eval`. For the leaderboard, add a column to ``COLUMNS`` (ear/suite/leaderboard.py); for the
report, a chart to ear/report/sections.py.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, get_args

import numpy as np

from ear.evaluation import holm, statistics
from ear.evaluation.outcomes import AnsweredQuestion, Condition, Outcome, Sample, paired, selected
from ear.retained_concepts import Group
from ecgvf.core.figures import Figure
from ecgvf.judges.nano import ATTRIBUTE_JUDGES
from ecgvf.world.grammar import load_world

Thresholds = Mapping[tuple[str, ...], tuple[float, ...]]
"""The judges of an image → the confidence that each must have for the image to show something."""

Value = Callable[[Outcome], float | None]
"""The value of an image for a figure; None: it does not count."""

POOLED = "pooled"
CONFIDENT_SHARE = 0.95
"""Share of the frozen model's images of retained concepts, where both judges agree, that the thresholds let pass."""

_NO_SHARES = {"nll_frozen", "clip_surrogate", "clip_margin"}
"""The figures whose values are nats or cosines, and not in [0, 1]."""

SEEDS = 4
"""Seeds per prompt of ``concept_in_any_seed``."""

GROUPS: tuple[Group, ...] = tuple(group for group in get_args(Group) if group != "concept")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One figure before and after erasing."""

    figure: str
    group: str = POOLED
    """A group of concepts, a concept, or an attribute of the scene."""
    wording: str = POOLED
    phrases: int | None = None
    """Number of distinct phrases for the concept among the prompts of one wording: terms, or in nano's world all the
    words for a style ("painted by Vincent van Gogh"). Forms of sentence are not told apart."""
    guidance: float
    temperature: float
    judge: str | None = None
    """The judges that decide it (``judge_names``)."""
    before: Figure
    after: Figure
    ceiling: Figure | None = None
    """The same for the frozen model given the surrogate prompt; None if there is no such prompt."""
    change: Figure
    """After − before, paired by prompt and seed."""

    def json(self) -> dict[str, Any]:
        """``{"figure", "group", "guidance", "temperature", "judge", "before", "after", "ceiling", "change"}``; a
        wording's has ``"class"`` and ``"phrases"``, too."""
        facts: dict[str, Any] = {"figure": self.figure, "group": self.group}
        if self.wording != POOLED:
            facts |= {"class": self.wording, "phrases": self.phrases}
        ceiling = self.ceiling.json() if self.ceiling is not None else None
        return {
            **facts,
            "guidance": self.guidance,
            "temperature": self.temperature,
            "judge": self.judge,
            "before": self.before.json(),
            "after": self.after.json(),
            "ceiling": ceiling,
            "change": self.change.json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What ``json`` returned. Raises ``KeyError`` and ``TypeError`` for anything else."""
        before, after, change = (Figure.from_json(content[name]) for name in ("before", "after", "change"))
        return cls(
            figure=content["figure"],
            group=content["group"],
            wording=content.get("class", POOLED),
            phrases=content.get("phrases"),
            guidance=content["guidance"],
            temperature=content["temperature"],
            judge=content["judge"],
            before=before,
            after=after,
            ceiling=Figure.from_json(content["ceiling"]) if content["ceiling"] is not None else None,
            change=change,
        )


def all_rows(
    outcomes: Sequence[Outcome], answered: Sequence[AnsweredQuestion], limits: Thresholds | None = None
) -> list[FigureRow]:
    """Every figure of ``outcomes`` without attacks, and of the questions that were ``answered``.

    ``limits``, here and below: the thresholds of "shows something"; None: ``thresholds(outcomes)``.
    """
    limits = thresholds(outcomes) if limits is None else limits
    return [
        *replacement(outcomes, limits),
        *scene(outcomes),
        *retention_by_group(outcomes, limits),
        *understanding(answered, outcomes[0].guidance, outcomes[0].temperature),
        *retention_by_concept(outcomes),
        *by_wording(outcomes, limits),
        *replacement_by_sampling(outcomes, limits),
        *concept_in_any_seed(outcomes),
    ]


def replacement(outcomes: Sequence[Outcome], limits: Thresholds | None = None) -> list[FigureRow]:
    """Whether the concept is gone, and whether its surrogate stands in its place."""
    main = _of_concept(outcomes, "main")
    return _replacement(main, thresholds(outcomes) if limits is None else limits)


def by_wording(outcomes: Sequence[Outcome], limits: Thresholds | None = None) -> list[FigureRow]:
    """``replacement`` and ``scene``, without its single attributes, for the prompts of each wording."""
    images = _of_concept(outcomes, "main", "wording")
    limits = thresholds(outcomes) if limits is None else limits
    rows = []
    for wording in sorted({outcome.wording for outcome in images if outcome.wording is not None}):
        of_wording = [outcome for outcome in images if outcome.wording == wording]
        phrases = len({_phrase(outcome) for outcome in of_wording if outcome.condition != "ceiling"})
        rows += _replacement(of_wording, limits, wording=wording, phrases=phrases)
        rows += _scene(of_wording, wording=wording, phrases=phrases)
    return rows


def replacement_by_sampling(outcomes: Sequence[Outcome], limits: Thresholds | None = None) -> list[FigureRow]:
    """``replacement`` at every other guidance and temperature."""
    images = _of_concept(outcomes, "sampling")
    settings = sorted({(outcome.guidance, outcome.temperature) for outcome in images})
    limits = thresholds(outcomes) if limits is None else limits
    return [
        row
        for setting in settings
        for row in _replacement([each for each in images if (each.guidance, each.temperature) == setting], limits)
    ]


def concept_in_any_seed(outcomes: Sequence[Outcome]) -> list[FigureRow]:
    """Share of prompts that show the concept with any of ``SEEDS`` seeds; empty if no prompt has as many."""
    by_prompt: dict[str, dict[tuple[Condition, str | None], dict[int, Outcome]]] = {}
    for outcome in _of_concept(outcomes, "main", "wording", "seeds"):
        by_model = by_prompt.setdefault(outcome.id, {})
        by_model.setdefault((outcome.condition, outcome.adapter), {})[outcome.seed] = outcome
    chosen = [images for by_model in by_prompt.values() for images in _of_same_seeds(by_model)]
    present = {_prompt_of(images[0]): max(map(_present, images)) for images in chosen}
    first = [images[0] for images in chosen]
    rows = (
        [_row("concept_present_any", lambda each: present[_prompt_of(each)], first, group="concept")] if first else []
    )
    return [row for row in rows if row.after.n]


def _of_same_seeds(by_model: Mapping[tuple[Condition, str | None], Mapping[int, Outcome]]) -> list[list[Outcome]]:
    """The images of a prompt with the first ``SEEDS`` seeds that every model with as many has: a list per model.

    Empty if the models share fewer, or none is before erasing.
    """
    enough = {model: images for model, images in by_model.items() if len(images) >= SEEDS}
    if not any(condition == "before" for condition, _ in enough):
        return []
    seeds = sorted(set.intersection(*(set(images) for images in enough.values())))[:SEEDS]
    return [[images[seed] for seed in seeds] for images in enough.values()] if len(seeds) == SEEDS else []


def scene(outcomes: Sequence[Outcome]) -> list[FigureRow]:
    """Whether the scene stays: attributes that the prompt asks for, CLIP's similarity, and ``nll_frozen`` in nats."""
    main = _of_concept(outcomes, "main")
    names = _attributes(main)
    single = [_row("scene_kept", partial(_kept, attributes=[name]), main, group=name) for name in names]
    whole = _scene(main)
    first = 1 if names else 0
    return [*whole[:first], *(row for row in single if row.after.n), *whole[first:]]


def retention_by_group(outcomes: Sequence[Outcome], limits: Thresholds | None = None) -> list[FigureRow]:
    """Of retained concepts, by group and pooled: shares of images that show their concept, and that show anything."""
    limits = thresholds(outcomes) if limits is None else limits
    values: dict[str, Value] = {
        "retention": _present,
        "shows_something": lambda each: _something(each, limits),
        "token_agreement": lambda each: each.token_agreement,
    }
    by_group = {group: images for group in (*GROUPS, POOLED) if (images := of_retained(outcomes, group))}
    return [row for group, images in by_group.items() for row in _rows(values, images, group=group)]


def retention_by_concept(outcomes: Sequence[Outcome]) -> list[FigureRow]:
    """The share of images that show their concept, of each retained concept, the worst first."""
    images = of_retained(outcomes, POOLED)
    concepts = dict.fromkeys(outcome.concept for outcome in images)
    rows = [
        _row("retention", _present, [each for each in images if each.concept == concept], group=concept)
        for concept in concepts
    ]
    return sorted(rows, key=lambda row: row.change.value)


def lost(outcomes: Sequence[Outcome]) -> dict[str, bool | None]:
    """Retained concept → whether its share of images has fallen, corrected for their number (``holm.holm_tests``).

    None: not shown, and of too few prompts for the loss of all its images to show by itself (``holm.can_miss``).
    """
    columns = _columns(of_retained(outcomes, POOLED))
    tests, testable = holm.holm_tests(columns, at_least=1.0), holm.can_miss(columns)
    missed = {concept for concept, test in tests.items() if test.status == "missed"}
    return {concept: True if concept in missed else False if concept in testable else None for concept in columns}


def retained(outcomes: Sequence[Outcome], concepts: Collection[str]) -> FigureRow | None:
    """The share of images that show their concept, of all ``concepts`` together; None without images."""
    images = [outcome for outcome in of_retained(outcomes, POOLED) if outcome.concept in concepts]
    return _row("retention", _present, images) if images else None


def retention_ratio(outcomes: Sequence[Outcome], group: str = POOLED) -> Figure:
    """Share of images that show their concept after erasing, divided by that before."""
    return _ratio(of_retained(outcomes, group))


def erasure_rate(outcomes: Sequence[Outcome]) -> Figure:
    """1 - the share of images that show the erased concept after erasing, divided by that before."""
    left = _ratio(_of_concept(outcomes, "main"))
    return Figure(1 - left.value, left.n, 1 - left.high, 1 - left.low)


def concept_share(outcomes: Iterable[Outcome]) -> Figure:
    """Share of images in which the first judge sees the concept that was measured, whatever their sample."""
    images = list(outcomes)
    return statistics.mean([_present(each) for each in images], [each.id for each in images])


def over_ceiling(outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Figure → its mean after erasing over that of the ceiling: how near the tuned model is to a clean replacement.

    The figures are ``shows_surrogate``, ``shows_something`` and ``scene_kept``, as far as the judges can tell them.
    Paired by prompt and seed.
    """
    main, limits = _of_concept(outcomes, "main"), thresholds(outcomes)
    names = _attributes(main)
    values: dict[str, Value] = {
        "shows_surrogate": shows_surrogate,
        "shows_something": lambda each: _something(each, limits),
        "scene_kept": lambda each: _kept(each, names),
    }
    ceiling = selected(main, "ceiling")
    tasks = {outcome.task for outcome in ceiling}  # a prompt without a surrogate has none
    after = selected(main, "after", lambda each: each.task in tasks)
    found = {}
    for name, value in values.items():
        pairs = [(value(first), value(second), second.id) for first, second in paired(ceiling, after)]
        known = [(first, second, unit) for first, second, unit in pairs if first is not None and second is not None]
        if known:
            found[name] = statistics.ratio(*(list(column) for column in zip(*known, strict=True)))
    return found


def neighbour_tests(outcomes: Sequence[Outcome], at_least: float) -> dict[str, holm.BoundTest]:
    """Neighbour → its ratio after to before, tested against ``at_least`` (``holm.holm_tests``)."""
    return holm.holm_tests(_columns(of_retained(outcomes, "neighbours")), at_least=at_least)


def understanding(answered: Sequence[AnsweredQuestion], guidance: float, temperature: float) -> list[FigureRow]:
    """Share of yes/no questions answered correctly, about the concept and about others, by kind of question.

    The unit is the image: its questions are not independent. The kinds of a group are never pooled: a model that
    always says no would do well.
    """
    rows = []
    for group, kind in dict.fromkeys((answer.group, answer.kind) for answer in answered):
        answers = [answer for answer in answered if (answer.group, answer.kind) == (group, kind)]
        images = [answer.image_id for answer in answers]
        before, after = [float(each.before) for each in answers], [float(each.after) for each in answers]
        rows.append(
            FigureRow(
                figure="understanding",
                group=f"{group}, {kind}",
                guidance=guidance,
                temperature=temperature,
                before=statistics.mean(before, images),
                after=statistics.mean(after, images),
                change=statistics.difference(before, after, images),
            )
        )
    return rows


def judge_names(figure: str, images: Iterable[Outcome], group: str = POOLED) -> str | None:
    """The names of the judges that decide a figure of ``images``, in alphabetical order, joined by "+".

    None for a figure that no judge decides, such as ``nll_frozen``. ``group``: as in ``FigureRow``.
    """
    names: set[str] = set()
    for outcome in images:
        match figure:
            case "nll_frozen" | "token_agreement":
                pass
            case "clip_surrogate" | "clip_margin":
                names.add("clip")
            case "scene_kept":
                asked = (each.attribute for each in outcome.attributes if each.asked is not None)
                names.update(ATTRIBUTE_JUDGES[name] for name in asked if group in (POOLED, name))
            case "shows_something":
                names.update(each.judge for each in outcome.judges)
            case _:
                names.add(outcome.judges[0].judge)
    return "+".join(sorted(names)) or None


def shows_surrogate(outcome: Outcome) -> float | None:
    """1 if the judge names the surrogate first, else 0; None without a surrogate that the judge has a label for."""
    label, wanted = outcome.judges[0].label, outcome.surrogate_label
    return None if wanted is None else float(label is not None and label.casefold() == wanted.casefold())


def thresholds(outcomes: Iterable[Outcome]) -> Thresholds:
    """The confidence that each judge must have for "shows something": equal quantiles of the judges' confidences.

    The quantile lets ``CONFIDENT_SHARE`` of the frozen model's images pass, of those that are of retained concepts and
    on which the judges agree. They are validation images: in an evaluation on test, those of the sample "threshold".
    """
    retained = selected(outcomes, "before", lambda each: each.group != "concept")
    of_validation = [outcome for outcome in retained if outcome.sample == "threshold"]
    by_judges: dict[tuple[str, ...], list[list[float]]] = {}
    for outcome in of_validation or retained:
        if outcome.sample in ("main", "threshold") and _agree(outcome):
            names = tuple(judge.judge for judge in outcome.judges)
            by_judges.setdefault(names, []).append([judge.confidence for judge in outcome.judges])
    return {names: _equal_quantiles(np.array(rows)) for names, rows in by_judges.items()}


def _equal_quantiles(confidences: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    """J thresholds, at a quantile of each column of float [N, J] such that ``CONFIDENT_SHARE`` of the rows pass all."""
    ranks = confidences.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    lowest = np.sort(ranks.min(axis=1))
    quantile = lowest[int((1 - CONFIDENT_SHARE) * len(lowest))]
    return tuple(float(value) for value in np.sort(confidences, axis=0)[quantile])


def _replacement(
    images: Sequence[Outcome],
    limits: Thresholds,
    *,
    wording: str = POOLED,
    phrases: int | None = None,
) -> list[FigureRow]:
    values: dict[str, Value] = {
        "concept_present": _present,
        "concept_probability": lambda each: each.judges[0].score,
        "shows_surrogate": shows_surrogate,
        "shows_something": lambda each: _something(each, limits),
    }
    return _rows(values, images, group="concept", wording=wording, phrases=phrases)


def _scene(images: Sequence[Outcome], *, wording: str = POOLED, phrases: int | None = None) -> list[FigureRow]:
    names = _attributes(images)
    values: dict[str, Value] = {
        "scene_kept": lambda each: _kept(each, names),
        "clip_surrogate": lambda each: each.clip_surrogate,
        "clip_margin": _clip_margin,
        "nll_frozen": lambda each: each.nll_frozen,
    }
    return _rows(values, images, wording=wording, phrases=phrases)


def _attributes(images: Sequence[Outcome]) -> list[str]:
    """The attributes of the scene that judges looked for."""
    return list(dict.fromkeys(each.attribute for outcome in images for each in outcome.attributes))


def _rows(
    values: Mapping[str, Value],
    images: Sequence[Outcome],
    *,
    group: str = POOLED,
    wording: str = POOLED,
    phrases: int | None = None,
) -> list[FigureRow]:
    """The figures that are defined for ``images``."""
    rows = [_row(name, value, images, group=group, wording=wording, phrases=phrases) for name, value in values.items()]
    return [row for row in rows if row.after.n]


def _row(
    figure: str,
    value: Value,
    images: Sequence[Outcome],
    *,
    group: str = POOLED,
    wording: str = POOLED,
    phrases: int | None = None,
) -> FigureRow:
    """A figure of ``images``, which share guidance and temperature, under every condition."""
    pairs = [
        (value(first), value(second), second)
        for first, second in paired(selected(images, "before"), selected(images, "after"))
    ]
    known = [(first, second, image) for first, second, image in pairs if first is not None and second is not None]
    old, new = [first for first, _, _ in known], [second for _, second, _ in known]
    judged = [image for _, _, image in known]
    shares = figure not in _NO_SHARES
    before, after, ceiling = (_mean(value, selected(images, each), shares) for each in ("before", "after", "ceiling"))
    return FigureRow(
        figure=figure,
        group=group,
        wording=wording,
        phrases=phrases,
        guidance=images[0].guidance,
        temperature=images[0].temperature,
        judge=judge_names(figure, images, group),
        before=before,
        after=after,
        ceiling=ceiling if ceiling.n else None,
        change=statistics.difference(old, new, [image.id for image in judged], _weights(judged), shares=shares),
    )


def _mean(value: Value, images: Sequence[Outcome], shares: bool) -> Figure:
    values = [(number, outcome) for outcome in images if (number := value(outcome)) is not None]
    known = [outcome for _, outcome in values]
    return statistics.mean(
        [number for number, _ in values], [outcome.id for outcome in known], _weights(known), shares=shares
    )


def _ratio(images: Sequence[Outcome]) -> Figure:
    """Share of ``images`` that show their concept after erasing, divided by that before."""
    pairs = paired(selected(images, "before"), selected(images, "after"))
    before, after = [_present(first) for first, _ in pairs], [_present(second) for _, second in pairs]
    images = [second for _, second in pairs]
    return statistics.ratio(before, after, [image.id for image in images], _weights(images))


def _weights(images: Sequence[Outcome]) -> list[float]:
    """Weights by which concepts count the same, and so do the tasks of a concept; their mean is 1.

    ``images`` are of one condition. Before erasing, a task has one image; after, an image of each adapter that has it,
    and in a suite only the adapter with the full figures has the further prompts of a wording.
    """
    images_of = Counter(image.task for image in images)
    tasks_of = Counter(concept for concept, _ in {(image.concept, image.task) for image in images})
    return [len(images) / len(tasks_of) / (tasks_of[image.concept] * images_of[image.task]) for image in images]


def _columns(images: Sequence[Outcome]) -> dict[str, tuple[list[float], list[float], list[str]]]:
    """Concept → (before, after, prompts): whether each image shows it."""
    columns: dict[str, tuple[list[float], list[float], list[str]]] = {}
    for first, second in paired(selected(images, "before"), selected(images, "after")):
        before, after, prompts = columns.setdefault(second.concept, ([], [], []))
        before.append(_present(first))
        after.append(_present(second))
        prompts.append(second.id)
    return columns


def _of_concept(outcomes: Sequence[Outcome], *samples: Sample) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.group == "concept" and outcome.sample in samples]


def of_retained(outcomes: Sequence[Outcome], group: str = POOLED) -> list[Outcome]:
    """The retained concepts' images of a group, or of all."""
    wanted = GROUPS if group == POOLED else (group,)
    return [outcome for outcome in outcomes if outcome.group in wanted and outcome.sample == "main"]


def _prompt_of(outcome: Outcome) -> tuple[str, str | None, str]:
    """What images of the same prompt by the same model have in common."""
    return outcome.condition, outcome.adapter, outcome.id


def _present(outcome: Outcome) -> float:
    return float(outcome.judges[0].present)


def _phrase(outcome: Outcome) -> str:
    """The words by which the prompt means the concept."""
    style = load_world().styles.get(outcome.concept) if outcome.attributes else None  # none outside nano's world
    phrase = style.phrase_in(outcome.prompt) if style is not None else None
    return (phrase or outcome.term).casefold()


def _clip_margin(outcome: Outcome) -> float | None:
    """How much nearer the image is to the surrogate prompt than to the target prompt, in cosines."""
    if outcome.clip_surrogate is None or outcome.clip_target is None:
        return None
    return outcome.clip_surrogate - outcome.clip_target


def _agree(outcome: Outcome) -> bool:
    return len({judge.label for judge in outcome.judges}) == 1 and outcome.judges[0].label is not None


def _something(outcome: Outcome, limits: Thresholds) -> float | None:
    """1 if the judges agree and all are confident; None if there is no threshold for them."""
    limit = limits.get(tuple(judge.judge for judge in outcome.judges))
    if limit is None:
        return None
    confident = all(judge.confidence >= least for judge, least in zip(outcome.judges, limit, strict=True))
    return float(_agree(outcome) and confident)


def _kept(outcome: Outcome, attributes: Iterable[str]) -> float | None:
    """Share of the attributes asked for that are seen; None if the prompt asks for none of them."""
    wanted = set(attributes)
    asked = [each for each in outcome.attributes if each.asked is not None and each.attribute in wanted]
    return float(np.mean([each.asked == each.seen for each in asked])) if asked else None
