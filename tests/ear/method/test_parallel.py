"""Two processes train what one does."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ear.dataset import find_dataset
from ear.method.erase import erase, resolve
from ear.method.parallel import Processes
from ear.method.recipe import Recipe
from ear.method.recipes import ON_POLICY, WINDOWED_KL
from ear.method.runs import TrainingRun
from ecgvf.core.store import Store
from ecgvf.janus import load

SMALL = {"rehearsed": 4, "rehearsed_per_step": 2, "mixed_precision": "no"}
RECIPES: dict[str, Recipe] = {
    # Three pairs, so that one process has no image in the last step of a round.
    "on-policy": replace(ON_POLICY, rollouts=3, images_per_step=2, passes=2, learning_rate=1e-3, **SMALL),  # type: ignore[arg-type]
    # A single image a step: the second process rehearses alone.
    "windowed-kl": replace(WINDOWED_KL, passes=1, **SMALL),  # type: ignore[arg-type]
}
TRAIN = """
import sys
from pathlib import Path
from tests.ear.method.test_parallel import RECIPES, train
print(train(Path(sys.argv[1]), sys.argv[2], RECIPES[sys.argv[3]]).path)
"""


def train(store: Path, model: str, recipe: Recipe) -> TrainingRun:
    opened = Store(store)
    dataset, janus = find_dataset(opened, "ecgvf/church")[0], load(model, device="cpu")
    return erase(opened, dataset, janus, resolve(recipe, dataset, janus), [0])[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_what_one_does(name: str, store: Store, tiny_path: Path, tmp_path: Path) -> None:
    alone = train(store.root, str(tiny_path), RECIPES[name])
    one, losses = load_file(alone.adapter), alone.facts["log"]["loss"]
    for file in alone.path.iterdir():
        file.unlink()
    (tmp_path / "train.py").write_text(TRAIN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [*launcher, str(tmp_path / "train.py"), str(store.root), str(tiny_path), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {str(alone.path)}
    together = TrainingRun(alone.path)
    assert together.facts["log"]["loss"] == pytest.approx(losses, rel=1e-4)
    two = load_file(together.adapter)
    assert one.keys() == two.keys()
    for key, weight in one.items():  # Adam enlarges the rounding of a gradient that is nearly 0: not element by element
        assert (two[key] - weight).norm() <= 0.01 * weight.norm(), key


def test_shares_are_disjoint_and_whole() -> None:
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert Processes().share(items) == items
