"""Outcomes of evaluation prompts: render, let every judge look, and ask the frozen model how likely the image is.

prompts ──images──▶ images of one condition ──judges, teacher forcing──▶ outcomes

Images and outcomes are sets of their own: another judge looks at the same images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ear.evaluation.attacks.fit import FittedAttack
from ear.evaluation.images import evaluation_images, shards
from ear.evaluation.judges import EvaluationJudges
from ear.evaluation.outcomes import STAGE, Condition, Outcome, Sample
from ear.evaluation.prompts import EvaluationPrompt
from ear.evaluation.teacher_forcing import negative_log_likelihood, token_agreement
from ear.method.open_adapter import AnyAdapter
from ear.method.precision import training_dtype
from ecgvf.core.dataset import Dataset
from ecgvf.core.files import JSON
from ecgvf.core.png import decode
from ecgvf.core.records import from_table, to_table
from ecgvf.core.run import ConceptRun
from ecgvf.core.shard_set import fingerprint
from ecgvf.core.stage_set import StageSet
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, num_threads

_MODELS: dict[Condition, str] = {
    "before": "frozen model",
    "ceiling": "frozen model",
    "after": "tuned model",
    "oracle": "oracle",
}
"""Condition → the model that rendered the images."""


@dataclass(frozen=True)
class _Series:
    """What images that are measured together have in common."""

    condition: Condition
    sample: Sample
    sampling: Sampling

    @property
    def tuned(self) -> bool:
        """Whether the tuned model rendered them, or the oracle in its place."""
        return self.condition in ("after", "oracle")


@dataclass(frozen=True)
class Measurement:
    """Measures a frozen model and its tuned self on a dataset. What the store has is not rendered or judged again."""

    store: Store
    model: JanusModel
    dataset: Dataset
    judges: EvaluationJudges
    adapter: AnyAdapter
    adapter_hash: str
    batch_size: int | None = None

    def origin(self, prompts: Sequence[EvaluationPrompt], seed: int) -> dict[str, Any]:
        """What decides the outcomes of ``prompts`` besides the adapter, as files of outcomes record it: JSON.

        ``seed``: of the prompts and images.
        """
        return {
            "dataset": self.dataset.fingerprint,
            "model": self.model.fingerprint,
            "dtype": self.model.dtype_name,
            "training_dtype": training_dtype(self.adapter.facts),
            "judges": self.judges.settings(prompts),
            "seed": seed,
        }

    def outcomes(
        self,
        prompts: Sequence[EvaluationPrompt],
        sample: Sample = "main",
        sampling: Sampling | None = None,
        *,
        ceiling: bool = True,
    ) -> list[Outcome]:
        """The outcomes before and after erasing and, unless ``ceiling`` is False, of prompts' surrogate prompts.

        ``sampling`` None: the dataset's. Raises ``DatasetError`` for a prompt that cannot be rendered.
        """
        if not prompts:
            return []
        sampling = self.dataset.sampling if sampling is None else sampling
        before, images = self._outcomes(_Series("before", sample, sampling), prompts)
        after, _ = self._outcomes(_Series("after", sample, sampling), prompts, reference=images)
        of_surrogates = [
            replace(prompt, prompt=prompt.surrogate_prompt)
            for prompt in prompts
            if ceiling and prompt.surrogate_prompt is not None
        ]
        if not of_surrogates:
            return [*before, *after]
        of_ceiling, _ = self._outcomes(_Series("ceiling", sample, sampling), of_surrogates)
        return [*before, *after, *of_ceiling]

    def for_thresholds(self, prompts: Sequence[EvaluationPrompt]) -> list[Outcome]:
        """The outcomes before erasing only, from which the thresholds of the judges' confidence are computed."""
        if not prompts:
            return []
        return self._outcomes(_Series("before", "threshold", self.dataset.sampling), prompts)[0]

    def attacked(
        self,
        prompts: Sequence[EvaluationPrompt],
        attack: FittedAttack | None = None,
        condition: Condition = "after",
    ) -> list[Outcome]:
        """The outcomes of the tuned model under ``attack``; None: of prompts that are an attack by themselves.

        ``condition``: "after", or "oracle" if the tuned model is a model trained without the concept.
        """
        series = _Series(condition, "attack", self.dataset.sampling)
        outcomes, _ = self._outcomes(series, prompts, attack=attack)
        if attack is None:
            return outcomes
        return [replace(outcome, attack=attack.name, budget=attack.budget) for outcome in outcomes]

    def _outcomes(
        self,
        series: _Series,
        prompts: Sequence[EvaluationPrompt],
        *,
        reference: StageSet | None = None,
        attack: FittedAttack | None = None,
    ) -> tuple[list[Outcome], StageSet]:
        """The outcomes of a series, and their images. ``reference``: the frozen model's images, for "after"."""
        rendered = prompts
        # Prompts that are an attack by themselves are not the dataset's.
        own = series.sample != "attack" or attack is not None
        if series.tuned and own and self.adapter.rewrites:  # the surrogate prompt, which the dataset's writer wrote
            rendered = [replace(prompt, prompt=prompt.surrogate_prompt or prompt.prompt) for prompt in prompts]
        if series.tuned:
            images = self.tuned_images(rendered, series.sampling, attack)
        else:
            images = evaluation_images(
                self.store, self.model, self.dataset, rendered, series.sampling, batch_size=self.batch_size
            )
        settings = {
            "pictures": images.fingerprint,
            "reference": reference.fingerprint if reference is not None else None,
            "condition": series.condition,
            "sample": series.sample,
            "cases": fingerprint({"cases": [_facts(prompt) for prompt in prompts]}),
            "judges": self.judges.settings(prompts),
            "columns": Outcome.SCHEMA.names,
        }
        stage_set = ConceptRun(self.store, self.dataset.concept).stage_set(STAGE, settings)

        def work(shard: Sequence[int], recorded: JSON, advance: Callable[[int], None]) -> pa.Table:
            (index,) = shard
            rows = images.read_shard(index).to_pylist()
            frozen = reference.read_shard(index)["vq_ids"].to_pylist() if reference is not None else None
            with num_threads(recorded["threads"]):
                judged = self._judged(series, shards(prompts)[index], rows, frozen)
            advance(1)
            return to_table(Outcome, judged)

        each = [[index] for index in range(len(shards(prompts)))]
        stage_set.fill(
            each,
            work,
            description=f"judging the images of the {_MODELS[series.condition]}",
            circumstances={"threads": torch.get_num_threads(), "device": self.model.device.type},
        )
        stage_set.finish({"outcomes": len(prompts)}, current=False)
        # A shard at a time: images are large, and a table of all would double them.
        return [outcome for table in stage_set.tables() for outcome in from_table(Outcome, table)], images

    def tuned_images(
        self, prompts: Sequence[EvaluationPrompt], sampling: Sampling, attack: FittedAttack | None
    ) -> StageSet:
        """The tuned model's images of ``prompts``, under ``attack`` if given; a finished set."""
        return evaluation_images(
            self.store,
            self.model,
            self.dataset,
            prompts,
            sampling,
            adapter=self.adapter,
            adapter_hash=self.adapter_hash,
            attack=attack,
            batch_size=self.batch_size,
        )

    def _judged(
        self,
        series: _Series,
        prompts: Sequence[EvaluationPrompt],
        rows: Sequence[dict[str, Any]],
        frozen: Sequence[Sequence[int]] | None,
    ) -> list[Outcome]:
        """What judges, CLIP and the frozen model make of the images in ``rows``, a row for each of ``prompts``.

        ``frozen``: the image tokens that the frozen model rendered for them, for "after".
        """
        pixels = np.stack([decode(row["image"]) for row in rows])
        vq_ids = np.array([row["vq_ids"] for row in rows], dtype=np.int64)
        judged = self.judges.judge_images(prompts, pixels)
        attributes = self.judges.judge_attributes(prompts, pixels)
        cosines = self.judges.clip_cosines(prompts, pixels)
        likely = [prompt.surrogate_prompt or prompt.prompt for prompt in prompts]
        # Submitted images have no image tokens.
        nll = negative_log_likelihood(self.model, likely, vq_ids) if vq_ids.size else [None] * len(prompts)
        agreement = self.agreement(prompts, frozen, series.sampling)
        return [
            Outcome(
                id=prompt.id,
                sample=series.sample,
                condition=series.condition,
                concept=prompt.retained.name if prompt.retained is not None else self.dataset.concept.name,
                group=prompt.group,
                prompt=prompt.prompt,
                wording=prompt.wording,
                term=prompt.term,
                surrogate=self.judges.surrogate(prompt),
                surrogate_label=self.judges.surrogate_label(prompt),
                surrogate_prompt=prompt.surrogate_prompt,
                seed=prompt.seed,
                guidance=series.sampling.guidance,
                temperature=series.sampling.temperature,
                adapter=self.adapter_hash if series.tuned else None,
                judges=judged[index],
                attributes=attributes[index],
                clip_surrogate=clip[0] if (clip := cosines[index]) is not None else None,
                clip_target=clip[1] if clip is not None else None,
                nll_frozen=float(value) if (value := nll[index]) is not None else None,
                token_agreement=agreement[index],
                vq_ids=tuple(rows[index]["vq_ids"]),
                image=rows[index]["image"],
            )
            for index, prompt in enumerate(prompts)
        ]

    def agreement(
        self, prompts: Sequence[EvaluationPrompt], frozen: Sequence[Sequence[int]] | None, sampling: Sampling
    ) -> list[float | None]:
        """Token agreement along the ``frozen`` model's images; None for prompts of the erased concept."""
        agreement: list[float | None] = [None] * len(prompts)
        retained = [index for index, prompt in enumerate(prompts) if prompt.retained is not None]
        if frozen is not None and retained:
            vq_ids: NDArray[np.int64] = np.array([frozen[index] for index in retained], dtype=np.int64)
            texts, seeds = [prompts[index].prompt for index in retained], [prompts[index].seed for index in retained]
            with self.adapter.active(self.model) as tuned:
                shares = token_agreement(tuned, texts, seeds, sampling, vq_ids)
            for index, share in zip(retained, shares, strict=True):
                agreement[index] = float(share)
        return agreement


def _facts(prompt: EvaluationPrompt) -> list[Any]:
    """What an outcome takes from its prompt: part of the fingerprint of the outcomes."""
    concept = prompt.retained.name if prompt.retained is not None else None
    facts = [concept, prompt.group, prompt.wording, prompt.term, prompt.surrogate, prompt.surrogate_prompt]
    facts.append(prompt.target_prompt)
    return [prompt.id, *facts]
