"""Metrics: scikit-learn's numbers, tables counted by hand, and the fast way for resamples equal to them."""

from __future__ import annotations

import math
from dataclasses import replace

import labelled
import numpy as np
import pytest
from sklearn import metrics

from guard_magic.evaluation.calibrators import expected_calibration_error
from guard_magic.evaluation.metrics import NAMES, RESAMPLED, Resampled, calibration_bins, measure
from guard_magic.evaluation.samples import Sample

TABLE = labelled.of([1, 1, 1, 0, 0, 0, 0, 1, 0, 0], [0.9, 0.8, 0.2, 0.7, 0.1, 0.1, 0.3, 0.6, 0.2, 0.4])
"""4 unsafe, 3 of them flagged at 0.5; 6 safe, 1 of them flagged."""


def weighted(sample: Sample, seed: int = 1) -> Sample:
    return replace(sample, weights=np.random.default_rng(seed).integers(1, 6, len(sample)).astype(float))


def test_a_table_counted_by_hand() -> None:
    found = measure(TABLE, 0.5)
    assert found["prevalence"] == 0.4
    assert found["precision"] == 3 / 4
    assert found["recall"] == 3 / 4
    assert found["f1"] == 3 / 4
    assert found["fpr"] == pytest.approx(1 / 6)
    assert found["auroc"] == pytest.approx((6 + 6 + 2.5 + 5) / 24)
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 8) / 4)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.64 + 0.49 + 0.01 + 0.01 + 0.09 + 0.16 + 0.04 + 0.16) / 10)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_resamples_have_the_numbers_of_the_definition(seed: int, is_weighted: bool) -> None:
    one = labelled.sample(80, seed=seed)
    one = weighted(one) if is_weighted else one
    drawn = np.random.default_rng(seed).integers(0, 80, (7, 80))
    fast = Resampled(one, 0.5)
    found, ranks = fast.metrics(drawn), fast.auroc(drawn)
    for k, rows in enumerate(drawn):
        wanted = measure(one.only(rows), 0.5)
        assert ranks[k] == pytest.approx(wanted["auroc"])
        for name, values in zip(RESAMPLED, found, strict=True):
            if name != "ece":  # its bins are those of the whole sample
                assert values[k] == pytest.approx(wanted[name]), name
    whole = dict(zip(RESAMPLED, fast.metrics(np.arange(80)), strict=True))
    assert whole["ece"] == pytest.approx(measure(one, 0.5)["ece"])


def test_weights_are_repetitions() -> None:
    one = weighted(labelled.sample(60))
    repeated = labelled.sample(60).only(np.repeat(np.arange(60), one.weights.astype(int)))
    assert measure(one, 0.4) == pytest.approx(measure(repeated, 0.4))


@pytest.mark.parametrize("digits", [1, 8])
def test_calibration_error_is_that_of_calibrations(digits: int) -> None:
    one = labelled.sample(333, digits=digits)
    assert measure(one, 0.5)["ece"] == pytest.approx(expected_calibration_error(one.scores, one.unsafe))
    bins = calibration_bins(one.scores, one.weights)
    if digits == 8:
        share, said = metrics_by_sklearn(one)
        apart = [abs(a - b) for a, b in zip(share, said, strict=True)]
        sizes = np.bincount(bins) / len(one)
        assert measure(one, 0.5)["ece"] == pytest.approx(float(np.dot(sizes, apart)), abs=5e-3)
    assert all(len(set(bins[one.scores == score].tolist())) == 1 for score in set(one.scores.tolist()))


def metrics_by_sklearn(one: Sample) -> tuple[list[float], list[float]]:
    from sklearn.calibration import calibration_curve

    share, said = calibration_curve(one.unsafe, one.scores, n_bins=10, strategy="quantile")
    return share.tolist(), said.tolist()


def test_what_cannot_be_measured_is_not_a_number() -> None:
    safe_only = measure(labelled.of([0] * 5, [0.1, 0.6, 0.2, 0.3, 0.4]), 0.5)
    assert {name for name, value in safe_only.items() if math.isnan(value)} == {
        "auroc", "average_precision", "recall", "f1",
    }  # fmt: skip
    assert safe_only["fpr"] == 0.2
    none_flagged = measure(labelled.of([0, 1], [0.1, 0.2]), 0.5)
    assert math.isnan(none_flagged["precision"])
    assert none_flagged["recall"] == 0
    nothing = measure(labelled.of([1, 0], [math.nan, math.nan]), 0.5)
    assert all(map(math.isnan, nothing.values()))
    assert list(nothing) == list(NAMES)


def test_rows_without_a_score_are_left_out_and_bounded() -> None:
    scored = measure(TABLE, 0.5)
    more = labelled.of([*TABLE.unsafe.tolist(), 1, 0], [*TABLE.scores.tolist(), math.nan, math.nan])
    assert measure(more, 0.5) == scored
    worst, best = (measure(more.filled(worst=is_worst), 0.5) for is_worst in (True, False))
    assert (worst["recall"], best["recall"]) == (3 / 5, 4 / 5)
    assert (worst["precision"], best["precision"]) == (3 / 5, 4 / 5)
    assert (worst["fpr"], best["fpr"]) == (2 / 7, 1 / 7)
    for name in NAMES:
        low, high = sorted((worst[name], best[name]))
        assert name in ("prevalence", "ece") or low <= scored[name] <= high


def test_scikit_learn_says_the_same_of_a_large_sample() -> None:
    one = labelled.sample(2000, digits=8)
    found = measure(one, 0.3)
    flagged = one.scores >= 0.3
    tn, fp, fn, tp = metrics.confusion_matrix(one.unsafe, flagged).ravel()
    assert found["precision"] == pytest.approx(tp / (tp + fp))
    assert found["recall"] == pytest.approx(tp / (tp + fn))
    assert found["fpr"] == pytest.approx(fp / (fp + tn))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(one.unsafe, one.scores))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(one.unsafe, one.scores))
