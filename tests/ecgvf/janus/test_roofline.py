from pathlib import Path

import pytest
import torch
from transformers import JanusForConditionalGeneration

from ecgvf.janus import JanusModel
from ecgvf.janus.roofline import Kernel, Roofs, batch_cost, measure_roofs
from tools.janus_pro import config


@pytest.fixture(scope="module")
def janus_pro_7b(tiny_janus: JanusModel) -> JanusModel:
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config("7b"))
    return JanusModel("7b", Path(), model.to(torch.bfloat16), tiny_janus.processor)


def test_the_floors_of_janus_pro_7b_on_an_h100(janus_pro_7b: JanusModel) -> None:
    """12.3 GB of weights a step and 0.49 MB of cache a token and row, at 3.35 TB/s and 990 TFLOP/s, but no pixels."""
    roofs = Roofs(bytes_per_second=3.35e12, flops_per_second=990e12)
    for images, seconds in ((1, 2.15), (32, 0.118), (64, 0.085)):
        kernels = batch_cost(janus_pro_7b, images, prompt_length=0).kernels
        tokens = sum(kernel.seconds(roofs) for kernel in kernels if kernel.name != "pixels") / images
        assert tokens == pytest.approx(seconds, rel=0.06)


def test_pixels_are_counted_with_the_decoder(janus_pro_7b: JanusModel) -> None:
    pixels = batch_cost(janus_pro_7b, 2).kernels[-1]
    assert (pixels.name, pixels.calls) == ("pixels", 2)
    assert 5e11 < pixels.flops < 5e12
    assert pixels.bytes > 2 * 3 * 384 * 384


def test_a_kernel_takes_the_longer_of_its_bytes_and_its_flops() -> None:
    roofs = Roofs(bytes_per_second=10.0, flops_per_second=100.0)
    assert Kernel("bound by bytes", calls=2, bytes=20, flops=10).seconds(roofs) == 4
    assert Kernel("bound by FLOPs", calls=1, bytes=20, flops=500).seconds(roofs) == 5


def test_guidance_doubles_the_rows_but_not_the_weights(tiny_janus: JanusModel) -> None:
    guided, unguided = (batch_cost(tiny_janus, 4, guided=guided).kernels for guided in (True, False))
    for double, single in zip(guided[:-2], unguided[:-2], strict=True):
        assert double.flops == 2 * single.flops
        assert single.bytes < double.bytes <= 2 * single.bytes


def test_roofs_are_measured() -> None:
    roofs = measure_roofs(torch.device("cpu"), torch.float32)
    assert 1e8 < roofs.bytes_per_second < 1e13
    assert 1e8 < roofs.flops_per_second < 1e15
