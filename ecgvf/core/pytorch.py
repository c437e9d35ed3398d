"""The import of PyTorch and transformers, which takes seconds."""

import sys
from importlib import import_module

from ecgvf.core import console

_LLAMA = "transformers.models.llama.modeling_llama"
"""The model in Janus: it imports most of both libraries."""


def import_pytorch() -> None:
    """Import PyTorch and transformers while a terminal shows what it waits for; call it before what imports them."""
    if _LLAMA not in sys.modules:
        with console.status("loading PyTorch"):
            import_module(_LLAMA)
