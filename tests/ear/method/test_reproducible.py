"""Equal runs on equally many threads write equal bytes, whatever their process did before."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ear.dataset import find_dataset
from ear.method import steps
from ear.method import train as training
from ear.method.erase import erase
from ear.method.precision import compute_dtype
from ear.method.recipes import DEFAULT
from ecgvf.core.store import Store
from ecgvf.janus import load, num_threads

RECIPE = replace(DEFAULT, rollouts=2, images_per_step=2, passes=3, rehearsed=4, rehearsed_per_step=2)

# Also prints attention's gradients, as the training's process computes them: so small that they are subnormal, where a
# difference of rounding shows at once. In the weights of a real training it took 118 steps.
TRAIN = """
import hashlib, sys
from pathlib import Path
import torch
from torch.nn.functional import scaled_dot_product_attention
from ear.dataset import find_dataset
from ear.method import erase
from ecgvf.core.store import Store
from ecgvf.janus import load
from tests.ear.method.test_reproducible import RECIPE

def attention_gradients():
    generator = torch.Generator().manual_seed(0)
    q, k, v, downstream = (torch.randn(4, 4, 96, 64, generator=generator) for _ in range(4))
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    causal = torch.full((96, 96), -torch.inf).triu(diagonal=1)
    attended = scaled_dot_product_attention(*inputs, attn_mask=causal)
    gradients = torch.autograd.grad(attended, inputs, downstream * 1e-37)
    return hashlib.sha256(b"".join(gradient.numpy().tobytes() for gradient in gradients)).hexdigest()

def training_loop(*args, **settings):
    print(torch.get_num_threads(), attention_gradients())
    return real_training_loop(*args, **settings)

real_training_loop, erase.training_loop = erase.training_loop, training_loop
erase.plot_losses = lambda *_: None  # drawing takes longer than this training
store = Store(Path(sys.argv[1]))
dataset, model = find_dataset(store, "ecgvf/church")[0], load(sys.argv[2], device="cpu")
[run] = erase.erase(store, [dataset], model, RECIPE, [0])
print(hashlib.sha256(run.adapter.read_bytes()).hexdigest())
"""


def train_in_a_process(store: Path, model: Path) -> list[str]:
    """What ``TRAIN`` prints in a process of its own, on two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", TRAIN, str(store), str(model)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_a_run_that_finds_its_rehearsal_set_equals_the_run_that_rendered_it(store: Store, tiny_path: Path) -> None:
    first = train_in_a_process(store.root, tiny_path)
    assert first[0] == "2"
    shutil.rmtree(store.root / "church" / "ear")
    assert train_in_a_process(store.root, tiny_path) == first


def test_an_interrupted_run_resumes_with_its_number_of_threads(
    store: Store, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    dataset, model = find_dataset(store, "ecgvf/church")[0], load(str(tiny_path), device="cpu")
    recipe = replace(RECIPE, passes=1)
    real, calls = steps.position_losses, iter(range(2))

    def interrupt(*args: object) -> object:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "position_losses", interrupt)
    with num_threads(2), pytest.raises(KeyboardInterrupt):
        erase(store, [dataset], model, recipe, [0])
    numbers = []

    def record(*args: object) -> object:
        numbers.append(torch.get_num_threads())
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "position_losses", record)
    with num_threads(1):
        [run] = erase(store, [dataset], model, recipe, [0])
        assert torch.get_num_threads() == 1
    assert set(numbers) == {2}
    dtype = compute_dtype(recipe, model)
    circumstances = {"threads": 2, "device": "cpu", "compute_dtype": dtype, "processes": 1}
    assert run.facts["circumstances"] == circumstances
