"""Rendering is `transformers`' own generation, only faster, and each image has its own noise."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ecgvf.core.errors import ModelError
from ecgvf.janus import (
    JanusModel,
    Sampling,
    decode_images,
    decoder,
    decoding,
    hidden_states,
    load,
    logits,
    render_images,
)
from ecgvf.janus.decoder import Decoder
from ecgvf.janus.decoding import RenderedImages, generate_image_tokens
from ecgvf.janus.hidden import guided_logits
from ecgvf.janus.kv_cache import bytes_per_position
from ecgvf.janus.prompting import generation_ids
from ecgvf.janus.sampling import sample_tokens, uniform_noise

PROMPTS = ["a church", "a small castle by the water at night, painted by Van Gogh", "a house under a blue sky"]
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def nano() -> JanusModel:
    return load("janus-nano", device="cpu")


def transformers_tokens(model: JanusModel, prompts: list[str], **settings: object) -> Tensor:
    """Image tokens that `generate` of `transformers` returns."""
    texts = [
        model.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for prompt in prompts
    ]
    inputs = model.processor(text=texts, generation_mode="image", padding=True, return_tensors="pt")
    tokens: Tensor = model.model.generate(**inputs, generation_mode="image", **settings)
    return tokens


@pytest.mark.parametrize("guidance", [2.0, 5.0])
def test_greedy_tokens_equal_those_of_transformers(tiny_janus: JanusModel, guidance: float) -> None:
    sampling = Sampling(guidance=guidance, temperature=0)
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([0] * 3, 16), sampling).vq_ids
    expected = transformers_tokens(tiny_janus, PROMPTS, do_sample=False, guidance_scale=guidance, top_k=None)
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("prompt", ["a church on a hill of grass under a blue sky", "ein Hund im Schnee"])
def test_nanos_greedy_tokens_equal_those_of_transformers(nano: JanusModel, prompt: str) -> None:
    tokens = generate_image_tokens(nano, [prompt], uniform_noise([0], 256), GREEDY).vq_ids
    assert torch.equal(tokens, transformers_tokens(nano, [prompt], do_sample=False, guidance_scale=5.0, top_k=None))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 5, 1.0), (1.0, 0, 0.6), (1.3, 9, 0.8)]
)
def test_sampled_tokens_equal_those_of_transformers_for_the_same_noise(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, temperature: float, top_k: int, top_p: float
) -> None:
    uniform = uniform_noise([1, 2, 3], 16)
    step = iter(range(16))

    def multinomial(probabilities: Tensor, num_samples: int) -> Tensor:
        assert num_samples == 1
        return sample_tokens(probabilities.log(), uniform[:, next(step)], Sampling())[:, None]

    monkeypatch.setattr(torch, "multinomial", multinomial)
    expected = transformers_tokens(
        tiny_janus, PROMPTS, do_sample=True, guidance_scale=3.0, temperature=temperature, top_k=top_k, top_p=top_p
    )
    sampling = Sampling(guidance=3.0, temperature=temperature, top_k=top_k, top_p=top_p)
    assert torch.equal(generate_image_tokens(tiny_janus, PROMPTS, uniform, sampling).vq_ids, expected)


def test_an_image_does_not_depend_on_its_batch(tiny_janus: JanusModel) -> None:
    together = render_images(tiny_janus, PROMPTS, [7, 8, 9], batch_size=3)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, [7, 8, 9], strict=True)):
        alone = render_images(tiny_janus, [prompt], [seed])
        assert (alone.vq_ids[0] == together.vq_ids[row]).all()
        assert abs(alone.pixels[0].astype(int) - together.pixels[row].astype(int)).max() <= 1


def test_another_order_in_the_same_batch_shapes_gives_exactly_the_same_tokens(tiny_janus: JanusModel) -> None:
    prompts, seeds = PROMPTS * 3, list(range(9))
    expected = render_images(tiny_janus, prompts, seeds, batch_size=3).vq_ids
    order = [4, 2, 6, 0, 7, 5, 3, 1, 8]  # one prompt of each length in every batch
    shuffled = render_images(tiny_janus, [prompts[i] for i in order], [seeds[i] for i in order], batch_size=3)
    assert (shuffled.vq_ids == expected[order]).all()


def test_an_image_depends_on_prompt_and_seed(tiny_janus: JanusModel) -> None:
    first = render_images(tiny_janus, [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1])
    second = render_images(tiny_janus, [PROMPTS[0]], [1])
    assert (first.vq_ids[0] == second.vq_ids[0]).all()
    assert (first.vq_ids[0] != first.vq_ids[1]).any()
    assert (first.vq_ids[0] != first.vq_ids[2]).any()


def test_without_guidance_tokens_come_from_the_conditional_logits(tiny_janus: JanusModel) -> None:
    uniform = uniform_noise([3], 16)
    tokens = generate_image_tokens(tiny_janus, PROMPTS[:1], uniform, Sampling(guidance=1.0)).vq_ids
    for position in range(16):
        states = hidden_states(tiny_janus, PROMPTS[:1], tokens[:, : position + 1])[:, -1]
        assert sample_tokens(logits(tiny_janus, states), uniform[:, position], Sampling()) == tokens[:, position]


def test_teacher_forced_states_equal_those_of_decoding(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Tensor] = []

    def spy(model: JanusModel, states: Tensor, guidance: float) -> Tensor:
        decoded.append(states[: len(PROMPTS)])
        return guided_logits(model, states, guidance)

    monkeypatch.setattr(decoding, "guided_logits", spy)
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([4, 5, 6], 16), Sampling(guidance=5.0)).vq_ids
    forced = hidden_states(tiny_janus, PROMPTS, tokens)
    assert forced.shape == (3, 16, 32)
    torch.testing.assert_close(forced, torch.stack(decoded, dim=1), rtol=1e-4, atol=1e-4)


def test_hidden_states_do_not_depend_on_later_tokens(tiny_janus: JanusModel) -> None:
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([4, 5, 6], 16), GREEDY).vq_ids
    torch.testing.assert_close(
        hidden_states(tiny_janus, PROMPTS, tokens[:, :5]),
        hidden_states(tiny_janus, PROMPTS, tokens)[:, :5],
        rtol=1e-4,
        atol=1e-4,
    )


def test_pixels_equal_those_of_transformers(tiny_janus: JanusModel) -> None:
    rendered = render_images(tiny_janus, PROMPTS[:1], [1])
    tokens = torch.from_numpy(rendered.vq_ids)
    decoded = tiny_janus.model.decode_image_tokens(tokens)
    processed = tiny_janus.processor.postprocess(list(decoded.float().permute(0, 3, 1, 2)), return_tensors="pt")
    expected = processed["pixel_values"].permute(0, 2, 3, 1).numpy().astype(int)
    assert rendered.pixels.shape == (1, 16, 16, 3)
    assert abs(decode_images(tiny_janus, tokens)[0].astype(int) - expected).max() <= 1


# Given tokens and negative prompts


def render(model: JanusModel, prefix: Tensor | None = None) -> RenderedImages:
    return render_images(model, PROMPTS, [7, 8, 9], batch_size=2, prefix=prefix)


def test_a_prefix_of_an_image_is_continued_by_the_rest_of_it(tiny_janus: JanusModel) -> None:
    expected = render(tiny_janus).vq_ids
    prefix = torch.from_numpy(expected[:, :5]).clone()
    prefix[1, 3:] = -1
    assert (render(tiny_janus, prefix).vq_ids == expected).all()
    prefix[:, 0] = (prefix[:, 0] + 1) % 32
    changed = render(tiny_janus, prefix).vq_ids
    assert (changed[:, 0] == prefix[:, 0].numpy()).all()
    assert (changed[:, 5:] != expected[:, 5:]).any()


def test_a_negative_prompt_gets_neither_suffix_nor_rewriting(tiny_janus: JanusModel) -> None:
    attacked = replace(tiny_janus, rewrite=lambda prompt: f"{prompt} and more", suffix_ids=(7, 8, 9))
    ids, mask = generation_ids(attacked, ["a church"], negative_prompt="church")
    plain, _ = generation_ids(tiny_janus, ["church"])
    assert ids[1][mask[1] == 1].tolist() == plain[0].tolist()
    attacked = replace(attacked, negative_prompt="church")
    same = replace(tiny_janus, negative_prompt="church")
    vq_ids = torch.zeros(1, 4, dtype=torch.int64)
    states = [hidden_states(model, ["x"], vq_ids, unconditional=True) for model in (attacked, same)]
    assert torch.equal(*states)


def test_a_negative_prompt_replaces_the_empty_one(tiny_janus: JanusModel) -> None:
    # Away from itself, with scale 1 or more, a prompt is not guided at all: cond + (s - 1) * (cond - cond).
    prompts, uniform = [PROMPTS[0]] * 2, uniform_noise([7, 8], 16)
    steered = generate_image_tokens(
        replace(tiny_janus, negative_prompt=PROMPTS[0]), prompts, uniform, Sampling(guidance=5.0)
    )
    free = generate_image_tokens(tiny_janus, prompts, uniform, Sampling(guidance=1.0))
    assert torch.equal(steered.vq_ids, free.vq_ids)
    castle = replace(tiny_janus, negative_prompt="a castle")
    assert (render(castle).vq_ids != render(tiny_janus).vq_ids).any()


def test_an_image_with_logits_that_are_not_finite_is_marked(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: JanusModel, states: Tensor) -> Tensor:
        values = logits(model, states)
        values[2, 3] = torch.inf
        return values

    monkeypatch.setattr(decoding, "logits", broken)
    images = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([4, 5, 6], 16), Sampling(guidance=1.0))
    assert images.finite.tolist() == [True, True, False]
    assert images.vq_ids.max() < 32  # a token without an entry in the codebook could not be decoded


def test_an_image_with_pixels_that_are_not_finite_is_marked(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixel_decoder = tiny_janus.pixel_decoder

    def broken(codes: Tensor) -> Tensor:
        pixels: Tensor = pixel_decoder(codes).clone()
        pixels[1, 2, 3, 4] = torch.nan
        return pixels

    monkeypatch.setitem(vars(tiny_janus), "pixel_decoder", broken)
    assert render_images(tiny_janus, PROMPTS, [7, 8, 9], batch_size=3).finite.tolist() == [True, False, True]


class UncapturedGraph:
    """Calls what a CUDA graph would replay: capturing needs a GPU, what is captured does not."""

    def __init__(self, function: Callable[..., Tensor], tokens: Tensor, position: int, earlier: object) -> None:
        self.function = function

    def __call__(self, tokens: Tensor, position: int) -> Tensor:
        return self.function(tokens, torch.tensor([position]))


def test_the_step_for_a_cuda_graph_computes_what_the_eager_step_does(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = render(tiny_janus).vq_ids
    monkeypatch.setattr(decoder, "CAPTURED_LENGTH", 8)
    monkeypatch.setattr(decoder, "_Graph", UncapturedGraph)
    monkeypatch.setattr(Decoder, "_eager_step", Decoder._captured_step)
    assert (render(tiny_janus).vq_ids == expected).all()


@dataclass
class FakeCUDA:
    """CUDA's classes as far as ``Decoder`` uses them, which replay nothing."""

    current: torch.device = field(default_factory=lambda: torch.device("cuda:1"))
    """The current device: another than the model's."""
    streams: list[torch.device] = field(default_factory=list)
    """Those that were made."""
    pools: list[int] = field(default_factory=list)
    """That of each captured graph."""


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCUDA:
    cuda = FakeCUDA()

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.device = device
            cuda.streams.append(device)

        def wait_stream(self, current: SimpleNamespace) -> None:
            assert current.device == self.device

    class Graph:
        def pool(self) -> int:
            return self.own

        def replay(self) -> None:
            pass

    @contextmanager
    def device(chosen: torch.device) -> Iterator[None]:
        cuda.current, before = chosen, cuda.current
        yield
        cuda.current = before

    def capture(graph: Graph, pool: int | None, stream: Stream) -> AbstractContextManager[None]:
        assert cuda.current == stream.device
        graph.own = len(cuda.pools) if pool is None else pool
        cuda.pools.append(graph.own)
        return nullcontext()

    monkeypatch.setattr(decoder, "CAPTURED_LENGTH", 8)
    monkeypatch.setattr(decoder, "_capture_stream", cache(decoder._capture_stream.__wrapped__))
    monkeypatch.setattr(Decoder, "_eager_step", Decoder._captured_step)
    for name, fake in {
        "Stream": Stream,
        "current_stream": lambda: SimpleNamespace(device=cuda.current, wait_stream=lambda _: None),
        "device": device,
        "stream": nullcontext,
        "CUDAGraph": Graph,
        "graph": capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return cuda


def test_the_graphs_of_a_batch_share_their_memory_and_all_graphs_one_stream_on_the_models_device(
    tiny_janus: JanusModel, fake_cuda: FakeCUDA
) -> None:
    render(tiny_janus)
    pools = fake_cuda.pools
    batches = sorted(set(pools))
    assert len(batches) == 2 and pools == sorted(pools) and min(map(pools.count, batches)) > 1
    assert fake_cuda.streams == [tiny_janus.device]


@pytest.mark.parametrize("captured", [False, True])
def test_the_memory_of_a_batch_is_free_when_it_is_done(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, captured: bool
) -> None:
    """Without the garbage collector, which does not know that a GPU's memory runs out."""
    if captured:
        request.getfixturevalue("fake_cuda")
    decoders: list[weakref.ref[Decoder]] = []

    def create(*arguments: Any) -> Decoder:
        assert not any(reference() for reference in decoders), "still in memory"
        created = Decoder(*arguments)
        decoders.append(weakref.ref(created))
        return created

    monkeypatch.setattr(decoding, "Decoder", create)
    gc.disable()
    try:
        render(tiny_janus)
        assert len(decoders) == 2 and decoders[-1]() is None
    finally:
        gc.enable()


def test_a_step_that_cannot_be_captured_is_computed_eagerly(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    eager = Decoder._eager_step

    def captured_first(self: Decoder, tokens: Tensor) -> Tensor:
        monkeypatch.setattr(Decoder, "_eager_step", eager)
        return self._captured_step(tokens)

    expected = render(tiny_janus).vq_ids
    monkeypatch.setattr(decoder, "_Graph", fail)
    monkeypatch.setattr(Decoder, "_eager_step", captured_first)
    assert (render(tiny_janus).vq_ids == expected).all()
    assert "without a CUDA graph" in capsys.readouterr().err


def test_a_projection_with_a_bias_or_of_another_kind(tiny_path: Path) -> None:
    model = load(str(tiny_path), device="cpu")
    attention = model.language_model.layers[0].self_attn
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        projection = getattr(attention, name)
        biased = nn.Linear(projection.in_features, projection.out_features).requires_grad_(False)
        biased.weight.copy_(projection.weight)
        setattr(attention, name, biased)
    tokens = generate_image_tokens(model, PROMPTS, uniform_noise([0] * 3, 16), GREEDY).vq_ids
    assert torch.equal(tokens, transformers_tokens(model, PROMPTS, do_sample=False, guidance_scale=5.0, top_k=None))
    attention.q_proj = nn.Sequential(attention.q_proj)
    attention.q_proj.weight = attention.q_proj[0].weight
    with pytest.raises(ModelError, match="through a Sequential"):
        render(model)


def test_the_default_batch_size_depends_on_the_model_alone(tiny_janus: JanusModel) -> None:
    assert tiny_janus.default_batch_size() == 64
    large = copy.deepcopy(tiny_janus.model.config)
    large.text_config.update({"num_hidden_layers": 24, "num_key_value_heads": 16, "head_dim": 128})
    large.vision_config.num_image_tokens = 576
    model = SimpleNamespace(config=large, device=torch.device("cpu"), dtype=torch.float32)
    assert replace(tiny_janus, model=model).default_batch_size() == 2


def test_on_a_gpu_the_default_batch_size_counts_what_pytorch_has_freed_as_free(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_janus.model.config
    model = SimpleNamespace(config=config, device=torch.device("cuda"), dtype=torch.float32)
    sixteen = 16 * 2 * (16 + 64) * bytes_per_position(config.text_config, torch.float32)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (sixteen, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2**30 + sixteen)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    assert replace(tiny_janus, model=model).default_batch_size() == 16
