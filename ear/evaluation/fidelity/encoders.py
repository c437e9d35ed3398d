"""Encoders of images into features: Inception-v3 and CLIP for photographs, nano's CLIP for nano's world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ear.evaluation.fidelity.settings import FidelitySettings
from ecgvf.core.device import resolve_device
from ecgvf.core.errors import JudgeError, SettingsError

if TYPE_CHECKING:
    from ecgvf.judges.nano_clip import NanoEncoder

NANO_SIDE = 64


class TextImageEncoder(Protocol):
    """CLIP: images and texts as unit vectors, whose products are cosines."""

    @property
    def weights_hash(self) -> str:
        """16 hex digits: a hash of its weights."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [N, D] of N texts."""

    def encode_images(self, images: NDArray[np.uint8]) -> Tensor:
        """Unit vectors [N, D] of RGB images uint8 [N, H, W, 3]."""


class NanoFeatures(nn.Module):
    """The image vectors of nano's CLIP, not normalised: uint8 [N, 3, 64, 64] → float32 [N, 64]."""

    def __init__(self, encoder: "NanoEncoder") -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 64] of ``images``."""
        return self._encoder.project(images.permute(0, 2, 3, 1))


@dataclass(frozen=True)
class Encoders:
    """The encoders of an evaluation."""

    label: str
    """Prefix of every figure's name: "nano", or the layout of the Inception weights."""
    features: nn.Module
    """uint8 [N, 3, side, side] → float32 [N, D], for FID and KID."""
    features_name: str
    side: int
    clip: TextImageEncoder
    clip_name: str
    features_hash: str
    device: torch.device

    @property
    def resizing(self) -> str:
        """What ``resized`` does, in words; CLIP resizes as its own processor does."""
        return f"centre square, bicubic with antialiasing to {self.side} x {self.side}"

    def resized(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The centre square of RGB uint8 [H, W, 3], resized to [side, side, 3] unless it has that size."""
        height, width = pixels.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = pixels[top : top + edge, left : left + edge]
        if edge == self.side:
            return square
        image = Image.fromarray(square).resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(image)

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Features float32 [N, D] of RGB images uint8 [H, W, 3] of any size. Raises ``JudgeError`` if not finite."""
        pixels = torch.from_numpy(np.stack([self.resized(image) for image in images]))
        return _finite(self.features(pixels.permute(0, 3, 1, 2).to(self.device)), self.features_name)

    def cosines(self, images: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> NDArray[np.float32]:
        """CLIP's cosine, float32 [N], of each image and its text; all images have one size. Raises as ``encode``."""
        vectors = self.clip.encode_images(np.stack(images))
        return _finite((vectors * self.clip.encode_texts(texts)).sum(dim=1), self.clip_name)


def _finite(encoded: Tensor, name: str) -> NDArray[np.float32]:
    if not encoded.isfinite().all():
        raise JudgeError(f"{name}: features that are not finite (NaN or infinity); its weights are damaged")
    return encoded.float().cpu().numpy()


def nano_encoders() -> Encoders:
    """Nano's CLIP, for features and for cosines."""
    from ecgvf.judges.nano_clip import NanoEncoder

    encoder = NanoEncoder()
    return Encoders(
        "nano",
        NanoFeatures(encoder),
        "nano's CLIP, image vectors of 64 dimensions",
        NANO_SIDE,
        encoder,
        "nano's CLIP",
        encoder.weights_hash,
        torch.device("cpu"),
    )


def photograph_encoders(settings: FidelitySettings, device: str) -> Encoders:
    """Inception-v3 and CLIP, with the weights that the user names, on ``device``.

    Raises ``SettingsError`` without weights of Inception, ``JudgeError`` for weights that cannot be used.
    """
    from ear.evaluation.fidelity.inception import OPTION, SIDE, Inception
    from ecgvf.judges.clip import DEFAULT, Encoder

    if settings.inception is None:
        raise SettingsError(
            f"--figures paper needs the weights of Inception-v3: name torch-fidelity's or torchvision's with {OPTION}"
        )
    inception = Inception(settings.inception)
    clip = Encoder(settings.clip, device, option="--clip")
    on = resolve_device(device)
    return Encoders(
        f"inception ({inception.layout})",
        inception.to(on),
        f"Inception-v3, {inception.layout}'s weights, 2,048 dimensions",
        SIDE,
        clip,
        settings.clip or DEFAULT,
        inception.weights_hash,
        on,
    )
