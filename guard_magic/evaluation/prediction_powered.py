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
from guard_magic.evaluation.calibrators import sigmoid

__all__ = ["Estimate", "checked_confidence", "powered_mean", "powered_ratio"]

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
    checked_confidence(confidence)
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


def _checked_share(share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise EvaluationError(f"share={shorten(share)} is not a number in [0, 1]", hint="None chooses the best.")
    return float(share)


def checked_confidence(confidence: object) -> float:
    """Return a confidence between 0 and 1; anything else is an `EvaluationError`."""
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise EvaluationError(f"confidence={shorten(confidence)} is not between 0 and 1", hint="0.95 is usual.")
    return float(confidence)
