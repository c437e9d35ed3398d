"""Equations 6 to 8 against a reference written by hand: one position at a time, no batches, no shared code."""

import pytest
import torch
from torch import Tensor

from ear.method.adapter import new_adapter
from ear.method.objective import kl_divergence, position_losses, windows
from ear.method.recipe import Loss
from ecgvf.janus import JanusModel, generation_ids, hidden_states
from tests.ear.method.small_training import guided

TARGET, SURROGATE = "a church by a lake", "a hotel by a lake, seen from far away"


@pytest.fixture
def trajectory() -> Tensor:
    return torch.randint(0, 32, (16,), generator=torch.Generator().manual_seed(1))


def state_before(model: JanusModel, prompt: str, tokens: Tensor) -> Tensor:
    """The state from which the token after ``tokens`` is predicted, through transformers' own forward."""
    janus = model.model
    ids, _ = generation_ids(model, [prompt])
    text = janus.get_input_embeddings()(ids)
    image = janus.prepare_embeddings_for_image_generation(tokens[None])
    states: Tensor = janus.model.language_model(inputs_embeds=torch.cat([text, image], dim=1)).last_hidden_state
    return states[0, -1]


def reference(model: JanusModel, tuned: Tensor, position: int, tokens: Tensor, loss: Loss, eta: float) -> float:
    towards = state_before(model, SURROGATE, tokens[:position])
    away = state_before(model, TARGET, tokens[:position])
    if loss == "mse":
        guided = towards - eta * (away - towards)
        return float(sum((float(a) - float(b)) ** 2 for a, b in zip(tuned, guided, strict=True)) / len(tuned))
    head = model.model.model.generation_head
    guided = (head(towards) - eta * (head(away) - head(towards))).softmax(-1)
    predicted = head(tuned).softmax(-1)
    return float(sum(float(p) * (p.log() - q.log()).item() for p, q in zip(guided, predicted, strict=True)))


@pytest.mark.parametrize("loss", ["mse", "kl"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_position_losses_are_equation_6(tiny: JanusModel, trajectory: Tensor, loss: Loss, eta: float) -> None:
    adapter = new_adapter(tiny, range(2), "attention")
    with torch.no_grad():
        for weight in adapter.weights:
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    towards = guided(tiny, [TARGET], [SURROGATE], trajectory[None], loss=loss, guidance=eta)[0]
    with adapter.active(tiny), torch.no_grad():
        states = hidden_states(tiny, [TARGET], trajectory[None])[0]
        tuned = [state_before(tiny, TARGET, trajectory[:position]) for position in range(16)]
    ours = position_losses(tiny, states, towards, loss)
    for position in range(16):
        slow = reference(tiny, tuned[position], position, trajectory, loss, eta)
        assert ours[position].item() == pytest.approx(slow, rel=1e-3, abs=1e-4)


def test_with_equal_prompts_the_frozen_model_has_no_loss(tiny: JanusModel, trajectory: Tensor) -> None:
    towards = guided(tiny, [TARGET], [TARGET], trajectory[None], loss="mse", guidance=1.0)[0]
    states = hidden_states(tiny, [TARGET], trajectory[None])[0]
    assert position_losses(tiny, states, towards, "mse").max() < 1e-6


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_pairs_of_a_batch_do_not_mix(tiny: JanusModel, trajectory: Tensor, eta: float) -> None:
    targets, surrogates = [TARGET, "a red church"], [SURROGATE, "a red tent in the snow"]
    images = torch.stack([trajectory, trajectory.flip(0)])
    together = guided(tiny, targets, surrogates, images, loss="kl", guidance=eta)
    for row in range(2):
        only = slice(row, row + 1)
        alone = guided(tiny, targets[only], surrogates[only], images[only], loss="kl", guidance=eta)
        torch.testing.assert_close(together[only], alone, rtol=1e-4, atol=1e-4)


def test_the_divergence_is_positive_and_zero_for_equals() -> None:
    p, q = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3))
    assert (kl_divergence(p, q) > 0).all()
    assert kl_divergence(p, p).abs().max() < 1e-6


def test_windows_cover_every_position_once_in_order() -> None:
    assert [*windows(16, 5, "step")] == [range(0, 5), range(5, 10), range(10, 15), range(15, 16)]
    assert [*windows(16, 5, "drop")] == [range(0, 5), range(5, 10), range(10, 15)]
    assert [*windows(16, 16, "drop")] == [range(16)]
