"""What erasing asks for: equations 6 to 8 of "EAR: Erasing Concepts from Unified Autoregressive Models"
(arXiv 2506.20151), with context.

One trajectory (the image tokens of one picture, T of them) is teacher-forced three times: through the frozen model
under the target prompt p_e and under the surrogate prompt p_s, and through the tuned model under the target prompt. So
position i means the same patch, after the same patches, in all three.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ear.method.recipe import Loss, Tail
from ecgvf.janus import JanusModel, hidden_states, logits


@torch.no_grad()
def aim(model: JanusModel, target: str, surrogate: str, vq_ids: Tensor, *, loss: Loss, guidance: float) -> Tensor:
    """What equation 6 wants the tuned model to say under the target prompt, from the frozen ``model``.

    h*(p_s) - η (h*(p_e) - h*(p_s)), of last hidden states (mse) or of logits (kl); ``vq_ids`` int64 [T].
    Returns float32 [T, C] or [T, V].
    """
    states = hidden_states(model, [surrogate, target], vq_ids.expand(2, -1))
    towards, away = _said(model, states, loss)
    aimed: Tensor = towards - guidance * (away - towards)
    return aimed


def position_losses(model: JanusModel, states: Tensor, aimed: Tensor, loss: Loss) -> Tensor:
    """ℓ_i (equation 6) of tuned ``states`` [n, C] against what is aimed at, [n, C] or [n, V]: float32 [n].

    mse: squared distance, mean over channels. kl: KL(aimed || tuned) of next-token distributions, in nats.
    """
    said = _said(model, states, loss)
    if loss == "mse":
        return (said - aimed).square().mean(dim=-1)
    return divergence(aimed, said)


def divergence(aimed: Tensor, said: Tensor) -> Tensor:
    """KL(softmax(aimed) || softmax(said)) in nats, of float32 logits [..., V]: [...]."""
    wanted = aimed.log_softmax(dim=-1)
    return (wanted.exp() * (wanted - said.log_softmax(dim=-1))).sum(dim=-1)


def windows(tokens: int, length: int, tail: Tail) -> Iterator[range]:
    """W_k (equation 7): consecutive positions, ``length`` at a time, in order; what is left over is a shorter last
    window (``tail`` "step") or none ("drop")."""
    for start in range(0, tokens, length):
        window = range(start, min(start + length, tokens))
        if len(window) == length or tail == "step":
            yield window


def _said(model: JanusModel, states: Tensor, loss: Loss) -> Tensor:
    return (states if loss == "mse" else logits(model, states)).float()
