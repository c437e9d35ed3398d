"""A tiny Janus with random weights, saved like any other checkpoint.

Everything but the size is as in Janus-Pro: classes, special tokens, chat template, padding of the unconditional rows,
generation configuration.
"""

from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from tools.tokenizer import EOS, IMAGE_TOKENS, train_bpe

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|User|>: ' }}{% else %}{{ '<|Assistant|>: ' }}{% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image_placeholder>\n' }}{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}"
    "{% if message['role'] == 'user' %}{{ '\n\n' }}{% else %}{{ '" + EOS + "' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>:' }}{% endif %}"
)
LINES = (
    "<|User|>: a church on a hill under a blue sky\n\n<|Assistant|>:",
    "<|User|>: a small castle by the water at night, painted by Van Gogh\n\n<|Assistant|>:",
    "<|User|>: Is there a house in this picture?\n\n<|Assistant|>: Yes",
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for any text, which puts one BOS in front."""
    return train_bpe(LINES, 320)


def build(path: Path, *, seed: int = 0, grid: int = 4, layers: int = 3) -> Path:
    """Save a model with ``layers`` layers and ``grid`` x ``grid`` image tokens of 4 px each; return ``path``."""
    text_tokenizer, tokens = tokenizer(), grid * grid
    model = _model(_config(text_tokenizer, grid, layers), seed)
    model.generation_config = GenerationConfig(
        bos_token_id=text_tokenizer.bos_token_id,
        eos_token_id=text_tokenizer.eos_token_id,
        pad_token_id=text_tokenizer.pad_token_id,
        guidance_scale=5.0,
        do_sample=True,
        top_k=0,
        generation_kwargs={"boi_token_id": text_tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])},
    )
    model.save_pretrained(path)
    image_processor = JanusImageProcessor(
        size={"height": 4 * grid, "width": 4 * grid}, image_mean=[0.5] * 3, image_std=[0.5] * 3, min_size=4
    )
    JanusProcessor(
        image_processor, text_tokenizer, chat_template=CHAT_TEMPLATE, num_image_tokens=tokens
    ).save_pretrained(path)
    return path


def _config(text_tokenizer: PreTrainedTokenizerFast, grid: int, layers: int) -> JanusConfig:
    codes, width, tokens = 32, 32, grid * grid
    return JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(text_tokenizer),
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            pad_token_id=text_tokenizer.pad_token_id,
            bos_token_id=text_tokenizer.bos_token_id,
            eos_token_id=text_tokenizer.eos_token_id,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=4 * grid,
            patch_size=4,
            projection_dim=width,
            num_image_tokens=tokens,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=codes,
            latent_channels=32,
            base_channels=32,
            channel_multiplier=[1, 1, 1],
            num_res_blocks=0,
            projection_dim=width,
            image_token_embed_dim=width,
        ),
        image_token_id=int(text_tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["image_token"])),  # type: ignore[arg-type]
        tie_word_embeddings=False,
    )


def _model(config: JanusConfig, seed: int) -> JanusForConditionalGeneration:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: JanusForConditionalGeneration = JanusForConditionalGeneration(config).eval()
        # The usual initialisation is so small that every token is equally likely: make prompts and images matter.
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                torch.nn.init.normal_(module.weight, std=0.3)
    return model
