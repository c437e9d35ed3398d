"""Configurations in the shape of Janus-Pro, for tests and benchmarks that need its size but not its weights."""

from transformers import JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

SHAPES = {"1b": (2048, 5632, 24, 16), "7b": (4096, 11008, 30, 32)}
"""Width, width of the MLP, layers and heads of the language model, by size."""


def config(size: str, *, layers: int | None = None) -> JanusConfig:
    """The configuration of ``size``, a key of ``SHAPES``, with fewer ``layers`` of the language model if given.

    The vision tower, which renders nothing, has one layer. Source: the config.json of
    https://huggingface.co/deepseek-community/Janus-Pro-1B and -7B.
    """
    width, inner, depth, heads = SHAPES[size]
    text = LlamaConfig(
        vocab_size=102400,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers or depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=16384,
    )
    return JanusConfig(
        text_config=text,
        vision_config=JanusVisionConfig(projection_dim=width, num_hidden_layers=1),
        vq_config=JanusVQVAEConfig(projection_dim=width, image_token_embed_dim=width),
    )
