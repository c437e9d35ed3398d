"""The codec: `JanusVQVAE` at 64 px, 16 x 16 tokens, 1,024 codes of 8 dimensions.

Training has three phases: a plain autoencoder whose latents lie on the unit sphere, k-means for the codebook, then
vector quantisation with a straight-through gradient and codes that follow a moving average of their latents.

GroupNorm removes each group's mean and scale, which costs a small network colour and brightness. So every convolution
at the start of a residual stream is initialised with biases of alternating sign ("anchors"): they, and not the image,
then determine a group's statistics, and the network starts out nearly linear.

The encoder is kept local: no attention, 1 x 1 kernels at token resolution, and anchors that make its normalisation the
identity. A token then depends on some 9 x 9 pixels, and the same drawing gets the same tokens under any sky, which the
language model can learn. The decoder sees the whole image.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import (
    JanusVQVAE,
    JanusVQVAEAttnBlock,
    JanusVQVAEResnetBlock,
)

from tools.nano.muon import MuonAndAdamW
from tools.nano.precision import autocast
from tools.nano.scenes import scene_pool
from tools.nano.training_loop import TrainingLoop
from tools.nano.world import Scene, compose_batch

CODES = 1024
CODE_DIMENSIONS = 8
GRID = 16
BATCH = 8
POOL = 20_000
ANCHOR = 64.0


def codec_config(text_width: int = 256, dimensions: int = CODE_DIMENSIONS) -> JanusVQVAEConfig:
    """The tiny configuration for a language model of width `text_width` and codes of `dimensions` (see `pad_codes`)."""
    return JanusVQVAEConfig(
        embed_dim=dimensions,
        num_embeddings=CODES,
        latent_channels=64,
        base_channels=64,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=1,
        num_patches=GRID,
        projection_dim=text_width,
        image_token_embed_dim=text_width,
    )


def pad_codes(state: dict[str, Tensor], dimensions: int) -> dict[str, Tensor]:
    """A trained codec's state with unit-norm codes zero-padded to `dimensions`; its tokens stay the same.

    Janus's embeddings of image tokens are as wide as a code. Eight dimensions suffice for the codec, but make
    neighbouring codes almost equal to the language model.
    """
    more = dimensions - CODE_DIMENSIONS
    padded = dict(state)
    padded["quantize.embedding.weight"] = F.pad(F.normalize(state["quantize.embedding.weight"], dim=1), (0, more))
    padded["quant_conv.weight"] = F.pad(state["quant_conv.weight"], (0, 0, 0, 0, 0, 0, 0, more))
    padded["quant_conv.bias"] = F.pad(state["quant_conv.bias"], (0, more))
    padded["post_quant_conv.weight"] = F.pad(state["post_quant_conv.weight"], (0, 0, 0, 0, 0, more))
    return padded


def to_input(images: np.ndarray) -> Tensor:
    """uint8 ``[N, 64, 64, 3]`` → float32 ``[N, 3, 64, 64]`` in −1…1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def to_images(pixels: Tensor) -> NDArray[np.uint8]:
    """float32 ``[N, 3, 64, 64]`` in −1…1 → uint8 ``[N, 64, 64, 3]``."""
    images: NDArray[np.uint8] = ((pixels.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    return images


def anchor(codec: JanusVQVAE) -> None:
    """Initialise so that group normalisation keeps the signal (see the module's docstring)."""
    starts: list[Any] = [codec.encoder.conv_in, codec.decoder.conv_in]
    for module in codec.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            module.bias.data.zero_()  # type: ignore[union-attr]
    for module in codec.modules():
        if isinstance(module, JanusVQVAEResnetBlock):
            starts.append(module.conv1)
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, JanusVQVAEAttnBlock):
            nn.init.zeros_(module.proj_out.weight)
    starts += [down.downsample.conv for down in list[Any](codec.encoder.down) if hasattr(down, "downsample")]
    starts += [up.upsample.conv for up in list[Any](codec.decoder.up) if hasattr(up, "upsample")]
    for conv in starts:
        conv.weight.data.mul_(0.5)
        conv.bias.data[0::2] = 1.0
        conv.bias.data[1::2] = -1.0


def localise(encoder: Any) -> None:
    """Make a fresh encoder local: its normalisation at token resolution becomes the identity, then `keep_local`."""
    pattern = _pattern(encoder)
    for norm in (encoder.norm_out, *(getattr(block, name) for block in _mid(encoder) for name in ("norm1", "norm2"))):
        norm.weight.data.fill_(ANCHOR)
        norm.bias.data.copy_(-ANCHOR * pattern)
    keep_local(encoder)


@torch.no_grad()
def keep_local(encoder: Any) -> None:
    """Reset the weights that would extend a token's receptive field; called after every optimizer step.

    Attention and the residual blocks before the middle become zero; kernels in the middle keep their central weight.
    A group of four channels there has the values (K + a, K - a, b - K, -b - K): its mean is zero and its scale is K for
    any image, up to the square of a / K.
    """
    pattern = _pattern(encoder)
    for attention in (encoder.mid.attn_1, *encoder.down[-1].attn):
        attention.proj_out.weight.zero_()
        attention.proj_out.bias.zero_()
    for down in encoder.down:
        for block in down.block:
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    encoder.conv_out.weight.mul_(centre)
    stream = encoder.down[-1].block[0].nin_shortcut
    for block in _mid(encoder):
        block.conv1.weight.mul_(centre)
        block.conv2.weight.mul_(centre)
    for conv in (stream, *(block.conv1 for block in _mid(encoder))):
        conv.bias.copy_(ANCHOR * pattern)
    for conv in (stream, *(getattr(block, name) for block in _mid(encoder) for name in ("conv1", "conv2"))):
        conv.weight[1::4] = -conv.weight[0::4]
        conv.weight[3::4] = -conv.weight[2::4]
    for block in (encoder.mid.block_1, encoder.mid.block_2):
        block.conv2.bias.zero_()


def _mid(encoder: Any) -> tuple[JanusVQVAEResnetBlock, JanusVQVAEResnetBlock]:
    return encoder.mid.block_1, encoder.mid.block_2


def _pattern(encoder: Any) -> Tensor:
    """(+1, +1, -1, -1) for each of the 32 groups, float32 ``[C]``."""
    return torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(encoder.norm_out.num_channels // 4)


def latents(codec: JanusVQVAE, images: Tensor) -> Tensor:
    """Unit-norm latents ``[N, 8, 16, 16]`` of images ``[N, 3, 64, 64]``, differentiable; skips zero branches."""
    encoder: Any = codec.encoder
    hidden = encoder.conv_in(images)
    for down in encoder.down[:-1]:
        hidden = down.downsample(hidden)
    hidden = encoder.down[-1].block[0].nin_shortcut(hidden)
    for block in _mid(encoder):
        hidden = block(hidden)
    hidden = encoder.conv_out(F.silu(encoder.norm_out(hidden)))
    return F.normalize(codec.quant_conv(hidden).float(), dim=1)


def decode_latents(codec: JanusVQVAE, codes: Tensor) -> Tensor:
    """Images ``[N, 3, 64, 64]`` from unit-norm latents or codes ``[N, 8, 16, 16]``, differentiable."""
    pixels: Tensor = codec.decoder(codec.post_quant_conv(codes)).float()
    return pixels


def reconstruction_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """L1 + L2 + half the L1 of the spatial gradients, which keeps edges sharp; ``[B, 3, H, W]`` on −1…1."""
    gradients = sum((decoded.diff(dim=axis) - images.diff(dim=axis)).abs().mean() for axis in (2, 3))
    return (decoded - images).abs().mean() + (decoded - images).square().mean() + 0.5 * gradients


def nearest(codebook: Tensor, points: Tensor) -> Tensor:
    """Index of the nearest code ``[C, 8]`` for each point ``[M, 8]``, all of unit norm; int64 ``[M]``."""
    return torch.argmax(points @ codebook.T, dim=1)


def kmeans(points: Tensor, codes: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Unit centres ``[codes, 8]`` of spherical k-means over `points` ``[M, 8]``; empty clusters restart at random."""
    centres = points[torch.randperm(len(points), generator=generator)[:codes]].clone()
    for _ in range(iterations):
        assigned = nearest(centres, points)
        sums = torch.zeros_like(centres).index_add_(0, assigned, points)
        counts = torch.bincount(assigned, minlength=codes)
        centres = F.normalize(sums, dim=1)
        empty = torch.nonzero(counts == 0).flatten()
        centres[empty] = points[torch.randint(len(points), (len(empty),), generator=generator)]
    return centres


def training_pool(size: int = POOL) -> list[Scene]:
    """The scenes that `train` uses."""
    return scene_pool("codec", size)


def train(
    folder: Path,
    *,
    seconds_plain: float,
    seconds_quantised: float,
    seed: int = 0,
    pool: int = POOL,
    noise: float = 0.15,
    tested: int = 256,
    clock: Callable[[], float] = time.monotonic,
) -> JanusVQVAE:
    """Train the codec with checkpoints in `folder`, from the last one if there is one; the log has the test L1.

    The three phases are in the module's docstring; `noise` is the standard deviation added to the plain autoencoder's
    latents. The test L1 is that of images of `tested` other scenes.
    """
    torch.manual_seed(seed)
    scenes = training_pool(pool)
    images = compose_batch(scenes)
    test_images = to_input(compose_batch(scene_pool("codec-held-out", tested, excluded=set(scenes))))
    codec, optimizer = _fresh()
    loop = TrainingLoop(
        folder,
        seconds_plain + seconds_quantised,
        {"codec": codec, **optimizer.parts},
        {"quantised": False, "counts": torch.ones(CODES)},
        log_every=15,
        save_every=60,
        clock=clock,
    )
    rng = np.random.default_rng(seed + loop.step)  # a resumed run takes other batches
    generator = torch.Generator().manual_seed(seed + loop.step)
    counts: Tensor = loop.extra_state["counts"]
    recent = deque[float](maxlen=100)
    for step in loop.steps(lambda: _metrics(codec, loop.extra_state, recent, test_images)):
        plain = loop.spent < seconds_plain
        progress = loop.spent / seconds_plain if plain else (loop.spent - seconds_plain) / seconds_quantised
        if not plain and not loop.extra_state["quantised"]:
            codec.quantize.embedding.weight.data = _initial_codes(codec, images, generator)
            counts.fill_(BATCH * GRID * GRID / CODES)
            loop.extra_state["quantised"] = True
        batch = to_input(images[rng.integers(0, len(images), BATCH)])
        codebook = codec.quantize.embedding.weight.data
        loss, decoded, points, assigned = _forward(codec, batch, noise if plain else None)
        optimizer.step(loss, min(1.0, (step + 1) / 100) * _lr_factor(plain, min(1.0, progress)))
        keep_local(codec.encoder)
        if not plain and progress < 0.85:
            _update_codes(codebook, counts, assigned, points, generator)
        recent.append((decoded - batch).abs().mean().item())
    codec.eval()
    return codec


def _metrics(codec: JanusVQVAE, state: dict[str, Any], recent: Sequence[float], test_images: Tensor) -> dict[str, Any]:
    """A line of the log; `recent` has the training L1 of the last steps."""
    return {
        "l1": round(float(np.mean(recent)), 4),
        "held_out_l1": round(held_out_l1(codec, test_images, state["quantised"]), 4),
        "quantised": state["quantised"],
        "live_codes": int((state["counts"] > 0.3).sum()),
    }


def _fresh() -> tuple[JanusVQVAE, MuonAndAdamW]:
    """An untrained, local codec in training mode and the optimizer of all but its codes."""
    codec = JanusVQVAE(codec_config())
    anchor(codec)
    localise(codec.encoder)
    codec.train()
    optimizer = MuonAndAdamW(
        [(name, parameter) for name, parameter in codec.named_parameters() if not name.startswith("quantize")],
        lambda name, parameter: parameter.ndim == 4 and min(parameter.shape[:2]) >= 64,
        muon_lr=0.015,
        adamw_lr=2e-3,
    )
    return codec, optimizer


def _forward(codec: JanusVQVAE, images: Tensor, noise: float | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One training forward pass: plain with `noise` on the latents, or, if it is None, through the codebook.

    Returns the loss, the decoded images ``[N, 3, 64, 64]``, the latents ``[M, 8]`` and the index of each one's code.
    """
    codebook = codec.quantize.embedding.weight.data
    with autocast():
        with torch.autocast("cpu", enabled=False):  # bfloat16 is too coarse beside the encoder's anchors
            encoded = latents(codec, images)
            points = encoded.detach().permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS).float()
            assigned = nearest(codebook, points)
        if noise is not None:
            commitment = torch.zeros(())
            decoded = decode_latents(codec, F.normalize(encoded + noise * torch.randn_like(encoded), dim=1))
        else:
            codes = codebook[assigned].view(len(images), GRID, GRID, CODE_DIMENSIONS).permute(0, 3, 1, 2)
            commitment = (encoded - codes).square().sum(1).mean()
            decoded = decode_latents(codec, encoded + (codes - encoded).detach())
    return reconstruction_loss(decoded, images) + 0.25 * commitment, decoded.detach(), points, assigned


def _lr_factor(plain: bool, progress: float) -> float:
    """Factor of the learning rates: a cosine from 1 to 0.3 in the plain phase, then from 0.6 to 0.012."""
    top, floor = (1.0, 0.3) if plain else (0.6, 0.02)
    return top * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def _initial_codes(codec: JanusVQVAE, images: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
    """Unit codes ``[CODES, 8]`` by k-means over the latents of up to 1,280 images."""
    sample = torch.cat([latents(codec, to_input(images[i : i + 64])) for i in range(0, min(1280, len(images)), 64)])
    points = sample.permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS)
    return kmeans(points[:: max(1, len(points) // 100_000)], CODES, 12, generator)


def _update_codes(
    codebook: Tensor, counts: Tensor, assigned: Tensor, points: Tensor, generator: torch.Generator
) -> None:
    """Move each code towards its latents by a moving average; a code with almost none restarts at a random one."""
    decay = 0.98
    batch_counts = torch.bincount(assigned, minlength=CODES).float()
    sums = torch.zeros_like(codebook).index_add_(0, assigned, points)
    old = counts[:, None] * codebook
    counts.mul_(decay).add_((1 - decay) * batch_counts)
    codebook.copy_(F.normalize(decay * old + (1 - decay) * sums, dim=1))
    dead = torch.nonzero(counts < 0.05).flatten()
    if len(dead):
        codebook[dead] = points[torch.randint(len(points), (len(dead),), generator=generator)]
        counts[dead] = 1.0


@torch.no_grad()
def held_out_l1(codec: JanusVQVAE, images: Tensor, quantised: bool) -> float:
    """Mean L1 over `images`, float32 ``[N, 3, H, W]`` on −1…1; through the codebook if `quantised`."""
    total = 0.0
    for batch in images.split(32):
        encoded = latents(codec, batch)
        if quantised:
            points = encoded.permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS)
            encoded = codec.quantize.embedding.weight[nearest(codec.quantize.embedding.weight, points)]
            encoded = encoded.view(len(batch), GRID, GRID, CODE_DIMENSIONS).permute(0, 3, 1, 2)
        total += (decode_latents(codec, encoded) - batch).abs().mean().item() * len(batch)
    return total / len(images)
