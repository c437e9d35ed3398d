"""Erasing is not destroying: wreckage shows no church, and no figure but that one may call it a success.

Janus-nano itself, the shipped dataset, and nano's own judges.
"""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor

from ear.dataset import find_dataset
from ear.evaluation import Evaluation, EvaluationSettings, evaluate
from ear.evaluation.figures import FigureRow
from ear.evaluation.outcomes import selected
from ear.method.adapter import Adapter, new_adapter
from ecgvf.core.png import decode
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, hidden_states, load, logits

pytestmark = pytest.mark.slow

SETTINGS = EvaluationSettings(prompts_per_concept=16, prompts_per_other=1, family="building", batch_size=64)


def noise(model: JanusModel) -> Adapter:
    """Noise of twice each weight's standard deviation: patches of all colours, and no shapes."""
    adapter = new_adapter(model, range(len(model.language_model.layers)), "attention")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in adapter.weights:
            weight.add_(2 * weight.std() * torch.randn(weight.shape, generator=generator))
    return adapter


def grey(model: JanusModel) -> Adapter:
    """Flat grey, whatever the prompt: the last layer's attention writes one vector, after which one token follows.

    Queries of zero attend to all positions alike. What they read there is never zero, because all states point the way
    of their mean, and the vector is too large for the states before it to matter.
    """
    token = grey_token(model)
    adapter = new_adapter(model, range(len(model.language_model.layers)), "attention")
    attention = f"layers.{len(model.language_model.layers) - 1}.self_attn."
    query, value, output = (adapter.modules[f"{attention}{kind}_proj"].weight for kind in "qvo")
    mean, vector = mean_state(model, token), 1000 * state_before(model, token)
    with torch.no_grad():
        query.zero_()
        value.copy_(mean.expand_as(value))
        output.copy_(vector[:, None].expand_as(output))
    return adapter


@torch.no_grad()
def grey_token(model: JanusModel) -> int:
    """The commonest token of a flat grey image, as the model's own encoder sees it."""
    pixels = torch.zeros(1, 3, model.image_size, model.image_size)
    return int(model.model.model.vqmodel.encode(pixels).image_tokens.flatten().mode().values)


@torch.no_grad()
def mean_state(model: JanusModel, token: int) -> Tensor:
    """The mean input of the last layer's attention in an image of ``token`` alone, float32 [C], of length 1."""
    caught: list[Tensor] = []
    norm = model.language_model.layers[-1].input_layernorm
    hook = norm.register_forward_hook(lambda _, __, states: caught.append(states))
    hidden_states(model, ["a church"], torch.full((1, model.image_tokens), token))
    hook.remove()
    return torch.nn.functional.normalize(caught[0].flatten(0, 1).mean(dim=0), dim=0)


def state_before(model: JanusModel, token: int) -> Tensor:
    """A state, float32 [C], after which the model samples ``token``."""
    state = torch.randn(model.language_model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([state.requires_grad_(True)], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        scores = logits(model, model.language_model.norm(state)[None])
        torch.nn.functional.cross_entropy(scores, torch.tensor([token])).backward()
        optimizer.step()
    return state.detach()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all: before and ceiling are rendered once."""
    return Store(tmp_path_factory.mktemp("destruction") / "store")


@pytest.fixture(scope="module", params=[noise, grey], ids=["noise", "grey"])
def wrecked(request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Church before and after, by an adapter that destroys."""
    model, dataset = load("janus-nano", device="cpu"), find_dataset(store, "ecgvf/church")[0]
    file = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    facts = {"concept": "church", "model": model.name, "fingerprint": model.fingerprint}
    facts |= {"sampling": asdict(dataset.sampling), "recipe": {"name": request.param.__name__}}
    request.param(model).save(file, facts, model.dtype)
    return evaluate(store, model, dataset, [file], SETTINGS)


def row(rows: list[FigureRow], figure: str, group: str) -> FigureRow:
    [found] = [each for each in rows if (each.figure, each.group) == (figure, group)]
    return found


@pytest.mark.parametrize("wrecked", [grey], indirect=True, ids=["grey"])
def test_the_grey_adapter_renders_flat_grey(wrecked: Evaluation) -> None:
    images = np.stack([decode(each.image) for each in selected(wrecked.outcomes, "after")]).astype(np.float32)
    assert images.std(axis=(1, 2)).max() < 10
    assert np.abs(images.mean(axis=(0, 1, 2)) - 128).max() < 20


def test_no_church_is_left_in_wreckage(wrecked: Evaluation) -> None:
    """Perfect erasure, as a classifier of things sees it; this is why no figure stands alone."""
    present = wrecked.erasure
    assert (present.before.value, present.after.value) == (1.0, 0.0)
    assert wrecked.erasure_rate.value == 1.0
    assert row(wrecked.replacement, "concept_probability", "concept").after.value < 0.1


def test_wreckage_shows_neither_the_surrogate_nor_anything(wrecked: Evaluation) -> None:
    surrogate = row(wrecked.replacement, "shows_surrogate", "concept")
    assert surrogate.ceiling is not None and surrogate.after.high < surrogate.ceiling.low
    assert surrogate.after.value < 0.15
    something = row(wrecked.replacement, "shows_something", "concept")
    assert something.after.value <= 0.05 < something.before.low and something.change.high < 0


def test_wreckage_keeps_no_scene_and_is_incoherent(wrecked: Evaluation) -> None:
    scene = row(wrecked.scene, "scene_kept", "pooled")
    assert scene.ceiling is not None and scene.after.high < scene.ceiling.low
    assert scene.after.value < 0.5 and scene.change.high < 0
    nats = row(wrecked.scene, "nll_frozen", "pooled")
    assert nats.ceiling is not None and nats.after.low > 3 * max(nats.before.high, nats.ceiling.high)


def test_wreckage_retains_nothing(wrecked: Evaluation) -> None:
    retention = row(wrecked.retention_by_group, "retention", "pooled")
    assert retention.after.high < 0.5 < retention.before.low
    assert row(wrecked.retention_by_group, "token_agreement", "pooled").after.value < 0.1
