"""The decoding loop: a batch of prompts to image tokens, one token of every image per step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgvf.janus.decoder import Decoder
from ecgvf.janus.hidden import guided_logits, logits
from ecgvf.janus.kv_cache import allocate_kv_cache
from ecgvf.janus.model import JanusModel
from ecgvf.janus.pixels import decode_images
from ecgvf.janus.prompting import generation_ids, unconditional_ids
from ecgvf.janus.sampling import Sampling, sample_tokens, uniform_noise


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """The tokens of B images, on the model's device."""

    vq_ids: Tensor
    """int64 [B, T], in raster order."""
    finite: Tensor
    """bool [B]: False if a logit was NaN or infinite, in which case the tokens mean nothing."""


@dataclass(frozen=True, slots=True)
class RenderedImages:
    """Images with their tokens, in the order of their prompts."""

    vq_ids: NDArray[np.int64]
    """Image tokens [N, T], in raster order."""
    pixels: NDArray[np.uint8]
    """RGB [N, H, W, 3]."""
    finite: NDArray[np.bool_]
    """[N]: False if a logit or a pixel was NaN or infinite, in which case the image means nothing."""


def render_images(
    model: JanusModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling = Sampling(),
    *,
    prefix: Tensor | None = None,
    batch_size: int | None = None,
) -> RenderedImages:
    """Render one image per prompt, in batches of ``batch_size`` (None: the model's own) in the given order.

    ``prefix`` int64 [N, n], n up to T, are given image tokens, with -1 for a token to sample. Image i depends on the
    model, ``prompts[i]``, ``seeds[i]``, ``sampling`` and ``prefix[i]``; on the other rows of its batch only through
    floating point. Raises ``ModelError`` for a prompt that ``generation_ids`` refuses, ``torch.OutOfMemoryError`` if a
    batch does not fit.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
    size, count = model.image_size, len(prompts)
    vq_ids = np.empty((count, model.image_tokens), dtype=np.int64)
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    finite = np.empty(count, dtype=np.bool_)
    step = batch_size or model.default_batch_size()
    for start in range(0, count, step):
        batch = slice(start, start + step)
        uniform = uniform_noise(seeds[batch], model.image_tokens)
        batch_prefix = None if prefix is None else prefix[batch]
        images = generate_image_tokens(model, prompts[batch], uniform, sampling, batch_prefix)
        vq_ids[batch] = images.vq_ids.cpu().numpy()
        pixels[batch], finite[batch] = decode_images(model, images.vq_ids)
        finite[batch] &= images.finite.cpu().numpy()
    return RenderedImages(vq_ids, pixels, finite)


@torch.inference_mode()
def generate_image_tokens(
    model: JanusModel,
    prompts: Sequence[str],
    uniform: Tensor,
    sampling: Sampling,
    prefix: Tensor | None = None,
) -> ImageTokens:
    """Image tokens of B prompts.

    ``uniform`` float64 [B, T] in [0, 1): token t of image b is sampled with ``uniform[b, t]``. ``prefix`` as in
    ``render_images``. With guidance, a step runs 2B rows: the conditional ones, then the unconditional ones, which get
    the same tokens.
    """
    count, new_tokens, device = len(prompts), model.image_tokens, model.device
    input_ids, attention_mask = _input_ids(model, prompts, sampling.guided)
    rows, prompt_length = input_ids.shape
    uniform = uniform.to(device)
    prefix = None if prefix is None else prefix.to(device)
    vq_ids = torch.empty(count, new_tokens, dtype=torch.int64, device=device)
    sums = torch.zeros(count, dtype=torch.float32, device=device)
    config = model.language_model.config
    with allocate_kv_cache(config, rows, prompt_length + new_tokens, model.dtype, device) as cache:
        decoder = Decoder(model, input_ids, attention_mask, cache)
        states = decoder.prefill()
        for step in range(new_tokens):
            if sampling.guided:
                step_logits = guided_logits(model, states, sampling.guidance)
            else:
                step_logits = logits(model, states).float()
            sums += step_logits.sum(dim=-1)  # NaN and infinity stay in a sum, and nothing has to wait for the device
            tokens = sample_tokens(step_logits, uniform[:, step], sampling)
            if prefix is not None and step < prefix.shape[1]:
                tokens = torch.where(prefix[:, step] < 0, tokens, prefix[:, step])
            vq_ids[:, step] = tokens
            if step + 1 < new_tokens:
                states = decoder.step(tokens.repeat(2) if sampling.guided else tokens)
    return ImageTokens(vq_ids, sums.isfinite())


def _input_ids(model: JanusModel, prompts: Sequence[str], guided: bool) -> tuple[Tensor, Tensor]:
    """Ids and mask, int64 [R, S] each, of the conditional rows and, if ``guided``, the unconditional ones."""
    input_ids, attention_mask = _masked_ids(model, prompts, guided)
    return input_ids, attention_mask if model.padding_masked else torch.ones_like(attention_mask)


def _masked_ids(model: JanusModel, prompts: Sequence[str], guided: bool) -> tuple[Tensor, Tensor]:
    if guided and model.negative_prompt:
        return generation_ids(model, prompts, negative_prompt=model.negative_prompt)
    input_ids, attention_mask = generation_ids(model, prompts)
    if not guided:
        return input_ids, attention_mask
    return torch.cat([input_ids, unconditional_ids(model, input_ids)]), attention_mask.repeat(2, 1)
