"""A tiny ViT with random weights, saved as judges of transformers are."""

from pathlib import Path

import torch


def save_vit(folder: Path, labels: dict[int, str], *, seen: str | None = None) -> str:
    """Write a classifier of ``labels`` to ``folder``; ``seen`` is the label that it ranks first in any image."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        id2label=labels,
        label2id={label: index for index, label in labels.items()},
    )
    model = ViTForImageClassification(config)
    if seen is not None:
        with torch.no_grad():
            model.classifier.bias[config.label2id[seen]] = 10.0
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)
