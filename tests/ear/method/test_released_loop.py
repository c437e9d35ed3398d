"""`published` ends in the weights of the released loop, written here once more, straight through."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ear.method.pairs import TrainingPair
from ear.method.recipe import ResolvedRecipe
from ear.method.recipes import PUBLISHED
from ear.method.rounds import count_windows
from ear.method.train import training_loop
from ecgvf.janus import JanusModel, Sampling, load, num_threads

LEARNING_RATE, ETA, LAYERS = PUBLISHED.learning_rate, 1.0, 2
NO_IDS = torch.zeros(16, dtype=torch.int64)
PAIRS = [
    TrainingPair("longer", "a church", "a small hotel by the lake at night", NO_IDS, NO_IDS),
    TrainingPair("shorter", "a white church on a hill under a blue sky", "a hotel", NO_IDS, NO_IDS),
    TrainingPair("equal", "a chapel at noon", "a hotel at noon", NO_IDS, NO_IDS),
]


def released_loop(model: JanusModel, window: int, threshold: float) -> tuple[list[Tensor], list[bool], list[float]]:
    """The final weights, and of each window whether it stepped and its loss. Nothing of `ear` takes part."""
    tokenizer, janus = model.processor.tokenizer, model.model.model
    language_model = janus.language_model
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj")
    places = [(language_model.layers[layer].self_attn, kind) for layer in range(LAYERS) for kind in kinds]
    frozen = [getattr(parent, kind) for parent, kind in places]
    tuned = [copy.deepcopy(module).requires_grad_(True) for module in frozen]

    def swap(modules: list[nn.Module]) -> None:
        for (parent, kind), module in zip(places, modules, strict=True):
            setattr(parent, kind, module)

    def states(embeddings: Tensor) -> Tensor:
        found: Tensor = language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return found

    def rows(ids: list[int]) -> Tensor:
        blank = list(ids)
        blank[1:-1] = [tokenizer.pad_token_id] * (len(ids) - 2)
        embeddings: Tensor = language_model.get_input_embeddings()(torch.tensor([ids, blank]))
        return embeddings

    def sample(hidden: Tensor) -> Tensor:
        conditional, unconditional = janus.generation_head(hidden[:, -1])
        scores = unconditional + 5 * (conditional - unconditional)
        token = torch.multinomial(torch.softmax(scores / 1.0, dim=-1), num_samples=1)
        embedded = janus.generation_aligner(janus.generation_embeddings(token))
        return torch.stack([embedded, embedded])

    torch.manual_seed(42)
    adam = torch.optim.Adam([module.weight for module in tuned], lr=LEARNING_RATE)
    stepped, losses = [], []
    for pair in PAIRS:
        ids = tokenizer.encode(pair.target)
        other = (tokenizer.encode(pair.surrogate) + [tokenizer.pad_token_id] * len(ids))[: len(ids)]
        positive, neutral, target = rows(ids), rows(other), rows(other)
        total: Tensor | float = 0.0
        for patch in range(model.image_tokens):
            with torch.no_grad():
                of_positive, of_neutral, of_target = states(positive), states(neutral), states(target)
            swap(tuned)
            mine = states(positive)
            swap(frozen)
            goal = of_target - ETA * (of_positive - of_neutral)
            total = total + torch.nn.functional.mse_loss(mine, goal)
            if (patch + 1) % window == 0:
                assert isinstance(total, Tensor)
                losses.append(total.item())
                stepped.append(total.item() > threshold)
                if stepped[-1]:
                    adam.zero_grad()
                    torch.autograd.backward(total)
                    adam.step()
                total = 0.0
            with torch.no_grad():
                positive, neutral, target = sample(of_positive), sample(of_neutral), sample(of_target)
    return [module.weight.detach() for module in tuned], stepped, losses


def resolved(threshold: float) -> ResolvedRecipe:
    recipe = replace(PUBLISHED, threshold=threshold)
    return ResolvedRecipe(recipe=recipe, window=5, layers=LAYERS, tokens=16, depth=3, guidance=recipe.guidance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_weights_and_skips_are_those_of_the_released_loop(tiny_path: Path, dtype: str) -> None:
    tiny = load(str(tiny_path), device="cpu", dtype=dtype)
    lengths = [[len(tiny.processor.tokenizer.encode(text)) for text in (each.target, each.surrogate)] for each in PAIRS]
    assert lengths[0][0] < lengths[0][1] and lengths[1][0] > lengths[1][1]
    with num_threads(1):
        _, _, losses = released_loop(tiny, 5, 0.0)
        threshold = sorted(losses)[3]
        weights, stepped, losses = released_loop(tiny, 5, threshold)
        adapter, log = training_loop(tiny, PAIRS, resolved(threshold), 7, sampling=Sampling(guidance=5.0))
    assert (
        len(stepped) == 9 == count_windows(len(PAIRS), resolved(threshold))
    )  # 5 does not divide 16: the tail is dropped
    assert {True, False} == set(stepped)
    assert log.stepped == stepped
    # To the last bit: Adam makes steps of the size of the learning rate of what is left of gradients that cancel out.
    assert log.loss == losses
    assert len(adapter.weights) == len(weights) == 8
    assert all(torch.equal(mine.detach(), theirs) for mine, theirs in zip(adapter.weights, weights, strict=True))


def test_it_leaves_torchs_own_generator_alone(tiny: JanusModel) -> None:
    before = torch.get_rng_state()
    training_loop(tiny, PAIRS[:1], resolved(0.0), 0)
    assert torch.equal(torch.get_rng_state(), before)
