"""``resnet50``: the paper's judge of objects, torchvision's ResNet-50 on ImageNet."""

from ecgvf.judges.judge import Criterion
from ecgvf.judges.torchvision_models import Torchvision


class ResNet50(Torchvision):
    """ResNet-50 with the weights ``V2`` (the default), ``V1``, or those of a file, and the weights' own transforms."""

    def __init__(
        self, criterion: Criterion | tuple[str, ...], *, weights: str | None = None, device: str = "cpu"
    ) -> None:
        super().__init__("resnet50", "resnet50", criterion, weights=weights, device=device)
