"""What somebody changed in the columns of an earlier call: their own work, which is never replaced unasked.

A call writes ``safe`` below one threshold and the most probable hazard from it on, and the session remembers which
scores it wrote with which category. What contradicts either was written by somebody else.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from guard_magic.errors import shorten
from guard_magic.scoring.written import Written
from guard_magic.tables.restoring import TOLERANCE, as_floats, restored_verdicts
from guard_magic.verdict import COLUMNS, SAFE

__all__ = ["changed_by_hand", "replaced_values"]

_DECIMALS = 5
"""Scores that all have no more decimals than this were rounded by somebody."""
_AS_ROUNDED = 0.01
"""Scores that a file keeps with two decimals are off by less; those of other number formats too."""


def changed_by_hand(
    scores: pd.Series,
    category: pd.Series,
    errors: pd.Series,
    hazards: pd.DataFrame,
    written: Written,
    *,
    is_in_memory: bool,
) -> str:
    """Say what no call wrote so, "" for nothing.

    Parameters
    ----------
    scores, category, errors
        The three columns, with their own types.
    hazards
        The scores of all hazards, in the order of the levels of `category`; no columns where there are none.
    written
        What this session wrote.
    is_in_memory
        Whether the columns never went through a text file, which rounds some scores in their last digit.
    """
    scored = scores.notna().to_numpy()
    pairs = written.known_rows(COLUMNS[1], scores, category)
    known = written.known_rows(COLUMNS[0], scores, scores) & scored
    reasons = written.known_rows(COLUMNS[2], scores, errors)
    if not known.any():
        return (_rounded(scores) if is_in_memory else "") or _against_itself(scores, category, hazards)
    strange = known & ~pairs
    if is_in_memory:
        strange |= scored & ~known
    strange |= ~scored & ~reasons & errors.notna().to_numpy()  # a row without a reason was never asked
    if strange.any():
        return _row(int(np.flatnonzero(strange)[0]), scores, category, errors, "was not written so by this session")
    return "" if pairs.all() else _against_itself(scores, category, hazards)


def replaced_values(frame: pd.DataFrame, columns: pd.DataFrame, prefix: str, written: Written) -> str:
    """Say which values of an earlier call are about to be replaced by other ones, "" for none.

    Values that this session wrote are its own to replace. Of another session's it is not known what gave them: another
    guard, an earlier threshold, or somebody's hand.

    Parameters
    ----------
    frame
        The table, whose three columns are known to be an earlier call's.
    columns
        The new ones, as many rows.
    prefix
        What is put before the names of both.
    written
        What this session wrote.
    """
    old = restored_verdicts(frame, prefix, written=written)
    if old is None:
        return ""
    score, category = (prefix + name for name in COLUMNS[:2])
    before, after = as_floats(old[score].array), as_floats(columns[score].array)
    strange = old[score].notna().to_numpy() & ~written.known_rows(COLUMNS[1], old[score], old[category])
    moved = strange & ~(np.abs(before - after) <= _AS_ROUNDED)
    said = [old[category].astype(object).to_numpy(), columns[category].astype(object).to_numpy()]
    judged = strange & ~moved & np.array([one != other for one, other in zip(*said, strict=True)], dtype=bool)
    parts = [f"{n:,} scores" for n in [int(moved.sum())] if n] + [f"{n:,} categories" for n in [int(judged.sum())] if n]
    if not parts:
        return ""
    row = int(np.flatnonzero(moved | judged)[0])
    now = f"{said[1][row]!r} beside {after[row]:.3g}" if not np.isnan(after[row]) else "not scored"
    return f"{' and '.join(parts)} (row {row}: {said[0][row]!r} beside {before[row]:.3g}, now {now})"


def _rounded(scores: pd.Series) -> str:
    """Say where all scores were rounded, which a call's never are, and those of text files only where they are read."""
    numbers = scores.dropna().to_numpy(dtype=np.float64)
    between = numbers[(numbers > 0) & (numbers < 1)]
    if between.size and (np.round(between, _DECIMALS) == between).all():
        return f"its scores are rounded ({between[0]:.6g} …)"
    return ""


def _against_itself(scores: pd.Series, category: pd.Series, hazards: pd.DataFrame) -> str:
    """Say where a category is not that of its score: no threshold parts safe from flagged, or another hazard leads."""
    numbers, scored = as_floats(scores.array), scores.notna().to_numpy()
    is_safe = (category == SAFE).to_numpy(dtype=bool, na_value=False) & scored
    flagged = scored & ~is_safe
    if is_safe.any() and flagged.any():
        highest = int(np.flatnonzero(is_safe)[numbers[is_safe].argmax()])
        lowest = int(np.flatnonzero(flagged)[numbers[flagged].argmin()])
        if not numbers[highest] < numbers[lowest] + TOLERANCE:
            other = f"row {lowest} {category.iloc[lowest]!r} beside {numbers[lowest]:.3g}"
            return f"{_row(highest, scores, category, None, '')}and {other}: no threshold gives both"
    if hazards.shape[1] and flagged.any():
        shares = np.stack([as_floats(hazards.iloc[:, i].array) for i in range(hazards.shape[1])])[:, flagged]
        said = shares[category.cat.codes.to_numpy()[flagged] - 1, np.arange(shares.shape[1])]
        wrong = np.flatnonzero(said < shares.max(axis=0) - TOLERANCE)
        if wrong.size:
            row = int(np.flatnonzero(flagged)[wrong[0]])
            return _row(row, scores, category, None, "is not the most probable hazard there")
    return ""


def _row(row: int, scores: pd.Series, category: pd.Series, errors: pd.Series | None, what: str) -> str:
    score = scores.iloc[row]
    if pd.isna(score) and errors is not None:
        return f"the reason {shorten(errors.iloc[row], 40)} (row {row}) {what}"
    return f"row {row} holds {category.iloc[row]!r} beside {score:.3g}" + (f", which {what}" if what else " ")
