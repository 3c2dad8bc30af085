"""Log-odds turned into probabilities: four ways to fit that, and their judgement on rows they were not fitted on.

Arrays in, arrays out: nothing here knows guards, tables or files. Log-odds are natural logarithms, clipped to
±`LIMIT`; `unsafe` holds 1 and 0; groups are rows that must not stand on both sides of a split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.metrics import N_BINS, calibration_bins

__all__ = [
    "FITTED",
    "LIMIT",
    "MIN_ROWS",
    "apply",
    "checked_pairs",
    "choose",
    "deal_folds",
    "expected_calibration_error",
    "fit",
    "held_out",
    "judge_probabilities",
    "sigmoid",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Parameters = Mapping[str, Any]

FITTED = ("temperature", "platt", "isotonic")
"""Ways that are fitted to labels, the one with the fewest parameters first."""

MIN_ROWS = 10
"""Fewest different conversations of each class from which anything is fitted."""

LIMIT = 100.0
"""Log-odds beyond this say no more: e**-100 is no probability that anybody can check."""

LEAST_SLOPE = 1e-3


def sigmoid(log_odds: npt.ArrayLike) -> Floats:
    """Return probabilities of log-odds."""
    x = np.asarray(log_odds, dtype=np.float64)
    small = np.exp(-np.abs(x))  # never overflows
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def fit(method: str, log_odds: Floats, unsafe: Floats) -> dict[str, Any]:
    """Fit one way to labelled rows: the best of those that rise with the log-odds.

    Parameters
    ----------
    method
        ``"temperature"``: sigmoid(x / T). ``"platt"``: sigmoid(slope x + offset), with Platt's targets (1999), which
        keep the slope finite where the classes do not overlap. ``"isotonic"``: the best steps that never fall, kept
        off 0 and 1 by one row in n + 2.
    log_odds, unsafe
        Shape (n,).

    Returns
    -------
    dict
        What `apply` takes. Where rows do not get more often unsafe as the log-odds rise, one that hardly rises.
    """
    if method == "isotonic":
        return _fit_isotonic(log_odds, unsafe)
    slope, offset = _fit_logistic(log_odds, unsafe, with_offset=method == "platt")
    if slope < LEAST_SLOPE:  # at the edge of what is allowed the best offset is that of the share of unsafe rows
        slope, offset = LEAST_SLOPE, math.log((unsafe.sum() + 1) / (len(unsafe) - unsafe.sum() + 1))
    return {"temperature": 1 / slope} if method == "temperature" else {"slope": slope, "offset": offset}


def apply(method: str, parameters: Parameters, log_odds: npt.ArrayLike) -> Floats:
    """Return the probability of each of `log_odds`; NaN stays NaN."""
    x = np.clip(np.asarray(log_odds, dtype=np.float64), -LIMIT, LIMIT)
    if method == "temperature":
        return sigmoid(x / parameters["temperature"])
    if method == "platt":
        return sigmoid(parameters["slope"] * x + parameters["offset"])
    if method == "contextual":
        return sigmoid(x - parameters["content_free_log_odds"])
    return np.asarray(np.interp(x, parameters["log_odds"], parameters["probability"]), dtype=np.float64)


def _fit_logistic(log_odds: Floats, unsafe: Floats, *, with_offset: bool) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    n_unsafe = unsafe.sum()
    targets = np.where(unsafe > 0, (n_unsafe + 1) / (n_unsafe + 2), 1 / (len(unsafe) - n_unsafe + 2))
    spread = float(np.std(log_odds)) or 1.0  # the solver takes values of about 1
    model = LogisticRegression(C=math.inf, fit_intercept=with_offset, solver="newton-cholesky", max_iter=200)
    twice = np.concatenate([log_odds, log_odds])[:, None] / spread
    model.fit(twice, np.repeat([1, 0], len(unsafe)), sample_weight=np.concatenate([targets, 1 - targets]))
    return float(model.coef_[0, 0]) / spread, float(model.intercept_[0]) if with_offset else 0.0


def _fit_isotonic(log_odds: Floats, unsafe: Floats) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(unsafe) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(log_odds, unsafe)
    return {"log_odds": model.X_thresholds_.tolist(), "probability": model.y_thresholds_.tolist()}


def deal_folds(unsafe: Floats, groups: Ints, n_folds: int, seed: int) -> Ints:
    """Return the fold (0-based) of each row, (n,): groups stay whole, and each class is dealt out evenly.

    A group is of the class of most of its rows.
    """
    _, first, of_row = np.unique(groups, return_index=True, return_inverse=True)
    share = np.bincount(of_row, weights=unsafe) / np.bincount(of_row)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(share[shuffled] >= 0.5, kind="stable")]
    folds = np.empty(len(first), dtype=np.int64)
    folds[dealt] = np.arange(len(first)) % n_folds
    return np.asarray(folds[of_row], dtype=np.int64)


def choose(
    methods: Sequence[str], log_odds: Floats, unsafe: Floats, groups: Ints, *, n_folds: int, seed: int
) -> tuple[str, dict[str, float]]:
    """Return the way with the lowest log loss on held-out folds, the simplest of equals, and the loss of each."""
    losses = {}
    for method in methods:
        found = held_out([method], log_odds, unsafe, groups, n_folds=n_folds, seed=seed)
        losses[method] = _log_loss(found, unsafe)
    return min(losses, key=lambda method: losses[method]), losses


def held_out(
    methods: Sequence[str], log_odds: Floats, unsafe: Floats, groups: Ints, *, n_folds: int, seed: int
) -> Floats:
    """Return for each row what a calibration says that never saw it, nor its group.

    Of several methods one is chosen within the rows of the other folds, by folds of their own: the choice has not
    seen the row either.
    """
    found = np.full(len(log_odds), np.nan)
    folds = deal_folds(unsafe, groups, n_folds, seed)
    for fold in range(n_folds):
        inside, outside = folds != fold, folds == fold
        x, y = log_odds[inside], unsafe[inside]
        method = methods[0]
        if len(methods) > 1:
            method, _ = choose(methods, x, y, groups[inside], n_folds=n_folds, seed=seed + fold + 1)
        found[outside] = apply(method, fit(method, x, y), log_odds[outside])
    return found


def judge_probabilities(probabilities: Floats, unsafe: Floats) -> dict[str, float]:
    """Return calibration error (equal-mass bins), Brier score and log loss (nats) of probabilities."""
    return {
        "ece": expected_calibration_error(probabilities, unsafe),
        "brier": float(np.mean((probabilities - unsafe) ** 2)),
        "log_loss": _log_loss(probabilities, unsafe),
    }


def expected_calibration_error(probabilities: Floats, unsafe: Floats, n_bins: int = N_BINS) -> float:
    """Return the mean distance of what was said from what was, over bins with about as many rows each.

    Rows of equal probability share a bin, so that the number does not depend on their order.
    """
    bins = calibration_bins(probabilities, np.ones(len(probabilities)), n_bins)
    return float(np.abs(np.bincount(bins, weights=probabilities - unsafe)).sum() / len(probabilities))


def _log_loss(probabilities: Floats, unsafe: Floats) -> float:
    least = math.exp(-LIMIT)
    wrong = np.where(unsafe > 0, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(wrong, least)).mean())


def checked_pairs(log_odds: npt.ArrayLike, unsafe: npt.ArrayLike, groups: Ints) -> tuple[Floats, Floats]:
    """Return log-odds (clipped) and labels that something can be fitted to.

    Raises
    ------
    EvaluationError
        For another number of labels than scores, what is not a number, scores that are all equal, or fewer than
        `MIN_ROWS` different conversations of a class.
    """
    x = np.clip(np.asarray(log_odds, dtype=np.float64), -LIMIT, LIMIT)
    y = np.asarray(unsafe, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(groups) != len(x):
        raise EvaluationError(
            f"{x.size:,} scores, {y.size:,} labels and {len(groups):,} groups do not belong together",
            hint="Pass one of each a row.",
        )
    if np.isnan(x).any():
        raise EvaluationError(f"{int(np.isnan(x).sum()):,} scores are not numbers", hint="Leave unscored rows out.")
    strange = ~np.isin(y, (0.0, 1.0))
    if strange.any():
        raise EvaluationError(f"label {shorten(float(y[strange][0]))} is neither 0 nor 1", hint="1 stands for unsafe.")
    for name, kind in (("unsafe", y > 0), ("safe", y == 0)):
        n = len(np.unique(groups[kind]))
        if n < MIN_ROWS:
            raise EvaluationError(
                f"{n} different conversations are labelled {name}; at least {MIN_ROWS} of each class are needed",
                hint=f"Label {MIN_ROWS - n} more that are {name}.",
            )
    if np.ptp(x) == 0:
        raise EvaluationError(
            f"all {len(x):,} scores are equal ({x[0]:.4g} log-odds): nothing can be fitted to them",
            hint="Is this the guard that is meant?",
        )
    _check_direction(x, y)
    return x, y


def _check_direction(log_odds: Floats, unsafe: Floats) -> None:
    """Refuse labels that are turned round: scores that rank safe rows higher, by more than chance does."""
    ordered = np.sort(log_odds)
    ranks = (np.searchsorted(ordered, log_odds, "left") + np.searchsorted(ordered, log_odds, "right") + 1) / 2
    n, n_unsafe = len(unsafe), unsafe.sum()
    n_pairs = n_unsafe * (n - n_unsafe)
    auroc = (ranks[unsafe > 0].sum() - n_unsafe * (n_unsafe + 1) / 2) / n_pairs
    if auroc < 0.5 - 4 * math.sqrt((n + 1) / (12 * n_pairs)):  # Mann and Whitney's deviation where nothing is known
        raise EvaluationError(
            f"rows labelled unsafe have the lower scores (AUROC {auroc:.3f})",
            hint="Are the labels the right way round (1 and True stand for unsafe), and of these rows?",
        )
