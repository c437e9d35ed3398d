"""bfloat16 if this CPU multiplies in it; otherwise it is emulated, a hundred times slower than float32."""

import torch


def matrix_dtype() -> torch.dtype:
    """The fastest dtype in which this CPU multiplies matrices precisely enough to train."""
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def autocast() -> torch.autocast:
    """Mixed precision if it is faster on this CPU, else a context that does nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=matrix_dtype() is torch.bfloat16)
