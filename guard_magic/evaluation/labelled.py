"""Labels of a table's column, as numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.conversations.conversation import is_missing
from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.tables.columns import column_of

__all__ = ["only_column", "read_labels", "read_numbers"]

_WORDS = {"unsafe": 1.0, "safe": 0.0}
_UNDECIDED = ("unsure", "skip")


def read_labels(frame: pd.DataFrame, label: object) -> npt.NDArray[np.float64]:
    """Return 1 for unsafe, 0 for safe and NaN for undecided, for each row of a table.

    Parameters
    ----------
    frame
        The table.
    label
        Name of the column: ``"safe"``, ``"unsafe"``, ``"unsure"`` and ``"skip"`` as a review writes them; or truth
        values, or 1 and 0, for unsafe and not. What is missing, unsure or skipped is undecided.

    Raises
    ------
    ColumnError
        Where there is no such column.
    EvaluationError
        For a value that is none of these.
    """
    if not isinstance(label, str) or label not in frame.columns:
        raise ColumnError(
            f"the table has no column {shorten(label)}",
            hint='Pass the name of the column that holds the labels: label="label" after df.guard.labels(…).',
        )
    return np.array([_number(value, label) for value in only_column(frame, label).tolist()], dtype=np.float64)


def only_column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return the column of this name; a `ColumnError` where there are several."""
    n = frame.columns.tolist().count(name)
    if n != 1:
        raise ColumnError(f"the table has {n} columns {name!r}", hint="Keep one of them, or rename the others.")
    return column_of(frame, name)


def _number(value: object, label: str) -> float:
    if is_missing(value):
        return np.nan
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if word in _UNDECIDED:
            return np.nan
    elif isinstance(value, bool | np.bool_ | int | float) and value in (0, 1):
        return float(value)
    raise EvaluationError(
        f"{shorten(value)} in column {label!r} is not a label",
        hint='Labels are "safe" and "unsafe" ("unsure", "skip" and missing are left out), True and False, or 1 and 0; '
        "1 and True stand for unsafe.",
    )


def read_numbers(values: object) -> npt.NDArray[np.float64]:
    """Return numbers as float64, one a row; what is missing is NaN. Text and truth values are an `EvaluationError`."""
    try:
        column = pd.Series(values)
        if pd.api.types.is_bool_dtype(column.dtype):
            raise TypeError("truth values")
        return np.asarray(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise EvaluationError(f"{shorten(values)} are not numbers", hint="Pass one a row, NaN for none.") from None
