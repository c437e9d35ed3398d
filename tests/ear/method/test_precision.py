from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ear.method import steps
from ear.method.erase import erase
from ear.method.open_adapter import adapter_facts
from ear.method.precision import compute_dtype, training_dtype
from ear.method.prompt_recipes import write_prompt_adapter
from ear.method.recipe import MixedPrecision, Recipe
from ear.method.recipes import NEGATIVE_PROMPT, WINDOWED_KL
from ear.method.runs import TrainingRun
from ear.method.state import TrainingState
from ear.method.train import training_loop
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load
from tests.ear.method.small_training import pair, resolved


def recipe(precision: MixedPrecision) -> Recipe:
    return replace(WINDOWED_KL, retention=0.0, passes=1, mixed_precision=precision)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes PyTorch report a CPU with these instructions."""

    def has(capability: str) -> None:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    return has


@pytest.mark.parametrize(
    ("capability", "precision", "dtype"),
    [
        ("AVX512", "bf16", torch.bfloat16),
        ("AVX512", "no", torch.float32),
        ("AVX2", "bf16", torch.float32),
        ("DEFAULT", "bf16", torch.float32),
    ],
)
def test_a_training_computes_in_bfloat16_where_the_cpu_is_fast_at_it(
    capability: str,
    precision: MixedPrecision,
    dtype: torch.dtype,
    tiny: JanusModel,
    cpu: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu(capability)
    computed = set()
    real = steps.hidden_states

    def seen(*args: object, **settings: object) -> torch.Tensor:
        states = real(*args, **settings)  # type: ignore[arg-type]
        computed.add((states @ states.mT).dtype)
        return states

    monkeypatch.setattr(steps, "hidden_states", seen)
    training_loop(tiny, [pair(1)], resolved(recipe(precision)), 0)
    assert computed == {dtype}
    assert compute_dtype(recipe(precision), tiny) == str(dtype).removeprefix("torch.")


def test_a_training_resumes_in_the_precision_in_which_it_was_begun(
    tiny: JanusModel, tmp_path: Path, cpu: Callable[[str], None]
) -> None:
    run, setup = TrainingRun(tmp_path), resolved(recipe("bf16"))
    cpu("AVX512")
    run.save_checkpoint(TrainingState.start(tiny, setup, 0).checkpoint())
    cpu("AVX2")
    message = (
        r"in another precision \(bfloat16 autocast, not the model's dtype\): resume on the same kind of CPU or GPU"
    )
    with pytest.raises(AdapterError, match=message):
        training_loop(tiny, [pair(1)], setup, 0, run=run)


def test_a_float16_model_is_trained_in_float16(tiny_path: Path, cpu: Callable[[str], None]) -> None:
    """PyTorch fails on its tensors in bfloat16 autocast."""
    cpu("AVX512")
    model = load(str(tiny_path), device="cpu", dtype="float16")
    _, log = training_loop(model, [pair(1)], resolved(recipe("bf16")), 0)
    assert log.steps == len(log.loss) > 0
    assert compute_dtype(recipe("bf16"), model) == "float16"


@pytest.mark.parametrize("hardware", [False, True])
def test_a_gpu_that_emulates_bfloat16_computes_in_the_models_dtype(
    hardware: bool, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JanusModel, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: hardware or including_emulation)
    assert compute_dtype(recipe("bf16"), tiny) == ("bfloat16" if hardware else "float32")


def test_tuned_weights_in_float16_are_refused(store: Store, dataset: Dataset, tiny_path: Path) -> None:
    """A gradient whose square is 0 in float16 would be divided by 0."""
    model = load(str(tiny_path), device="cpu", dtype="float16")
    with pytest.raises(RecipeError, match=r"Adam's ε of 1e-8 is 0: .* --option weight_dtype=float32$"):
        erase(store, [dataset], model, replace(recipe("no"), weight_dtype="model"), [0])


def test_another_precision_than_the_recipes_is_another_adapter(
    store: Store, dataset: Dataset, tiny: JanusModel, cpu: Callable[[str], None]
) -> None:
    runs = {}
    for capability in ("AVX512", "AVX2"):
        cpu(capability)
        [runs[capability]] = erase(store, [dataset], tiny, recipe("bf16"), [0])
    assert runs["AVX512"].path != runs["AVX2"].path
    assert "compute_dtype" not in runs["AVX512"].facts and runs["AVX2"].facts["compute_dtype"] == "float32"
    assert runs["AVX512"].facts["circumstances"]["compute_dtype"] == "bfloat16"
    for capability, dtype in (("AVX512", "bfloat16"), ("AVX2", "float32")):
        assert training_dtype(adapter_facts(runs[capability].adapter)) == dtype
    assert training_dtype(adapter_facts(write_prompt_adapter(store, dataset, tiny, NEGATIVE_PROMPT).adapter)) is None
