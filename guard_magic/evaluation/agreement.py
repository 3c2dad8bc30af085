"""How far people agree with each other, and a guard with them.

Cohen's kappa (scikit-learn) for two, Fleiss' kappa for rows that all have judged, Krippendorff's alpha (nominal) for
any number of people and missing judgements. The last two are written by hand: the packages that have alpha are under
the GPL or no longer kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.characters import spell_hidden
from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.evaluation.intervals import Interval, bootstrap
from guard_magic.evaluation.labelled import read_labels
from guard_magic.evaluation.report import number
from guard_magic.evaluation.samples import MIN_ROWS, flags
from guard_magic.tables.columns import column_of, places_of

__all__ = ["Agreement", "agreement_of", "cohen_kappa", "fleiss_kappa", "judgements", "krippendorff_alpha"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GUARD = "guard"
_UNSURE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Agreement:
    """Who agrees with whom.

    Attributes
    ----------
    pairs
        One row a pair, people first, then the guard with each: ``a``, ``b``, ``n`` (rows both judged), ``agree``
        (share), ``kappa``, ``low``, ``high``.
    fleiss, n_complete
        Fleiss' kappa of the people on the rows that all of them judged, and how many these are.
    alpha, alpha_interval
        Krippendorff's alpha of the people on all rows that two or more judged, with its interval.
    n_rows
        Rows that two or more judged.
    disputed
        Rows of the table on which people differ.
    against_guard
        Rows on which the people agree and the guard says otherwise; None without a guard.
    """

    people: tuple[str, ...]
    pairs: pd.DataFrame
    fleiss: float
    n_complete: int
    alpha: float
    alpha_interval: Interval
    n_rows: int
    disputed: pd.DataFrame
    against_guard: pd.DataFrame | None

    def __repr__(self) -> str:
        return f"<Agreement of {', '.join(map(spell_hidden, self.people))}: alpha {number(self.alpha)}>"

    __str__ = __repr__

    def to_frame(self) -> pd.DataFrame:
        """Return the pairs, a frame of one's own."""
        return self.pairs.copy()

    def head(self) -> str:
        """Return the numbers of all people together, in a line."""
        low, high = self.alpha_interval
        ends = "" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"
        said = f"Krippendorff's alpha {number(self.alpha)}{ends} on {self.n_rows:,} rows that two or more judged"
        said += f" · Fleiss' kappa {number(self.fleiss)} on {self.n_complete:,} that all judged"
        return f"{said} · {len(self.disputed):,} rows in dispute (.disputed)"

    def table(self) -> list[dict[str, str]]:
        """Return the pairs in words."""
        rows = []
        for row in self.pairs.to_dict("records"):
            ends = "" if math.isnan(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f})"
            rows.append(
                {
                    "a": str(row["a"]),
                    "b": str(row["b"]),
                    "rows": f"{row['n']:,}",
                    "agree": number(row["agree"]),
                    "Cohen's kappa": f"{number(row['kappa'])}{ends}",
                }
            )
        return rows


def cohen_kappa(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return Cohen's kappa of two people's judgements, NaN where one is missing; NaN where it has no meaning."""
    from sklearn.metrics import cohen_kappa_score

    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    both = ~np.isnan(one) & ~np.isnan(other)
    one, other = one[both], other[both]
    if not len(one) or len(np.unique(np.concatenate([one, other]))) < 2:
        return math.nan
    return float(cohen_kappa_score(one.astype(int), other.astype(int)))


def fleiss_kappa(counts: npt.ArrayLike) -> float:
    """Return Fleiss' kappa.

    Parameters
    ----------
    counts
        How many people gave each judgement, (n_rows, n_judgements); every row has as many people, two or more.

    Raises
    ------
    EvaluationError
        For rows with different numbers of people.
    """
    table = np.asarray(counts, dtype=np.float64)
    n = table.sum(axis=1)
    if table.size and (n != n[0]).any():
        raise EvaluationError("Fleiss' kappa takes rows that equally many people judged", hint="Use alpha.")
    if not table.size or n[0] < 2:
        return math.nan
    seen = (((table**2).sum(axis=1) - n) / (n * (n - 1))).mean()
    expected = ((table.sum(axis=0) / table.sum()) ** 2).sum()
    return float((seen - expected) / (1 - expected)) if expected < 1 else math.nan


def krippendorff_alpha(ratings: npt.ArrayLike) -> float:
    """Return Krippendorff's alpha for nominal judgements, (n_rows, n_people), NaN where missing."""
    return float(_alpha(*_units(np.asarray(ratings, dtype=np.float64))))


def _units(ratings: Floats) -> tuple[Floats, Floats]:
    """Return of each row with two judgements or more how much it differs, (n,), and its counts, (n, n_values)."""
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(axis=1).astype(np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    m = counts.sum(axis=1)
    return (m**2 - (counts**2).sum(axis=1)) / np.maximum(m - 1, 1), counts


def _alpha(differing: Floats, counts: Floats, drawn: Ints | None = None) -> Floats:
    """Return alpha of rows, or of each of the resamples drawn by number, (..., n_drawn)."""
    places = np.arange(len(differing)) if drawn is None else drawn
    of_value = counts[places].sum(axis=-2)
    n = of_value.sum(axis=-1)
    expected = n**2 - (of_value**2).sum(axis=-1)
    with np.errstate(all="ignore"):
        found = 1 - (n - 1) * differing[places].sum(axis=-1) / expected
    return np.asarray(np.where(expected > 0, found, np.nan))


def judgements(frame: pd.DataFrame, column: object) -> Floats:
    """Return 0 for safe, 1 for unsafe, 2 for unsure and NaN for none, (n_rows,), of a column of labels."""
    found = read_labels(frame, column)
    words = column_of(frame, column).tolist()
    unsure = [isinstance(word, str) and word.strip().lower() == "unsure" for word in words]
    return np.where(unsure, _UNSURE, found)


def label_columns(frame: pd.DataFrame, labels: object) -> list[str]:
    """Return the columns of at least two people's labels: those named, or ``label_NAME`` as ``labels()`` makes them."""
    if labels is None:
        names = [name for name in frame.columns if isinstance(name, str) and name.startswith("label_")]
        found = [name for name in names if not name.startswith("label_category")]
    else:
        found = list(labels) if isinstance(labels, list | tuple) else [labels]  # type: ignore[list-item]
    for name in found:
        if not isinstance(name, str) or len(places_of(frame.columns, name)) != 1:
            raise ColumnError(f"the table has no column {shorten(name)}", hint=_HINT)
    if len(set(found)) < 2:
        raise ColumnError(f"labels of two people or more are needed, not {shorten(found)}", hint=_HINT)
    return found


_HINT = 'df.guard.labels(["a.sqlite", "b.sqlite"]) makes a column of each; labels=["label_a", "label_b"] names them.'


def agreement_of(
    frame: pd.DataFrame,
    columns: Sequence[str],
    scores: Floats | None = None,
    threshold: float = 0.5,
    *,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Compare people's labels with each other, and with a guard's scores where there are any.

    Raises
    ------
    EvaluationError
        Where fewer than 10 rows have two judgements.
    """
    ratings = np.stack([judgements(frame, column) for column in columns], axis=1)
    names = [column.removeprefix("label_") or column for column in columns]
    differing, counts = _units(ratings)
    if len(differing) < MIN_ROWS:
        raise EvaluationError(
            f"{len(differing)} rows have the labels of two people; at least {MIN_ROWS} are needed",
            hint="Let two people label the same rows: order='random' and one seed for both.",
        )
    how = {"n_resamples": n_bootstrap, "confidence": confidence, "rng": np.random.default_rng(seed)}
    complete = ~np.isnan(ratings).any(axis=1)
    all_judged = (ratings[complete][:, :, None] == np.arange(3.0)).sum(axis=1)
    guard = None if scores is None else np.where(np.isnan(scores), np.nan, flags(scores, threshold))
    pairs = [
        _pair(names[i], names[j], ratings[:, i], ratings[:, j], how) for i, j in combinations(range(len(names)), 2)
    ]
    if guard is not None:
        sure = np.where(ratings == _UNSURE, np.nan, ratings)
        pairs += [_pair(name, GUARD, sure[:, i], guard, how) for i, name in enumerate(names)]
    ends = _ends(lambda drawn: _alpha(differing, counts, drawn)[None], len(differing), how)
    lowest, highest = (np.nan_to_num(of, nan=bad) for of, bad in ((_least(ratings), 9.0), (-_least(-ratings), -9.0)))
    n_judged = (~np.isnan(ratings)).sum(axis=1)
    return Agreement(
        people=tuple(names),
        pairs=pd.DataFrame(pairs),
        fleiss=fleiss_kappa(all_judged),
        n_complete=int(complete.sum()),
        alpha=float(_alpha(differing, counts)),
        alpha_interval=ends,
        n_rows=len(differing),
        disputed=frame[(n_judged > 1) & (lowest != highest)],
        against_guard=None if guard is None else frame[(lowest == highest) & (lowest < 2) & (guard == 1 - lowest)],
    )


def _least(ratings: Floats) -> Floats:
    return np.where(np.isnan(ratings).all(axis=1), np.nan, np.where(np.isnan(ratings), np.inf, ratings).min(axis=1))


def _pair(a: str, b: str, one: Floats, other: Floats, how: dict[str, object]) -> dict[str, object]:
    both = ~np.isnan(one) & ~np.isnan(other)
    x, y = (of[both][:, None] == np.arange(3.0) for of in (one, other))
    low, high = _ends(lambda drawn: _kappa(x, y, drawn)[None], len(x), how)
    agree = float((one[both] == other[both]).mean()) if both.any() else math.nan
    return {
        "a": a,
        "b": b,
        "n": int(both.sum()),
        "agree": agree,
        "kappa": cohen_kappa(one, other),
        "low": low,
        "high": high,
    }


def _kappa(x: npt.NDArray[np.bool_], y: npt.NDArray[np.bool_], drawn: Ints) -> Floats:
    """Return Cohen's kappa of resamples of judgements in one-hot form, (n, 3) each."""
    agreed = np.asarray((x & y).any(axis=1))[drawn].mean(axis=-1)
    expected = (x[drawn].mean(axis=-2) * y[drawn].mean(axis=-2)).sum(axis=-1)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(expected < 1, (agreed - expected) / (1 - expected), np.nan))


def _ends(statistic: object, n: int, how: dict[str, object]) -> Interval:
    """Return the interval of one number; NaN where it cannot be had."""
    if not how["n_resamples"] or n < MIN_ROWS:
        return math.nan, math.nan
    found = bootstrap((np.arange(n),), statistic, **how)  # type: ignore[arg-type]
    return float(found[0, 0]), float(found[1, 0])
