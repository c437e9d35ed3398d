"""A tiny CLIP with random weights, saved like any other checkpoint."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

WORDS = ("a", "an", "the", "picture", "of", "on", "in", "style", "wall", "clean", "forest", "church", "hotel", "by")


def build(path: Path, *, seed: int = 0) -> Path:
    """Save the model under ``path``; return ``path``."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<start>", "<end>", "<unknown>", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<start>", eos_token="<end>", model_max_length=32
    )
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(vocabulary), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = CLIPConfig(
        text_config={**size, **text, "max_position_embeddings": 32},
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=8,
        logit_scale_init_value=1.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv2d):
                torch.nn.init.normal_(module.weight, std=0.3)
    model.save_pretrained(path)
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor, tokenizer).save_pretrained(path)
    return path
