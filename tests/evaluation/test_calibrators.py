"""Fits checked against what made the labels, scikit-learn, and hand-computed numbers; held out means held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from guard_magic.errors import EvaluationError
from guard_magic.evaluation import calibrators
from guard_magic.evaluation.calibrators import FITTED, apply, checked_pairs, choose, deal_folds, fit, held_out, sigmoid


def drawn(n: int, slope: float, offset: float, seed: int = 0) -> tuple[Any, Any]:
    """Log-odds, and labels that are unsafe with the probability sigmoid(slope x + offset)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 3, n)
    return x, (rng.random(n) < sigmoid(slope * x + offset)).astype(float)


def test_what_made_the_labels_is_found() -> None:
    x, y = drawn(20_000, 0.5, 0.0)
    assert fit("temperature", x, y)["temperature"] == pytest.approx(2.0, rel=0.05)
    x, y = drawn(20_000, 0.6, -1.5)
    found = fit("platt", x, y)
    assert (found["slope"], found["offset"]) == (pytest.approx(0.6, rel=0.05), pytest.approx(-1.5, rel=0.05))


def test_platt_is_the_published_fit() -> None:
    x, y = drawn(300, 0.6, -1.5)
    n_unsafe, n_safe = y.sum(), (1 - y).sum()
    high, low = (n_unsafe + 1) / (n_unsafe + 2), 1 / (n_safe + 2)

    def loss(slope: float, offset: float) -> float:
        targets = np.where(y > 0, high, low)
        z = slope * x + offset
        return float((np.logaddexp(0, z) - targets * z).sum())

    found = fit("platt", x, y)
    best = loss(found["slope"], found["offset"])
    for step in (-1e-3, 1e-3):
        assert best < loss(found["slope"] + step, found["offset"])
        assert best < loss(found["slope"], found["offset"] + step)
    plain = LogisticRegression(C=np.inf).fit(x[:, None], y)
    assert found["slope"] == pytest.approx(plain.coef_[0, 0], rel=0.05)


def test_isotonic_is_scikit_learn_s() -> None:
    x, y = drawn(400, 0.6, -0.5)
    found = fit("isotonic", x, y)
    least = 1 / 402
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(x, y)
    points = np.linspace(-20, 20, 501)
    assert apply("isotonic", found, points) == pytest.approx(model.predict(points), abs=1e-12)


@pytest.mark.parametrize("method", FITTED)
def test_classes_that_do_not_overlap_stay_finite(method: str) -> None:
    x = np.concatenate([np.linspace(-9, -5, 20), np.linspace(5, 9, 20)])
    y = (x > 0).astype(float)
    p = apply(method, fit(method, x, y), x)
    assert ((p > 0) & (p < 1)).all()
    assert p[y == 1].min() > 0.9
    assert p[y == 0].max() < 0.1


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_scores_that_say_nothing_give_the_share_or_a_half(method: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 3, 4000), (rng.random(4000) < 0.3).astype(float)
    falling = x - 0.2 * y  # unsafe rows a little lower: no slope above 0 fits
    p = apply(method, fit(method, falling, y), falling)
    assert p == pytest.approx(np.full(4000, 0.5 if method == "temperature" else y.mean()), abs=0.01)


def test_numbers_of_probabilities() -> None:
    p, y = np.array([0.1, 0.2, 0.6, 0.9]), np.array([0.0, 1.0, 0.0, 1.0])
    found = calibrators.judge_probabilities(p, y)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))
    # ten bins, four rows: each a bin of its own
    assert found["ece"] == pytest.approx((0.1 + 0.8 + 0.6 + 0.1) / 4)
    two = calibrators.expected_calibration_error(p, y, n_bins=2)
    assert two == pytest.approx((abs(0.3 - 1) + abs(1.5 - 1)) / 4)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.7]), st.booleans()), min_size=1, max_size=60), st.randoms())
@settings(deadline=None, max_examples=100)
def test_the_calibration_error_does_not_depend_on_the_order(rows: list[tuple[float, bool]], random: Any) -> None:
    p, y = (np.array(values, dtype=float) for values in zip(*rows, strict=True))
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = (calibrators.expected_calibration_error(p[i], y[i]) for i in (np.arange(len(p)), np.array(order)))
    assert one == pytest.approx(other)
    assert 0 <= one <= 1


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=40, max_size=120), st.integers(2, 6))
@settings(deadline=None, max_examples=100)
def test_equal_conversations_share_a_fold(rows: list[tuple[int, bool]], n_folds: int) -> None:
    groups, y = np.array([g for g, _ in rows]), np.array([u for _, u in rows], dtype=float)
    folds = deal_folds(y, groups, n_folds, seed=1)
    assert set(folds) <= set(range(n_folds))
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    n_groups = [len(set(groups[folds == fold])) for fold in range(n_folds)]
    assert max(n_groups) - min(n_groups) <= 1


@pytest.mark.parametrize("methods", [*([m] for m in FITTED), list(FITTED)], ids=[*FITTED, "auto"])
def test_what_is_held_out_was_not_seen(methods: list[str]) -> None:
    """Each fold is judged by what is chosen and fitted without it: its labels are not even passed."""
    x, y = drawn(150, 0.6, -0.5)
    groups = np.arange(150) // 2
    folds = deal_folds(y, groups, 5, 0)
    found = held_out(methods, x, y, groups, n_folds=5, seed=0)
    for fold in range(5):
        seen, hidden = folds != fold, folds == fold
        method = methods[0]
        if len(methods) > 1:
            method, _ = choose(methods, x[seen], y[seen], groups[seen], n_folds=5, seed=fold + 1)
        assert found[hidden] == pytest.approx(apply(method, fit(method, x[seen], y[seen]), x[hidden]))
        assert not set(groups[seen]) & set(groups[hidden])


def test_the_lowest_log_loss_is_chosen() -> None:
    x, y = drawn(2000, 1.0, -3.0)  # an offset that a temperature cannot make
    method, losses = choose(FITTED, x, y, np.arange(2000), n_folds=5, seed=0)
    assert method == min(losses, key=lambda name: losses[name])
    assert losses["platt"] < losses["temperature"]
    assert sorted(losses) == sorted(FITTED)


def test_fitting_and_judging_on_the_same_rows_would_be_seen() -> None:
    """Labels that have nothing to do with the scores: an isotonic fit judged on its own rows looks better."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 2, 200), (rng.random(200) < 0.4).astype(float)
    honest = calibrators.judge_probabilities(held_out(["isotonic"], x, y, np.arange(200), n_folds=5, seed=0), y)
    own = calibrators.judge_probabilities(apply("isotonic", fit("isotonic", x, y), x), y)
    share = y.mean()
    chance = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert own["log_loss"] < chance < honest["log_loss"]


ALL = np.linspace(-3, 3, 60)
HALF = (np.arange(60) % 2).astype(float)
BAD: dict[str, tuple[Any, Any, str]] = {
    "length": (ALL[:59], HALF, "do not belong together"),
    "nan": (np.where(np.arange(60) == 3, np.nan, ALL), HALF, "1 scores are not numbers"),
    "label": (ALL, HALF * 2, r"label 2\.0 is neither 0 nor 1"),
    "one_class": (ALL, np.zeros(60), "0 different conversations are labelled unsafe"),
    "few": (ALL, (np.arange(60) < 9).astype(float), "9 different conversations are labelled unsafe"),
    "equal": (np.full(60, 1.5), HALF, "all 60 scores are equal"),
    "turned": (ALL, (ALL < 0).astype(float), r"lower scores \(AUROC 0\.000\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_nothing_can_be_fitted_to_is_refused(case: str) -> None:
    x, y, message = BAD[case]
    with pytest.raises(EvaluationError, match=message):
        checked_pairs(x, y, np.arange(60))


def test_copies_of_one_conversation_are_one() -> None:
    with pytest.raises(EvaluationError, match="1 different conversations are labelled unsafe"):
        checked_pairs(ALL, (np.arange(60) < 20).astype(float), np.maximum(np.arange(60), 19))


def test_infinite_log_odds_are_the_limit() -> None:
    x, _ = checked_pairs(np.where(np.arange(60) == 59, np.inf, ALL), HALF, np.arange(60))
    assert x[59] == calibrators.LIMIT
    assert apply("platt", {"slope": 0.5, "offset": -1.0}, [np.inf, -np.inf]) == pytest.approx([1.0, 0.0], abs=1e-12)
    assert np.isnan(apply("platt", {"slope": 0.5, "offset": -1.0}, [np.nan])).all()
    assert np.isnan(apply("isotonic", fit("isotonic", ALL, HALF), [np.nan])).all()
