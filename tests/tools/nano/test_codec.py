"""Nano's codec: what its anchors and its local encoder keep, and its training with few steps."""

import dataclasses
import itertools
import json
from pathlib import Path

import torch
from torch import nn
from transformers.models.janus.modeling_janus import JanusVQVAE

from tools.nano import codec
from tools.nano.scenes import scene_pool
from tools.nano.world import compose_batch


def test_anchors_preserve_brightness_through_group_normalisation() -> None:
    """Group normalisation removes the mean, and with it the brightness; between anchors it does not."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config()).eval()
    codec.anchor(network)
    codec.localise(network.encoder)
    signal = torch.randn(2, 64, 16, 16) + torch.tensor([-1.0, 1.0])[:, None, None, None]
    tied = torch.stack([signal, -signal], 2).flatten(1, 2)
    anchors = codec.ANCHOR * torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(32)[:, None, None]
    with torch.no_grad():
        kept = network.encoder.norm_out(tied + anchors)
        lost = nn.functional.group_norm(tied, 32)
    assert (kept - tied).abs().max() < 0.1
    assert lost.mean((1, 2, 3)).abs().max() < 1e-5 < kept[:, ::2].mean((1, 2, 3)).abs().min()


def test_the_encoder_is_local_and_skips_only_zero_branches() -> None:
    """Under another sky the ground keeps its latents; `latents` equals the whole encoder."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config()).eval()
    codec.anchor(network)
    for block in (network.encoder.mid.block_1, network.encoder.mid.block_2):
        nn.init.kaiming_normal_(block.conv2.weight)
    codec.localise(network.encoder)
    scenes = [dataclasses.replace(scene, style="plain", sky="blue") for scene in scene_pool("test", 4)]
    night = [dataclasses.replace(scene, sky="night") for scene in scenes]
    images, night_images = codec.to_input(compose_batch(scenes)), codec.to_input(compose_batch(night))
    with torch.no_grad():
        encoded, night_encoded = codec.latents(network, images), codec.latents(network, night_images)
        whole = nn.functional.normalize(network.quant_conv(network.encoder(images)), dim=1)
    assert torch.allclose(encoded, whole, atol=1e-5)
    ground, sky = (encoded - night_encoded)[:, :, 13:].norm(dim=1), (encoded - night_encoded)[:, :, :4].norm(dim=1)
    assert ground.mean() < sky.mean() / 10


def test_kmeans_finds_separate_clusters() -> None:
    generator = torch.Generator().manual_seed(1)  # k-means is a local search: some seeds end in a worse optimum
    centres = nn.functional.normalize(torch.randn(4, 8, generator=generator), dim=1)
    points = nn.functional.normalize(centres.repeat(50, 1) + 0.01 * torch.randn(200, 8, generator=generator), dim=1)
    found = codec.kmeans(points, 4, 20, generator)
    assert (found @ centres.T).max(0).values.min() > 0.99


def test_the_codec_learns_and_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    second_a_step = itertools.count().__next__
    codec.train(tmp_path, seconds_plain=1, seconds_quantised=1, pool=16, tested=8, clock=second_a_step)
    first = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert first[-1]["step"] == 2 and first[-1]["quantised"]
    trained = codec.train(tmp_path, seconds_plain=1, seconds_quantised=4, pool=16, tested=8, clock=second_a_step)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 5 and rows[-1]["l1"] < first[-1]["l1"]
    norms = trained.quantize.embedding.weight.norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4)
