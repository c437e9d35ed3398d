"""The optimiser: orthogonal steps, for matrices and for the kernels of convolutions."""

import torch
from torch import nn

from tools.nano.muon import Muon, orthogonalise


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
