"""Teacher forcing: the hidden states from which given image tokens are predicted, and their logits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ecgvf.janus import layers
from ecgvf.janus.model import JanusModel
from ecgvf.janus.prompting import generation_ids, unconditional_ids
from ecgvf.janus.sampling import apply_guidance


@dataclass(frozen=True, slots=True)
class PromptNoise:
    """Gaussian noise on the token embeddings of each prompt, which stands for similar words."""

    scale: float
    """Standard deviation, as a multiple of that of the model's token embeddings."""
    seeds: Sequence[int]
    """A seed per prompt: equal seeds give equal noise."""


def hidden_states(
    model: JanusModel,
    prompts: Sequence[str],
    vq_ids: Tensor,
    *,
    unconditional: bool = False,
    checkpointing: bool = False,
    noise: PromptNoise | None = None,
) -> Tensor:
    """Hidden states [B, n, C] from which n image tokens are predicted, in one pass without guidance.

    ``vq_ids`` int64 [B, n] are the first n image tokens of each prompt's image, n in 1..T. State i, in the model's
    dtype and after the final norm, predicts token i: it depends on the prompt and tokens 0 .. i-1. Gradients flow if
    they are enabled.

    ``unconditional`` replaces the prompts by the unconditional rows that guidance compares them with. ``noise`` is
    added to the prompts' embeddings. ``checkpointing`` as in ``layers.forward``. Raises ``ModelError`` as
    ``generation_ids`` does.
    """
    tokenizing_model = model
    if unconditional and model.negative_prompt:
        prompts, unconditional = [model.negative_prompt] * len(prompts), False
        tokenizing_model = replace(model, rewrite=None, suffix_ids=())  # the negative prompt is taken as it is
    input_ids, attention_mask = generation_ids(tokenizing_model, prompts)
    if unconditional:
        input_ids = unconditional_ids(model, input_ids)
    inputs = vq_ids[:, :-1].to(device=model.device, dtype=torch.int64)
    text = model.language_model.embed_tokens(input_ids)
    if noise is not None:
        text = text + _embedding_noise(model, attention_mask, noise).to(text)
    image = model.model.prepare_embeddings_for_image_generation(inputs)
    embeddings = torch.cat([text, image.to(text.dtype)], dim=1)
    new_tokens = inputs.shape[1]
    rotary = model.language_model.rotary_emb(embeddings, layers.position_ids(attention_mask, new_tokens))
    mask = layers.causal_mask(layers.padding_mask(attention_mask, new_tokens, embeddings.dtype))
    states = layers.forward(model.language_model, embeddings, rotary, mask, checkpointing=checkpointing)
    return states[:, input_ids.shape[1] - 1 :]


def _embedding_noise(model: JanusModel, attention_mask: Tensor, noise: PromptNoise) -> Tensor:
    """Noise [B, S, C] for each prompt's own tokens, 0 for padding and for begin-of-image, the last token."""
    rows, length = attention_mask.shape
    drawn = torch.zeros(rows, length, model.language_model.config.hidden_size)
    for row, own, seed in zip(drawn, attention_mask.sum(dim=-1).tolist(), noise.seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        row[length - own : -1].normal_(0, noise.scale * model.embedding_scale, generator=generator)
    return drawn


def logits(model: JanusModel, states: Tensor) -> Tensor:
    """Logits [..., V] of the next image token from hidden states [..., C], in the model's dtype."""
    image_logits: Tensor = model.model.model.generation_head(states)
    return image_logits


def guided_logits(model: JanusModel, states: Tensor, guidance: float) -> Tensor:
    """Logits float32 [B, V] with classifier-free guidance of scale ``guidance``.

    ``states`` [2B, C] are B conditional rows followed by their B unconditional rows. The last layer of the head is
    affine, so that guiding its inputs is guiding its outputs (``sampling.apply_guidance``), at half the work.
    """
    head = model.model.model.generation_head
    inputs = apply_guidance(head.activation_fn(head.proj_out(states)).float(), guidance)
    guided: Tensor = head.vision_head(inputs.to(states.dtype)).float()
    return guided
