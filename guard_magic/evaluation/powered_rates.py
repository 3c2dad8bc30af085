"""What a guard does on a whole table, from labels of a part of it and scores of all: prevalence, precision, recall.

By prediction-powered inference (`guard_magic.evaluation.prediction_powered`): as right as labels alone, and narrower
where the scores are worth something.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.calibrators import MIN_ROWS
from guard_magic.evaluation.labelled import read_numbers
from guard_magic.evaluation.prediction_powered import Estimate, checked_confidence, powered_mean, powered_ratio

__all__ = ["powered_precision", "powered_prevalence", "powered_recall"]

Floats = npt.NDArray[np.float64]


def powered_prevalence(
    unsafe: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    share: float | None = None,
) -> Estimate:
    """Estimate which share of a table's rows is unsafe.

    Parameters
    ----------
    unsafe
        1, 0 or NaN (not labelled) of each row of the table, shape (n_rows,).
    scores
        A number in [0, 1] of each row: ``unsafe_score``, or ``unsafe_probability`` of a calibration that was fitted to
        other labels: one fitted to these would count them twice. Rows without one do not count.
    weights
        What each labelled row stands for, as `guard_magic.evaluation.sampling.weights` says (0 leaves it out); None
        for labels drawn at random.
    confidence
        Of the interval.
    share
        How far the scores are trusted, in [0, 1]; None for what is best.

    Raises
    ------
    EvaluationError
        For fewer than 10 labelled rows, or values that cannot be.
    """
    y, f, w = _checked(unsafe, scores, weights)
    return _of_mean(y, f, w, confidence, share)


def powered_precision(
    unsafe: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    threshold: float,
    published: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    share: float | None = None,
) -> Estimate:
    """Estimate which share of the flagged rows is unsafe; `published` are the scores that `threshold` is for.

    All else as for `powered_prevalence`; at least 10 flagged rows must be labelled.
    """
    y, f, w = _checked(unsafe, scores, weights)
    flagged = _flagged(scores if published is None else published, threshold)
    return _of_mean(y[flagged], f[flagged], w[flagged], confidence, share)


def powered_recall(
    unsafe: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    threshold: float,
    published: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    share: float | None = None,
) -> Estimate:
    """Estimate which share of the unsafe rows is flagged; as `powered_precision`. At least 10 must be unsafe."""
    y, f, w = _checked(unsafe, scores, weights)
    flagged = _flagged(scores if published is None else published, threshold).astype(np.float64)
    known = ~np.isnan(f)
    y, f, w, flagged = y[known], f[known], w[known], flagged[known]
    labelled = w > 0
    n_unsafe = int(y[labelled].sum())
    if n_unsafe < MIN_ROWS:
        raise EvaluationError(
            f"{n_unsafe} labelled rows are unsafe; recall needs at least {MIN_ROWS}", hint="Label more rows."
        )
    _check_weights(w[labelled & (y > 0)])
    if flagged[labelled & (y > 0)].min() == flagged[labelled & (y > 0)].max():
        return _of_counts(flagged[labelled & (y > 0)], confidence, int((~labelled).sum()))
    hits, predicted = y * flagged, f * flagged
    known_rows = (hits[labelled], y[labelled], predicted[labelled], f[labelled])
    how = {"within": True, "on_odds": True, "confidence": confidence, "share": share}
    return powered_ratio(*known_rows, predicted, f, weights=w[labelled], **how)  # type: ignore[arg-type]


def _of_mean(y: Floats, f: Floats, w: Floats, confidence: float, share: float | None) -> Estimate:
    known = ~np.isnan(f)
    y, f, w = y[known], f[known], w[known]
    labelled = w > 0
    n = int(labelled.sum())
    if n < MIN_ROWS:
        raise EvaluationError(f"{n} of these rows are labelled; at least {MIN_ROWS} are needed", hint="Label more.")
    _check_weights(w[labelled])
    if y[labelled].min() == y[labelled].max():
        return _of_counts(y[labelled], confidence, int((~labelled).sum()))
    how = {"within": True, "on_odds": True, "confidence": confidence, "share": share}
    return powered_mean(y[labelled], f[labelled], f, weights=w[labelled], **how)  # type: ignore[arg-type]


def _of_counts(values: Floats, confidence: float, n_others: int) -> Estimate:
    """Return the share of labels that are all alike: their variance is not known, and the interval is Wilson's."""
    from scipy import stats

    n, hits = len(values), int(values.sum())
    found = stats.binomtest(hits, n).proportion_ci(checked_confidence(confidence), method="wilson")
    return Estimate(
        value=hits / n,
        low=float(found.low),
        high=float(found.high),
        share=0.0,
        confidence=confidence,
        n=n,
        n_unlabelled=n_others,
    )


def _flagged(scores: npt.ArrayLike, threshold: object) -> npt.NDArray[np.bool_]:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise EvaluationError(f"threshold {shorten(threshold)} is not a number in [0, 1]", hint="0.5 is usual.")
    return np.asarray(read_numbers(scores) >= threshold)


def _checked(unsafe: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, ...]:
    """Return labels (0 where there is none), scores and weights (0 where not labelled), of one length."""
    y, f = read_numbers(unsafe), read_numbers(scores)
    w = (~np.isnan(y)).astype(np.float64) if weights is None else read_numbers(weights)
    if not y.shape == f.shape == w.shape:
        raise EvaluationError(
            f"{y.size:,} labels, {f.size:,} scores and {w.size:,} weights do not belong together",
            hint="Pass one of each for every row of the table.",
        )
    if not (np.isnan(y) | np.isin(y, (0, 1))).all():
        raise EvaluationError("labels are 1 (unsafe), 0 or missing", hint="See guard_magic.evaluation.labelled.")
    if not (np.isnan(f) | ((f >= 0) & (f <= 1))).all():
        raise EvaluationError("scores are numbers in [0, 1]", hint="Not log-odds: unsafe_probability or unsafe_score.")
    if not (np.isfinite(w) & (w >= 0)).all():
        raise EvaluationError("weights are numbers from 0 up", hint="As weights(…).values gives them.")
    w = np.where(np.isnan(y), 0.0, w)
    return np.nan_to_num(y), f, w


def _check_weights(w: Floats) -> None:
    """Refuse labels of which few carry nearly all the weight: their spread cannot be known from so few."""
    of_most = w / w.max()
    n_effective = float(of_most.sum() ** 2 / (of_most**2).sum())
    if n_effective < MIN_ROWS:
        raise EvaluationError(
            f"{len(w):,} labels tell as much as {n_effective:.1f} of equal weight; at least {MIN_ROWS} are needed",
            hint="Label more of the rows that stand for many others.",
        )
