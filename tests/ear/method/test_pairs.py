from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ear.dataset import find_dataset
from ear.method.erase import erase
from ear.method.pairs import STAGE, report_pairs, training_pairs
from ear.method.recipes import ON_POLICY
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, load, render_images
from ecgvf.janus.decoding import RenderedImages
from ecgvf.publish.export import export
from ecgvf.render import batches
from tools.tiny_janus import build


def test_pairs_have_the_image_tokens_of_their_images(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    pairs = training_pairs(store, dataset, tiny, 50)
    assert [pair.target for pair in pairs] == [f"a church by lake {number}" for number in range(3)]
    assert [pair.surrogate for pair in pairs] == [f"a hotel by lake {number}" for number in range(3)]
    for pair, record in zip(pairs, dataset.train, strict=True):
        assert pair.target_ids.tolist() == list(record.target.vq_ids)
        assert record.surrogate is not None
        assert pair.surrogate_ids.tolist() == list(record.surrogate.vq_ids)
        assert pair.target_ids.dtype == torch.int64
        assert pair.trajectories("both") == [pair.surrogate_ids, pair.target_ids]
    assert len(training_pairs(store, dataset, tiny, 2)) == 2


def test_images_of_another_model_are_refused(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    another = load(str(build(tmp_path / "other", seed=1)), device="cpu")
    with pytest.raises(DatasetError, match=r"were rendered by .*`ecgvf render --model"):
        training_pairs(store, dataset, another, 50)


def test_an_empty_dataset_is_refused(store: Store, dataset: Dataset, tiny: JanusModel) -> None:
    with pytest.raises(DatasetError, match="no accepted pair"):
        training_pairs(store, replace(dataset, train=()), tiny, 50)


def without_tokens(record: AcceptedRecord) -> AcceptedRecord:
    assert record.surrogate is not None
    return replace(record, target=replace(record.target, vq_ids=()), surrogate=replace(record.surrogate, vq_ids=()))


def test_images_without_tokens_are_rendered_again_once(
    store: Store,
    dataset: Dataset,
    tiny: JanusModel,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = dataset.train
    partial = replace(dataset, train=(without_tokens(first), *others))
    found = training_pairs(store, partial, tiny, 50)
    assert "no image tokens of 2 images, rendered again" in " ".join(capsys.readouterr().err.split())
    for pair, expected in zip(found, training_pairs(store, dataset, tiny, 50), strict=True):
        assert torch.equal(pair.target_ids, expected.target_ids)
        assert torch.equal(pair.surrogate_ids, expected.surrogate_ids)
    [kept] = ConceptRun(store, dataset.concept).sets(STAGE)
    assert kept.circumstances.items() >= {"threads": 1, "batch_size": tiny.default_batch_size()}.items()
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered once more"))
    again = training_pairs(store, partial, tiny, 50)
    assert [pair.target_ids.tolist() for pair in again] == [pair.target_ids.tolist() for pair in found]
    assert capsys.readouterr().err == ""


def test_images_that_a_recipe_does_not_train_along_are_not_rendered_again(
    store: Store, dataset: Dataset, tiny: JanusModel
) -> None:
    bare = replace(dataset, train=tuple(map(without_tokens, dataset.train)))
    small = replace(ON_POLICY, rollouts=1, rollout_epochs=1, images_per_step=1, pairs=1, passes=1, retention=0)
    assert erase(store, [bare], tiny, small, [0])[0].facts["steps"] == 1
    assert not ConceptRun(store, dataset.concept).sets(STAGE)
    assert not store.folder("church", STAGE.name).exists()


def test_images_that_are_not_finite_are_not_trained_on(
    store: Store, dataset: Dataset, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_finite(*args: Any, **settings: Any) -> RenderedImages:
        images = render_images(*args, **settings)
        images.finite[:] = False
        return images

    monkeypatch.setattr(batches, "render_images", not_finite)
    with pytest.raises(DatasetError, match=r"prompt 'a church by lake 0' cannot be rendered: .* not finite"):
        training_pairs(store, replace(dataset, train=tuple(map(without_tokens, dataset.train))), tiny, 50)


def test_an_export_without_image_tokens_is_read(
    store: Store, dataset: Dataset, tiny: JanusModel, tmp_path: Path
) -> None:
    """Somebody dropped the columns' values, which is no export of ours."""
    [file] = export(ConceptRun(store, store.concept()), tmp_path / "out").folder.glob("church/train-*.parquet")
    table = pq.read_table(file)
    for name in ("target_vq_ids", "surrogate_vq_ids"):
        index = table.column_names.index(name)
        empty = pa.nulls(len(table), table.schema.field(name).type)
        table = table.set_column(index, table.schema.field(name), empty)
    pq.write_table(table, file)
    published = find_dataset(store, str(tmp_path / "out"))[0]
    assert {pair.target for pair in training_pairs(store, published, tiny, 50)} == {
        record.pair.target for record in dataset.train
    }


def test_fewer_pairs_than_the_recipe_takes_are_reported(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    report_pairs([dataset], 50)
    noted = " ".join(capsys.readouterr().err.split())
    assert "training on 3 pairs of church, all that its dataset has" in noted
    report_pairs([dataset], 3)
    assert capsys.readouterr().err == ""


def test_surrogates_that_the_concepts_file_does_not_name_are_reported(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = dataset.train
    igloo = replace(first, pair=replace(first.pair, surrogate="an igloo by a lake", surrogate_term="igloo"))
    report_pairs([replace(dataset, train=(igloo, *others))], 3)
    assert "name 'igloo', which the concept's file does not list" in " ".join(capsys.readouterr().err.split())
