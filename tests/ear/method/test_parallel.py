"""Two processes train what one does."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed

from ear.dataset import find_dataset
from ear.method.erase import erase
from ear.method.parallel import ProcessGroup, process_group
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, PAPER, PUBLISHED, WINDOWED_KL
from ear.method.runs import TrainingRun
from ear.method.train import training_loop
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import RecipeError, SettingsError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from tests.ear.method.small_training import pair, resolved

SMALL = {"rehearsed": 4, "rehearsed_per_step": 2, "mixed_precision": "no"}
RECIPES: dict[str, Recipe] = {
    # Three pairs, so that one process has no image in the last step of a round.
    "on-policy": replace(ON_POLICY, rollouts=3, images_per_step=2, passes=2, learning_rate=1e-3, **SMALL),  # type: ignore[arg-type]
    # A single image a step: the second process rehearses alone.
    "windowed-kl": replace(WINDOWED_KL, passes=1, **SMALL),  # type: ignore[arg-type]
}
TRAIN = """
import os
import sys
from pathlib import Path
from ear.method import erase
from tests.ear.method.test_parallel import RECIPES, train
erase.plot_losses = lambda *_: None  # drawing takes longer than this training
for name in sys.argv[3:]:
    os.write(1, f"{train(Path(sys.argv[1]), sys.argv[2], RECIPES[name]).path}\\n".encode())  # a whole line at once
"""


def train(store: Path, model: str, recipe: Recipe) -> TrainingRun:
    opened = Store(store)
    dataset, janus = find_dataset(opened, "ecgvf/church")[0], load(model, device="cpu")
    return erase(opened, [dataset], janus, recipe, [0])[0]


# torchrun sets the same variables. --cpu would start a single process (several need MPI); --multi_gpu starts them with
# or without a GPU.
LAUNCHER = [
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]


@pytest.mark.slow
def test_two_processes_train_what_one_does(store: Store, tiny_path: Path, tmp_path: Path) -> None:
    alone = [train(store.root, str(tiny_path), recipe) for recipe in RECIPES.values()]
    expected = [(load_file(run.adapter), run.facts["log"]["loss"]) for run in alone]
    for file in (file for run in alone for file in run.path.iterdir()):
        file.unlink()
    (tmp_path / "train.py").write_text(TRAIN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    script = [str(tmp_path / "train.py"), str(store.root), str(tiny_path), *RECIPES]
    command = [sys.executable, "-m", *LAUNCHER, *script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(str(run.path) for run in alone for _ in range(2))
    for run, (one, losses) in zip(alone, expected, strict=True):
        together = TrainingRun(run.path)
        circumstances = {"threads": 1, "device": "cpu", "compute_dtype": "float32", "processes": 2}
        assert together.facts["circumstances"] == circumstances
        assert together.facts["log"]["loss"] == pytest.approx(losses, rel=1e-4)
        two = load_file(together.adapter)
        assert one.keys() == two.keys()
        # Adam enlarges the rounding of a gradient that is nearly 0: not element by element.
        for key, weight in one.items():
            assert (two[key] - weight).norm() <= 0.01 * weight.norm(), key


def test_each_process_of_a_launcher_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA graphs are captured, and NCCL's barriers wait, on the current device: it is set before they are joined.

    They wait while the main process renders what is rehearsed, which may take hours.
    """
    calls: list[object] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(distributed, "is_initialized", lambda: "nccl" in calls)
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, timeout: calls.extend([backend, timeout]))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    device = torch.device("cuda:1")
    assert process_group(device) == process_group(device) == ProcessGroup(1, 2)
    assert calls == [device, "nccl", timedelta(days=1), device]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert process_group(device) == ProcessGroup(1, 2)
    with pytest.raises(
        SettingsError, match="process 1 of the launcher computes on cuda:1, not on cuda:0: omit --device"
    ):
        process_group(torch.device("cuda:0"))


def test_a_process_without_an_image_sums_the_same_dtypes(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise processes abort, or read the bytes of each other's losses as another dtype."""
    model, recipe = load(str(tiny_path), device="cpu", dtype="bfloat16"), replace(PAPER, weight_dtype="model")
    summed: dict[int, list[tuple[torch.dtype, torch.Size]]] = {0: [], 1: []}
    for rank, tensors in summed.items():

        def add(tensor: Tensor, tensors: list[tuple[torch.dtype, torch.Size]] = tensors) -> None:
            tensors.append((tensor.dtype, tensor.shape))
            tensor += 1.0  # a loss above the threshold in both processes

        monkeypatch.setattr(distributed, "all_reduce", add)
        training_loop(model, [pair(1)], resolved(recipe), 0, group=ProcessGroup(rank, 2))
    assert summed[0] == summed[1] and {dtype for dtype, _ in summed[0]} == {torch.float32, torch.bfloat16}


def test_the_released_loop_is_refused_to_several_processes(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares nothing: each process would train all of it."""
    monkeypatch.setattr("ear.method.erase.process_group", lambda device: ProcessGroup(1, 2))
    with pytest.raises(RecipeError, match=r"recipe published: .* a single process, not in 2: start it without a laun"):
        erase(store, [dataset], tiny, PUBLISHED, [0])


def test_shares_are_disjoint_and_whole() -> None:
    items = list(range(7))
    shares = [ProcessGroup(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert ProcessGroup().share(items) == items
