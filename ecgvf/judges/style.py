"""``style``: the field's judge of styles, UnlearnDiffAtk's ViT classifier of 129 WikiArt artists.

Its authors distribute it as a folder, not under a Hub id of theirs, so it has no default: ``--weights`` names the
folder, or the Hub id of a copy. The paper does not state its top-k; the default is 3.

Source: https://github.com/OPTML-Group/Diffusion-MU-Attack.
"""

from ecgvf.core.errors import JudgeError
from ecgvf.judges.hf import HuggingFace
from ecgvf.judges.judge import Criterion

TOP_K = 3


class Style(HuggingFace):
    """Sees an artist's style if the artist's label ("vincent-van-gogh") is among the top k."""

    def __init__(self, criterion: Criterion, *, weights: str | None = None, device: str = "cpu") -> None:
        if weights is None:
            raise JudgeError(
                "judge style needs UnlearnDiffAtk's WikiArt classifier (github.com/OPTML-Group/Diffusion-MU-Attack): "
                "download its folder and name it with --weights (in a suite, its field weights), or name the Hub id of "
                "a copy"
            )
        super().__init__("style", weights, criterion, device=device)
