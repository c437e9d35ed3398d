"""The language model's losses, and its training with few steps and little data."""

import itertools
import json
import random
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from tools.nano import codec, language_model
from tools.nano.frozen_codec import Codec
from tools.nano.questions import questions
from tools.nano.scenes import scene_pool
from tools.nano.tokenizer import image_prompt
from tools.nano.world import compose_batch


def test_losses_have_gradients_in_every_part_they_train(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = language_model.build_model(tokenizer, layers=1)
    backbone = language_model.Backbone(model.model.language_model)
    nn.init.normal_(model.model.generation_head.vision_head.weight, std=0.02)
    scenes = scene_pool("test", 2)
    vq_ids = Codec(model.model.vqmodel).encode(compose_batch(scenes))
    assert vq_ids.shape == (2, 256)
    text = torch.tensor(tokenizer([image_prompt("a church")] * 2)["input_ids"])
    loss, middle = language_model.generation_loss(model, text, torch.from_numpy(vq_ids), backbone)
    assert middle.shape == (2, 256, language_model.WIDTH)
    loss.backward()
    assert model.model.generation_embeddings.weight.grad.abs().sum() > 0
    assert model.model.vision_model.embeddings.patch_embedding.weight.grad is None
    rng = random.Random(0)
    ids, labels = language_model.tokenize_conversations(tokenizer, [questions(scene, rng, 3) for scene in scenes])
    assert (labels != -100).any(1).all() and (ids[labels != -100] == labels[labels != -100]).all()
    for layer in model.model.vision_model.encoder.layers:
        nn.init.normal_(layer.self_attn.projection_layer.weight, std=0.02)
    # A fresh layer outputs zero, which would hide the image from the answers.
    nn.init.normal_(model.model.language_model.layers[0].self_attn.o_proj.weight, std=0.02)
    loss, middle = language_model.answer_loss(model, ids, labels, codec.to_input(compose_batch(scenes)), backbone)
    assert middle.shape == (2 * 3, language_model.WIDTH)
    loss.backward()
    assert model.model.vision_model.embeddings.patch_embedding.weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_the_language_model_learns_and_resumes(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    torch.manual_seed(0)
    second_a_step = itertools.count().__next__

    def train(seconds: float) -> None:
        model = language_model.build_model(tokenizer, layers=1)
        codec.anchor(model.model.vqmodel)
        codec.localise(model.model.vqmodel.encoder)
        language_model.train(model, tokenizer, tmp_path, seconds=seconds, pool=64, compiled=False, clock=second_a_step)

    train(5)
    train(10)
    first, last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (first["step"], last["step"]) == (5, 10)
    assert last["drawing"] < first["drawing"] and last["asking"] < first["asking"]
