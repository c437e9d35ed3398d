"""Auxiliary heads on the middle layer of the language model (deep supervision, https://arxiv.org/abs/1409.5185).

From the loss on next tokens alone, nano learns soon which row it draws, later which column, and last which thing the
prompt names (docs/decisions/0008-language-model.md), because the tokens so far predict most of the next one. Linear
heads on the middle layer, which are thrown away after training, teach all three in the first minutes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.nano.codec import GRID
from tools.nano.vision import CLASSES, class_indices
from tools.nano.world import COMPANIONS, Scene, things

DESIGNERS = ("fluent-emoji-flat", "twemoji")
"""Designers whose drawings nano learns to generate; it answers questions about those of all four."""

SUBJECTS = (None, *things(), *COMPANIONS)
"""What a question can be about."""


class AuxiliaryHeads(nn.Module):
    """Linear classifiers of hidden states of `width`: the scene, the position in the image, the question's subject."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = {name: len(classes) for name, classes in CLASSES.items()}
        sizes |= {"designer": len(DESIGNERS), "row": GRID, "column": GRID, "about": len(SUBJECTS)}
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def generation_loss(self, states: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Loss of each scene's attributes and each token's row and column; `states` ``[B, 256, W]``."""
        positions = torch.arange(GRID * GRID).expand(len(scenes), -1)
        per_scene = class_indices(scenes)
        per_scene["designer"] = torch.tensor([DESIGNERS.index(scene.designer) for scene in scenes])
        targets = {name: indices[:, None].expand(positions.shape) for name, indices in per_scene.items()}
        return self._loss(states, targets | {"row": positions // GRID, "column": positions % GRID})

    def answer_loss(self, states: Tensor, scenes: Sequence[Scene], subjects: Sequence[str | None]) -> Tensor:
        """Loss of each scene's attributes and each question's subject; `states` ``[M, W]``, one per question."""
        about = torch.tensor([SUBJECTS.index(subject) for subject in subjects])
        return self._loss(states, class_indices(scenes) | {"about": about})

    def _loss(self, states: Tensor, targets: dict[str, Tensor]) -> Tensor:
        normalised = F.rms_norm(states.float(), states.shape[-1:])
        losses = [
            F.cross_entropy(self.heads[name](normalised).flatten(0, -2).float(), target.flatten())
            for name, target in targets.items()
        ]
        return torch.stack(losses).sum()
