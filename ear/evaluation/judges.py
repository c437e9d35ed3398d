"""The judges of an evaluation: where there is a choice, not the judge that filtered.

The erased concept's judge uses the filter's labels and bounds. A retained concept is present if a classifier ranks it
first; outside nano's world, this classifier is the concept's own judge or ResNet-50 (``RetainedJudges``). In nano's
world, it is the judge that the user names, if that has a label for the concept, or the default; a second judge helps to
decide whether an image shows anything, and attribute judges look at the scene.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from ecgvf.core.paths import data_dir
from ecgvf.judges import Judge, JudgeOptions, create_judge
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.each import predict_all
from ecgvf.judges.factory import RETAINED_JUDGE, weights_by_judge
from ecgvf.judges.judge import TOP_LABELS, Prediction
from ecgvf.judges.judge import settings as judge_settings
from ecgvf.judges.retained import RetainedJudges, predict
from ecgvf.judges.weights import file_hash
from ecgvf.world import grammar
from ecgvf.world.attributes import find_attributes

if TYPE_CHECKING:
    from ecgvf.judges.clip import Encoder

ATTRIBUTE_JUDGES = {
    "sky": "nano-sky",
    "ground": "nano-ground",
    "companion": "nano-companion",
    "style": "nano-style-b",
}
"""Attribute of nano's world → its judge."""

_FAMILIES = {
    "nano-object-b": "nano-object-a",
    "nano-object-c": "nano-object-a",
    "nano-style-b": "nano-style",
}
"""Judge of nano → the judge whose labels it shares."""


def nano_weights() -> dict[str, str]:
    """Judge of nano's world → a hash of its weights."""
    files = sorted((data_dir() / "nano" / "judges").glob("*/model.safetensors"))
    return {file.parent.name: file_hash(file) for file in files}


def default_judge(dataset: Dataset, retained: RetainedConcept | None) -> str:
    """Name of the default judge, of the erased concept (``retained`` None) or in nano's world of ``retained``."""
    if not in_nano_world(dataset):
        return dataset.judge
    if _is_style(dataset, retained):
        return "nano-style"
    return "nano-object-a" if dataset.judge == "nano-object-b" else "nano-object-b"


def second_judge(dataset: Dataset, retained: RetainedConcept | None) -> str | None:
    """Name of the judge that must agree with the first for an image to show something; None outside nano's world."""
    if not in_nano_world(dataset):
        return None
    return "nano-style-b" if _is_style(dataset, retained) else "nano-object-c"


@dataclass
class EvaluationJudges:
    """The judges of one dataset. The concept's is loaded at once, so that a wrong name costs no rendering.

    ``judge`` is the concept's, by name (None: ``default_judge``) with ``weights`` (None: its own), or a ``Judge``.
    Those that are loaded here compute on ``device``. Raises ``JudgeError`` for a judge that has no label for the
    concept.
    """

    dataset: Dataset
    judge: str | Judge | None = None
    weights: str | None = None
    device: str = "auto"
    _concept_judges: list[Judge] = field(init=False)
    """The judge that measures, and the second judge if there is any."""
    _classifiers: dict[str, Classifier] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.judge is not None and not isinstance(self.judge, str):
            first = self.judge
        else:
            first = self._for_concept(self.concept_judge, self.weights)
        second = second_judge(self.dataset, None)
        others = [self._for_concept(second)] if second is not None and second != first.name else []
        self._concept_judges = [first, *others]

    @property
    def concept_judge(self) -> str:
        """Name of the concept's judge."""
        if self.judge is None:
            return default_judge(self.dataset, None)
        return self.judge if isinstance(self.judge, str) else self.judge.name

    def can_judge(self, concept: RetainedConcept) -> bool:
        """Whether a classifier has a label for the retained concept."""
        judges = self._of_retained(concept)
        return bool(judges) and judges[0].class_index(concept.name) is not None

    def settings(self, prompts: Sequence[EvaluationPrompt]) -> list[dict[str, Any]]:
        """Everything about the judges of ``prompts`` that decides an outcome, as JSON."""
        settings = []
        if any(prompt.retained is None for prompt in prompts):
            settings += [judge_settings(judge) for judge in self._concept_judges]
        retained = dict.fromkeys(prompt.retained for prompt in prompts if prompt.retained is not None)
        classifiers = {judge.name: judge for concept in retained for judge in self._of_retained(concept)}
        classifiers |= {judge.name: judge for judge in self._of_attributes().values()}
        settings += [{"judge": name, "judge_hash": judge.weights_hash} for name, judge in sorted(classifiers.items())]
        if self._clip is not None:
            settings.append({"judge": "clip", "judge_hash": self._clip.weights_hash})
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
                columns = [_outcomes(judge, own, images[rows]) for judge in self._concept_judges]
            else:
                columns = [_outcomes(judge, own, images[rows], retained) for judge in self._of_retained(retained)]
            for row, judged in zip(rows, zip(*columns, strict=True), strict=True):
                outcomes[row] = judged
        return outcomes

    def judge_attributes(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[AttributeOutcome, ...]]:
        """The attributes of image i, beside what ``prompts[i]`` asks for; outside nano's world none.

        The style is no attribute of the scene if the concept is a style. Raises as ``judge_images`` does.
        """
        judges = self._of_attributes()
        asked = [find_attributes(prompt.prompt) if judges else {} for prompt in prompts]
        columns = []
        for attribute, judge in judges.items():
            predictions = predict_all(judge, images, [prompt.prompt for prompt in prompts], judge.predict)
            columns.append(
                [
                    AttributeOutcome(attribute, wanted.get(attribute), *seen.top_labels[0])
                    for wanted, seen in zip(asked, predictions, strict=True)
                ]
            )
        return list(zip(*columns, strict=True)) if columns else [()] * len(prompts)

    def clip_cosines(
        self, prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]
    ) -> list[tuple[float, float] | None]:
        """CLIP's cosines of image i with surrogate and target prompt of ``prompts[i]``; None without these, or CLIP.

        Raises ``JudgeError`` if they are not finite.
        """
        cosines: list[tuple[float, float] | None] = [None] * len(prompts)
        rows = [index for index, prompt in enumerate(prompts) if prompt.target_prompt and prompt.surrogate_prompt]
        if not rows or self._clip is None:
            return cosines
        encoded = self._clip.encode_images(images[rows])
        for row, image in zip(rows, encoded, strict=True):
            texts = self._clip.encode_texts([str(prompts[row].surrogate_prompt), str(prompts[row].target_prompt)])
            surrogate, target = (texts @ image).tolist()
            if not (math.isfinite(surrogate) and math.isfinite(target)):
                raise JudgeError(f"CLIP returned NaN or infinity for the image of {prompts[row].prompt!r}")
            cosines[row] = surrogate, target
        return cosines

    def surrogate(self, prompt: EvaluationPrompt) -> str | None:
        """What the surrogate prompt names, in nano's world as a label of its judges; None without such a prompt."""
        if prompt.surrogate_prompt is None or not in_nano_world(self.dataset):
            return prompt.surrogate
        if self.dataset.concept.kind == "style":
            # A surrogate prompt that names no style asks for a plain image.
            return next(iter(grammar.find_styles([prompt.surrogate])), None) if prompt.surrogate else grammar.PLAIN
        return next(iter(grammar.find_things([prompt.surrogate])), None) if prompt.surrogate else None

    def surrogate_label(self, prompt: EvaluationPrompt) -> str | None:
        """The label by which the concept's judge names the surrogate; None if it has none, or ranks no labels."""
        surrogate, judge = self.surrogate(prompt), self._concept_judges[0]
        if surrogate is None or in_nano_world(self.dataset):
            return surrogate
        if not isinstance(judge, Classifier):
            return None
        index = judge.class_index(surrogate)
        return judge.labels[index] if index is not None else None

    def note_unnamed_surrogates(self, prompts: Sequence[EvaluationPrompt]) -> None:
        """Tell the user which surrogates the concept's judge has no label for."""
        unnamed = {prompt.surrogate for prompt in prompts if prompt.surrogate and self.surrogate_label(prompt) is None}
        if unnamed:
            console.note(
                f"judge {self.concept_judge} has no label for {', '.join(sorted(unnamed))}: whether images show this "
                "surrogate is not measured"
            )

    @cached_property
    def _clip(self) -> "Encoder | None":
        """OpenAI's ViT-B/32 outside nano's world, if it is here or can be downloaded."""
        from ecgvf.judges.clip import Encoder

        if in_nano_world(self.dataset):
            return None
        try:
            return Encoder(device=self.device)
        except JudgeError as error:
            console.note(f"no CLIP similarity is measured: {error}")
            return None

    def _for_concept(self, name: str, weights: str | None = None) -> Judge:
        """A judge of the erased concept; the filter's labels and bounds apply if they mean the same to it."""
        filter_judge, judge = (_FAMILIES.get(each, each) for each in (self.dataset.judge, name))
        options = JudgeOptions()
        if filter_judge == judge:
            options = JudgeOptions.from_recorded(dict(self.dataset.judge_options))
        options = replace(options, weights=weights, device=self.device)
        return create_judge(self.dataset.concept, self.dataset.model, name, options)

    @cached_property
    def _photograph_judges(self) -> RetainedJudges:
        weights = weights_by_judge(self.weights).get(RETAINED_JUDGE)
        return RetainedJudges(self._concept_judges[0], weights=weights, device=self.device)

    def _of_retained(self, concept: RetainedConcept) -> list[Classifier]:
        if not in_nano_world(self.dataset):
            judge = self._photograph_judges.of(concept.name)
            return [] if judge is None else [judge]
        first = default_judge(self.dataset, concept)
        if isinstance(self.judge, str) and _FAMILIES.get(self.judge, self.judge) == _FAMILIES.get(first, first):
            first = self.judge
        names = dict.fromkeys((first, second_judge(self.dataset, concept)))
        return [self._classifier(name) for name in names if name is not None]

    def _of_attributes(self) -> dict[str, Classifier]:
        if not in_nano_world(self.dataset):
            return {}
        is_style = self.dataset.concept.kind == "style"
        return {
            attribute: self._classifier(name)
            for attribute, name in ATTRIBUTE_JUDGES.items()
            if not (is_style and attribute == "style")
        }

    def _classifier(self, name: str) -> Classifier:
        if name not in self._classifiers:
            weights = self.weights if name == self.concept_judge else None
            options = JudgeOptions(weights=weights, device=self.device)
            self._classifiers[name] = cast(Classifier, create_judge(None, None, name, options))
        return self._classifiers[name]


def _is_style(dataset: Dataset, retained: RetainedConcept | None) -> bool:
    return (retained.family if retained is not None else dataset.concept.kind) == "style"


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
