"""The decode loop: a batch of different prompts to image tokens, one token of every row at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.janus import layers
from ecgvf.janus.hidden import logits
from ecgvf.janus.loading import JanusModel
from ecgvf.janus.pixels import decode
from ecgvf.janus.prompting import generation_ids, unconditional
from ecgvf.janus.sampling import Sampling, guide, noise, pick


@dataclass(frozen=True, slots=True)
class Drawing:
    """Rendered images, in the order of their prompts."""

    vq_ids: NDArray[np.int64]
    """[N, T], raster order."""
    pixels: NDArray[np.uint8]
    """RGB [N, H, W, 3]."""


def draw(
    model: JanusModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling = Sampling(),
    *,
    batch_size: int = 16,
    drawn: Callable[[int], object] = lambda pictures: None,
) -> Drawing:
    """One picture per prompt, in batches of ``batch_size`` in the given order.

    Picture i depends on the model, ``prompts[i]``, ``seeds[i]`` and ``sampling``; on the other rows of its batch only
    through floating point. ``drawn`` is called after each batch with the number of its pictures.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
    side = int(model.model.config.vision_config.image_size)
    vq_ids = np.empty((len(prompts), model.image_tokens), dtype=np.int64)
    pixels = np.empty((len(prompts), side, side, 3), dtype=np.uint8)
    for start in range(0, len(prompts), batch_size):
        batch = slice(start, start + batch_size)
        uniform = noise(seeds[batch], model.image_tokens)
        tokens = draw_tokens(model, prompts[batch], uniform, sampling)
        vq_ids[batch] = tokens.cpu().numpy()
        pixels[batch] = decode(model, tokens)
        drawn(len(tokens))
    return Drawing(vq_ids, pixels)


@torch.no_grad()
def draw_tokens(model: JanusModel, prompts: Sequence[str], uniform: Tensor, sampling: Sampling) -> Tensor:
    """Image tokens int64 [B, T] of ``prompts``, token t of row b picked with ``uniform[b, t]`` in [0, 1).

    With guidance a batch has 2B rows: the conditional ones, then the unconditional ones, which share their tokens.
    """
    input_ids, mask = generation_ids(model, prompts)
    if sampling.guided:
        input_ids = torch.cat([input_ids, unconditional(model, input_ids)])
        mask = mask.repeat(2, 1)
    rows, prefix = input_ids.shape
    tokens, language_model = model.image_tokens, model.language_model
    uniform = uniform.to(model.device)
    states = language_model.embed_tokens(input_ids)
    cache = layers.KVCache(language_model.config, rows, prefix + tokens, like=states)
    cosine, sine = language_model.rotary_emb(states, layers.positions(mask, tokens))
    padding = layers.padding_mask(mask, tokens, states.dtype)
    attention = layers.causal_mask(None if padding is None else padding[..., :prefix])
    vq_ids = torch.empty(len(prompts), tokens, dtype=torch.int64, device=model.device)
    for position in range(tokens):
        span = slice(cache.filled, cache.filled + states.shape[1])
        states = layers.run(language_model, states, (cosine[:, span], sine[:, span]), attention, cache)
        scores = logits(model, states[:, -1]).float()
        if sampling.guided:
            scores = guide(scores, sampling.guidance)
        chosen = pick(scores, uniform[:, position], sampling)
        vq_ids[:, position] = chosen
        following = chosen.repeat(2) if sampling.guided else chosen
        states = model.model.prepare_embeddings_for_image_generation(following[:, None]).to(states.dtype)
        attention = None if padding is None else padding[..., : cache.filled + 1]
    return vq_ids
