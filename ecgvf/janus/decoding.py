"""The decoding loop: a batch of prompts to image tokens, one token of every row per step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.janus import layers
from ecgvf.janus.hidden import logits
from ecgvf.janus.kv_cache import KVCache
from ecgvf.janus.model import JanusModel
from ecgvf.janus.pixels import decode_images
from ecgvf.janus.prompting import generation_ids, unconditional_ids
from ecgvf.janus.sampling import Sampling, apply_guidance, sample_tokens, uniform_noise


@dataclass(frozen=True, slots=True)
class RenderedImages:
    """Images with their tokens, in the order of their prompts."""

    vq_ids: NDArray[np.int64]
    """Image tokens [N, T], in raster order."""
    pixels: NDArray[np.uint8]
    """RGB [N, H, W, 3]."""


def render_images(
    model: JanusModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling = Sampling(),
    *,
    batch_size: int = 16,
    advance: Callable[[int], object] = lambda images: None,
) -> RenderedImages:
    """Render one image per prompt, in batches of ``batch_size`` in the given order.

    Image i depends on the model, ``prompts[i]``, ``seeds[i]`` and ``sampling``; on the other rows of its batch only
    through floating point. ``advance`` is called after each batch with the number of its images. Raises ``ModelError``
    for a prompt that contains a special token.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
    size = model.image_size
    vq_ids = np.empty((len(prompts), model.image_tokens), dtype=np.int64)
    pixels = np.empty((len(prompts), size, size, 3), dtype=np.uint8)
    for start in range(0, len(prompts), batch_size):
        batch = slice(start, start + batch_size)
        uniform = uniform_noise(seeds[batch], model.image_tokens)
        tokens = generate_image_tokens(model, prompts[batch], uniform, sampling)
        vq_ids[batch] = tokens.cpu().numpy()
        pixels[batch] = decode_images(model, tokens)
        advance(len(tokens))
    return RenderedImages(vq_ids, pixels)


@torch.no_grad()
def generate_image_tokens(model: JanusModel, prompts: Sequence[str], uniform: Tensor, sampling: Sampling) -> Tensor:
    """Image tokens of B prompts, int64 [B, T] on the model's device.

    ``uniform`` float64 [B, T] in [0, 1): token t of row b is sampled with ``uniform[b, t]``. With guidance, a step runs
    2B rows: the conditional ones, then the unconditional ones, which get the same tokens.
    """
    input_ids, attention_mask = generation_ids(model, prompts)
    if sampling.guided:
        input_ids = torch.cat([input_ids, unconditional_ids(model, input_ids)])
        attention_mask = attention_mask.repeat(2, 1)
    rows, prompt_length = input_ids.shape
    language_model, new_tokens = model.language_model, model.image_tokens
    uniform = uniform.to(model.device)
    embeddings = language_model.embed_tokens(input_ids)
    cache = KVCache(language_model.config, rows, prompt_length + new_tokens, like=embeddings)
    cosine, sine = language_model.rotary_emb(embeddings, layers.position_ids(attention_mask, new_tokens))
    padding = layers.padding_mask(attention_mask, new_tokens, embeddings.dtype)
    mask = layers.causal_mask(None if padding is None else padding[..., :prompt_length])
    vq_ids = torch.empty(len(prompts), new_tokens, dtype=torch.int64, device=model.device)
    for step in range(new_tokens):
        span = slice(cache.length, cache.length + embeddings.shape[1])
        states = layers.forward(language_model, embeddings, (cosine[:, span], sine[:, span]), mask, cache)
        step_logits = logits(model, states[:, -1]).float()
        if sampling.guided:
            step_logits = apply_guidance(step_logits, sampling.guidance)
        tokens = sample_tokens(step_logits, uniform[:, step], sampling)
        vq_ids[:, step] = tokens
        inputs = tokens.repeat(2) if sampling.guided else tokens
        embeddings = model.model.prepare_embeddings_for_image_generation(inputs[:, None]).to(embeddings.dtype)
        mask = None if padding is None else padding[..., : cache.length + 1]
    return vq_ids
