"""What a model makes of given image tokens: how likely they are, and whether it would have sampled them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.janus import JanusModel, Sampling, hidden_states, logits, uniform_noise
from ecgvf.janus.hidden import guided_logits
from ecgvf.janus.sampling import sample_tokens

BATCH = 16
"""Images in one pass."""


@torch.inference_mode()
def negative_log_likelihood(
    model: JanusModel, prompts: Sequence[str], vq_ids: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Mean nats per image token, float32 [N], of the tokens ``vq_ids`` [N, T] given their prompts, without guidance."""

    def of_batch(batch: slice) -> torch.Tensor:
        tokens = _tokens(model, vq_ids[batch])
        distribution = logits(model, hidden_states(model, prompts[batch], tokens)).float().log_softmax(dim=-1)
        return -distribution.gather(-1, tokens[..., None]).squeeze(-1).mean(dim=-1)

    return _in_batches(len(prompts), of_batch)


@torch.inference_mode()
def token_agreement(
    model: JanusModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    vq_ids: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Share of the tokens ``vq_ids`` [N, T] that ``model`` samples as well, float32 [N] in [0, 1].

    Each token is sampled after the given tokens before it, with the uniform number of its seed and position. For the
    model, seeds and sampling that rendered ``vq_ids``, the share is 1 up to floating point.
    """

    def of_batch(batch: slice) -> torch.Tensor:
        tokens = _tokens(model, vq_ids[batch])
        count, length = tokens.shape
        uniform = uniform_noise(seeds[batch], length).to(model.device)
        states = hidden_states(model, prompts[batch], tokens).flatten(0, 1)
        if sampling.guided:
            unconditional = hidden_states(model, prompts[batch], tokens, unconditional=True).flatten(0, 1)
            scores = guided_logits(model, torch.cat([states, unconditional]), sampling.guidance)
        else:
            scores = logits(model, states).float()
        sampled = sample_tokens(scores, uniform.flatten(), sampling).view(count, length)
        return (sampled == tokens).float().mean(dim=-1)

    return _in_batches(len(prompts), of_batch)


def _tokens(model: JanusModel, vq_ids: NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(vq_ids.astype(np.int64)).to(model.device)


def _in_batches(count: int, of_batch: Callable[[slice], torch.Tensor]) -> NDArray[np.float32]:
    values = [of_batch(slice(start, start + BATCH)).cpu() for start in range(0, count, BATCH)]
    joined: NDArray[np.float32] = torch.cat([torch.zeros(0), *values]).numpy()
    return joined
