"""Verdicts in a table known by name and by what they hold, and given back the types that a file took from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Policy
from guard_magic.scoring.written import HAZARD, NOTHING, Written
from guard_magic.verdict import ANSWERS, COLUMNS, SAFE

__all__ = [
    "COUNTS",
    "NUMBERS",
    "TEXTS",
    "TOLERANCE",
    "as_floats",
    "has_verdicts",
    "is_our_text",
    "places_named",
    "probabilities",
    "restored_verdicts",
    "verdict_places",
]

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
NUMBERS = frozenset({"log_odds", "unsafe_probability", "verdict_mass", *(f"answer_{answer}" for answer in ANSWERS)})
COUNTS = frozenset({"n_tokens", "n_neutralised"})
TEXTS = frozenset({"guard_cut", "generated_text", "assessed_role", "guard"})
"""Extra columns by the type they have: Float64, Int64 and nullable text."""
TOLERANCE = 1e-6
"""Scores that went through a text file are off by less than this."""


def has_verdicts(frame: pd.DataFrame, prefix: str = "") -> bool:
    """Say whether an earlier call put its three columns into this frame, with their types."""
    found = verdict_places(frame, prefix)
    return found is not None and _are_our_types([frame.dtypes.iloc[place] for place in found])


def restored_verdicts(
    frame: pd.DataFrame, prefix: str = "", policies: Iterable[Policy] = (), written: Written = NOTHING
) -> pd.DataFrame | None:
    """Return a frame that was scored with the types its columns had when they were made, or None.

    Files change types: a CSV file gives floats, text and ``NaN`` where there were Float64, a categorical and NA.

    Parameters
    ----------
    frame
        A table with the three columns of an earlier call, wherever they stand; it is not changed.
    prefix
        What is put before their names.
    policies
        Whose codes are known, beside those of the built-in policies and of the hazards' columns. Where the levels of
        `category` are lost and no columns of hazards tell them, they are those of the first of these policies, or of
        the built-in ones (Llama Guard 3's first), that has all codes seen.
    written
        What was written before: levels that it wrote are known too.

    Returns
    -------
    DataFrame or None
        The same rows, columns and order; the same object where all types are as they were. None where the three
        columns are not there, each once, or do not hold what a call writes: scores in [0, 1], ``safe`` or a code
        for each score and only there, and reasons as text where there is none.

    Raises
    ------
    ColumnError
        Where all is as a call writes it, but for words in `category` that are no codes: somebody wrote over it.
    """
    places = verdict_places(frame, prefix)
    if places is None:
        return None
    score, category, error = (frame.iloc[:, place] for place in places)
    numbers, reasons = probabilities(score), _texts(error)
    if numbers is None or reasons is None or not _agree(numbers, category, reasons):
        return None
    known = [policy.codes for policy in (*policies, LLAMA_GUARD_3, *BUILT_IN.values())]
    is_ours = _are_our_types([frame.dtypes.iloc[place] for place in places])
    if is_ours and (_levels_are_codes(category, known) or written.knows(COLUMNS[1], score, category)):
        return frame
    levels = _categories(category, [_named_codes(frame, prefix), *known], prefix)
    if is_ours:
        return frame
    result = frame.copy(deep=False)
    for name, column in zip(COLUMNS, (numbers, levels, reasons), strict=True):
        result[prefix + name] = column
    return _with_extras_restored(result, prefix)


def places_named(frame: pd.DataFrame, names: Iterable[object]) -> list[int]:
    """Return the places (0-based) of the columns of these names; a name that is no text is never ours."""
    wanted = set(names)
    return [i for i, name in enumerate(frame.columns) if isinstance(name, str) and name in wanted]


def verdict_places(frame: pd.DataFrame, prefix: str) -> list[int] | None:
    """Return the places of the three columns, or None where not each is there once."""
    found = [places_named(frame, [prefix + name]) for name in COLUMNS]
    return [place for (place,) in found] if all(len(places) == 1 for places in found) else None


def as_floats(column: object) -> np.ndarray:
    """Return numbers as floats, NaN where they are missing."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)  # type: ignore[attr-defined, no-any-return]


def _are_our_types(types: Sequence[object]) -> bool:
    score, category, error = types
    return (
        isinstance(score, pd.Float64Dtype)
        and isinstance(category, pd.CategoricalDtype)
        and category.categories[:1].tolist() == [SAFE]
        and is_our_text(error)
    )


def is_our_text(dtype: object) -> bool:
    """Say whether this is the nullable string type; text columns made by pandas itself are of another."""
    return isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA


def probabilities(column: pd.Series) -> pd.api.extensions.ExtensionArray | None:
    """Return probabilities as Float64, or None where something is no number in [0, 1]."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.isna().all()):
        return None
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(values)
    if not ((values[~missing] >= 0) & (values[~missing] <= 1 + TOLERANCE)).all():
        return None
    return pd.arrays.FloatingArray(np.where(missing, 0.0, values), missing)


def _levels_are_codes(column: pd.Series, known: Iterable[Sequence[str]]) -> bool:
    """Say whether the levels behind ``safe`` can be one policy's: all of them a known one's, or none of them any's."""
    levels = set(column.cat.categories[1:])
    everything = {code for codes in known for code in codes}
    is_strange = all(isinstance(level, str) and _CODE.fullmatch(level) for level in levels - {SAFE})
    return any(levels <= set(codes) for codes in known) or (is_strange and levels.isdisjoint(everything))


def _categories(column: pd.Series, known: Sequence[Sequence[str]], prefix: str) -> pd.Categorical:
    """Return categories with the levels of the first codes that are all of those seen, else a `ColumnError`."""
    missing = column.isna()
    counts = Counter(column[~missing].tolist())
    seen = {value for value in counts if not (isinstance(value, str) and value == SAFE)}
    if isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.categories[:1].tolist() == [SAFE]:
        kept = column.dtype.categories[1:].tolist()
        known = [codes for codes in (kept,) if any(set(codes) <= set(one) for one in known)] + list(known)
    chosen = next((codes for codes in known if codes and seen <= set(codes)), None)
    if chosen is None:
        raise _strange_words(counts, known, prefix)
    values = [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]
    return pd.Categorical(values, categories=[SAFE, *chosen])


def _strange_words(counts: Counter[object], known: Sequence[Sequence[str]], prefix: str) -> ColumnError:
    name = prefix + COLUMNS[1]
    codes = {code for one in known for code in one} | {SAFE}
    strange = [word for word in counts if word not in codes] or [word for word in counts if word != SAFE]
    shown = ", ".join(f"{shorten(word, 30)} ({counts[word]:,} ×)" for word in strange[:4])
    return ColumnError(
        f"column {name!r} holds words that are not 'safe' and not codes of one policy in use: {shown}",
        hint="guard_magic.set_policy(…) tells the codes where they are a policy's. Where they are somebody's own "
        f"labels, keep them under another name: df.rename(columns={{{name!r}: 'my_label'}}).guard.score().",
    )


def _named_codes(frame: pd.DataFrame, prefix: str) -> list[str]:
    """Return the policy's codes in order, as the hazards' columns name them."""
    start = prefix + HAZARD
    names = [name.removeprefix(start) for name in frame.columns if isinstance(name, str) and name.startswith(start)]
    return [name for name in names if _CODE.fullmatch(name)]


def _texts(column: pd.Series) -> pd.api.extensions.ExtensionArray | None:
    missing = column.isna()
    if not all(isinstance(value, str) for value in column[~missing]):
        return None
    values = [pd.NA if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]
    return pd.array(values, dtype="string")


def _agree(
    score: pd.api.extensions.ExtensionArray, category: pd.Series, error: pd.api.extensions.ExtensionArray
) -> bool:
    """Say whether rows have a category where they have a score, and a reason only where they have none."""
    unscored = pd.isna(score)
    return bool((unscored == category.isna().to_numpy()).all() and (unscored | pd.isna(error)).all())


def _with_extras_restored(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    for place, name in enumerate(frame.columns):
        bare = name.removeprefix(prefix) if isinstance(name, str) and name.startswith(prefix) else ""
        if len(places_named(frame, [name])) == 1:
            values = _extra_values(bare, frame.iloc[:, place])
            if values is not None:
                frame[name] = values
    return frame


def _extra_values(name: str, column: pd.Series) -> pd.api.extensions.ExtensionArray | None:
    """Return the values in the type that the extra of this name has, or None where it has none or they do not fit."""
    if name in TEXTS:
        return _texts(column)
    if name not in NUMBERS | COUNTS and not name.startswith(HAZARD):
        return None
    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.isna().all()):
        return None
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(values)
    values = np.where(missing, 0.0, values)
    if name not in COUNTS:
        return pd.arrays.FloatingArray(values, missing)
    is_whole = np.isfinite(values).all() and (values == values // 1).all()
    return pd.arrays.IntegerArray(values.astype(np.int64), missing) if is_whole else None
