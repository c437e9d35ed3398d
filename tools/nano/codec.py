"""The codec: `JanusVQVAE` at 64 px, 16 x 16 tokens, 1,024 codes of 8 dimensions.

Three phases: a plain autoencoder whose latents lie on the unit sphere, k-means for the codebook, then vector
quantisation with a straight-through gradient and codes that follow a moving average of the latents given to them.

Its GroupNorm erases each group's mean and scale, which costs a small network colour and brightness. So every
convolution that starts a residual stream begins with biases of alternating sign ("anchors"): a group's statistics are
then set by the anchors and not by the picture, and the network starts out nearly linear.

The encoder is kept local: no attention, kernels of one tap at token resolution, and anchors laid so that its
normalisation is the identity. A token then depends on some 9 x 9 pixels, and the same drawing gets the same tokens
under any sky, which the language model can learn. The decoder sees the whole picture.
"""

import math
import time
from collections import deque
from collections.abc import Callable
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

from tools.nano.lesson import Lesson
from tools.nano.muon import MuonAndAdam
from tools.nano.precision import autocast
from tools.nano.scenes import scene_pool
from tools.nano.world import pictures

CODES = 1024
CODE_DIMENSIONS = 8
GRID = 16
BATCH = 8
ANCHOR = 64.0


def codec_config(text_width: int = 256, dimensions: int = CODE_DIMENSIONS) -> JanusVQVAEConfig:
    """The tiny configuration; `text_width` is the language model's, `dimensions` are a code's (see `widened`)."""
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


def widened(state: dict[str, Tensor], dimensions: int) -> dict[str, Tensor]:
    """A trained codec's state with codes of unit norm in `dimensions`, the new ones zero: its tokens stay the same.

    A Janus language model sees a picture's tokens through embeddings as wide as a code. Eight dimensions do for
    pictures but leave neighbouring codes all but equal to it.
    """
    more = dimensions - CODE_DIMENSIONS
    wide = dict(state)
    wide["quantize.embedding.weight"] = F.pad(F.normalize(state["quantize.embedding.weight"], dim=1), (0, more))
    wide["quant_conv.weight"] = F.pad(state["quant_conv.weight"], (0, 0, 0, 0, 0, 0, 0, more))
    wide["quant_conv.bias"] = F.pad(state["quant_conv.bias"], (0, more))
    wide["post_quant_conv.weight"] = F.pad(state["post_quant_conv.weight"], (0, 0, 0, 0, 0, more))
    return wide


def to_input(images: np.ndarray) -> Tensor:
    """uint8 ``[N, 64, 64, 3]`` → float32 ``[N, 3, 64, 64]`` in −1…1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def anchor(codec: JanusVQVAE) -> None:
    """Initialise so that group normalisation keeps the signal (see the module's text)."""
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
    """Make a fresh encoder local: its normalisation at token resolution the identity, then `keep_local`."""
    pattern = _pattern(encoder)
    for norm in (encoder.norm_out, *(getattr(block, name) for block in _mid(encoder) for name in ("norm1", "norm2"))):
        norm.weight.data.fill_(ANCHOR)
        norm.bias.data.copy_(-ANCHOR * pattern)
    keep_local(encoder)


@torch.no_grad()
def keep_local(encoder: Any) -> None:
    """Undo what would let a token see far.

    The attentions and the residual blocks before the middle add nothing; kernels in the middle keep their middle tap.
    A group of four channels there holds (K + a, K - a, b - K, -b - K): its mean is zero and its scale is K whatever
    the picture, up to the square of a / K.
    """
    pattern = _pattern(encoder)
    for attention in (encoder.mid.attn_1, *encoder.down[-1].attn):
        attention.proj_out.weight.zero_()
        attention.proj_out.bias.zero_()
    for down in encoder.down:
        for block in down.block:
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    encoder.conv_out.weight.mul_(middle)
    stream = encoder.down[-1].block[0].nin_shortcut
    for block in _mid(encoder):
        block.conv1.weight.mul_(middle)
        block.conv2.weight.mul_(middle)
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
    """(+1, +1, -1, -1) for each of the 32 groups."""
    return torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(encoder.norm_out.num_channels // 4)


def latents(codec: JanusVQVAE, images: Tensor) -> Tensor:
    """Unit-norm latents ``[N, 8, 16, 16]``, with gradient: the encoder's, its dead branches left out."""
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
    """Pictures ``[N, 3, 64, 64]`` from unit-norm latents or codes, with gradient."""
    pixels: Tensor = codec.decoder(codec.post_quant_conv(codes)).float()
    return pixels


def reconstruction_loss(drawn: Tensor, images: Tensor) -> Tensor:
    """L1 + L2 + L1 of the spatial gradients: the last keeps edges sharp."""
    gradients = sum((drawn.diff(dim=axis) - images.diff(dim=axis)).abs().mean() for axis in (2, 3))
    return (drawn - images).abs().mean() + (drawn - images).square().mean() + 0.5 * gradients


def nearest(codebook: Tensor, points: Tensor) -> Tensor:
    """Index of the nearest unit code for each unit point ``[M, 8]``."""
    return torch.argmax(points @ codebook.T, dim=1)


def kmeans(points: Tensor, codes: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Spherical k-means; empty clusters restart at random points."""
    centres = points[torch.randperm(len(points), generator=generator)[:codes]].clone()
    for _ in range(rounds):
        owner = nearest(centres, points)
        sums = torch.zeros_like(centres).index_add_(0, owner, points)
        counts = torch.bincount(owner, minlength=codes)
        centres = F.normalize(sums, dim=1)
        empty = torch.nonzero(counts == 0).flatten()
        centres[empty] = points[torch.randint(len(points), (len(empty),), generator=generator)]
    return centres


def train(
    folder: Path,
    *,
    seconds_plain: float,
    seconds_quantised: float,
    seed: int = 0,
    pool: int = 20_000,
    noise: float = 0.15,
    tested: int = 256,
    clock: Callable[[], float] = time.monotonic,
) -> JanusVQVAE:
    """Train and keep the codec in `folder`; a second call goes on from its last checkpoint.

    First a plain autoencoder with a little noise on its latents, then k-means, then through the codebook. The log gives
    the L1 on `tested` held-out pictures.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    images = pictures(scene_pool("codec", pool))
    held_out = to_input(pictures(scene_pool("codec-held-out", tested)))
    codec = JanusVQVAE(codec_config())
    anchor(codec)
    localise(codec.encoder)
    codec.train()
    optimizer = MuonAndAdam(
        [(name, parameter) for name, parameter in codec.named_parameters() if not name.startswith("quantize")],
        lambda name, parameter: parameter.ndim == 4 and min(parameter.shape[:2]) >= 64,
        muon_rate=0.015,
        adam_rate=2e-3,
    )
    lesson = Lesson(
        folder,
        seconds_plain + seconds_quantised,
        {"codec": codec, **optimizer.parts},
        {"quantised": False, "counts": torch.ones(CODES)},
        report_every=15,
        save_every=60,
        clock=clock,
    )
    counts: Tensor = lesson.kept["counts"]
    recent = deque[float](maxlen=100)

    def report() -> dict[str, Any]:
        return {
            "l1": round(float(np.mean(recent)), 4),
            "held_out_l1": round(held_out_l1(codec, held_out, lesson.kept["quantised"]), 4),
            "quantised": lesson.kept["quantised"],
            "live_codes": int((counts > 0.3).sum()),
        }

    for step in lesson.steps(report):
        plain = lesson.spent < seconds_plain
        progress = lesson.spent / seconds_plain if plain else (lesson.spent - seconds_plain) / seconds_quantised
        if not plain and not lesson.kept["quantised"]:
            codec.quantize.embedding.weight.data = _first_codes(codec, images, generator)
            counts.fill_(BATCH * GRID * GRID / CODES)
            lesson.kept["quantised"] = True
        batch = to_input(images[rng.integers(0, len(images), BATCH)])
        codebook = codec.quantize.embedding.weight.data
        with autocast():
            with torch.autocast("cpu", enabled=False):  # bfloat16 is too coarse beside the encoder's anchors
                found = latents(codec, batch)
                points = found.detach().permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS).float()
                owner = nearest(codebook, points)
            if plain:
                commitment = torch.zeros(())
                drawn = decode_latents(codec, F.normalize(found + noise * torch.randn_like(found), dim=1))
            else:
                codes = codebook[owner].view(BATCH, GRID, GRID, CODE_DIMENSIONS).permute(0, 3, 1, 2)
                commitment = (found - codes).square().sum(1).mean()
                drawn = decode_latents(codec, found + (codes - found).detach())
        loss = reconstruction_loss(drawn, batch) + 0.25 * commitment
        optimizer.step(loss, min(1.0, (step + 1) / 100) * _rate(plain, min(1.0, progress)))
        keep_local(codec.encoder)
        if not plain and progress < 0.85:
            _follow(codebook, counts, owner, points, generator)
        recent.append((drawn.detach() - batch).abs().mean().item())
    codec.eval()
    return codec


def _rate(plain: bool, progress: float) -> float:
    """Share of the learning rates: a cosine from 1 to 0.3 while plain, then from 0.6 to next to nothing."""
    top, floor = (1.0, 0.3) if plain else (0.6, 0.02)
    return top * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def _first_codes(codec: JanusVQVAE, images: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
    """Unit codes ``[CODES, 8]`` by k-means over latents of up to 1,280 pictures."""
    sample = torch.cat([latents(codec, to_input(images[i : i + 64])) for i in range(0, min(1280, len(images)), 64)])
    points = sample.permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS)
    return kmeans(points[:: max(1, len(points) // 100_000)], CODES, 12, generator)


def _follow(codebook: Tensor, counts: Tensor, owner: Tensor, points: Tensor, generator: torch.Generator) -> None:
    """Move each code towards the latents it owns; a code that owns next to nothing is drawn anew."""
    decay = 0.98
    batch_counts = torch.bincount(owner, minlength=CODES).float()
    sums = torch.zeros_like(codebook).index_add_(0, owner, points)
    old = counts[:, None] * codebook
    counts.mul_(decay).add_((1 - decay) * batch_counts)
    moved = decay * old + (1 - decay) * sums
    codebook.copy_(F.normalize(moved, dim=1))
    dead = torch.nonzero(counts < 0.05).flatten()
    if len(dead):
        codebook[dead] = points[torch.randint(len(points), (len(dead),), generator=generator)]
        counts[dead] = 1.0


@torch.no_grad()
def held_out_l1(codec: JanusVQVAE, images: Tensor, quantised: bool) -> float:
    """Mean L1 on −1…1 over held-out pictures, through the codebook where there is one, in float32."""
    total = 0.0
    for batch in images.split(32):
        found = latents(codec, batch)
        if quantised:
            points = found.permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS)
            found = codec.quantize.embedding.weight[nearest(codec.quantize.embedding.weight, points)]
            found = found.view(len(batch), GRID, GRID, CODE_DIMENSIONS).permute(0, 3, 1, 2)
        total += (decode_latents(codec, found) - batch).abs().mean().item() * len(batch)
    return total / len(images)
