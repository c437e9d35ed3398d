"""The field's judge of styles: the classifier of 129 WikiArt artists of UnlearnDiffAtk, a ViT of transformers.

Its authors give it away as a folder, not under a Hub id of theirs; so it has no default place, and ``--weights`` names
the folder, or a Hub id where somebody put it. How many labels count is not stated in the paper: three by default.
"""

import torch

from ecgvf.core.errors import JudgeError
from ecgvf.judges.hf import HuggingFace
from ecgvf.judges.judge import Criterion

TOP_K = 3


class Style(HuggingFace):
    """Looks for an artist's label ("vincent-van-gogh") among the best ``top_k``."""

    def __init__(self, wanted: Criterion, *, weights: str | None = None, device: torch.device | None = None) -> None:
        if weights is None:
            raise JudgeError(
                "judge style needs UnlearnDiffAtk's WikiArt classifier (github.com/OPTML-Group/Diffusion-MU-Attack): "
                "fetch its folder and name it with --weights, or name a Hub id that holds it"
            )
        super().__init__("style", weights, wanted, device=device)
