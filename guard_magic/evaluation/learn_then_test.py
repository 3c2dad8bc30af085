"""Thresholds that hold: which of a fixed list of thresholds keep a promise, tested so that all that pass are right.

Learn Then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv:2110.01052): each threshold is a hypothesis
"it breaks the promise", tested by the exact binomial tail of the errors counted at it. Thresholds are tested in an
order that is fixed beforehand and errors of the family are kept below delta, so that with probability 1 - delta no
threshold that breaks the promise passes, and the best of those that pass may be chosen by looking at all of them.

MAPIE has this as `BinaryClassificationController`. It is written here because it is forty lines of counting, and
because MAPIE wants an estimator's predict function where a table has scores, corrects risks that do not fall with the
threshold (precision) by Bonferroni over the whole grid, which costs labels, and does not say how many more are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["GOALS", "GRID", "STARTS", "Errors", "count_errors", "n_needed", "passing"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

GOALS = ("precision", "recall", "fpr")
STARTS = (0.999, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1, 0.01)
"""Where tests of precision begin, each with a tenth of delta: rows may be too few at the highest thresholds."""
_MOST = 1_000_000


def _grid() -> Floats:
    """Return the thresholds that are tested: evenly spaced in log-odds, in four digits, and the starts."""
    low = 1 / (1 + np.exp(np.arange(0, 14.001, 0.025)))
    short = np.array([float(f"{x:.4g}") for x in low])
    return np.unique(np.concatenate([short, 1 - short, STARTS]).round(10))


GRID = _grid()
"""Candidates, rising: fixed beforehand, for a list that is made of the labelled scores is no list beforehand."""


@dataclass(frozen=True, slots=True)
class Errors:
    """What is counted at each of the thresholds in `GRID`, shape (n_grid,).

    Attributes
    ----------
    wrong, among
        Rows that break the promise, of those that it is about: flagged rows that are safe among the flagged
        (precision), unsafe ones not flagged among the unsafe (recall), safe ones flagged among the safe (fpr).
    allowed
        The share that the promise allows.
    """

    wrong: Ints
    among: Ints
    allowed: float

    @property
    def rates(self) -> Floats:
        """Shares that are wrong; 1 where there are no rows to judge by."""
        return np.where(self.among > 0, self.wrong / np.maximum(self.among, 1), 1.0)


def count_errors(goal: str, level: float, unsafe: Floats, scores: Floats) -> Errors:
    """Count the errors at each threshold.

    Parameters
    ----------
    goal, level
        ``"precision"`` or ``"recall"`` and the least that is promised, or ``"fpr"`` and the most.
    unsafe, scores
        1 and 0, and scores in [0, 1], shape (n,); no NaN.
    """
    of_unsafe, of_safe = (np.sort(scores[unsafe == kind]) for kind in (1, 0))
    hits, false = (len(of) - np.searchsorted(of, GRID, side="left") for of in (of_unsafe, of_safe))
    if goal == "precision":
        return Errors(false, false + hits, 1 - level)
    if goal == "recall":
        return Errors(len(of_unsafe) - hits, np.full(len(GRID), len(of_unsafe)), 1 - level)
    return Errors(false, np.full(len(GRID), len(of_safe)), level)


def passing(goal: str, errors: Errors, delta: float) -> Mask:
    """Return which thresholds pass, (n_grid,): with probability 1 - delta none of them breaks the promise.

    Recall is tested from the lowest threshold up, the others from the highest down, as far as they pass (a fixed
    sequence). Precision, which may fall or rise on the way, begins anew at each start (the fallback procedure of Wiens
    and Dmitrienko 2005: what a start has not lost is added to the next).
    """
    from scipy import stats

    p_values = stats.binom.cdf(errors.wrong, np.maximum(errors.among, 1), errors.allowed)
    p_values = np.where(errors.among > 0, p_values, 1.0)
    order = np.arange(len(GRID)) if goal == "recall" else np.arange(len(GRID))[::-1]
    starts = {int(np.searchsorted(GRID, start)) for start in STARTS} if goal == "precision" else {int(order[0])}
    found, budget = np.zeros(len(GRID), dtype=bool), 0.0
    for j in order:
        budget += delta / len(starts) if int(j) in starts else 0.0
        found[j] = p_values[j] <= budget
        budget = budget if found[j] else 0.0
    return found


def n_needed(goal: str, errors: Errors, delta: float, n: int) -> int | None:
    """Return about how many labelled rows it takes in all, were they as these are; None where none would do.

    Parameters
    ----------
    n
        Labelled rows that the errors were counted on.
    """
    from scipy import stats

    level = delta / len(STARTS) if goal == "precision" else delta
    rates, shares = errors.rates, errors.among / max(n, 1)
    useful = np.flatnonzero((rates < errors.allowed) & (shares > 0))
    sizes = np.unique(np.geomspace(1, _MOST, 600).astype(np.int64))
    best: float = math.inf
    for j in _distinct(useful, rates, shares):
        enough = stats.binom.cdf(np.floor(rates[j] * sizes), sizes, errors.allowed) <= level
        if enough.any():
            best = min(best, float(sizes[np.argmax(enough)]) / float(shares[j]))
    return None if best > _MOST else math.ceil(best)


def _distinct(places: Ints, rates: Floats, shares: Floats) -> Sequence[int]:
    """Return the places that differ in their rate and share, at most about a hundred of them."""
    _, first = np.unique(np.stack([rates[places], shares[places]]), axis=1, return_index=True)
    found = places[first]
    return [int(j) for j in found[:: max(1, len(found) // 100)]]
