"""The erasure objective: equations 6 to 8 of "EAR: Erasing Concepts from Unified Autoregressive Models"
(arXiv 2506.20151), with context.

A trajectory (the T image tokens of an image) is teacher-forced three times: through the frozen model under the target
prompt p_e and under the surrogate prompt p_s, and through the tuned model under the target prompt. So position i is the
same patch, after the same patches, in all three. ``guided_outputs`` is the frozen model's part, ``position_losses``
compares the tuned model with it, and ``windows`` are the positions whose losses are summed for a step.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ear.method.recipe import Loss, Tail
from ecgvf.janus import JanusModel, hidden_states, logits


@torch.no_grad()
def teacher_states(
    model: JanusModel, targets: Sequence[str], surrogates: Sequence[str], vq_ids: Tensor, *, guidance: float
) -> Tensor:
    """Last hidden states of the frozen ``model``, in its dtype: h*(p_s), and below it h*(p_e) unless ``guidance`` is 0.

    [B or 2B, T, C], for B pairs of prompts along ``vq_ids`` int64 [B, T].
    """
    if not guidance:
        return hidden_states(model, surrogates, vq_ids)
    return hidden_states(model, [*surrogates, *targets], vq_ids.repeat(2, 1))


@torch.no_grad()
def guided_outputs(model: JanusModel, states: Tensor, *, loss: Loss, guidance: float) -> Tensor:
    """What the tuned model has to match under the target prompts (equation 6), from ``teacher_states``.

    h*(p_s) - η (h*(p_e) - h*(p_s)), of last hidden states (mse) or of logits (kl): float32 [B, T, C] or [B, T, V].
    """
    if not guidance:
        return _outputs(model, states, loss)
    towards, away = _outputs(model, states, loss).chunk(2)
    guided: Tensor = towards - guidance * (away - towards)
    return guided


def position_losses(model: JanusModel, states: Tensor, guided: Tensor, loss: Loss) -> Tensor:
    """ℓ_i (equation 6): float32 [..., n], of tuned ``states`` [..., n, C] against ``guided`` [..., n, C or V].

    mse: squared distance, mean over channels. kl: KL(guided || tuned) of next-token distributions, in nats.
    """
    outputs = _outputs(model, states, loss)
    if loss == "mse":
        return (outputs - guided).square().mean(dim=-1)
    return kl_divergence(guided, outputs)


def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(softmax(p) || softmax(q)) in nats, of float32 logits [..., V]: [...]."""
    log_p = p_logits.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - q_logits.log_softmax(dim=-1))).sum(dim=-1)


def windows(tokens: int, length: int, tail: Tail) -> Iterator[range]:
    """The windows W_k (equation 7): consecutive positions in 0..``tokens``-1, ``length`` at a time.

    Positions left over form a shorter last window (``tail`` "step") or are dropped ("drop").
    """
    for start in range(0, tokens, length):
        window = range(start, min(start + length, tokens))
        if len(window) == length or tail == "step":
            yield window


def _outputs(model: JanusModel, states: Tensor, loss: Loss) -> Tensor:
    """What ``loss`` compares, in float32: the hidden states themselves (mse), or their logits (kl)."""
    return (states if loss == "mse" else logits(model, states)).float()
