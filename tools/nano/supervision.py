"""Deep supervision: halfway up, the language model must know what it draws or is asked about, and where it is.

From next tokens alone nano learns its row soon, its column late and its sentence's thing last (see
docs/decisions/0008-language-model.md): a picture's own tokens say most of what comes next. Linear heads on the states
between its layers, thrown away after training, teach all three in the first minutes
(deeply-supervised nets, https://arxiv.org/abs/1409.5185).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.nano.vision import ANSWERS, wanted
from tools.nano.world import COMPANIONS, Scene, things

HANDS = ("fluent-emoji-flat", "twemoji")  # of the designers, the two that nano draws like; it looks at all four
ABOUT = (None, *things(), *COMPANIONS)
GRID = 16


class DeepSupervision(nn.Module):
    """Heads for states of `width`, and the losses that they give."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = {name: len(answers) for name, answers in ANSWERS.items()}
        sizes |= {"designer": len(HANDS), "row": GRID, "column": GRID, "about": len(ABOUT)}
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def drawing(self, states: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Loss of each scene's facts and each place's row and column; `states` ``[B, 256, W]``."""
        places = torch.arange(GRID * GRID).expand(len(scenes), -1)
        answers = {name: rows[:, None].expand(places.shape) for name, rows in wanted(scenes).items()}
        designers = torch.tensor([HANDS.index(scene.designer) for scene in scenes])
        answers |= {"designer": designers[:, None].expand(places.shape), "row": places // GRID, "column": places % GRID}
        return self._loss(states, answers)

    def asking(self, states: Tensor, scenes: Sequence[Scene], about: Sequence[str | None]) -> Tensor:
        """Loss of what a picture shows and its question names, where each answer begins; `states` ``[M, W]``."""
        return self._loss(states, wanted(scenes) | {"about": torch.tensor([ABOUT.index(name) for name in about])})

    def _loss(self, states: Tensor, answers: dict[str, Tensor]) -> Tensor:
        even = F.rms_norm(states.float(), states.shape[-1:])
        losses = [
            F.cross_entropy(self.heads[name](even).flatten(0, -2).float(), answer.flatten())
            for name, answer in answers.items()
        ]
        return torch.stack(losses).sum()
