"""Drawing is `transformers`' own generation, only faster and with each picture's own noise."""

import pytest
import torch
from torch import Tensor

from ecgvf.janus import JanusModel, Sampling, decode, draw, hidden_states, logits, noise
from ecgvf.janus.decoding import draw_tokens
from ecgvf.janus.sampling import pick

PROMPTS = ["a church", "a small castle by the water at night, painted by Van Gogh", "a house under a blue sky"]
GREEDY = Sampling(temperature=0)


def generate(model: JanusModel, prompts: list[str], **settings: object) -> Tensor:
    """What `transformers` draws."""
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
def test_greedy_tokens_are_those_of_transformers(tiny_janus: JanusModel, guidance: float) -> None:
    ours = draw_tokens(tiny_janus, PROMPTS, noise([0] * 3, 16), Sampling(guidance=guidance, temperature=0))
    theirs = generate(tiny_janus, PROMPTS, do_sample=False, guidance_scale=guidance, top_k=None)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 5, 1.0), (1.0, 0, 0.6), (1.3, 9, 0.8)]
)
def test_sampled_tokens_are_those_of_transformers_for_the_same_noise(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, temperature: float, top_k: int, top_p: float
) -> None:
    uniform = noise([1, 2, 3], 16)
    step = iter(range(16))

    def multinomial(probabilities: Tensor, num_samples: int) -> Tensor:
        assert num_samples == 1
        return pick(probabilities.log(), uniform[:, next(step)], Sampling())[:, None]

    monkeypatch.setattr(torch, "multinomial", multinomial)
    theirs = generate(
        tiny_janus, PROMPTS, do_sample=True, guidance_scale=3.0, temperature=temperature, top_k=top_k, top_p=top_p
    )
    sampling = Sampling(guidance=3.0, temperature=temperature, top_k=top_k, top_p=top_p)
    assert torch.equal(draw_tokens(tiny_janus, PROMPTS, uniform, sampling), theirs)


def test_a_picture_does_not_depend_on_its_neighbours(tiny_janus: JanusModel) -> None:
    together = draw(tiny_janus, PROMPTS, [7, 8, 9], batch_size=3)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, [7, 8, 9], strict=True)):
        alone = draw(tiny_janus, [prompt], [seed])
        assert (alone.vq_ids[0] == together.vq_ids[row]).all()
        assert abs(alone.pixels[0].astype(int) - together.pixels[row].astype(int)).max() <= 1


def test_a_picture_depends_on_prompt_and_seed(tiny_janus: JanusModel) -> None:
    drawing = draw(tiny_janus, [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1])
    again = draw(tiny_janus, [PROMPTS[0]], [1])
    assert (drawing.vq_ids[0] == again.vq_ids[0]).all()
    assert (drawing.vq_ids[0] != drawing.vq_ids[1]).any()
    assert (drawing.vq_ids[0] != drawing.vq_ids[2]).any()


def test_without_guidance_only_conditional_rows_are_drawn(tiny_janus: JanusModel) -> None:
    uniform = noise([3], 16)
    states = []
    tokens = draw_tokens(tiny_janus, PROMPTS[:1], uniform, Sampling(guidance=1.0))
    for position in range(16):
        states.append(hidden_states(tiny_janus, PROMPTS[:1], tokens[:, : position + 1])[:, -1])
        chosen = pick(logits(tiny_janus, states[-1]), uniform[:, position], Sampling())
        assert chosen == tokens[:, position]


def test_teacher_forced_states_are_those_seen_while_drawing(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecgvf.janus import decoding

    seen: list[Tensor] = []

    def spy(model: JanusModel, states: Tensor) -> Tensor:
        seen.append(states[: len(PROMPTS)])
        return logits(model, states)

    monkeypatch.setattr(decoding, "logits", spy)
    tokens = draw_tokens(tiny_janus, PROMPTS, noise([4, 5, 6], 16), Sampling(guidance=5.0))
    forced = hidden_states(tiny_janus, PROMPTS, tokens)
    assert forced.shape == (3, 16, 32)
    torch.testing.assert_close(forced, torch.stack(seen, dim=1), rtol=1e-4, atol=1e-4)


def test_states_of_a_beginning_do_not_depend_on_the_end(tiny_janus: JanusModel) -> None:
    tokens = draw_tokens(tiny_janus, PROMPTS, noise([4, 5, 6], 16), GREEDY)
    torch.testing.assert_close(
        hidden_states(tiny_janus, PROMPTS, tokens[:, :5]),
        hidden_states(tiny_janus, PROMPTS, tokens)[:, :5],
        rtol=1e-4,
        atol=1e-4,
    )


def test_pictures_are_what_transformers_decodes(tiny_janus: JanusModel) -> None:
    drawing = draw(tiny_janus, PROMPTS[:1], [1])
    tokens = torch.from_numpy(drawing.vq_ids)
    theirs = tiny_janus.model.decode_image_tokens(tokens)
    theirs = tiny_janus.processor.postprocess(list(theirs.float().permute(0, 3, 1, 2)), return_tensors="pt")
    expected = theirs["pixel_values"].permute(0, 2, 3, 1).numpy().astype(int)
    assert drawing.pixels.shape == (1, 16, 16, 3)
    assert abs(decode(tiny_janus, tokens).astype(int) - expected).max() <= 1


def test_each_picture_is_reported_once(tiny_janus: JanusModel) -> None:
    reported: list[int] = []
    draw(tiny_janus, PROMPTS, [1, 2, 3], GREEDY, batch_size=2, drawn=reported.append)
    assert reported == [2, 1]
