"""How far scores and labels go together: numbers of one sample, by scikit-learn where it has them.

`measure` is the definition. `Resampled` gives the same numbers for many resamples of one sample at once, which a
bootstrap needs; a test holds them equal.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt

from guard_magic.evaluation.samples import Sample, flags

__all__ = ["NAMES", "N_BINS", "PROPORTIONS", "RESAMPLED", "Resampled", "calibration_bins", "measure"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAMES = {
    "prevalence": "prevalence",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "fpr": "false positive rate",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
}
"""Every metric with what it is called, in the order in which they are shown."""

PROPORTIONS = ("prevalence", "precision", "recall", "fpr")
"""Those that are shares of rows."""

RESAMPLED = ("average_precision", "f1", "ece", "brier")
"""Those whose bootstrap draws rows; AUROC's draws within each class, which it does not depend on the sizes of."""

N_BINS = 10


def measure(sample: Sample, threshold: float) -> dict[str, float]:
    """Return every metric of `NAMES` on the scored rows; NaN where the rows do not have what it takes.

    AUROC, average precision, recall and F1 need unsafe rows, AUROC and the false positive rate safe ones, precision
    flagged ones.
    """
    from sklearn import metrics

    found = dict.fromkeys(NAMES, math.nan)
    one = sample.scored
    if not len(one):
        return found
    y, s, w = one.unsafe, one.scores, one.weights
    flagged = flags(s, threshold)
    found["prevalence"] = float(np.average(y, weights=w))
    found["ece"] = _ece(s, y, w)
    found["brier"] = float(metrics.brier_score_loss(y, s, sample_weight=w, pos_label=1))
    how = {"sample_weight": w, "zero_division": np.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cannot be measured is NaN here, and is said in the report
        found["precision"] = float(metrics.precision_score(y, flagged, **how))
        found["recall"] = float(metrics.recall_score(y, flagged, **how))
        found["fpr"] = float(metrics.recall_score(1 - y, flagged, **how))
    if y.any():
        found["average_precision"] = float(metrics.average_precision_score(y, s, sample_weight=w))
        found["f1"] = float(metrics.f1_score(y, flagged, sample_weight=w))
    if y.any() and not y.all():
        found["auroc"] = float(metrics.roc_auc_score(y, s, sample_weight=w))
    return found


def calibration_bins(scores: Floats, weights: Floats, n_bins: int = N_BINS) -> Ints:
    """Return the bin of each score, (n,): about equal mass each, and rows of equal score in one bin."""
    order = np.argsort(scores, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(weights[order])])
    first = np.searchsorted(scores[order], scores, side="left")
    return np.asarray(np.minimum(before[first] * n_bins / before[-1], n_bins - 1).astype(np.int64))


def _ece(s: Floats, y: Floats, w: Floats) -> float:
    apart = np.bincount(calibration_bins(s, w), weights=w * (s - y))
    return float(np.abs(apart).sum() / w.sum())


class Resampled:
    """The metrics of many resamples of one sample.

    Parameters
    ----------
    sample
        Scored rows, of both classes.
    threshold
        From which a row is flagged.
    """

    def __init__(self, sample: Sample, threshold: float) -> None:
        order = np.argsort(-sample.scores, kind="stable")
        self.order = order
        s, y = sample.scores[order], sample.unsafe[order]
        self._place = np.empty(len(order), dtype=np.int64)
        self._place[order] = np.arange(len(order))
        self._weights = sample.weights[order]
        self._unsafe, self._apart = y, s - y
        self._flagged = flags(s, threshold)
        self._ties = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))
        bins = calibration_bins(s, self._weights)
        self._bins = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))

    def metrics(self, drawn: Ints) -> Floats:
        """Return `RESAMPLED` of each resample, (4, ...), of rows drawn by number, (..., n_drawn)."""
        mass = self._mass(drawn)
        total = mass.sum(axis=-1)
        unsafe = mass * self._unsafe
        n_unsafe = unsafe.sum(axis=-1)
        hits = unsafe @ self._flagged.astype(np.float64)
        n_flagged = mass @ self._flagged.astype(np.float64)
        apart = np.add.reduceat(mass * self._apart, self._bins, axis=-1)
        found = [
            self._average_precision(mass, unsafe, n_unsafe),
            2 * hits / np.maximum(n_flagged + n_unsafe, 1e-300),
            np.abs(apart).sum(axis=-1) / total,
            mass @ self._apart**2 / total,
        ]
        return np.stack(found).reshape(len(RESAMPLED), *drawn.shape[:-1])

    def rates(self, drawn: Ints) -> Floats:
        """Return precision, recall and false positive rate of each resample, (3, ...); 0 where there is no row."""
        mass = self._mass(drawn)
        unsafe, flagged = mass * self._unsafe, self._flagged.astype(np.float64)
        hits, n_flagged = unsafe @ flagged, mass @ flagged
        n_unsafe = unsafe.sum(axis=-1)
        n_safe = mass.sum(axis=-1) - n_unsafe
        over = [(hits, n_flagged), (hits, n_unsafe), (n_flagged - hits, n_safe)]
        return np.stack([top / np.maximum(bottom, 1e-300) for top, bottom in over]).reshape(3, *drawn.shape[:-1])

    def auroc(self, drawn: Ints) -> Floats:
        """Return AUROC of each resample, (...), of rows drawn by number, (..., n_drawn)."""
        mass = self._mass(drawn)
        unsafe = np.add.reduceat(mass * self._unsafe, self._ties, axis=-1)
        safe = np.add.reduceat(mass * (1 - self._unsafe), self._ties, axis=-1)
        above = np.cumsum(unsafe, axis=-1)
        pairs = above[..., -1] * safe.sum(axis=-1)
        return np.asarray((((above - unsafe / 2) * safe).sum(axis=-1) / pairs).reshape(drawn.shape[:-1]))

    def _mass(self, drawn: Ints) -> Floats:
        """Return the weight of each row, by falling score, in each resample: (n_resamples, n)."""
        n = len(self._place)
        places = self._place[drawn.reshape(-1, drawn.shape[-1])]
        flat = (places + n * np.arange(len(places))[:, None]).ravel()
        return np.bincount(flat, minlength=n * len(places)).reshape(len(places), n) * self._weights

    def _average_precision(self, mass: Floats, unsafe: Floats, n_unsafe: Floats) -> Floats:
        """Return sum of (recall gained) x precision at each score; 0 where nothing unsafe was drawn."""
        gained = np.add.reduceat(unsafe, self._ties, axis=-1)
        taken = np.cumsum(np.add.reduceat(mass, self._ties, axis=-1), axis=-1)
        precision = np.cumsum(gained, axis=-1) / np.maximum(taken, 1e-300)
        return np.asarray((gained * precision).sum(axis=-1) / np.maximum(n_unsafe, 1e-300))
