"""The training of nano, with few steps and little data."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.models.janus.modeling_janus import JanusVQVAE

from ecgvf.core.errors import SettingsError
from ecgvf.world.grammar import held_out
from tools.nano import codec, judges, language_model
from tools.nano.auxiliary_heads import DESIGNERS, AuxiliaryHeads
from tools.nano.build import build
from tools.nano.muon import Muon, orthogonalise
from tools.nano.questions import questions, yes_no
from tools.nano.scenes import scene_pool, training_scenes
from tools.nano.tokenizer import IMAGE_TOKENS, image_prompt, processor, train_tokenizer
from tools.nano.world import compose_batch


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(lines=400)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((32, 96), (96, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.4


def test_muon_trains_convolution_kernels() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
    student.bias.data.copy_(teacher.bias.data)
    pixels = torch.randn(16, 4, 8, 8)
    optimizer = Muon([student.weight], lr=0.01)
    errors = []
    for _ in range(60):
        error = (student(pixels) - teacher(pixels).detach()).square().mean()
        errors.append(error.item())
        student.zero_grad()
        error.backward()
        optimizer.step()
    assert errors[-1] < errors[0] / 4


def test_anchors_preserve_brightness_through_group_normalisation() -> None:
    """Group normalisation removes the mean, and with it the brightness; between anchors it does not."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config()).eval()
    codec.anchor(network)
    codec.localise(network.encoder)
    signal = torch.randn(2, 64, 16, 16) + torch.tensor([-1.0, 1.0])[:, None, None, None]
    tied = torch.stack([signal, -signal], 2).flatten(1, 2)
    anchors = codec.ANCHOR * torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(32)[:, None, None]
    with torch.no_grad():
        kept = network.encoder.norm_out(tied + anchors)
        lost = nn.functional.group_norm(tied, 32)
    assert (kept - tied).abs().max() < 0.1
    assert lost.mean((1, 2, 3)).abs().max() < 1e-5 < kept[:, ::2].mean((1, 2, 3)).abs().min()


def test_the_encoder_is_local_and_skips_only_zero_branches() -> None:
    """Under another sky the ground keeps its latents; `latents` equals the whole encoder."""
    torch.manual_seed(0)
    network = JanusVQVAE(codec.codec_config()).eval()
    codec.anchor(network)
    for block in (network.encoder.mid.block_1, network.encoder.mid.block_2):
        nn.init.kaiming_normal_(block.conv2.weight)
    codec.localise(network.encoder)
    scenes = [dataclasses.replace(scene, style="plain", sky="blue") for scene in scene_pool("test", 4)]
    night = [dataclasses.replace(scene, sky="night") for scene in scenes]
    images, night_images = codec.to_input(compose_batch(scenes)), codec.to_input(compose_batch(night))
    with torch.no_grad():
        encoded, night_encoded = codec.latents(network, images), codec.latents(network, night_images)
        whole = nn.functional.normalize(network.quant_conv(network.encoder(images)), dim=1)
    assert torch.allclose(encoded, whole, atol=1e-5)
    ground, sky = (encoded - night_encoded)[:, :, 13:].norm(dim=1), (encoded - night_encoded)[:, :, :4].norm(dim=1)
    assert ground.mean() < sky.mean() / 10


def test_kmeans_finds_separate_clusters() -> None:
    generator = torch.Generator().manual_seed(1)  # k-means is a local search: some seeds end in a worse optimum
    centres = nn.functional.normalize(torch.randn(4, 8, generator=generator), dim=1)
    points = nn.functional.normalize(centres.repeat(50, 1) + 0.01 * torch.randn(200, 8, generator=generator), dim=1)
    found = codec.kmeans(points, 4, 20, generator)
    assert (found @ centres.T).max(0).values.min() > 0.99


def test_the_codec_learns_and_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    second_a_step = itertools.count().__next__
    codec.train(tmp_path, seconds_plain=1, seconds_quantised=1, pool=16, tested=8, clock=second_a_step)
    first = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert first[-1]["step"] == 2 and first[-1]["quantised"]
    trained = codec.train(tmp_path, seconds_plain=1, seconds_quantised=4, pool=16, tested=8, clock=second_a_step)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 5 and rows[-1]["l1"] < first[-1]["l1"]
    norms = trained.quantize.embedding.weight.norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4)


def test_the_tokenizer_encodes_any_text_with_one_bos(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Eine Kirche ⛪ 教会 <script>\n"
    ids = tokenizer(image_prompt(text))["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["boi_token"])
    assert text.strip() in tokenizer.decode(ids)


def test_the_chat_template_gives_the_image_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "a church "}]}]
    rendered = processor(tokenizer).apply_chat_template(chat, add_generation_prompt=True)
    assert rendered + IMAGE_TOKENS["boi_token"] == image_prompt("a church")


def test_answers_match_the_scene() -> None:
    rng = random.Random(0)
    for scene in scene_pool("test", 200):
        shown = {scene.thing, scene.companion}
        yes = yes_no(scene, rng, True)
        assert yes.answer == "Yes." and yes.about in shown and str(yes.about) in yes.text
        no = yes_no(scene, rng, False)
        assert no.answer == "No." and no.about not in shown and scene.thing not in no.text.split()
        assert len(questions(scene, rng, 5)) == 5


def test_training_scenes_exclude_the_held_out_combinations() -> None:
    endless = training_scenes(random.Random(0))
    for scene in (next(endless) for _ in range(2_000)):
        assert not held_out(*scene.combination)


def test_losses_have_gradients_in_every_part_they_train(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = language_model.build_model(tokenizer, layers=1)
    backbone = language_model.Backbone(model.model.language_model)
    nn.init.normal_(model.model.generation_head.vision_head.weight, std=0.02)
    scenes = scene_pool("test", 2)
    vq_ids = language_model.encode_images(model, compose_batch(scenes)).astype(np.int64)
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


def test_auxiliary_heads_learn_and_have_gradients_in_the_states() -> None:
    torch.manual_seed(0)
    heads = AuxiliaryHeads(64)
    scenes = [dataclasses.replace(scene, designer=DESIGNERS[0]) for scene in scene_pool("test", 4)]
    states = torch.randn(4, 256, 64, requires_grad=True)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = heads.generation_loss(states, scenes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    assert states.grad is not None and (states.grad.abs().sum(-1) > 0).all()
    assert heads.answer_loss(torch.randn(2, 64), scenes[:2], [scenes[0].thing, None]).item() > 0


def test_a_judge_learns_from_composed_images(tmp_path: Path) -> None:
    result = judges.train_judge("style", tmp_path, pool=160, epochs=5, batch_size=16, tested=100)
    assert result["held_out_accuracy"] > 0.35  # of five styles, after 50 steps; chance gives 0.2
    assert (tmp_path / "style" / "model.safetensors").stat().st_size < 2_000_000


def test_a_missing_part_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(SettingsError, match="--part tokenizer"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SettingsError, match="--part save"):
        build(tmp_path, tmp_path / "out", ("second-judges",))
    with pytest.raises(SettingsError, match="--part codec"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    assert not (tmp_path / "out").exists()
