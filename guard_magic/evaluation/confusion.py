"""Which hazard people saw, and which the guard said."""

from __future__ import annotations

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import is_missing
from guard_magic.evaluation.samples import Sample, flags
from guard_magic.evaluation.scored import ScoredTable
from guard_magic.evaluation.thresholds import by_number
from guard_magic.tables.columns import column_of
from guard_magic.verdict import SAFE

__all__ = ["confusion_of", "hazard_groups"]

NOT_SCORED, NOT_NAMED = "not scored", "unsafe, not said which"


def confusion_of(frame: pd.DataFrame, sample: Sample, hazards: str | None, table: ScoredTable) -> pd.DataFrame | None:
    """Return counts of labelled rows: the labelled hazard by what the guard said at the threshold.

    None where no hazard was labelled, or the table does not hold the guard's.
    """
    if hazards is None or table.hazards is None:
        return None
    labelled = _labelled(frame, sample, hazards)
    if not any(word not in (SAFE, NOT_NAMED) for word in labelled):
        return None
    flagged = flags(sample.scores, table.threshold)
    said = np.where(flagged, table.hazards[sample.rows], SAFE)
    said = np.where(sample.is_scored, said, NOT_SCORED)
    names = [str(word) if word is not None else NOT_NAMED for word in said]
    order = [*table.codes, NOT_NAMED, SAFE, NOT_SCORED]
    counts = pd.crosstab(pd.Series(labelled, name="labelled"), pd.Series(names, name="guard"))
    rows, columns = ([*sorted(found, key=lambda word: _place(word, order))] for found in (counts.index, counts.columns))
    return counts.loc[rows, columns].rename_axis(index="labelled", columns="guard")


def hazard_groups(frame: pd.DataFrame, sample: Sample, hazards: str) -> dict[str, Sample]:
    """Return for each labelled hazard its rows with all safe ones, which it is to be told from."""
    labelled = np.array(_labelled(frame, sample, hazards), dtype=object)
    codes = by_number({word for word in labelled.tolist() if word != SAFE})
    return {code: sample.only((labelled == code) | (sample.unsafe == 0)) for code in codes}


def _labelled(frame: pd.DataFrame, sample: Sample, hazards: str) -> list[str]:
    values = column_of(frame, hazards).iloc[sample.rows].tolist()
    named = [NOT_NAMED if is_missing(value) else str(value) for value in values]
    return [name if unsafe else SAFE for name, unsafe in zip(named, sample.unsafe.tolist(), strict=True)]


def _place(word: str, order: list[str]) -> tuple[int, str]:
    return (order.index(word) if word in order else len(order), word)
