"""Teacher forcing: the states from which given image tokens are predicted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecgvf.janus import layers
from ecgvf.janus.loading import JanusModel
from ecgvf.janus.prompting import generation_ids


def hidden_states(model: JanusModel, prompts: Sequence[str], vq_ids: Tensor) -> Tensor:
    """h(p)_i of every image position i, in one pass, under the conditional prompt (no guidance).

    ``vq_ids`` int64 [B, n] are the first n image tokens of a picture per prompt, n in 1..T. Returns [B, n, C] in the
    model's dtype: state i, after the final norm, is the one from which token i is predicted, so it has seen the prompt
    and tokens 0 .. i-1. Gradients flow where they are enabled.
    """
    input_ids, mask = generation_ids(model, prompts)
    vq_ids = vq_ids.to(device=model.device, dtype=torch.int64)
    text = model.language_model.embed_tokens(input_ids)
    seen = vq_ids[:, :-1]
    picture = model.model.prepare_embeddings_for_image_generation(seen)
    embeddings = torch.cat([text, picture.to(text.dtype)], dim=1)
    more = seen.shape[1]
    rotary = model.language_model.rotary_emb(embeddings, layers.positions(mask, more))
    attention = layers.causal_mask(layers.padding_mask(mask, more, embeddings.dtype))
    states = layers.run(model.language_model, embeddings, rotary, attention)
    return states[:, input_ids.shape[1] - 1 :]


def logits(model: JanusModel, states: Tensor) -> Tensor:
    """Scores of the next image token, [..., V], from states [..., C]."""
    scores: Tensor = model.model.model.generation_head(states)
    return scores
