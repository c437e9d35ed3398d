"""Nano's own byte-level BPE, with Janus-Pro's special tokens and chat template."""

import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import JanusImageProcessor, JanusProcessor, PreTrainedTokenizerFast

from tools.nano.painting import SIDE
from tools.nano.questions import questions
from tools.nano.scenes import caption, scene_pool

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<|User|>", "<|Assistant|>"
IMAGE_TOKENS = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
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


def train_tokenizer(lines: int = 40_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train on `lines` sentences and questions of the world; any other text is encoded in bytes."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [BOS, EOS, PAD, USER, ASSISTANT, *IMAGE_TOKENS.values()]
    rng = random.Random(f"tokenizer:{seed}")

    corpus = []
    for scene in scene_pool("tokenizer", lines):
        corpus.append(f": {caption(scene, rng)}\n\n")
        corpus += [f": {question.text}\n\n: {question.answer}" for question in questions(scene, rng, 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens=IMAGE_TOKENS,
        padding_side="left",
    )


def processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """The processor that is saved beside the weights."""
    images = JanusImageProcessor(
        size={"height": SIDE, "width": SIDE}, min_size=4, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return JanusProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, num_image_tokens=PATCHES)


def image_prompt(text: str) -> str:
    """The chat prompt that image generation continues; the tokenizer prepends BOS."""
    return f"{USER}: {text}\n\n{ASSISTANT}:{IMAGE_TOKENS['boi_token']}"
