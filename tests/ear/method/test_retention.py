from dataclasses import replace

import pytest
import torch

from ear.method import retention
from ear.method.retention import gather
from ear.retained_concepts import rehearsed
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, hidden_states, num_threads


def test_pictures_are_drawn_once_and_kept(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SHARD", 3)
    first = gather(store, tiny, dataset, 7, batch_size=4)
    assert list(first.prompts) == [prompt for _, prompt in rehearsed(dataset, 7)]
    assert first.vq_ids.shape == (7, 16)
    assert first.frozen.shape == (7, 16, 32)
    expected = hidden_states(tiny, first.prompts[:1], first.vq_ids[:1])
    torch.testing.assert_close(first.frozen[:1], expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(retention, "render_images", lambda *_, **__: pytest.fail("drawn again"))
    again = gather(store, tiny, dataset, 7, batch_size=4)
    assert torch.equal(first.vq_ids, again.vq_ids)
    assert torch.equal(first.frozen, again.frozen)


def test_an_interrupted_drawing_goes_on(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gather(store, tiny, replace(dataset, run_seed=1), 6)
    monkeypatch.setattr(retention, "SHARD", 2)
    real, calls = retention.render_images, iter(range(2))

    def cut(*args: object, **settings: object) -> object:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "render_images", cut)
    other = replace(dataset, run_seed=2)
    with num_threads(1), pytest.raises(KeyboardInterrupt):
        gather(store, tiny, other, 6, batch_size=2)
    under: list[tuple[object, int]] = []

    def watched(*args: object, **settings: object) -> object:
        under.append((settings["batch_size"], torch.get_num_threads()))
        return real(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "render_images", watched)
    with num_threads(2):  # other circumstances, which do not count any more
        assert gather(store, tiny, other, 6, batch_size=1).vq_ids.shape == whole.vq_ids.shape
    assert under == [(2, 1)]


def test_outside_nanos_world_the_surrogate_pictures_are_rehearsed(
    store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    elsewhere = replace(dataset, judge="resnet50")
    kept = gather(store, tiny, elsewhere, 200)
    assert list(kept.prompts) == [f"a hotel by lake {number}" for number in range(3)]
    with pytest.raises(DatasetError, match="nothing to rehearse"):
        gather(store, tiny, replace(elsewhere, train=()), 200)
