"""Heads that read a scene from the language model's states."""

import dataclasses

import torch

from tools.nano.auxiliary_heads import DESIGNERS, AuxiliaryHeads
from tools.nano.scenes import scene_pool


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
