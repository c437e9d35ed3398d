from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ear.method.pairs import training_pairs
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.janus import JanusModel, load
from tools.tiny_janus import build


def test_pairs_have_the_image_tokens_of_their_images(dataset: Dataset, tiny: JanusModel) -> None:
    pairs = training_pairs(dataset, tiny, 50)
    assert [pair.target for pair in pairs] == [f"a church by lake {number}" for number in range(3)]
    assert [pair.surrogate for pair in pairs] == [f"a hotel by lake {number}" for number in range(3)]
    for pair, record in zip(pairs, dataset.train, strict=True):
        assert pair.target_ids.tolist() == list(record.target.vq_ids)
        assert record.surrogate is not None
        assert pair.surrogate_ids.tolist() == list(record.surrogate.vq_ids)
        assert pair.target_ids.dtype == torch.int64
        assert pair.trajectories("both") == [pair.surrogate_ids, pair.target_ids]
    assert len(training_pairs(dataset, tiny, 2)) == 2


def test_images_of_another_model_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    another = load(str(build(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(DatasetError, match=r"were rendered by .*`ecgvf render --model"):
        training_pairs(dataset, another, 50)


def test_an_empty_dataset_is_refused(dataset: Dataset, tiny: JanusModel) -> None:
    with pytest.raises(DatasetError, match="no accepted pair"):
        training_pairs(replace(dataset, train=()), tiny, 50)
