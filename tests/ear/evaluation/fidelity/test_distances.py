"""FID and KID equal the closed form, and torchmetrics on the same images with the same features."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ear.evaluation.fidelity import figures
from ear.evaluation.fidelity.encoders import NanoFeatures
from ear.evaluation.fidelity.features import SHARD, FeatureSet
from ear.evaluation.fidelity.frechet import Floats, Moments, frechet_distance
from ear.evaluation.fidelity.kernel import kernel_distance, subset_size
from ecgvf.core.png import decode
from ecgvf.judges.nano_clip import NanoEncoder
from ecgvf.world.questions import load_questions
from tests.ear.evaluation.fidelity.random_features import feature_set, gaussian


class InMemory:
    """In place of a set's shards."""

    def __init__(self, rows: Floats) -> None:
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        self._table = pa.table({"features": column})

    def tables(self) -> list[pa.Table]:
        return [self._table]


def batches(rows: Floats, size: int) -> Iterator[Floats]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_moments_do_not_depend_on_the_batches_even_far_from_zero(size: int) -> None:
    rows = gaussian(300, 5, 0) * 1e-3 + 1e4
    moments = Moments.of(batches(rows, size))
    assert moments.n == 300
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T), rtol=1e-6)


def test_the_distance_is_the_closed_form_of_two_gaussians() -> None:
    # With commuting covariances it is |m1 - m2|² + Σ (σ1 - σ2)².
    first, second = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0])
    rotation = np.linalg.qr(gaussian(3, 3, 1))[0]

    def moments(mean: float, deviations: Floats) -> Moments:
        return Moments(101, np.full(3, mean), 100 * rotation @ np.diag(deviations**2) @ rotation.T)

    expected = 3 * 0.5**2 + ((first - second) ** 2).sum()
    assert frechet_distance(moments(0, first), moments(0.5, second)) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(moments(0, first), moments(0, first)) == pytest.approx(0, abs=1e-10)


def test_a_sample_of_gaussians_comes_near_the_closed_form() -> None:
    first, second = gaussian(200_000, 2, 2), gaussian(200_000, 2, 3, shift=1.0) * np.array([1.0, 2.0])
    expected = 1 + 4 + 1  # means (0, 0) and (1, 2), deviations (1, 1) and (1, 2)
    distance = frechet_distance(Moments.of([first]), Moments.of([second]))
    assert distance == pytest.approx(expected, rel=0.02)


def test_fewer_images_than_dimensions_still_have_a_distance() -> None:
    distance = frechet_distance(Moments.of([gaussian(5, 20, 0)]), Moments.of([gaussian(5, 20, 1)]))
    assert np.isfinite(distance) and distance > 0


@pytest.fixture(scope="module")
def drawings() -> NDArray[np.uint8]:
    return np.stack([decode(image) for image in {each.image_id: each.image for each in load_questions()}.values()])


def test_fid_and_kid_equal_torchmetrics_on_the_same_images(drawings: NDArray[np.uint8], tmp_path: Path) -> None:
    module = NanoFeatures(NanoEncoder())
    pixels = torch.from_numpy(drawings).permute(0, 3, 1, 2)
    real, fake = pixels[:128], pixels[128:].flip(3) // 2
    fid = FrechetInceptionDistance(module)
    with pytest.warns(UserWarning, match="will save all extracted features"):
        kid = KernelInceptionDistance(module, subsets=1, subset_size=128)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    ours = [module(images).double().numpy() for images in (real, fake)]
    moments = [Moments.of(batches(rows, 50)) for rows in ours]
    assert frechet_distance(*moments) == pytest.approx(float(fid.compute()), rel=1e-3)
    assert kernel_distance(ours[0], ours[1]) == pytest.approx(float(kid.compute()[0]), rel=1e-3)
    sets = [feature_set(tmp_path / str(index), rows) for index, rows in enumerate(ours)]
    before, after = figures.frechet(sets[1], sets[0], sets[0])
    assert before.value == pytest.approx(float(fid.compute()), rel=1e-3)
    assert (before.n, after.value) == (128, pytest.approx(0, abs=1e-6))
    assert before.difference(after).value == pytest.approx(-before.value)
    assert before.figure().low < before.value < before.figure().high
    assert after.figure().low == 0


def test_the_kernel_distance_is_unbiased() -> None:
    values = [kernel_distance(gaussian(20, 4, 2 * seed), gaussian(20, 4, 2 * seed + 1)) for seed in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@pytest.mark.parametrize(("n", "size"), [(20, 2), (256, 25), (1_000, 100), (10_000, 1_000), (30_000, 1_000)])
def test_subsets_are_of_a_fixed_size_and_at_least_ten(n: int, size: int) -> None:
    assert subset_size(n) == size


def test_subsets_are_disjoint_and_take_every_image_in_its_order(tmp_path: Path) -> None:
    rows = gaussian(SHARD * 2 + 10, 3, 0)
    found = list(feature_set(tmp_path, rows).subsets(17))
    assert [len(subset) for subset in found] == [17] * (len(rows) // 17)
    np.testing.assert_allclose(np.concatenate(found), rows[: 17 * len(found)], rtol=1e-6)


def test_replicates_leave_out_a_group_of_each_set_and_every_set_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "SHARDS_AT_ONCE", 2)
    rows = [gaussian(SHARD * 3 + 8, 4, seed, shift=seed / 2).astype(np.float32).astype(np.float64) for seed in range(3)]
    sets = [feature_set(tmp_path / str(index), each) for index, each in enumerate(rows)]
    read, batches_of = [], FeatureSet.batches

    def counted(features: FeatureSet) -> Iterator[Floats]:
        read.append(features)
        return batches_of(features)

    monkeypatch.setattr(FeatureSet, "batches", counted)
    before, after = figures.frechet(*sets)
    assert read == sets

    def distance(first: Floats, kept: NDArray[np.bool_]) -> float:
        return frechet_distance(Moments.of([first[kept]]), Moments.of([rows[2][kept]]))

    index = np.arange(len(rows[0]))
    for found, mine in ((before, rows[0]), (after, rows[1])):
        whole = distance(mine, index >= 0)
        assert found.value == pytest.approx(whole, rel=1e-9)
        left_out = [10 * whole - 9 * distance(mine, index % 10 != group) for group in range(10)]
        assert found.replicates == pytest.approx(left_out, rel=1e-9)


def test_intervals_contain_the_truth_about_as_often_as_they_say() -> None:
    """Truth: the mean over many samples of the same size, for that is what FID of n images estimates."""
    fids, kids = [], []
    for seed in range(80):
        sets = [
            FeatureSet(InMemory(gaussian(200, 4, 3 * seed + name, shift=0.5 * (name == 0))), 200)  # type: ignore[arg-type]
            for name in range(3)
        ]
        fids.append(figures.frechet(sets[0], sets[1], sets[2])[0].figure())
        kids.append(figures.kernel(sets[0], sets[1], sets[2])[0].figure())
    for found in (fids, kids):
        truth = np.mean([figure.value for figure in found])
        covered = np.mean([figure.low <= truth <= figure.high for figure in found])
        assert 0.85 <= covered <= 1.0
        widths = [figure.high - figure.low for figure in found]
        assert np.mean(widths) < 8 * np.std([figure.value for figure in found])


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    peaks = []
    for n in (SHARD * 5, SHARD * 50):
        features = feature_set(tmp_path / str(n), gaussian(n, 64, 0))
        tracemalloc.start()
        Moments.of(features.batches())
        for first in features.subsets(32):
            kernel_distance(first, first)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
