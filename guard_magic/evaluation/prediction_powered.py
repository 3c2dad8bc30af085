"""Estimates from few labels and many scores: prediction-powered inference.

Of rows that people labelled both the label and the score are known, of all others the score alone. The mean score of
the others, corrected by what scores and labels differ by where both are known, is an estimate that is right whatever
the scores are worth, and narrower than labels alone where they are worth something. How far the scores are trusted
(`share`, lambda in the paper) is chosen for the least variance; 0 is the plain estimate.

Angelopoulos, Duchi and Zrnic (2023), "PPI++: Efficient Prediction-Powered Inference", arXiv:2311.01453: the mean by
its equations for lambda; recall, a ratio of means, as the root of their sum, by the same rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.calibrators import MIN_ROWS, sigmoid
from guard_magic.evaluation.labelled import read_numbers

__all__ = ["Estimate", "powered_mean", "powered_precision", "powered_prevalence", "powered_ratio", "powered_recall"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share with its interval.

    Attributes
    ----------
    value, low, high
        The estimate and its interval, each in [0, 1].
    share
        How far the scores are trusted, in [0, 1]: 0 where labels alone are used.
    confidence
        Of the interval.
    n, n_unlabelled
        Labelled rows, and others, that it rests on.
    """

    value: float
    low: float
    high: float
    share: float
    confidence: float
    n: int
    n_unlabelled: int

    @property
    def width(self) -> float:
        """Width of the interval."""
        return self.high - self.low


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
        A number in [0, 1] of each row: ``unsafe_probability`` or ``unsafe_score``. Rows without one do not count.
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
    if flagged[labelled & (y > 0)].min() == flagged[labelled & (y > 0)].max():
        return _of_counts(flagged[labelled & (y > 0)], confidence, int((~labelled).sum()))
    hits, predicted = y * flagged, f * flagged
    known_rows = (hits[labelled], y[labelled], predicted[labelled], f[labelled])
    how = {"within": True, "on_odds": True, "confidence": confidence, "share": share}
    return powered_ratio(*known_rows, predicted, f, weights=w[labelled], **how)  # type: ignore[arg-type]


def powered_mean(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    within: bool = False,
    on_odds: bool = False,
    confidence: float = 0.95,
    share: float | None = None,
) -> Estimate:
    """Estimate the mean of labels.

    Parameters
    ----------
    labels, predictions
        Of the labelled rows, shape (n,).
    others
        Predictions for the other rows, shape (n_others,).
    weights, within, on_odds, confidence, share
        As for `powered_ratio`.
    """
    of_labels, of_others = (np.ones(np.shape(values)) for values in (labels, others))
    how = {"weights": weights, "within": within, "on_odds": on_odds, "confidence": confidence, "share": share}
    return powered_ratio(labels, of_labels, predictions, of_labels, others, of_others, **how)  # type: ignore[arg-type]


def powered_ratio(
    top: npt.ArrayLike,
    bottom: npt.ArrayLike,
    predicted_top: npt.ArrayLike,
    predicted_bottom: npt.ArrayLike,
    other_top: npt.ArrayLike,
    other_bottom: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    within: bool = False,
    on_odds: bool = False,
    confidence: float = 0.95,
    share: float | None = None,
) -> Estimate:
    """Estimate mean(top) / mean(bottom), both of labels, by predictions of them; the interval is the delta method's.

    The ratio is the root t of mean(top - t bottom) = 0, so `share` and variance are those of a mean: of the residuals
    at the plain estimate.

    Parameters
    ----------
    top, bottom, predicted_top, predicted_bottom
        Of the labelled rows, shape (n,).
    other_top, other_bottom
        Predicted, of the other rows, shape (n_others,).
    weights
        What each labelled row stands for, shape (n,); None for labels drawn at random.
    within
        Whether the labelled rows are among the others too. Rows drawn with unequal chances must be: what is left of
        the table is then no sample of it. With equal weights the estimate is the same.
    on_odds
        Whether the interval is made on the log odds, which holds better near 0 and 1.
    confidence
        Of the interval, which is Student's with as many degrees of freedom as rows with a bottom other than 0, less 1.
    share
        How far predictions are trusted, in [0, 1]; None for what is best.
    """
    _checked_confidence(confidence)
    parts = (top, bottom, predicted_top, predicted_bottom, other_top, other_bottom)
    a, b, fa, fb, ga, gb = (np.asarray(values, dtype=np.float64) for values in parts)
    raw = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=np.float64)
    rows = _Rows(a, b, fa, fb, ga, gb, raw / raw.sum(), within)
    return rows.estimate(rows.trusted(share), confidence, on_odds=on_odds)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is known: labels and predictions of labelled rows, predictions of others; see `powered_ratio`."""

    top: Floats
    bottom: Floats
    predicted_top: Floats
    predicted_bottom: Floats
    other_top: Floats
    other_bottom: Floats
    w: Floats
    within: bool

    @property
    def whole(self) -> float:
        """What `share` 1 is in the formulas: more than 1 where the labelled rows are among the others."""
        n, n_others = len(self.w), len(self.other_top)
        if n_others < 2 or (self.within and n_others <= n):
            return 0.0
        return n_others / (n_others - n) if self.within else 1.0

    def trusted(self, share: float | None) -> float:
        """Return how far predictions are trusted; not at all where they leave nothing to divide by."""
        plain, _ = self.at(0.0)
        trust = self.spread(plain).best_share(self.whole) if share is None else _checked_share(share) * self.whole
        return trust if self.at(trust)[1] > 0 else 0.0

    def at(self, trust: float) -> tuple[float, float]:
        """Return the ratio, and what it is divided by."""
        upper = self.w @ (self.top - trust * self.predicted_top)
        lower = self.w @ (self.bottom - trust * self.predicted_bottom)
        if trust:
            upper, lower = upper + trust * self.other_top.mean(), lower + trust * self.other_bottom.mean()
        return (float(upper / lower), float(lower)) if lower else (math.nan, 0.0)

    def spread(self, value: float) -> _Spread:
        """Return the variance of mean(top - value bottom)."""
        return _Spread.of(
            self.top - value * self.bottom,
            self.predicted_top - value * self.predicted_bottom,
            self.other_top - value * self.other_bottom,
            self.w,
            within=self.within,
        )

    def estimate(self, trust: float, confidence: float, *, on_odds: bool) -> Estimate:
        """Return the estimate with its interval."""
        from scipy import stats

        value, lower = self.at(trust)
        error = math.sqrt(self.spread(value).variance(trust)) / lower
        far = float(stats.t.ppf(0.5 + confidence / 2, int((self.bottom != 0).sum()) - 1)) * error
        low, high = value - far, value + far
        if on_odds and 0 < value < 1:
            middle, apart = math.log(value / (1 - value)), far / (value * (1 - value))
            low, high = sigmoid([middle - apart, middle + apart]).tolist()
        n, n_others = len(self.w), len(self.other_top)
        return Estimate(
            value=min(1.0, max(0.0, value)),
            low=min(1.0, max(0.0, low)),
            high=min(1.0, max(0.0, high)),
            share=trust / self.whole if trust else 0.0,
            confidence=confidence,
            n=n,
            n_unlabelled=n_others - n if self.within else n_others,
        )


@dataclass(frozen=True, slots=True)
class _Spread:
    """The variance of an estimate as a polynomial of how far predictions are trusted: plain - 2 gain s + cost s^2."""

    plain: float
    gain: float
    cost: float

    @classmethod
    def of(cls, residual: Floats, predicted: Floats, other: Floats, w: Floats, *, within: bool) -> _Spread:
        """Take it of residuals of labels and predictions (n,) and of the other rows' predictions (n_others,)."""
        n, n_others = len(w), len(other)
        more = n / (n - 1)
        r, f = residual - w @ residual, predicted - w @ predicted
        plain, gain, cost = (more * float((w**2) @ product) for product in (r * r, r * f, f * f))
        if n_others < 2:
            return cls(plain, 0.0, math.inf)
        of_others = float(np.var(other, ddof=1)) / n_others
        if not within:
            return cls(plain, gain, cost + of_others)
        together, alone = (more * float(w @ product) / n_others for product in (r * f, f * f))
        return cls(plain, gain - together, cost + of_others - 2 * alone)

    def best_share(self, whole: float) -> float:
        """Return the share of least variance, in [0, `whole`]; of a mean with equal weights the paper's lambda."""
        if not 0 < self.cost < math.inf:
            return 0.0
        return min(whole, max(0.0, self.gain / self.cost))

    def variance(self, share: float) -> float:
        """Return the estimate's variance."""
        return max(0.0, self.plain - 2 * self.gain * share + self.cost * share**2) if share else self.plain


def _of_mean(y: Floats, f: Floats, w: Floats, confidence: float, share: float | None) -> Estimate:
    known = ~np.isnan(f)
    y, f, w = y[known], f[known], w[known]
    labelled = w > 0
    n = int(labelled.sum())
    if n < MIN_ROWS:
        raise EvaluationError(f"{n} of these rows are labelled; at least {MIN_ROWS} are needed", hint="Label more.")
    if y[labelled].min() == y[labelled].max():
        return _of_counts(y[labelled], confidence, int((~labelled).sum()))
    how = {"within": True, "on_odds": True, "confidence": confidence, "share": share}
    return powered_mean(y[labelled], f[labelled], f, weights=w[labelled], **how)  # type: ignore[arg-type]


def _of_counts(values: Floats, confidence: float, n_others: int) -> Estimate:
    """Return the share of labels that are all alike: their variance is not known, and the interval is Wilson's."""
    from scipy import stats

    n, hits = len(values), int(values.sum())
    found = stats.binomtest(hits, n).proportion_ci(_checked_confidence(confidence), method="wilson")
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


def _checked_share(share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise EvaluationError(f"share={shorten(share)} is not a number in [0, 1]", hint="None chooses the best.")
    return float(share)


def _checked_confidence(confidence: object) -> float:
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise EvaluationError(f"confidence={shorten(confidence)} is not between 0 and 1", hint="0.95 is usual.")
    return float(confidence)
