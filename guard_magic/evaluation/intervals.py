"""How far a number could be off: intervals of shares and of everything else.

Shares have Wilson's interval. What is not a share has SciPy's bootstrap, bias-corrected and accelerated (BCa; Efron
1987): AUROC, which does not depend on how many rows of a class there are, by draws within each class; what does depend
on it (average precision, F1, calibration error, Brier score) by draws of rows, for draws within classes would hold the
prevalence fixed and give intervals that are too narrow (benchmarks/evaluation.py measures both).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from guard_magic.evaluation.metrics import RESAMPLED, Resampled
from guard_magic.evaluation.samples import Sample, flags

__all__ = ["MOST_ROWS", "Interval", "bootstrap", "bootstrapped", "proportions", "subsampled", "wilson"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float, float]

NOT_KNOWN: Interval = (math.nan, math.nan)
MOST_ROWS = 2_500
"""Rows that a bootstrap draws from; of more a random part is taken, and its spread scaled by the root of n."""
MIN_OF_CLASS = 50
"""Rows of the rarer class that are kept then, where there are so many."""
_BATCH = 250


def wilson(hits: float, n: float, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a share; `hits` and `n` may be effective numbers, which are not whole.

    ``(nan, nan)`` of nothing.
    """
    from scipy.special import ndtri

    if n <= 0:
        return NOT_KNOWN
    z2 = float(ndtri(0.5 + confidence / 2)) ** 2
    share = hits / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    far = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - far), min(1.0, middle + far)


def proportions(sample: Sample, threshold: float, confidence: float = 0.95) -> dict[str, tuple[Interval, int]]:
    """Return the interval, and the number of rows it rests on, of each share among the metrics.

    Rows of different weights count as many as rows of equal weight would tell as much (Kish).
    """
    one = sample.scored
    flagged, unsafe = flags(one.scores, threshold), one.unsafe > 0
    among = {
        "prevalence": (np.ones(len(one), dtype=bool), unsafe),
        "precision": (flagged, unsafe),
        "recall": (unsafe, flagged),
        "fpr": (~unsafe, flagged),
    }
    found = {}
    for name, (rows, hits) in among.items():
        w = one.weights[rows]
        n = float(w.sum()) ** 2 / float((w**2).sum()) if rows.any() else 0.0
        share = float(w[hits[rows]].sum() / w.sum()) if rows.any() else 0.0
        found[name] = (wilson(share * n, n, confidence), int(rows.sum()))
    return found


def bootstrapped(
    sample: Sample,
    threshold: float,
    *,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> dict[str, Interval]:
    """Return the BCa interval of AUROC and of each metric of `RESAMPLED`.

    ``(nan, nan)`` where it cannot be had: without both classes, or where no resample differs from the sample.
    """
    one = sample.scored
    is_unsafe = one.unsafe > 0
    if not n_bootstrap or not is_unsafe.any() or is_unsafe.all():
        return dict.fromkeys(("auroc", *RESAMPLED), NOT_KNOWN)
    rng = np.random.default_rng(seed)
    part, scale = subsampled(one, rng, most_rows)
    drawing, whole = Resampled(part, threshold), Resampled(one, threshold)
    how = {"n_resamples": n_bootstrap, "confidence": confidence, "rng": rng}
    classes = tuple(np.flatnonzero(part.unsafe == kind) for kind in (1, 0))
    rows = np.arange(len(part))
    spread = bootstrap((rows,), lambda drawn: drawing.metrics(drawn), **how)  # type: ignore[arg-type]
    of_ranks = bootstrap(classes, lambda *drawn: drawing.auroc(np.concatenate(drawn, axis=-1))[None], **how)  # type: ignore[arg-type]
    everything = np.arange(len(one))
    values = {"auroc": whole.auroc(everything), **dict(zip(RESAMPLED, whole.metrics(everything), strict=True))}
    of_part = {"auroc": drawing.auroc(rows), **dict(zip(RESAMPLED, drawing.metrics(rows), strict=True))}
    ends = {"auroc": of_ranks[:, 0], **dict(zip(RESAMPLED, spread.T, strict=True))}
    return {name: _scaled(values[name], of_part[name], ends[name], scale) for name in ends}


def subsampled(sample: Sample, rng: np.random.Generator, most_rows: int = MOST_ROWS) -> tuple[Sample, float]:
    """Return about `most_rows` rows, weighted to stand for all, and what their spread is to be multiplied by.

    Each class has its share, but at least `MIN_OF_CLASS` rows; then the factor is that of the class thinned least,
    and the interval rather too wide.
    """
    if len(sample) <= most_rows:
        return sample, 1.0
    kept, weights, shares = [], sample.weights.copy(), []
    for kind in (1, 0):
        rows = np.flatnonzero(sample.unsafe == kind)
        n = min(len(rows), max(MIN_OF_CLASS, round(most_rows * len(rows) / len(sample))))
        kept.append(rng.choice(rows, n, replace=False))
        weights[rows] *= len(rows) / n
        shares.append(n / len(rows))
    taken = np.sort(np.concatenate(kept))
    return replace(sample, weights=weights).only(taken), math.sqrt(max(shares))


def bootstrap(
    rows: tuple[Ints, ...],
    statistic: Callable[..., Floats],
    *,
    n_resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> Floats:
    """Return low and high of each number of a statistic, shape (2, n_numbers); NaN where they cannot be had.

    Parameters
    ----------
    rows
        Numbers of the rows of each stratum; each is drawn from by itself.
    statistic
        Of rows drawn, one array (..., n_drawn) a stratum; gives (n_numbers, ...).
    n_resamples, confidence, rng
        As SciPy has them.
    """
    from scipy import stats

    if any(len(stratum) < 2 for stratum in rows):
        return np.full((2, len(statistic(*rows))), math.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # no two resamples differ: NaN, and the report says so
        found = stats.bootstrap(
            rows,
            lambda *drawn, axis=-1: statistic(*drawn),
            n_resamples=n_resamples,
            confidence_level=confidence,
            method="BCa",
            vectorized=True,
            batch=_BATCH,
            rng=rng,
        ).confidence_interval
    return np.stack([np.asarray(found.low, dtype=np.float64), np.asarray(found.high, dtype=np.float64)])


def _scaled(value: Floats, of_part: Floats, ends: Floats, scale: float) -> Interval:
    low, high = (float(np.clip(value + scale * (end - of_part), 0.0, 1.0)) for end in ends)
    return NOT_KNOWN if math.isnan(low + high) else (low, high)
