"""Intervals contain the truth as often as they say: a small form of ``python -m benchmarks.coverage``."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import Setting, change_settings, kappa_setting, measure, share_setting
from ear.evaluation.intervals import Sums, interval
from ecgvf.core.figures import bootstrap_tail, proportion

SIMULATIONS = 100
LOWEST = 0.89
"""Of an interval that covers 95%, a hundred draws contain the truth less often once in a hundred times."""


@pytest.mark.parametrize(
    "setting",
    [
        share_setting(0.02, 20, 4),
        share_setting(0.95, 20, 1),
        share_setting(0.5, 20, 4),
        *change_settings(0.95, 0.05, 0, 64, 1),
        *change_settings(0.6, 0.5, 0.05, 64, 4),
        kappa_setting(0.98, 64),
    ],
    ids=lambda setting: f"{setting.figure.__name__} {setting.name}, {setting.prompts} x {setting.images}",
)
def test_the_interval_contains_the_truth(setting: Setting) -> None:
    [in_use] = measure(replace(setting, rejected={}), SIMULATIONS, seed=1)
    assert in_use["coverage"]["n"] == SIMULATIONS and in_use["coverage"]["value"] >= LOWEST


def test_resamples_are_drawn_once_for_figures_whose_prompts_are_equally_often_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, generator = list[int](), np.random.default_rng

    def recorded(seed: int) -> np.random.Generator:
        drawn.append(seed)
        return generator(seed)

    monkeypatch.setattr(np.random, "default_rng", recorded)
    values = np.repeat([0.0, 0.5, 1.0], [31, 37, 41])
    low, high = interval(Sums(values, np.ones(109), False, None, None))
    assert interval(Sums(2 * values[::-1], np.ones(109), False, None, None)) == pytest.approx((2 * low, 2 * high))
    assert len(drawn) == 1


def test_rejected_intervals_do_not() -> None:
    """The simulation can tell: what was rejected fails where the interval in use holds."""
    rows = measure(change_settings(0.95, 0.05, 0, 64, 1)[0], SIMULATIONS, seed=1)
    rows += measure(share_setting(0.5, 64, 4), SIMULATIONS, seed=1)
    coverage = {row["interval"]: row["coverage"]["value"] for row in rows}
    assert coverage["conditional"] < LOWEST and coverage["Wilson, of images"] < LOWEST


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (3, 64), (9, 200)])
def test_the_exact_interval_of_a_share_is_clopper_and_pearsons(successes: int, n: int) -> None:
    values = np.repeat([1.0, 0.0], [successes, n - successes])
    low, high = interval(Sums(values, np.ones(n), True, (0, 1), (1, 1)))
    expected = proportion(successes, n, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.05, abs=0.001)


def test_the_bootstrap_is_scipys_whatever_the_order_of_the_prompts() -> None:
    from scipy.stats import bootstrap  # half a second in every worker

    draw = np.random.default_rng(0)
    weights = draw.choice([0.5, 1.0, 3.0], 300)
    before, after = weights * (draw.random(300) < 0.95), weights * (draw.random(300) < 0.85)
    low, high = interval(Sums(after, before, False, None, None))
    expected = bootstrap(
        (after, before),
        lambda new, old, axis: new.sum(axis) / old.sum(axis),
        paired=True,
        n_resamples=9_999,
        batch=1_000,
        confidence_level=1 - 2 * bootstrap_tail(300),
        method="percentile",
        rng=1,
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * (high - low))
    order = draw.permutation(300)
    assert interval(Sums(after[order], before[order], False, None, None)) == (low, high)
