"""The language model's layers for decoding: fewer and larger operations than the modules of transformers.

One matrix product computes q, k and v, another gate and up. ``join_projections`` lays their weights one after another
in memory, so that the joined weight is a view of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgvf.core.errors import ModelError

Linear = tuple[Tensor, Tensor | None]
"""Weight [out, in] and bias [out]."""


class FusedLayer:
    """A decoder layer of Llama, for one new position per row.

    It reads the weights when it is made, with the adapter that is active then. Raises ``ModelError`` for a projection
    that is not an ``nn.Linear``.
    """

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._head_dim: int = attention.head_dim
        self._qkv = _join([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self._output = _join([attention.o_proj], dtype)
        self._gate_up = _join([mlp.gate_proj, mlp.up_proj], dtype)
        self._down = _join([mlp.down_proj], dtype)
        self._activation = nn.SiLU(inplace=True) if isinstance(mlp.act_fn, nn.SiLU) else mlp.act_fn
        self._attention_norm, self._mlp_norm = layer.input_layernorm, layer.post_attention_layernorm

    def __call__(
        self,
        states: Tensor,
        rotary: tuple[Tensor, Tensor],
        cached: Tensor,
        position: slice | Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Hidden states [R, C] after the layer, from ``states`` [R, C], whose memory is reused.

        ``rotary`` as ``rotate_`` takes them. The keys and values of the new position are written to ``position`` (one
        index) of ``cached`` [2, R, kv heads, N, D], and all N are attended to; ``mask`` [R, 1, 1, N] is added to the
        attention scores.
        """
        rows, kv_heads = states.shape[0], cached.shape[2]
        qkv = F.linear(rms_norm(self._attention_norm, states), *self._qkv).view(rows, -1, self._head_dim)
        rotate_(qkv[:, :-kv_heads], rotary)
        keys_values = qkv[:, -2 * kv_heads :].view(rows, 2, kv_heads, 1, self._head_dim)
        cached[:, :, :, position] = keys_values.transpose(0, 1)
        # The heads that share a key are the queries of one head: no key is repeated.
        queries = qkv[:, : -2 * kv_heads].unflatten(1, (kv_heads, -1))
        attended = F.scaled_dot_product_attention(queries, cached[0], cached[1], attn_mask=mask)
        states = _add(states, attended.reshape(rows, -1), self._output)
        gate, up = F.linear(rms_norm(self._mlp_norm, states), *self._gate_up).chunk(2, dim=-1)
        return _add(states, self._activation(gate).mul_(up), self._down)


def rms_norm(norm: Any, states: Tensor) -> Tensor:
    """The output of a ``LlamaRMSNorm`` for states [R, C].

    ``F.rms_norm`` is one kernel on a GPU; on a CPU it first makes an array of the squares.
    """
    if states.is_cuda:
        return F.rms_norm(states, (states.shape[-1],), norm.weight, norm.variance_epsilon)
    length = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
    scale = length.square_().div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    normed: Tensor = (states * scale).mul_(norm.weight).to(states.dtype)
    return normed


def rotate_(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> None:
    """Rotate heads [R, H, D] in place; ``rotary`` are cosine and ``signed_sine`` of their positions, [R, 1, D] each.

    Su et al., RoFormer, https://arxiv.org/abs/2104.09864, with the halves of a head as pairs, as in transformers.
    """
    cosine, sine = rotary
    swapped = heads.roll(heads.shape[-1] // 2, dims=-1)
    heads.mul_(cosine).addcmul_(swapped, sine)


def signed_sine(sine: Tensor) -> Tensor:
    """The sine [..., D] with its first half negated, as ``rotate_`` needs it."""
    first, second = sine.chunk(2, dim=-1)
    return torch.cat([-first, second], dim=-1)


def join_projections(language_model: Any) -> None:
    """Lay the weights that ``FusedLayer`` joins one after another in memory; nothing else changes."""
    for layer in language_model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for projections in ([attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]):
            joined = torch.cat([projection.weight for projection in projections])
            parts = joined.split([len(projection.weight) for projection in projections])
            for projection, part in zip(projections, parts, strict=True):
                projection.weight = nn.Parameter(part, requires_grad=False)


def _add(states: Tensor, inputs: Tensor, linear: Linear) -> Tensor:
    """Add a linear layer of ``inputs`` to ``states``, in place."""
    weight, bias = linear
    return (states if bias is None else states.add_(bias)).addmm_(inputs, weight.t())


def _join(projections: Sequence[Any], dtype: torch.dtype) -> Linear:
    for projection in projections:
        if not isinstance(projection, nn.Linear):
            raise ModelError(f"cannot render through a {type(projection).__name__}: merge it into the model first")
    weights = [projection.weight.detach().to(dtype) for projection in projections]
    biases = [projection.bias.to(dtype) for projection in projections if projection.bias is not None]
    if len(biases) not in (0, len(projections)):
        raise ModelError("cannot render: some of the projections q, k and v have a bias and others have none")
    return _concatenate(weights), torch.cat(biases) if biases else None


def _concatenate(weights: Sequence[Tensor]) -> Tensor:
    """The concatenation of contiguous ``weights`` [n, C] each; a view if they lie one after another in memory."""
    first, rows = weights[0], sum(map(len, weights))
    end = first.data_ptr()
    for weight in weights:
        if weight.data_ptr() != end or not weight.is_contiguous():
            return torch.cat(list(weights))
        end += weight.numel() * weight.element_size()
    storage_rows = first.untyped_storage().nbytes() // (first.shape[1] * first.element_size())
    if rows > storage_rows - first.storage_offset() // first.shape[1]:
        return torch.cat(list(weights))  # neighbours by chance, in different storages
    return first.as_strided((rows, first.shape[1]), first.stride())
