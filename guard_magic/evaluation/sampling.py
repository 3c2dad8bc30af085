"""How labels were drawn, and what each of them stands for.

A review goes through a table in an order, and labels remember which. In random order every row is as likely to be
labelled; in stratified order every row of a tenth of the score is; both tell about the whole table by weights. By
uncertainty, score or hazard the rows labelled are those the guard finds hard or harmful: what is measured on them is
not so of the table. Filters of a review are not in the labels: rows labelled under one count as drawn from all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.errors import EvaluationError
from guard_magic.evaluation.labelled import only_column, read_labels, read_numbers

__all__ = ["N_STRATA", "Weights", "biased_orders", "strata_of", "weights"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DRAWN = ("random", "stratified")
"""Orders in which a row's chance of being labelled is known."""

N_STRATA = 10
"""Tenths of the score, of which a stratified order takes a row each in turn."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What each labelled row of a table stands for.

    Attributes
    ----------
    values
        Rows of the table that each row stands for, shape (n_rows,); 0 for rows that do not count: not decided, or
        labelled in an order whose chances are not known.
    refused
        Why nothing may be said of the whole table from these labels, and what to do; None where it may. `values` are
        then 1 for each decided row: what is measured with them is so of these rows alone.
    remarks
        What is to be said beside every number that rests on them, a sentence each.
    """

    values: Floats
    refused: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> Mask:
        """Which rows count, shape (n_rows,)."""
        return self.values > 0

    @property
    def n_effective(self) -> float:
        """How many rows of equal weight would tell as much (Kish): (sum w)^2 / sum w^2; 0 for none."""
        total = float(self.values.sum())
        return total**2 / float((self.values**2).sum()) if total else 0.0


def strata_of(scores: npt.ArrayLike) -> Ints:
    """Return the tenth of [0, 1] that each score lies in, 0 to 9; `N_STRATA` where there is none."""
    found = np.asarray(scores, dtype=np.float64)
    tenth = np.clip(np.nan_to_num(found) * N_STRATA, 0, N_STRATA - 1)
    return np.where(np.isnan(found), N_STRATA, tenth).astype(np.int64)


def biased_orders(labels: pd.DataFrame) -> list[str]:
    """Return the orders of a frame's labels (its column ``order``) in which chances are not known, sorted."""
    if "order" not in labels.columns:
        return []
    return sorted({value for value in only_column(labels, "order").tolist() if isinstance(value, str)} - set(DRAWN))


def weights(labels: pd.DataFrame, scores: npt.ArrayLike, *, label: str = "label") -> Weights:
    """Return what each labelled row of a table stands for.

    - All rows decided, or none with an order: every decided row counts 1 (without an order this is said).
    - Random order: (rows of the table) / (rows decided), for each. Stratified, or both: the same within each tenth of
      the score; a tenth without a decision is counted with the nearest one that has some.
    - Other orders beside these: the longest run of labels in time that were drawn is the sample. What was labelled
      before it was taken out of what the run could draw from, and stands for itself; what came after is left out.
    - Only other orders, or no times to tell runs by: refused.

    Parameters
    ----------
    labels
        One row a row of the table, as ``df.guard.labels(file)`` returns it: the labels, and ``order`` and
        ``labelled_at`` where they are known.
    scores
        ``unsafe_score`` of every row of the table, labelled or not, shape (n_rows,); NaN or NA where not scored.
    label
        Name of the column with the labels.

    Raises
    ------
    ColumnError, EvaluationError
        For labels that cannot be read, or another number of scores than rows.
    """
    decided = ~np.isnan(read_labels(labels, label))
    found = read_numbers(scores)
    if found.shape != decided.shape:
        raise EvaluationError(
            f"{found.size:,} scores do not belong to {decided.size:,} rows",
            hint="Pass the score of every row of the table, NaN where there is none.",
        )
    values = decided.astype(np.float64)
    orders = _orders(labels, decided)
    if decided.all() or not decided.any():
        return Weights(values)
    if set(orders[decided]) == {""}:
        return Weights(values, remarks=("How rows were chosen to be labelled is not known: taken as at random.",))
    drawn = decided & np.isin(orders, DRAWN)
    if (drawn == decided).all():
        return _drawn(drawn, np.zeros_like(drawn), orders, found)
    return _mixed(labels, orders, decided, drawn, found)


def _orders(labels: pd.DataFrame, decided: Mask) -> npt.NDArray[np.object_]:
    known = only_column(labels, "order").tolist() if "order" in labels.columns else [None] * len(labels)
    named = [value if is_one and isinstance(value, str) else "" for value, is_one in zip(known, decided, strict=True)]
    return np.array(named, dtype=object)


def _mixed(
    labels: pd.DataFrame, orders: npt.NDArray[np.object_], decided: Mask, drawn: Mask, scores: Floats
) -> Weights:
    """Weigh labels of which only some were drawn."""
    others = decided & ~drawn
    named = sorted({str(order) or "that is not known" for order in orders[others]})
    n_others, n_drawn = int(others.sum()), int(drawn.sum())
    what = f"{n_others:,} of {n_others + n_drawn:,} labels were given in the order {', '.join(named)}"
    run = _longest_run(labels, decided, drawn) if n_drawn else None
    if run is None:
        lacking = "their times are not known" if n_drawn else "none was drawn at random"
        return Weights(
            decided.astype(np.float64),
            refused=f"{what}, and {lacking}: these rows were chosen by what the guard says of them or by where they "
            "stand, so numbers on them are not those of the table. Label some in random or stratified order "
            '(df.guard.review(order="random")).',
        )
    sample, before = run
    found = _drawn(sample, before, orders, scores)
    n_left = n_others + n_drawn - int(sample.sum()) - int(before.sum())
    said = f"{what}: the {int(sample.sum()):,} that were drawn stand for the table"
    said += f", {int(before.sum()):,} labelled before them for themselves" if before.any() else ""
    said += f"; {n_left:,} are left out." if n_left else "."
    return Weights(found.values, remarks=(said, *found.remarks))


def _longest_run(labels: pd.DataFrame, decided: Mask, drawn: Mask) -> tuple[Mask, Mask] | None:
    """Return the longest run of drawn labels in time, and what was labelled before it; None without times."""
    if "labelled_at" not in labels.columns:
        return None
    times = pd.to_datetime(only_column(labels, "labelled_at"), utc=True, errors="coerce", format="ISO8601")
    rows = np.flatnonzero(decided)
    if times.isna().to_numpy()[rows].any():
        return None
    moments = times.to_numpy(dtype="datetime64[us]").astype(np.int64)[rows]
    # of equal times what was not drawn comes first: rows labelled in one step are no sample
    in_time = rows[np.lexsort((drawn[rows], moments))]
    flags = np.concatenate([[0], drawn[in_time].astype(np.int64), [0]])
    starts, ends = np.flatnonzero(np.diff(flags) == 1), np.flatnonzero(np.diff(flags) == -1)
    longest = int(np.argmax(ends - starts))
    sample, before = np.zeros_like(drawn), np.zeros_like(drawn)
    sample[in_time[starts[longest] : ends[longest]]] = True
    before[in_time[: starts[longest]]] = True
    return sample, before


def _drawn(sample: Mask, before: Mask, orders: npt.NDArray[np.object_], scores: Floats) -> Weights:
    """Weigh a sample of the rows that are not among those before it, which stand for themselves."""
    values = before.astype(np.float64)
    pool = ~before
    if set(orders[sample]) == {"random"}:
        values[sample] = pool.sum() / sample.sum()
        return Weights(values)
    strata = strata_of(scores)
    n_pool, n_sample = (np.bincount(strata[which], minlength=N_STRATA + 1) for which in (pool, sample))
    remarks = []
    if n_pool[N_STRATA] and not n_sample[N_STRATA]:
        remarks.append(f"The {n_pool[N_STRATA]:,} rows without a score were not drawn from: nothing is said of them.")
    empty = [k for k in range(N_STRATA) if n_pool[k] and not n_sample[k]]
    filled = [k for k in range(N_STRATA) if n_sample[k]]
    if empty and filled:
        n = int(n_pool[empty].sum())
        remarks.append(
            f"{n:,} rows with scores in {', '.join(_named(k) for k in empty)} have no decided row among them and are "
            "counted with those of the nearest scores."
        )
        for k in empty:
            n_pool[min(filled, key=lambda other: abs(other - k))] += n_pool[k]
    values[sample] = (n_pool / np.maximum(n_sample, 1))[strata[sample]]
    return Weights(values, remarks=tuple(remarks))


def _named(stratum: int) -> str:
    return f"{stratum / N_STRATA:g} to {(stratum + 1) / N_STRATA:g}"
