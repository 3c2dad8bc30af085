"""The columns that verdicts become: their names, and arrays in which what is not scored is NA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.policy import Policy

__all__ = [
    "ANSWERS",
    "COLUMNS",
    "EXTRAS",
    "SAFE",
    "checked_extras",
    "column_names",
    "extra_names",
    "floats",
    "strings",
]

SAFE = "safe"
COLUMNS = ("unsafe_score", "category", "guard_error")
EXTRAS = (
    "unsafe_probability",
    "cut",
    "log_odds",
    "category_scores",
    "answers",
    "generated_text",
    "verdict_mass",
    "n_tokens",
    "n_neutralised",
    "assessed_role",
    "guard",
)
ANSWERS = ("controversial", "refusal", "request_harmful")
"""Names of the other answers that guards of the known families give."""
_RENAMED = {"cut": "guard_cut"}


def checked_extras(extras: Iterable[str] | None) -> list[str]:
    """Return the extras without repeats, in order; None for none, and an unknown one is a `ColumnError`."""
    hint = f"Extras: {', '.join(EXTRAS)}."
    try:
        names = [extras] if isinstance(extras, str) else list(extras or ())
    except (TypeError, ValueError):
        raise ColumnError(f"extras={shorten(extras)} are not names of columns", hint=hint) from None
    unknown = [name for name in names if not isinstance(name, str) or name not in EXTRAS]
    if unknown:
        raise ColumnError(f"no extra column {shorten(unknown[0])}", hint=hint)
    return list(dict.fromkeys(names))


def column_names(extras: Iterable[str], policy: Policy, answer_names: Iterable[str] = ()) -> list[str]:
    """Return the names of the columns that `Verdicts.to_frame` makes, in order, without prefix."""
    names = list(COLUMNS)
    for extra in checked_extras(extras):
        names += extra_names(extra, policy, answer_names)
    return names


def extra_names(extra: str, policy: Policy, answer_names: Iterable[str]) -> list[str]:
    """Return the names of the columns of one extra, in order."""
    if extra == "category_scores":
        return [f"score_{code}" for code in policy.codes]
    if extra == "answers":
        return [f"answer_{name}" for name in answer_names]
    return [_RENAMED.get(extra, extra)]


def floats(values: Sequence[float | None]) -> pd.api.extensions.ExtensionArray:
    """Return a Float64 array, NA for None; a NaN stays one."""
    mask = np.array([value is None for value in values], dtype=bool)
    numbers = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    return pd.arrays.FloatingArray(numbers, mask)


def strings(values: Sequence[str | None]) -> pd.api.extensions.ExtensionArray:
    """Return a string array, NA for None."""
    return pd.array([pd.NA if value is None else value for value in values], dtype="string")
