"""The judges of an evaluation: where there is a choice, not the judge that filtered.

The erased concept's judge uses the filter's labels and bounds. A retained concept is present if a classifier ranks it
first. Which classifiers these are, and what else is measured, depends on what the images show: ``NanoJudges`` or
``PhotographJudges``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ear.evaluation.outcomes import AttributeOutcome, JudgeOutcome
from ear.evaluation.prompts import EvaluationPrompt
from ear.retained_concepts import RetainedConcept, in_nano_world
from ecgvf.core import console
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import JudgeError
from ecgvf.judges import Judge, JudgeOptions, create_judge
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.factory import RETAINED_JUDGE, weights_by_judge
from ecgvf.judges.judge import TOP_LABELS, Prediction
from ecgvf.judges.judge import settings as judge_settings
from ecgvf.judges.nano import ATTRIBUTE_JUDGES, measuring_judges, same_labels
from ecgvf.judges.predictions import predict_all
from ecgvf.judges.retained import RetainedJudges, predict
from ecgvf.world import grammar
from ecgvf.world.attributes import find_attributes

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder


class EvaluationJudges(ABC):
    """The judges of one dataset. The concept's is loaded at once, so that a wrong name costs no rendering."""

    def __init__(self, dataset: Dataset, judge: str | Judge, weights: str | None, device: str) -> None:
        self.dataset, self._device = dataset, device
        self.concept_judge = judge if isinstance(judge, str) else judge.name
        """Name of the concept's judge."""
        self._of_concept = [self._for_concept(judge, weights) if isinstance(judge, str) else judge]
        """The judge that measures, and in nano's world a second that must agree for an image to show something."""

    def can_judge(self, concept: RetainedConcept) -> bool:
        """Whether a classifier has a label for the retained concept."""
        judges = self._of_retained(concept)
        return bool(judges) and judges[0].class_index(concept.name) is not None

    def settings(self, prompts: Sequence[EvaluationPrompt]) -> list[dict[str, Any]]:
        """Everything about the judges of ``prompts`` that decides an outcome, as JSON."""
        settings = []
        if any(prompt.retained is None for prompt in prompts):
            settings += [judge_settings(judge) for judge in self._of_concept]
        retained = dict.fromkeys(prompt.retained for prompt in prompts if prompt.retained is not None)
        classifiers = {judge.name: judge for judge in self._classifiers(retained)}
        settings += [{"judge": name, "judge_hash": judge.weights_hash} for name, judge in sorted(classifiers.items())]
        return settings

    def judge_images(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[JudgeOutcome, ...]]:
        """What the judges of ``prompts[i]`` see in image i of RGB uint8 [N, H, W, 3], the first judge first.

        Raises ``JudgeError`` for an image that a judge fails on.
        """
        outcomes: list[tuple[JudgeOutcome, ...]] = [()] * len(prompts)
        for retained in dict.fromkeys(prompt.retained for prompt in prompts):
            rows = [index for index, prompt in enumerate(prompts) if prompt.retained == retained]
            own = [prompts[row] for row in rows]
            if retained is None:
                columns = [_outcomes(judge, own, images[rows]) for judge in self._of_concept]
            else:
                columns = [_outcomes(judge, own, images[rows], retained) for judge in self._of_retained(retained)]
            for row, judged in zip(rows, zip(*columns, strict=True), strict=True):
                outcomes[row] = judged
        return outcomes

    def judge_attributes(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[AttributeOutcome, ...]]:
        """The attributes of image i, beside what ``prompts[i]`` asks for; outside nano's world none.

        Raises as ``judge_images`` does.
        """
        return [()] * len(prompts)

    def clip_cosines(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[float, float] | None]:
        """CLIP's cosines of image i with surrogate and target prompt of ``prompts[i]``; None without these, or CLIP.

        Raises ``JudgeError`` if they are not finite.
        """
        return [None] * len(prompts)

    @abstractmethod
    def surrogate(self, prompt: EvaluationPrompt) -> str | None:
        """What the surrogate prompt names, in nano's world as a label of its judges; None without such a prompt."""

    @abstractmethod
    def surrogate_label(self, prompt: EvaluationPrompt) -> str | None:
        """The label by which the concept's judge names the surrogate; None if it has none, or ranks no labels."""

    def note_unnamed_surrogates(self, prompts: Sequence[EvaluationPrompt]) -> None:
        """Tell the user which surrogates the concept's judge has no label for."""
        unnamed = {prompt.surrogate for prompt in prompts if prompt.surrogate and self.surrogate_label(prompt) is None}
        if unnamed:
            console.note(
                f"judge {self.concept_judge} has no label for {', '.join(sorted(unnamed))}: whether images show this "
                "surrogate is not measured"
            )

    @abstractmethod
    def _of_retained(self, concept: RetainedConcept) -> list[Classifier]:
        """The judges of a retained concept, the one that measures first; empty if none can."""

    def _classifiers(self, retained: Iterable[RetainedConcept]) -> list[Classifier]:
        """All that look at images of ``retained``, or at the scene of any image."""
        return [judge for concept in retained for judge in self._of_retained(concept)]

    def _for_concept(self, name: str, weights: str | None = None) -> Judge:
        """A judge of the erased concept; the filter's labels and bounds apply if they mean the same to it."""
        options = JudgeOptions()
        if same_labels(self.dataset.judge, name):
            options = JudgeOptions.from_recorded(dict(self.dataset.judge_options))
        options = replace(options, weights=weights)
        return create_judge(self.dataset.concept, self.dataset.model, name, options, self._device)


def open_judges(
    dataset: Dataset, judge: str | Judge | None = None, weights: str | None = None, device: str = "auto"
) -> EvaluationJudges:
    """The judges of ``dataset``; those that are loaded here compute on ``device``.

    ``judge`` is the concept's, by name with ``weights`` (None: its own), or a ``Judge``; None is the judge that
    filtered, in nano's world the first of ``measuring_judges``. Raises ``JudgeError`` for a judge that has no label for
    the concept.
    """
    judges = NanoJudges if in_nano_world(dataset) else PhotographJudges
    return judges(dataset, judge, weights, device)


class NanoJudges(EvaluationJudges):
    """The judges of nano's world: two look for the concept of a prompt, others at the rest of the scene.

    A retained concept's first judge is the one that the user names, if it has the same labels as the default.
    """

    def __init__(self, dataset: Dataset, judge: str | Judge | None, weights: str | None, device: str) -> None:
        first, second = measuring_judges(dataset.judge, style=dataset.concept.kind == "style")
        super().__init__(dataset, first if judge is None else judge, weights, device)
        self._of_concept.append(self._for_concept(first if self._of_concept[0].name == second else second))
        self._named = judge if isinstance(judge, str) else None
        self._loaded: dict[str, Classifier] = {}

    def judge_attributes(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[AttributeOutcome, ...]]:
        """As of every ``EvaluationJudges``. The style is no attribute of the scene if the concept is a style."""
        asked = [find_attributes(prompt.prompt) for prompt in prompts]
        columns = []
        for attribute, judge in self._of_attributes.items():
            predictions = predict_all(judge, images, [prompt.prompt for prompt in prompts], judge.predict)
            columns.append(
                [
                    AttributeOutcome(attribute, wanted.get(attribute), *seen.top_labels[0])
                    for wanted, seen in zip(asked, predictions, strict=True)
                ]
            )
        return list(zip(*columns, strict=True))

    def surrogate(self, prompt: EvaluationPrompt) -> str | None:
        """A thing or style of nano's world."""
        if prompt.surrogate_prompt is None:
            return prompt.surrogate
        if self.dataset.concept.kind == "style":
            # A surrogate prompt that names no style asks for a plain image.
            return next(iter(grammar.find_styles([prompt.surrogate])), None) if prompt.surrogate else grammar.PLAIN
        return next(iter(grammar.find_things([prompt.surrogate])), None) if prompt.surrogate else None

    def surrogate_label(self, prompt: EvaluationPrompt) -> str | None:
        """The thing or style itself."""
        return self.surrogate(prompt)

    def _of_retained(self, concept: RetainedConcept) -> list[Classifier]:
        first, second = measuring_judges(self.dataset.judge, style=concept.family == "style")
        if self._named is not None and same_labels(self._named, first):
            first, second = self._named, first if self._named == second else second
        return [self._classifier(name) for name in (first, second)]

    def _classifiers(self, retained: Iterable[RetainedConcept]) -> list[Classifier]:
        return [*super()._classifiers(retained), *self._of_attributes.values()]

    @cached_property
    def _of_attributes(self) -> dict[str, Classifier]:
        """Attribute of the scene → its judge."""
        names = dict(ATTRIBUTE_JUDGES)
        if self.dataset.concept.kind == "style":
            del names["style"]
        return {attribute: self._classifier(name) for attribute, name in names.items()}

    def _classifier(self, name: str) -> Classifier:
        if name not in self._loaded:
            self._loaded[name] = cast(Classifier, create_judge(None, None, name, None, self._device))
        return self._loaded[name]


class PhotographJudges(EvaluationJudges):
    """The judges of photographs: a retained concept's is the erased concept's judge or ResNet-50 (``RetainedJudges``),
    and CLIP compares images with their prompts."""

    def __init__(self, dataset: Dataset, judge: str | Judge | None, weights: str | None, device: str) -> None:
        super().__init__(dataset, dataset.judge if judge is None else judge, weights, device)
        of_retained = weights_by_judge(weights).get(RETAINED_JUDGE)
        self._retained_judges = RetainedJudges(self._of_concept[0], weights=of_retained, device=device)

    def settings(self, prompts: Sequence[EvaluationPrompt]) -> list[dict[str, Any]]:
        """As of every ``EvaluationJudges``, and of CLIP."""
        clip = [] if self._clip is None else [{"judge": "clip", "judge_hash": self._clip.weights_hash}]
        return [*super().settings(prompts), *clip]

    def clip_cosines(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[float, float] | None]:
        """As of every ``EvaluationJudges``."""
        cosines: list[tuple[float, float] | None] = [None] * len(prompts)
        rows = [index for index, prompt in enumerate(prompts) if prompt.target_prompt and prompt.surrogate_prompt]
        if not rows or self._clip is None:
            return cosines
        encoded = self._clip.encode_images(images[rows])
        texts = self._clip.encode_texts(
            [str(text) for row in rows for text in (prompts[row].surrogate_prompt, prompts[row].target_prompt)]
        )
        found = (texts.unflatten(0, (-1, 2)) @ encoded[..., None]).squeeze(-1).tolist()
        for row, (surrogate, target) in zip(rows, found, strict=True):
            if not (math.isfinite(surrogate) and math.isfinite(target)):
                raise JudgeError(f"CLIP returned NaN or infinity for the image of {prompts[row].prompt!r}")
            cosines[row] = surrogate, target
        return cosines

    def surrogate(self, prompt: EvaluationPrompt) -> str | None:
        """As the dataset names it."""
        return prompt.surrogate

    def surrogate_label(self, prompt: EvaluationPrompt) -> str | None:
        """A label of the concept's judge."""
        judge = self._of_concept[0]
        if prompt.surrogate is None or not isinstance(judge, Classifier):
            return None
        index = judge.class_index(prompt.surrogate)
        return judge.labels[index] if index is not None else None

    def _of_retained(self, concept: RetainedConcept) -> list[Classifier]:
        judge = self._retained_judges.of(concept.name)
        return [] if judge is None else [judge]

    @cached_property
    def _clip(self) -> "Encoder | None":
        """OpenAI's ViT-B/32, if it is here or can be downloaded."""
        from ecgvf.judges.clip import Encoder

        try:
            return Encoder(device=self._device)
        except JudgeError as error:
            console.note(f"no CLIP similarity is measured: {error}")
            return None


def _outcomes(
    judge: Judge,
    prompts: Sequence[EvaluationPrompt],
    images: NDArray[np.uint8],
    retained: RetainedConcept | None = None,
) -> list[JudgeOutcome]:
    """What ``judge`` sees in the images of ``prompts``: the erased concept, or ``retained`` if its label is first."""

    def predictions(batch: NDArray[np.uint8]) -> list[Prediction]:
        if retained is None:
            return judge.predict(batch)
        return predict(cast(Classifier, judge), batch, [retained.name] * len(batch))

    return [
        JudgeOutcome(judge.name, seen.present, seen.score, seen.top_labels[:TOP_LABELS])
        for seen in predict_all(judge, images, [prompt.prompt for prompt in prompts], predictions)
    ]
