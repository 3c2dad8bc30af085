"""Prediction-powered estimates: the paper's closed form, plain estimates at share 0, and coverage by simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import ppi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from guard_magic.errors import EvaluationError
from guard_magic.evaluation.powered_rates import powered_precision, powered_prevalence, powered_recall
from guard_magic.evaluation.prediction_powered import powered_mean


def rows(n: int, n_labelled: int, seed: int = 0, noise: float = 1.0) -> tuple[Any, Any, Any]:
    """Labels of a whole table, labels of some of its rows, and scores."""
    return ppi.draw(np.random.default_rng(seed), n, n_labelled, noise=noise)


def test_the_mean_by_the_paper_s_closed_form() -> None:
    rng = np.random.default_rng(1)
    n, n_others = 80, 900
    y, f, g = (rng.random(size) for size in (n, n, n_others))
    f = y + f - 0.5
    share = np.cov(y, f, ddof=1)[0, 1] / (np.var(f, ddof=1) + n / n_others * np.var(g, ddof=1))
    for trusted in (share, 0.0, 0.4, 1.0):
        value = trusted * g.mean() + (y - trusted * f).mean()
        error = math.sqrt(trusted**2 * np.var(g, ddof=1) / n_others + np.var(y - trusted * f, ddof=1) / n)
        far = stats.t.ppf(0.975, n - 1) * error
        found = powered_mean(y, f, g, share=None if trusted == share else trusted)
        assert (found.share, found.value) == (pytest.approx(trusted), pytest.approx(value))
        assert (found.low, found.high) == (pytest.approx(value - far), pytest.approx(value + far))


@given(st.integers(0, 10_000), st.floats(0.2, 3))
@settings(deadline=None, max_examples=30)
def test_the_share_of_least_variance(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    y, f, g = (rng.random(60) < 0.4).astype(float), rng.random(60), rng.random(400)
    f = np.clip((y + noise * f) / (1 + noise), 0, 1)
    best = powered_mean(y, f, g)
    others = [powered_mean(y, f, g, share=share).width for share in np.linspace(0, 1, 21)]
    assert best.width <= min(others) + 1e-9


def test_labelled_rows_among_the_others_change_nothing() -> None:
    """Of a mean with equal weights it is the same estimate, written in another way."""
    rng = np.random.default_rng(2)
    y, f, g = (rng.random(70) < 0.3).astype(float), rng.random(70), rng.random(630)
    f = np.clip(0.6 * y + f, 0, 1)
    apart, within = powered_mean(y, f, g), powered_mean(y, f, np.concatenate([f, g]), within=True)
    assert within.value == pytest.approx(apart.value, abs=1e-3)
    assert within.width == pytest.approx(apart.width, rel=0.02)
    assert within.share == pytest.approx(apart.share, rel=0.02)
    same = [powered_mean(y, f, others, share=0.5, within=len(others) > 630) for others in (g, np.concatenate([f, g]))]
    assert same[0].value == pytest.approx(same[1].value, abs=1e-12)
    assert within.n_unlabelled == apart.n_unlabelled == 630


def test_share_0_is_the_plain_estimate() -> None:
    _, known, scores = rows(2000, 200)
    y = known[~np.isnan(known)]
    plain = stats.ttest_1samp(y, 0).confidence_interval(0.95)
    found = powered_mean(y, scores[:200], scores, share=0.0)
    assert found.value == pytest.approx(y.mean())
    assert (found.low, found.high) == (pytest.approx(plain.low), pytest.approx(plain.high))
    assert powered_prevalence(known, scores, share=0.0).value == pytest.approx(y.mean())
    flagged = scores >= 0.5
    precise = powered_precision(known, scores, threshold=0.5, share=0.0)
    assert precise.value == pytest.approx(np.nanmean(known[flagged]))
    recalled = powered_recall(known, scores, threshold=0.5, share=0.0)
    assert recalled.value == pytest.approx(np.nanmean(flagged[known == 1]))
    n = int((known == 1).sum())
    v = recalled.value
    far = stats.t.ppf(0.975, n - 1) / math.sqrt(n * v * (1 - v))
    odds = np.log(np.array([recalled.low, v, recalled.high]) / (1 - np.array([recalled.low, v, recalled.high])))
    assert np.diff(odds) == pytest.approx([far, far], rel=0.01)


def test_all_rows_labelled_leaves_nothing_to_predict() -> None:
    truth, _, scores = rows(300, 100)
    found = powered_prevalence(truth.astype(float), scores)
    assert found.value == pytest.approx(truth.mean())
    assert found.width == pytest.approx(powered_prevalence(truth.astype(float), scores, share=0.0).width, rel=1e-6)
    assert found.n_unlabelled == 0


def test_scores_of_no_worth_cost_nothing() -> None:
    truth, known, _ = rows(2000, 200)
    noise = np.random.default_rng(9).random(2000)
    assert powered_prevalence(known, noise).width <= powered_prevalence(known, noise, share=0.0).width * 1.001
    assert abs(powered_prevalence(known, noise).value - truth.mean()) < 0.1


def test_weights_of_a_stratified_draw() -> None:
    found = ppi.simulate(n_draws=150, n=1500, n_labelled=150, noise=1.0, seed=4, stratified=True)
    for what in ("prevalence", "precision", "recall"):
        assert found[what]["coverage"] > 0.88, what


def test_coverage_and_width() -> None:
    """Loosely here; benchmarks/ppi.py has the numbers."""
    found = ppi.simulate(n_draws=200, n=1500, n_labelled=150, noise=0.7, seed=3)
    for what in ("prevalence", "precision", "recall"):
        assert found[what]["coverage"] > 0.9, what
        assert found[what]["plain_coverage"] > 0.88, what
    assert found["prevalence"]["width_ratio"] < 0.9
    assert found["recall"]["width_ratio"] < 1.0


def test_labels_that_are_all_alike_have_wilson_s_interval() -> None:
    _, known, scores = rows(500, 100)
    known = np.where(np.isnan(known), np.nan, 1.0)
    found = powered_prevalence(known, scores)
    wilson = stats.binomtest(100, 100).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high, found.share) == (1.0, wilson.low, wilson.high, 0.0)
    assert powered_recall(known, np.full(500, 0.9), threshold=0.5).low == pytest.approx(wilson.low)


def test_rows_without_a_score_do_not_count() -> None:
    _, known, scores = rows(500, 100)
    more = np.concatenate([known, [1.0, np.nan]]), np.concatenate([scores, [np.nan, np.nan]])
    assert powered_prevalence(*more) == powered_prevalence(known, scores)
    assert powered_recall(*more, threshold=0.5) == powered_recall(known, scores, threshold=0.5)


GOOD_LABELS = np.array([1.0, 0.0] * 20 + [np.nan] * 20)
GOOD_SCORES = np.linspace(0, 1, 60)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "few": ({"unsafe": np.where(np.arange(60) < 9, GOOD_LABELS, np.nan)}, "9 of these rows are labelled"),
    "length": ({"scores": GOOD_SCORES[:59]}, "do not belong together"),
    "text": ({"scores": ["a"] * 60}, "are not numbers"),
    "log-odds": ({"scores": GOOD_SCORES * 9}, r"numbers in \[0, 1\]"),
    "labels": ({"unsafe": GOOD_LABELS * 2}, "labels are 1"),
    "weights": ({"weights": -np.ones(60)}, "weights are numbers"),
    "one weight": ({"weights": [1e12, *[1] * 59]}, r"40 labels tell as much as 1\.0 of equal weight"),
    "infinite": ({"weights": np.full(60, np.inf)}, "weights are numbers"),
    "share": ({"share": 2}, "share=2 is not"),
    "confidence": ({"confidence": 95}, "confidence=95 is not"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused(case: str) -> None:
    options, message = BAD[case]
    call = {"unsafe": GOOD_LABELS, "scores": GOOD_SCORES, **options}
    with pytest.raises(EvaluationError, match=message):
        powered_prevalence(call.pop("unsafe"), call.pop("scores"), **call)


def test_only_the_ratio_of_weights_counts() -> None:
    found = [powered_prevalence(GOOD_LABELS, GOOD_SCORES, weights=np.full(60, w)) for w in (1e-300, 1.0, 1e150)]
    assert found[0].width == pytest.approx(found[1].width)
    assert found[2].value == pytest.approx(found[1].value)


def test_thresholds_and_unsafe_rows() -> None:
    with pytest.raises(EvaluationError, match="threshold 2 is not"):
        powered_recall(GOOD_LABELS, GOOD_SCORES, threshold=2)
    few = np.where(np.isnan(GOOD_LABELS), np.nan, (np.arange(60) < 9).astype(float))
    with pytest.raises(EvaluationError, match="9 labelled rows are unsafe"):
        powered_recall(few, GOOD_SCORES, threshold=0.5)
    with pytest.raises(EvaluationError, match="0 of these rows are labelled"):
        powered_precision(GOOD_LABELS, GOOD_SCORES, threshold=0.9)
