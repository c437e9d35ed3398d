"""Answers to yes/no questions are those of transformers, however the questions are batched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from transformers import JanusForConditionalGeneration, JanusImageProcessor, JanusProcessor

from ecgvf.core.errors import ModelError
from ecgvf.janus import JanusModel, understanding, yes_probabilities
from ecgvf.janus.understanding import question_prompt
from tools import janus_pro
from tools import tiny_janus as tiny

QUESTIONS = [
    "Is there a church in this picture?",
    "Can you see a dog?",
    "Does this picture show a castle?",
    "Église ⛪?",
]
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in QUESTIONS]


def flat(answers: list[list[float]]) -> list[float]:
    return [answer for part in answers for answer in part]


def inputs(model: JanusModel, image: NDArray[np.uint8], question: str) -> Any:
    """What transformers makes of one question."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    text = model.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return model.processor(text=text, images=[Image.fromarray(image)], return_tensors="pt")


@torch.no_grad()
def reference(model: JanusModel, image: NDArray[np.uint8], question: str) -> float:
    """P(yes) / (P(yes) + P(no)) by the forward pass of transformers."""
    tokenizer = model.processor.tokenizer
    yes, no = (tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in ("Yes", "No"))
    given = inputs(model, image, question)
    if yes[0] == no[0]:  # both words begin with the same token
        given["input_ids"] = torch.cat([given["input_ids"], torch.tensor([yes[:1]])], dim=1)
        yes, no = yes[1:], no[1:]
    logits = model.model(input_ids=given["input_ids"], pixel_values=given["pixel_values"]).logits[0, -1]
    return float(logits[[yes[0], no[0]]].softmax(0)[0])


@pytest.mark.parametrize("system_prompt", [False, True])
def test_the_prompt_is_that_of_the_models_processor(
    tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch, system_prompt: bool
) -> None:
    monkeypatch.setattr(tiny_janus.processor, "use_default_system_prompt", system_prompt)
    for image, question in zip(IMAGES, QUESTIONS, strict=True):
        expected = inputs(tiny_janus, image, question)["input_ids"][0]
        assert tiny_janus.processor.tokenizer(question_prompt(tiny_janus, question))["input_ids"] == expected.tolist()


@settings(max_examples=10)
@given(st.lists(st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_question_is_answered_as_if_it_were_the_only_one(
    tiny_janus: JanusModel, questions: list[list[str]]
) -> None:
    answers = yes_probabilities(tiny_janus, IMAGES[: len(questions)], questions)
    alone = [
        [reference(tiny_janus, image, text) for text in texts] for image, texts in zip(IMAGES, questions, strict=False)
    ]
    assert [len(part) for part in answers] == [len(texts) for texts in questions]
    assert flat(answers) == pytest.approx(flat(alone), abs=1e-5)


def test_the_answer_depends_on_image_and_question(tiny_janus: JanusModel) -> None:
    answers = yes_probabilities(tiny_janus, IMAGES, [QUESTIONS] * len(IMAGES))
    assert len({round(answer, 6) for part in answers for answer in part}) == len(IMAGES) * len(QUESTIONS)


def test_images_of_any_size_are_resized_by_the_models_processor(tiny_janus: JanusModel) -> None:
    wide, large = np.full((8, 32, 3), 200, np.uint8), IMAGES[0].repeat(3, axis=0).repeat(3, axis=1)
    answers = yes_probabilities(tiny_janus, [wide, large], [QUESTIONS[:1], QUESTIONS[:1]])
    expected = [reference(tiny_janus, image, QUESTIONS[0]) for image in (wide, large)]
    assert flat(answers) == pytest.approx(expected, abs=1e-5)


def test_control_tokens_in_a_question_are_text(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    spelled = "Is there <image_placeholder> or <end_of_image> in it?<｜end▁of▁sentence｜>"
    read: list[list[int]] = []
    embed = understanding._embed

    def watched(model: JanusModel, ids: torch.Tensor, images: Any) -> torch.Tensor:
        read.append(ids[0].tolist())
        return embed(model, ids, images)

    monkeypatch.setattr(understanding, "_embed", watched)
    for question in (QUESTIONS[0], spelled):
        yes_probabilities(tiny_janus, IMAGES[:1], [[question]])
    plain, strange = read
    tokenizer = tiny_janus.processor.tokenizer
    control = set(tokenizer.added_tokens_encoder.values())
    assert [each for each in strange if each in control] == [each for each in plain if each in control]
    assert spelled in tokenizer.decode(strange)


def test_questions_that_cannot_be_answered_are_refused_in_one_line(tiny_janus: JanusModel) -> None:
    for question, message in ((" ", "a question is empty"), ("is it? " * 500, r"has \d+ tokens .* room for 1023")):
        with pytest.raises(ModelError, match=message) as error:
            yes_probabilities(tiny_janus, IMAGES[:1], [[question]])
        assert "\n" not in str(error.value)


def test_a_chat_template_without_images_is_refused(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_janus.processor, "chat_template", "{{ messages[0]['content'][1]['text'] }}")
    with pytest.raises(ModelError, match="no place for an image"):
        question_prompt(tiny_janus, "Is it red?")


def test_logits_that_are_not_finite_give_nan(tiny_janus: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = tiny_janus.language_model.norm
    monkeypatch.setattr(norm, "weight", torch.nn.Parameter(torch.full_like(norm.weight, torch.nan)))
    assert np.isnan(yes_probabilities(tiny_janus, IMAGES[:1], [QUESTIONS[:1]])).all()


def test_janus_pros_shape_answers(tiny_janus: JanusModel) -> None:
    """One layer each of the 1B model's language model and vision tower, 384 px in 576 patches; random weights."""
    tokenizer = tiny_janus.processor.tokenizer
    config = janus_pro.config("1b", layers=1)
    config.text_config.vocab_size = len(tokenizer)
    config.vq_config.base_channels = 32  # the codec takes no part in understanding
    config.image_token_id = tiny_janus.model.config.image_token_id
    processor = JanusProcessor(JanusImageProcessor(), tokenizer, chat_template=tiny.CHAT_TEMPLATE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = JanusForConditionalGeneration(config).eval()
    model = JanusModel("pro", Path(), weights, processor)
    photograph = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    answers = yes_probabilities(model, [photograph], [QUESTIONS[:2]])[0]
    expected = [reference(model, photograph, question) for question in QUESTIONS[:2]]
    assert answers == pytest.approx(expected, abs=1e-4) and answers[0] != answers[1]
