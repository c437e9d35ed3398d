"""Nano's own byte-level BPE, with Janus-Pro's special tokens and chat template."""

import random

from transformers import JanusImageProcessor, JanusProcessor, PreTrainedTokenizerFast

from tools.nano.painting import SIDE
from tools.nano.questions import questions
from tools.nano.scenes import caption, scene_pool
from tools.tokenizer import EOS, IMAGE_TOKENS, train_bpe

USER, ASSISTANT = "<|User|>", "<|Assistant|>"
VOCABULARY = 1536
PATCHES = 256

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}<|User|>: {% else %}<|Assistant|>:{% if message.content %} {% endif %}{% endif %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image_placeholder>{{ '' if loop.last else '\\n' }}"
    "{% else %}{{ part.text | trim }}{% endif %}"
    "{% endfor %}"
    "{% if not loop.last or add_generation_prompt %}"
    "{{ '\\n\\n' if message.role == 'user' else '" + EOS + "' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def train_tokenizer(lines: int = 40_000) -> PreTrainedTokenizerFast:
    """Train on `lines` sentences and questions of the world; any other text is encoded in bytes."""
    rng = random.Random("tokenizer:0")
    corpus = []
    for scene in scene_pool("tokenizer", lines):
        corpus.append(f": {caption(scene, rng)}\n\n")
        corpus += [f": {question.text}\n\n: {question.answer}" for question in questions(scene, rng, 1)]
    return train_bpe(corpus, VOCABULARY, roles=(USER, ASSISTANT))


def processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """The processor that is saved beside the weights."""
    images = JanusImageProcessor(
        size={"height": SIDE, "width": SIDE}, min_size=4, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return JanusProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, num_image_tokens=PATCHES)


def image_prompt(text: str) -> str:
    """The chat prompt that image generation continues; the tokenizer prepends BOS."""
    return f"{USER}: {text}\n\n{ASSISTANT}:{IMAGE_TOKENS['boi_token']}"
