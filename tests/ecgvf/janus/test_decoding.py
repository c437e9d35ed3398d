"""Rendering is `transformers`' own generation, only faster, and each image has its own noise."""

import pytest
import torch
from torch import Tensor

from ecgvf.janus import JanusModel, Sampling, decode_images, decoding, hidden_states, logits, render_images
from ecgvf.janus.decoding import generate_image_tokens
from ecgvf.janus.sampling import sample_tokens, uniform_noise

PROMPTS = ["a church", "a small castle by the water at night, painted by Van Gogh", "a house under a blue sky"]
GREEDY = Sampling(temperature=0)


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
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([0] * 3, 16), sampling)
    expected = transformers_tokens(tiny_janus, PROMPTS, do_sample=False, guidance_scale=guidance, top_k=None)
    assert torch.equal(tokens, expected)


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
    assert torch.equal(generate_image_tokens(tiny_janus, PROMPTS, uniform, sampling), expected)


def test_an_image_does_not_depend_on_its_batch(tiny_janus: JanusModel) -> None:
    together = render_images(tiny_janus, PROMPTS, [7, 8, 9], batch_size=3)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, [7, 8, 9], strict=True)):
        alone = render_images(tiny_janus, [prompt], [seed])
        assert (alone.vq_ids[0] == together.vq_ids[row]).all()
        assert abs(alone.pixels[0].astype(int) - together.pixels[row].astype(int)).max() <= 1


def test_an_image_depends_on_prompt_and_seed(tiny_janus: JanusModel) -> None:
    first = render_images(tiny_janus, [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1])
    second = render_images(tiny_janus, [PROMPTS[0]], [1])
    assert (first.vq_ids[0] == second.vq_ids[0]).all()
    assert (first.vq_ids[0] != first.vq_ids[1]).any()
    assert (first.vq_ids[0] != first.vq_ids[2]).any()


def test_without_guidance_tokens_come_from_the_conditional_logits(tiny_janus: JanusModel) -> None:
    uniform = uniform_noise([3], 16)
    tokens = generate_image_tokens(tiny_janus, PROMPTS[:1], uniform, Sampling(guidance=1.0))
    for position in range(16):
        states = hidden_states(tiny_janus, PROMPTS[:1], tokens[:, : position + 1])[:, -1]
        assert sample_tokens(logits(tiny_janus, states), uniform[:, position], Sampling()) == tokens[:, position]


def test_teacher_forced_states_equal_those_of_decoding(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Tensor] = []

    def spy(model: JanusModel, states: Tensor) -> Tensor:
        decoded.append(states[: len(PROMPTS)])
        return logits(model, states)

    monkeypatch.setattr(decoding, "logits", spy)
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([4, 5, 6], 16), Sampling(guidance=5.0))
    forced = hidden_states(tiny_janus, PROMPTS, tokens)
    assert forced.shape == (3, 16, 32)
    torch.testing.assert_close(forced, torch.stack(decoded, dim=1), rtol=1e-4, atol=1e-4)


def test_hidden_states_do_not_depend_on_later_tokens(tiny_janus: JanusModel) -> None:
    tokens = generate_image_tokens(tiny_janus, PROMPTS, uniform_noise([4, 5, 6], 16), GREEDY)
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
    assert abs(decode_images(tiny_janus, tokens).astype(int) - expected).max() <= 1


def test_progress_advances_with_each_batch(tiny_janus: JanusModel) -> None:
    advanced: list[int] = []
    render_images(tiny_janus, PROMPTS, [1, 2, 3], GREEDY, batch_size=2, advance=advanced.append)
    assert advanced == [2, 1]
