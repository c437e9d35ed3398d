"""Evaluation prompts: those of the dataset's validation or test split, and prompts of every retained concept.

Their seeds are never those of the filtered images, nor those of the rehearsal set.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ear.retained_concepts import PURPOSES, Group, RetainedConcept
from ecgvf.core import concepts as shipped
from ecgvf.core import seeds
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.records import EvaluationSplit, PromptPair, Reason, Wording

PURPOSE = PURPOSES["validation"]

PROMPTS_PER_WORDING = 80
"""Images of each wording in the full figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPrompt:
    """A prompt that the frozen and the tuned model render from the same seed."""

    id: str
    """Its record, or its retained concept and a number ("5d41402abc4b2a76", "castle/3"). Equal prompts have one id."""
    prompt: str
    seed: int
    retained: RetainedConcept | None = None
    """None: the prompt means the erased concept."""
    group: Group = "concept"
    wording: Wording | None = None
    term: str = ""
    """The words for the concept."""
    surrogate: str | None = None
    """What the surrogate prompt names instead; None if the record has no surrogate prompt."""
    surrogate_prompt: str | None = None
    target_prompt: str | None = None
    """The prompt that asks for the concept, even if the surrogate prompt is rendered; None for retained concepts."""


NOT_RENDERED: frozenset[Reason] = frozenset({"target_absent", "render_failed", "judge_failed", "reviewed"})
"""Reasons for rejection that mean that the original did not render the concept."""


def concept_prompts(dataset: Dataset, split: EvaluationSplit, count: int, seed: int) -> list[EvaluationPrompt]:
    """``count`` accepted prompts of ``split``, in order; if there are fewer, they repeat with new seeds.

    Raises ``DatasetError`` if there are none.
    """
    return _repeated([record.pair for record in _records(dataset, split)], count, seed)


def written_pairs(dataset: Dataset, split: EvaluationSplit) -> list[PromptPair] | None:
    """All prompts of ``split`` that were rendered, accepted or not, sorted by id; None if rejected prompts are unknown.

    Malformed and duplicate prompts were never rendered, and are left out.
    """
    if dataset.rejected is None:
        return None
    rejected = [pair for pair in dataset.rejected if pair.split == split]
    rejected = [pair for pair in rejected if pair.reason not in ("malformed", "duplicate")]
    pairs = [*(record.pair for record in _records(dataset, split)), *rejected]
    return sorted(pairs, key=lambda pair: pair.record_id)


def written_prompts(dataset: Dataset, split: EvaluationSplit, count: int, seed: int) -> list[EvaluationPrompt]:
    """As ``concept_prompts``, from accepted and rejected prompts alike, if the dataset has the rejected."""
    return _repeated(written_pairs(dataset, split) or [each.pair for each in _records(dataset, split)], count, seed)


def prompts_by_wording(dataset: Dataset, split: EvaluationSplit, seed: int) -> list[EvaluationPrompt]:
    """``PROMPTS_PER_WORDING`` prompts of each wording in ``split``, repeated as by ``concept_prompts``."""
    by_wording: dict[Wording, list[PromptPair]] = defaultdict(list)
    for record in _records(dataset, split):
        if record.pair.wording is not None:
            by_wording[record.pair.wording].append(record.pair)
    lists = [_repeated(by_wording[wording], PROMPTS_PER_WORDING, seed) for wording in sorted(by_wording)]
    return [prompt for prompts in lists for prompt in prompts]


def prompts_by_seed(
    dataset: Dataset, split: EvaluationSplit, count: int, times: int, seed: int
) -> list[EvaluationPrompt]:
    """The distinct prompts of ``concept_prompts``, each with ``times`` seeds, beginning with the seeds used there.

    Raises ``DatasetError`` if there are none.
    """
    pairs = [record.pair for record in _records(dataset, split)][:count]
    return _repeated(pairs, times * len(pairs), seed)


def retained_prompts(
    concepts: Sequence[RetainedConcept],
    split: EvaluationSplit,
    count: int,
    seed: int,
    rehearsed: Collection[str] = (),
) -> list[EvaluationPrompt]:
    """``count`` prompts of each of ``concepts``, different in each split. ``rehearsed``: the rehearsed concepts."""
    return [
        EvaluationPrompt(
            id=identity,
            prompt=prompt,
            seed=seeds.derive(seed, f"{concept.name}/{index}", PURPOSES[split]),
            retained=concept,
            group=concept.group(rehearsed),
            term=concept.name,
        )
        for concept in concepts
        for index, (identity, prompt) in enumerate(concept.prompts(count, seed, split))
    ]


def _records(dataset: Dataset, split: EvaluationSplit) -> Sequence[AcceptedRecord]:
    records = dataset.evaluation(split)
    if not records:
        name = dataset.concept.name
        definition = name if name in shipped.names() else f"{name}.yaml"
        # Not with the dataset's own name: if it is a file, that would import the file again, without the new prompts.
        advice = (
            f"run `ecgvf generate --concept {definition} --split {split}` and `ecgvf filter`, then measure with "
            f"--dataset ecgvf/{name}"
        )
        if split == "validation" and dataset.test:
            advice += ", or measure the test split with --split test, which is recorded"
        raise DatasetError(f"the dataset of {name!r} has no accepted {split} prompt: {advice}")
    return records


def _repeated(pairs: Sequence[PromptPair], count: int, seed: int) -> list[EvaluationPrompt]:
    prompts = []
    for index in range(count):
        repetition, position = divmod(index, len(pairs))
        pair = pairs[position]
        prompts.append(
            EvaluationPrompt(
                id=pair.record_id,
                prompt=pair.target,
                seed=seeds.derive(seed, f"{pair.record_id}/{repetition}", PURPOSE),
                wording=pair.wording,
                term=pair.target_term,
                surrogate=pair.surrogate_term,
                surrogate_prompt=pair.surrogate,
                target_prompt=pair.target,
            )
        )
    return prompts
