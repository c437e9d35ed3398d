"""bfloat16 where this CPU multiplies in it; elsewhere it is emulated, a hundred times slower than float32."""

import torch


def matrix_dtype() -> torch.dtype:
    """The fastest dtype in which this CPU multiplies matrices well enough to train."""
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def autocast() -> torch.autocast:
    """Mixed precision where it is faster; does nothing elsewhere."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=matrix_dtype() is torch.bfloat16)
