"""What a guard's scores on a labelled set are worth: the metrics of a report, with its intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from guard_magic.evaluation import metrics
from guard_magic.evaluation.intervals import bootstrapped, proportions
from guard_magic.evaluation.samples import Sample, flags

__all__ = ["measure"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_OF_BOTH_CLASSES = ("auroc", "average_precision", "f1")


def measure(unsafe: Mask, scores: Floats, threshold: float, *, n_bootstrap: int = 2000) -> dict[str, Any]:
    """Return the numbers of one set.

    Parameters
    ----------
    unsafe, scores
        Of each row, shape (n,): its label, and its score (NaN where not scored).
    threshold
        From which score a row is flagged.
    n_bootstrap
        As for `guard_magic.evaluation.intervals.bootstrapped`; 0 for none. Shares have Wilson's interval.

    Returns
    -------
    dict
        ``n``, ``n_unsafe``, ``n_unscored``, and each of `guard_magic.evaluation.metrics.NAMES`: value, low and high
        (the value alone where there is no interval) over the rows that were scored, or None where there is nothing to
        take it of. Where rows were not scored also ``recall_bounds`` and ``fpr_bounds``: as if none, and as if all,
        of these had been flagged.
    """
    n = len(unsafe)
    sample = Sample(unsafe=unsafe.astype(np.float64), scores=scores, weights=np.ones(n), rows=np.arange(n))
    ends = bootstrapped(sample, threshold, n_bootstrap=n_bootstrap)
    ends |= {name: interval for name, (interval, _) in proportions(sample, threshold).items()}
    values = metrics.measure(sample, threshold)
    if unsafe.all() or not unsafe.any():
        values |= dict.fromkeys(_OF_BOTH_CLASSES, math.nan)
    scored = sample.is_scored
    found: dict[str, Any] = {"n": n, "n_unsafe": int(unsafe.sum()), "n_unscored": int((~scored).sum())}
    found |= {name: _with_ends(values[name], ends[name]) for name in metrics.NAMES}
    if not scored.all():
        flagged = scored & flags(np.nan_to_num(scores), threshold)
        found["recall_bounds"] = _bounds(unsafe, flagged, scored)
        found["fpr_bounds"] = _bounds(~unsafe, flagged, scored)
    return found


def _with_ends(value: float, ends: tuple[float, float]) -> list[float] | None:
    if math.isnan(value):
        return None
    return [value] if math.isnan(ends[0]) else [value, *ends]


def _bounds(rows: Mask, flagged: Mask, scored: Mask) -> list[float] | None:
    if not rows.any():
        return None
    least = float(flagged[rows].mean())
    return [least, least + float((~scored)[rows].mean())]
