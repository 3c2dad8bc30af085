"""Intervals: SciPy's numbers, and that they hold the truth about as often as they say."""

from __future__ import annotations

import math

import labelled
import numpy as np
import pytest
from scipy import stats

from guard_magic.evaluation.intervals import bootstrapped, proportions, subsampled, wilson
from guard_magic.evaluation.metrics import measure
from guard_magic.evaluation.samples import Sample


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 10), (7, 10), (10, 10), (37, 412)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_scipy_s(hits: int, n: int, confidence: float) -> None:
    wanted = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert wilson(hits, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_of_nothing_there_is_no_interval() -> None:
    assert all(map(math.isnan, wilson(0, 0)))


def test_rows_of_unequal_weight_count_as_fewer() -> None:
    one = labelled.sample(200)
    weights = np.where(np.arange(200) < 20, 10.0, 1.0)
    heavy = Sample(unsafe=one.unsafe, scores=one.scores, weights=weights, rows=one.rows)
    (low, high), n = proportions(one, 0.5)["prevalence"]
    (low_w, high_w), n_w = proportions(heavy, 0.5)["prevalence"]
    assert n == n_w == 200
    assert high_w - low_w > 1.5 * (high - low)
    n_effective = weights.sum() ** 2 / (weights**2).sum()
    share = float(np.average(one.unsafe, weights=weights))
    assert (low_w, high_w) == pytest.approx(wilson(share * n_effective, n_effective))


def test_the_bootstrap_is_scipy_s() -> None:
    one = labelled.sample(120, digits=8)
    found = bootstrapped(one, 0.5, n_bootstrap=1000, seed=3)
    rows = np.arange(120)

    def brier(drawn: np.ndarray, axis: int) -> np.ndarray:
        return ((one.scores[drawn] - one.unsafe[drawn]) ** 2).mean(axis=axis)

    wanted = stats.bootstrap((rows,), brier, n_resamples=4000, method="BCa", rng=np.random.default_rng(1))
    ends = (wanted.confidence_interval.low, wanted.confidence_interval.high)
    assert found["brier"] == pytest.approx(ends, abs=0.006)
    classes = tuple(one.scores[one.unsafe == kind] for kind in (1, 0))

    def auroc(unsafe: np.ndarray, safe: np.ndarray, axis: int) -> np.ndarray:
        return (unsafe[..., :, None] > safe[..., None, :]).mean(axis=(-1, -2))

    drawn = stats.bootstrap(classes, auroc, n_resamples=1500, method="BCa", batch=50, rng=np.random.default_rng(1))
    ends = (drawn.confidence_interval.low, drawn.confidence_interval.high)
    assert found["auroc"] == pytest.approx(ends, abs=0.015)


def test_the_seed_is_the_only_chance() -> None:
    one = labelled.sample(100)
    assert bootstrapped(one, 0.5, n_bootstrap=200, seed=4) == bootstrapped(one, 0.5, n_bootstrap=200, seed=4)
    assert bootstrapped(one, 0.5, n_bootstrap=200, seed=4) != bootstrapped(one, 0.5, n_bootstrap=200, seed=5)


@pytest.mark.parametrize(
    "one", [labelled.of([0] * 12, [0.1] * 12), labelled.of([0, 1] * 6, [0.1, 0.9] * 6)], ids=["one class", "no errors"]
)
def test_where_no_resample_differs_there_is_no_interval(one: Sample) -> None:
    assert all(map(math.isnan, bootstrapped(one, 0.5, n_bootstrap=200)["auroc"]))


def test_no_bootstrap() -> None:
    assert all(math.isnan(low) for low, _ in bootstrapped(labelled.sample(50), 0.5, n_bootstrap=0).values())


def test_intervals_hold_the_truth() -> None:
    """Of 120 samples each; the full simulation is benchmarks/evaluation.py."""
    whole = measure(labelled.sample(200_000, seed=99, digits=8), 0.5)
    held = dict.fromkeys(("auroc", "average_precision", "f1", "brier"), 0)
    for seed in range(120):
        found = bootstrapped(labelled.sample(150, seed=seed, digits=8), 0.5, n_bootstrap=300, seed=seed)
        for name in held:
            low, high = found[name]
            held[name] += low <= whole[name] <= high
    assert all(104 <= n <= 120 for n in held.values()), held


def test_a_subsample_keeps_what_it_stands_for_and_its_interval_is_that_of_all() -> None:
    rare = labelled.sample(40_000, share=0.005, digits=8)
    part, scale = subsampled(rare, np.random.default_rng(0), 1000)
    assert part.unsafe.sum() == 50
    assert np.average(part.unsafe, weights=part.weights) == pytest.approx(rare.unsafe.mean())
    assert scale == pytest.approx(math.sqrt(50 / rare.unsafe.sum()))
    large = labelled.sample(5_000, digits=8)
    fast, slow = (bootstrapped(large, 0.5, n_bootstrap=400, most_rows=most) for most in (1000, 5_000))
    for name, (low, high) in slow.items():
        assert fast[name][1] - fast[name][0] == pytest.approx(high - low, rel=0.35), name
        assert fast[name] == pytest.approx((low, high), abs=0.6 * (high - low)), name
