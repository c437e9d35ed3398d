"""Retention: keep the tuned model close to the frozen model, along the frozen model's own images of other prompts.

The paper has no such term; without it, what resembles the concept is lost with it. The frozen model renders a
rehearsal set once, and the store keeps it, so that every recipe and seed rehearses the same images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ear.method.objective import kl_divergence
from ear.method.pairs import image_tokens
from ear.method.recipe import Recipe
from ear.method.stored_tokens import TokenTask, render_tokens
from ear.method.vocabulary import vocabulary, word_prompts, words_of
from ear.retained_concepts import in_nano_world, rehearsal_prompts, retained_concepts
from ecgvf.core import seeds
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import Stage
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, PromptNoise, decode_images, hidden_states, logits
from ecgvf.judges import Judge, JudgeOptions, create_judge
from ecgvf.judges.predictions import predict_all

STAGE = Stage("rehearsal", "ear train")
FORWARD_BATCH = 16
"""Images in a forward pass that computes hidden states."""
JUDGED_BATCH = 32
"""Images in a batch of the judge."""
WORD = "word"
"""In place of a concept, for prompts with words of the vocabulary."""


@dataclass(frozen=True, slots=True)
class RehearsalSet:
    """Prompts of retained concepts, with the frozen model's images of them."""

    prompts: tuple[str, ...]
    vq_ids: Tensor
    """int64 [N, T]."""
    frozen_states: Tensor
    """[N, T, C] in the model's dtype, on the CPU: the frozen model's last hidden states along these images."""
    noise: float = 0.0
    """Scale of the noise on the prompts' embeddings: each image has its own noise, the same for both models."""

    def loss(self, model: JanusModel, indices: Sequence[int], *, checkpointing: bool = False) -> Tensor:
        """KL(frozen || ``model``) of the next token along the images at ``indices``: a scalar in nats, mean over
        positions."""
        rows, prompts = torch.tensor(indices), [self.prompts[index] for index in indices]
        noise = _noise(self.noise, indices)
        states = hidden_states(model, prompts, self.vq_ids[rows], checkpointing=checkpointing, noise=noise)
        with torch.no_grad():
            frozen = logits(model, self.frozen_states[rows].to(states.device)).float()
        return kl_divergence(frozen, logits(model, states).float()).mean()

    def batch(self, seed: int, step: int, size: int) -> list[int]:
        """Indices of the ``size`` different images to rehearse in ``step``, decided by ``seed`` and ``step`` alone."""
        generator = torch.Generator().manual_seed(seeds.derive(seed, str(step), "rehearse"))
        indices: list[int] = torch.randperm(len(self.prompts), generator=generator)[:size].tolist()
        return indices


def rehearsal_set(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    recipe: Recipe,
    judge: Judge | None = None,
) -> RehearsalSet:
    """The images that ``recipe`` rehearses.

    - At most ``rehearsed`` images of retained concepts, as ``rehearsed_concepts`` selects them (``rehearsal_prompts``):
      the accepted images of the dataset's retain split, or, without this split, images that the frozen ``model``
      renders.
    - With a ``judge`` (``words_judge``), at most ``rehearsed_words`` of target prompts with other words
      (``word_prompts``), rendered likewise. Words that name a retained concept which is not rehearsed, such as a
      neighbour, are left out, and so are prompts that name the concept, and images in which ``judge`` sees it.

    Images that the store has are not rendered again. Raises ``DatasetError`` if there is nothing to rehearse, and
    ``JudgeError`` if the judge fails on an image.
    """
    selected = rehearsal_prompts(dataset, recipe.rehearsed, recipe.rehearsed_concepts)
    chosen = [(concept.name, prompt) for concept, prompt in selected]
    if dataset.retain is not None and _has_images(dataset):
        prompts, vq_ids = _accepted(store, model, dataset, dataset.retain, chosen)
    else:
        prompts, vq_ids = _rendered(store, model, dataset, chosen)
    if judge is not None:
        rehearsed = {topic for topic, _ in chosen}
        others = [each for each in retained_concepts(dataset) if each.name not in rehearsed]
        held_out = set[str]().union(*map(words_of, others))
        added, added_ids = _of_words(store, model, dataset, recipe.rehearsed_words, held_out, judge)
        prompts, vq_ids = [*prompts, *added], torch.cat([vq_ids, added_ids])
    if not prompts:
        raise DatasetError(f"nothing to rehearse for {dataset.concept.name!r}: train with --option retention=0")
    noise = recipe.rehearsal_noise
    return RehearsalSet(tuple(prompts), vq_ids, _frozen_states(model, prompts, vq_ids, noise), noise)


def words_judge(dataset: Dataset, recipe: Recipe, device: str, weights: str | None = None) -> Judge | None:
    """The judge that filtered ``dataset``, for the images of words that ``recipe`` rehearses; None if there are none.

    ``weights``: those that it filtered with, if not its own, as a dataset does not name them. Raises ``JudgeError``.
    """
    if not (recipe.retention and recipe.rehearsed_words):
        return None
    options = replace(JudgeOptions.from_recorded(dict(dataset.judge_options)), weights=weights)
    return create_judge(dataset.concept, dataset.model, dataset.judge, options, device)


def count_rendered(dataset: Dataset, recipe: Recipe) -> int:
    """The most images of the rehearsal set that have to be rendered: the store may have some of them."""
    if not recipe.retention:
        return 0
    return recipe.rehearsed_words + (0 if _has_images(dataset) else recipe.rehearsed)


def _has_images(dataset: Dataset) -> bool:
    """Whether the images of retained concepts are the dataset's; nano's world writes its own prompts."""
    return dataset.retain is not None and not in_nano_world(dataset)


@torch.no_grad()
def _frozen_states(model: JanusModel, prompts: Sequence[str], vq_ids: Tensor, noise: float) -> Tensor:
    """The last hidden states of ``model`` along each image, [N, T, C], on the CPU."""
    states = []
    for start in range(0, len(prompts), FORWARD_BATCH):
        batch = slice(start, start + FORWARD_BATCH)
        drawn = _noise(noise, range(len(prompts))[batch])
        states.append(hidden_states(model, prompts[batch], vq_ids[batch], noise=drawn).cpu())
    return torch.cat(states)


def _noise(scale: float, indices: Sequence[int]) -> PromptNoise | None:
    """The noise for the prompts of the images at ``indices``; None if ``scale`` is 0."""
    if not scale:
        return None
    return PromptNoise(scale, [seeds.derive(0, str(index), "rehearsal noise") for index in indices])


def _accepted(
    store: Store,
    model: JanusModel,
    dataset: Dataset,
    records: Sequence[AcceptedRecord],
    chosen: Sequence[tuple[str, str]],
) -> tuple[list[str], Tensor]:
    """The distinct ``chosen`` (concept, prompt), and the image tokens of their records, int64 [N, T]."""
    by_prompt = {(record.pair.retained_concept, record.pair.target): record for record in records}
    found = [by_prompt[each] for each in dict.fromkeys(chosen)]
    tokens = image_tokens(store, dataset, model, found)
    none = torch.empty(0, model.image_tokens, dtype=torch.int64)
    return [record.pair.target for record in found], torch.stack(tokens) if tokens else none


def _rendered(
    store: Store, model: JanusModel, dataset: Dataset, prompts: Sequence[tuple[str, str]]
) -> tuple[list[str], Tensor]:
    """Render (topic, prompt) into the store's rehearsal set; returns the prompts and image tokens, int64 [N, T]."""
    if not prompts:
        return [], torch.empty(0, model.image_tokens, dtype=torch.int64)
    settings = {
        "model": model.fingerprint,
        "dtype": model.dtype_name,
        "sampling": asdict(dataset.sampling),
        "seed": dataset.run_seed,
        "prompts": [list(prompt) for prompt in prompts],
    }
    stage_set = ConceptRun(store, dataset.concept).stage_set(STAGE, settings)
    tasks = [
        TokenTask(prompt, seeds.derive(dataset.run_seed, f"{concept}/{index}", "rehearse"))
        for index, (concept, prompt) in enumerate(prompts)
    ]
    vq_ids = render_tokens(stage_set, model, dataset.sampling, tasks, "rendering the rehearsal set")
    return [prompt for _, prompt in prompts], vq_ids


def _of_words(
    store: Store, model: JanusModel, dataset: Dataset, count: int, held_out: set[str], judge: Judge
) -> tuple[list[str], Tensor]:
    """At most ``count`` prompts with words of the vocabulary other than ``held_out``, which do not name the concept and
    in whose images ``judge`` does not see it, and their image tokens, int64 [N, T]."""
    pairs = [record.pair for record in dataset.train]
    words = [word for word in vocabulary(model) if not {word.casefold(), word.casefold().removesuffix("s")} & held_out]
    texts = word_prompts(words, pairs, count, dataset.run_seed)
    if not texts:
        return [], torch.empty(0, model.image_tokens, dtype=torch.int64)
    prompts, vq_ids = _rendered(store, model, dataset, [(WORD, text) for text in texts])
    present: list[bool] = []
    for start in range(0, len(prompts), JUDGED_BATCH):
        batch = slice(start, start + JUDGED_BATCH)
        images, _ = decode_images(model, vq_ids[batch].to(model.device))
        present += [seen.present for seen in predict_all(judge, images, prompts[batch], judge.predict)]
    concept = dataset.concept
    # After rendering, so that the seeds of the other images stay what they were.
    named = [bool(concept.term_in(prompt) or concept.unseen_in(prompt)) for prompt in prompts]
    kept = [index for index in range(len(prompts)) if not (present[index] or named[index])]
    return [prompts[index] for index in kept], vq_ids[kept]
