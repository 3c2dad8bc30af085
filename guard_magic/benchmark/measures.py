"""What a guard's scores on a labelled set are worth, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["measure"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def measure(unsafe: Mask, scores: Floats, flagged: Mask, *, n_bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the numbers of one set.

    Parameters
    ----------
    unsafe, scores, flagged
        Of each row, shape (n,): its label, its score (NaN where not scored) and whether it was flagged.
    n_bootstrap
        Draws for the intervals of AUROC, average precision and F1: percentiles, each class drawn by itself; 0 for
        none. Shares have Wilson's interval.

    Returns
    -------
    dict
        ``n``, ``n_unsafe``, ``n_unscored``; ``auroc``, ``average_precision``, ``precision``, ``recall``, ``f1``,
        ``fpr``: each a list of value, low and high (the value alone where no draws were wanted) over the rows that were scored, or None where there is nothing to
        take it of. Where rows were not scored also ``recall_bounds`` and ``fpr_bounds``: as if none, and as if all,
        of these had been flagged.
    """
    scored = ~np.isnan(scores)
    y, s, f = unsafe[scored], scores[scored], flagged[scored]
    found: dict[str, Any] = {
        "n": len(unsafe),
        "n_unsafe": int(unsafe.sum()),
        "n_unscored": int((~scored).sum()),
        **_ranked(y, s, f, n_bootstrap, seed),
        "precision": _share(y[f]),
        "recall": _share(f[y]),
        "fpr": _share(f[~y]),
    }
    if not scored.all():
        found["recall_bounds"] = _bounds(unsafe, flagged, scored)
        found["fpr_bounds"] = _bounds(~unsafe, flagged, scored)
    return found


def _share(hits: Mask) -> list[float] | None:
    from scipy import stats

    if not len(hits):
        return None
    ends = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="wilson")
    return [float(hits.mean()), float(ends.low), float(ends.high)]


def _bounds(rows: Mask, flagged: Mask, scored: Mask) -> list[float] | None:
    if not rows.any():
        return None
    least = float((flagged & scored)[rows].mean())
    return [least, least + float((~scored)[rows].mean())]


def _ranked(y: Mask, s: Floats, f: Mask, n_bootstrap: int, seed: int) -> dict[str, list[float] | None]:
    """Return what is taken of both classes together; None of one class alone."""
    names = ("auroc", "average_precision", "f1")
    if y.all() or not y.any():
        return dict.fromkeys(names)
    values = _values(y, s, f, None)
    if not n_bootstrap:
        return {name: [value] for name, value in zip(names, values, strict=True)}
    rng = np.random.default_rng(seed)
    draws = np.array([_values(y, s, f, _weights(y, rng)) for _ in range(n_bootstrap)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {name: [values[i], float(low[i]), float(high[i])] for i, name in enumerate(names)}


def _values(y: Mask, s: Floats, f: Mask, weights: Floats | None) -> list[float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    w = np.ones(len(y)) if weights is None else weights
    hits = float(w[y & f].sum())
    f1 = 2 * hits / float(w[y].sum() + w[f].sum())
    how = {"sample_weight": w}
    return [float(roc_auc_score(y, s, **how)), float(average_precision_score(y, s, **how)), f1]


def _weights(y: Mask, rng: np.random.Generator) -> Floats:
    """Return how often each row is drawn, each class as often as it is there."""
    weights = np.zeros(len(y))
    for rows in (np.flatnonzero(y), np.flatnonzero(~y)):
        weights[rows] = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
    return weights
