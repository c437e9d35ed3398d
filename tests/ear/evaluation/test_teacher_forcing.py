"""A model asked about given image tokens: how likely they are, and whether it would have sampled them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ear.evaluation import teacher_forcing
from ear.evaluation.teacher_forcing import negative_log_likelihood, token_agreement
from ecgvf.janus import JanusModel, Sampling, decoding, hidden_states, logits, render_images
from ecgvf.janus.sampling import sample_tokens
from tests.ear.random_adapter import random_adapter

PROMPTS = ["a church", "a hotel by a very blue lake", "a cat"]
SEEDS = [1, 2**62, 3]

PLAIN = Sampling(guidance=1.0)
SAMPLINGS = pytest.mark.parametrize(
    "sampling", [PLAIN, Sampling(guidance=2.0, temperature=0.7), Sampling(guidance=1.25, temperature=0.0)]
)


def rendered(model: JanusModel, sampling: Sampling) -> NDArray[np.int64]:
    """Image tokens [3, T]."""
    return np.asarray(render_images(model, PROMPTS, SEEDS, sampling).vq_ids, dtype=np.int64)


@SAMPLINGS
def test_a_model_would_sample_its_own_tokens_again(tiny: JanusModel, sampling: Sampling) -> None:
    agreement = token_agreement(tiny, PROMPTS, SEEDS, sampling, rendered(tiny, sampling))
    assert (agreement.shape, agreement.dtype) == ((3,), np.float32)
    assert (agreement >= 0.99).all()


@SAMPLINGS
def test_a_changed_model_agrees_less(tiny: JanusModel, sampling: Sampling) -> None:
    vq_ids = rendered(tiny, sampling)
    with random_adapter(tiny, layers=3, scale=0.2).active(tiny):
        agreement = token_agreement(tiny, PROMPTS, SEEDS, sampling, vq_ids)
    assert agreement.mean() < 0.9
    assert (token_agreement(tiny, PROMPTS, SEEDS, sampling, vq_ids) >= 0.99).all()


def test_agreement_is_of_the_same_prompts_uniform_numbers_and_sampling(tiny: JanusModel) -> None:
    sampling = Sampling(guidance=2.0)
    vq_ids = rendered(tiny, sampling)
    changed = {
        "other seeds": token_agreement(tiny, PROMPTS, [7, 8, 9], sampling, vq_ids),
        "other prompts": token_agreement(tiny, PROMPTS[1:] + PROMPTS[:1], SEEDS, sampling, vq_ids),
        "other guidance": token_agreement(tiny, PROMPTS, SEEDS, replace(sampling, guidance=9.0), vq_ids),
        "other temperature": token_agreement(tiny, PROMPTS, SEEDS, replace(sampling, temperature=0.2), vq_ids),
    }
    assert all(agreement.mean() < 0.99 for agreement in changed.values()), changed


def test_the_negative_log_likelihood_is_that_computed_by_hand(tiny: JanusModel) -> None:
    vq_ids = rendered(tiny, PLAIN)
    nll = negative_log_likelihood(tiny, PROMPTS, vq_ids)
    assert (nll.shape, nll.dtype) == ((3,), np.float32)
    for prompt, tokens, value in zip(PROMPTS, vq_ids, nll, strict=True):
        with torch.no_grad():
            scores = logits(tiny, hidden_states(tiny, [prompt], torch.from_numpy(tokens)[None]))[0].double().numpy()
        likely = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        by_hand = -np.log(likely[np.arange(len(tokens)), tokens]).mean()
        assert value == pytest.approx(by_hand, abs=1e-4)


def test_the_negative_log_likelihood_of_an_image_is_that_of_its_sampling(
    tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[torch.Tensor] = []

    def spy(step_logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        tokens = sample_tokens(step_logits, uniform, sampling)
        sampled.append(step_logits.log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0])
        return tokens

    monkeypatch.setattr(decoding, "sample_tokens", spy)
    nll = negative_log_likelihood(tiny, PROMPTS, rendered(tiny, PLAIN))
    np.testing.assert_allclose(nll, -torch.stack(sampled, dim=1).mean(dim=1).numpy(), atol=1e-4)


def test_other_tokens_and_other_prompts_are_less_likely_for_a_confident_model(tiny: JanusModel) -> None:
    greedy = Sampling(guidance=1.0, temperature=0.0)
    vq_ids = rendered(tiny, greedy)
    own = negative_log_likelihood(tiny, PROMPTS, vq_ids)
    assert (own < negative_log_likelihood(tiny, PROMPTS, rendered(tiny, PLAIN))).all()
    assert own.mean() < negative_log_likelihood(tiny, PROMPTS[1:] + PROMPTS[:1], vq_ids).mean()


def test_results_do_not_depend_on_the_batch(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(guidance=2.0)
    vq_ids = rendered(tiny, sampling)
    together = negative_log_likelihood(tiny, PROMPTS, vq_ids), token_agreement(tiny, PROMPTS, SEEDS, sampling, vq_ids)
    monkeypatch.setattr(teacher_forcing, "BATCH", 2)
    np.testing.assert_allclose(negative_log_likelihood(tiny, PROMPTS, vq_ids), together[0], atol=1e-4)
    np.testing.assert_allclose(token_agreement(tiny, PROMPTS, SEEDS, sampling, vq_ids), together[1], atol=0.01)


def test_no_images_have_no_values(tiny: JanusModel) -> None:
    none = np.zeros((0, 16), dtype=np.int64)
    assert negative_log_likelihood(tiny, [], none).shape == token_agreement(tiny, [], [], PLAIN, none).shape == (0,)
