"""Verdicts put into tables as columns, and columns of an earlier call known again.

Nothing is kept in ``df.attrs`` (it travels into files and breaks there) and nothing rests on where a column stands.
The three columns are known by name and by what they hold, also where a file has changed their types. More columns are
known by what they hold beside the scores: scores of all hazards that make up the score, or values that this session
wrote beside these very scores. Everything else is the user's own: it is never deleted, and never replaced unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Policy
from guard_magic.scoring.written import HAZARD, NOTHING, Written
from guard_magic.verdict import ANSWERS, COLUMNS, SAFE, Verdicts

__all__ = [
    "attach_verdicts",
    "check_free",
    "doubtful_columns",
    "has_verdicts",
    "restored_verdicts",
    "rows_with",
]

Frame = TypeVar("Frame", bound=pd.DataFrame)

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_NUMBERS = frozenset({"log_odds", "verdict_mass", *(f"answer_{answer}" for answer in ANSWERS)})
_COUNTS = frozenset({"n_tokens", "n_neutralised"})
_TEXTS = frozenset({"guard_cut", "generated_text", "assessed_role", "guard"})
_TOLERANCE = 1e-6
"""Scores that went through a text file are off by less than this."""


def attach_verdicts(
    frame: Frame,
    verdicts: Verdicts,
    *,
    extras: Iterable[str] = (),
    prefix: str = "",
    overwrite: bool = False,
    written: Written = NOTHING,
) -> Frame:
    """Return a new frame with the verdicts' columns put behind the frame's own.

    Values go in by position, so any index will do. Columns that an earlier call made are replaced.

    Parameters
    ----------
    frame, verdicts
        As many rows as verdicts.
    extras, prefix
        As for `Verdicts.to_frame`.
    overwrite
        Replace columns of these names, whosever they are.
    written
        What was written before, by which extras are known to be ours; what is written now is remembered there.

    Raises
    ------
    ColumnError
        Where a column of a name that is needed is not known to be ours and `overwrite` is false.
    """
    columns = verdicts.to_frame(extras, prefix=prefix)
    ours = _known(frame, prefix, written).ours
    _check_names(frame, columns.columns.tolist(), ours, overwrite)
    replaced = {*ours, *_places(frame, columns.columns)}
    result = frame.iloc[:, [i for i in range(frame.shape[1]) if i not in replaced]].copy(deep=False)
    if isinstance(result.columns, pd.CategoricalIndex):
        result.columns = pd.Index(result.columns.tolist(), name=result.columns.name)
    for name in columns:
        result[name] = columns[name].array
    if written is not NOTHING:
        written.add(columns.rename(columns=lambda name: name.removeprefix(prefix)))
    return result


def has_verdicts(frame: pd.DataFrame, prefix: str = "") -> bool:
    """Say whether an earlier call put its three columns into this frame, with their types."""
    found = _triple(frame, prefix)
    return found is not None and _are_our_types([frame.dtypes.iloc[place] for place in found])


def restored_verdicts(frame: pd.DataFrame, prefix: str = "", policies: Iterable[Policy] = ()) -> pd.DataFrame | None:
    """Return a frame that was scored with the types its columns had when they were made, or None.

    Files change types: a CSV file gives floats, text and ``NaN`` where there were Float64, a categorical and NA.

    Parameters
    ----------
    frame
        A table with the three columns of an earlier call, wherever they stand; it is not changed.
    prefix
        What is put before their names.
    policies
        Where the levels of `category` are lost and no columns of hazards tell them, those of the first of these
        policies, or of the built-in ones (Llama Guard 3's first), that has all codes seen; else the codes seen.

    Returns
    -------
    DataFrame or None
        The same rows, columns and order; the same object where all types are as they were. None where the three
        columns are not there, each once, or do not hold what a call writes: scores in [0, 1], ``safe`` or a code
        for each score and only there, and reasons as text where there is none.
    """
    places = _triple(frame, prefix)
    if places is None:
        return None
    if _are_our_types([frame.dtypes.iloc[place] for place in places]):
        return frame
    score, category, error = (frame.iloc[:, place] for place in places)
    columns = (_numbers(score), _categories(category, _level_names(frame, prefix), policies), _texts(error))
    if any(column is None for column in columns) or not _agree(*columns):  # type: ignore[arg-type]
        return None
    result = frame.copy(deep=False)
    for name, column in zip(COLUMNS, columns, strict=True):
        result[prefix + name] = column
    return _with_extras_restored(result, prefix)


def rows_with(frame: pd.DataFrame, what: Literal["flagged", "unscored"], prefix: str = "") -> pd.DataFrame:
    """Return the rows of a scored frame whose category is a hazard, or that have none.

    Raises
    ------
    ColumnError
        Where there are no verdicts.
    """
    if not isinstance(prefix, str):
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="lg3_", or "" for none.')
    scored = restored_verdicts(frame, prefix)
    if scored is None:
        names = ", ".join(repr(prefix + name) for name in COLUMNS)
        raise ColumnError(
            f"the table has no verdicts ({names})", hint="df.guard.score() adds them; prefix= says how they are called."
        )
    category = scored[prefix + COLUMNS[1]]
    unscored = category.isna().to_numpy()
    return scored[unscored if what == "unscored" else ~unscored & (category != SAFE).to_numpy()]


def check_free(
    frame: pd.DataFrame, names: Iterable[str], *, prefix: str, overwrite: bool, written: Written = NOTHING
) -> None:
    """Raise `ColumnError` now if `attach_verdicts` would raise it after the work is done."""
    _check_names(frame, [prefix + name for name in names], _known(frame, prefix, written).ours, overwrite)


def doubtful_columns(frame: pd.DataFrame, prefix: str = "", written: Written = NOTHING) -> list[str]:
    """Return the columns that could be an earlier call's and are not known to be: they are kept as the user's."""
    return _known(frame, prefix, written).doubtful


def _check_names(frame: pd.DataFrame, names: list[str], ours: list[int], overwrite: bool) -> None:
    taken = [frame.columns[i] for i in _places(frame, names) if i not in ours]
    if taken and not overwrite:
        raise ColumnError(
            f"the table has columns {', '.join(map(repr, dict.fromkeys(taken)))} already, "
            "and they are not known to be from an earlier call",
            hint="Use prefix='lg3_' for other names, or overwrite=True to replace them.",
        )


def _places(frame: pd.DataFrame, names: Iterable[object]) -> list[int]:
    """Return the places (0-based) of the columns of these names; a name that is no text is never ours."""
    wanted = set(names)
    return [i for i, name in enumerate(frame.columns) if isinstance(name, str) and name in wanted]


def _triple(frame: pd.DataFrame, prefix: str) -> list[int] | None:
    found = [_places(frame, [prefix + name]) for name in COLUMNS]
    return [place for (place,) in found] if all(len(places) == 1 for places in found) else None


@dataclass(frozen=True, slots=True)
class _Known:
    """Which columns an earlier call made, by place, and the names of those that only look like it."""

    ours: list[int]
    doubtful: list[str]


def _known(frame: pd.DataFrame, prefix: str, written: Written) -> _Known:
    restored = restored_verdicts(frame, prefix)
    places = _triple(frame, prefix)
    if restored is None or places is None:
        return _Known([], [])
    scores, category = restored.iloc[:, places[0]], restored.iloc[:, places[1]]
    hazards = _hazard_places(restored, prefix, scores, category.cat.categories[1:].tolist())
    others = [
        (i, name.removeprefix(prefix))
        for i, name in enumerate(restored.columns)
        if isinstance(name, str) and name.startswith(prefix) and _is_extra(name.removeprefix(prefix), restored, i)
    ]
    known = [i for i, name in others if written.knows(name, scores, restored.iloc[:, i])]
    unclear = [] if written.knows(COLUMNS[1], scores, category) else [i for i, _ in others if i not in known]
    return _Known([*places, *hazards, *known], [restored.columns[i] for i in unclear])


def _is_extra(name: str, frame: pd.DataFrame, place: int) -> bool:
    dtype = frame.dtypes.iloc[place]
    if name in _NUMBERS:
        return isinstance(dtype, pd.Float64Dtype)
    if name in _COUNTS:
        return isinstance(dtype, pd.Int64Dtype)
    return name in _TEXTS and _is_our_text(dtype)


def _hazard_places(frame: pd.DataFrame, prefix: str, scores: pd.Series, codes: Sequence[str]) -> list[int]:
    """Return the places of the hazards' scores: one a code, which sum to the score or have it as their highest."""
    places = [_places(frame, [f"{prefix}{HAZARD}{code}"]) for code in codes]
    if not places or any(len(found) != 1 for found in places):
        return []
    columns = [_numbers(frame.iloc[:, place]) for (place,) in places]
    if any(column is None for column in columns):
        return []
    shares = np.stack([_plain(column) for column in columns])
    whole = _plain(scores.array)
    missing = np.isnan(whole)
    if not (np.isnan(shares) == missing).all():
        return []
    sums, highest = shares[:, ~missing].sum(axis=0), shares[:, ~missing].max(axis=0)
    near = [np.allclose(found, whole[~missing], rtol=0, atol=_TOLERANCE) for found in (sums, highest)]
    return [place for (place,) in places] if any(near) else []


def _plain(column: object) -> np.ndarray:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)  # type: ignore[attr-defined, no-any-return]


def _are_our_types(types: Sequence[object]) -> bool:
    score, category, error = types
    return (
        isinstance(score, pd.Float64Dtype)
        and isinstance(category, pd.CategoricalDtype)
        and category.categories[:1].tolist() == [SAFE]
        and _is_our_text(error)
    )


def _is_our_text(dtype: object) -> bool:
    """Say whether this is the nullable string type; text columns made by pandas itself are of another."""
    return isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA


def _numbers(column: pd.Series) -> pd.api.extensions.ExtensionArray | None:
    """Return probabilities as Float64, or None where something is no number in [0, 1]."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.isna().all()):
        return None
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(values)
    if not ((values[~missing] >= 0) & (values[~missing] <= 1 + _TOLERANCE)).all():
        return None
    return pd.arrays.FloatingArray(np.where(missing, 0.0, values), missing)


def _categories(column: pd.Series, levels: Sequence[str], policies: Iterable[Policy]) -> pd.Categorical | None:
    missing = column.isna()
    seen = column[~missing].unique().tolist()
    if not all(isinstance(value, str) and _CODE.fullmatch(value) and value.lower() != "unsafe" for value in seen):
        return None
    codes = {value for value in seen if value != SAFE}
    known = [tuple(levels), *(policy.codes for policy in (*policies, LLAMA_GUARD_3, *BUILT_IN.values()))]
    chosen = next((found for found in known if found and codes <= set(found)), tuple(sorted(codes)))
    values = [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]
    return pd.Categorical(values, categories=[SAFE, *chosen])


def _level_names(frame: pd.DataFrame, prefix: str) -> list[str]:
    """Return the policy's codes in order, where the categorical kept them or the hazards' columns name them."""
    (place,) = _places(frame, [prefix + COLUMNS[1]])
    dtype = frame.dtypes.iloc[place]
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories[:1].tolist() == [SAFE]:
        return [str(code) for code in dtype.categories[1:]]
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
    score: pd.api.extensions.ExtensionArray, category: pd.Categorical, error: pd.api.extensions.ExtensionArray
) -> bool:
    """Say whether rows have a category where they have a score, and a reason only where they have none."""
    unscored = pd.isna(score)
    return bool((unscored == pd.isna(category)).all() and (unscored | pd.isna(error)).all())


def _with_extras_restored(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    for place, name in enumerate(frame.columns):
        bare = name.removeprefix(prefix) if isinstance(name, str) and name.startswith(prefix) else ""
        if len(_places(frame, [name])) == 1:
            values = _extra_values(bare, frame.iloc[:, place])
            if values is not None:
                frame[name] = values
    return frame


def _extra_values(name: str, column: pd.Series) -> pd.api.extensions.ExtensionArray | None:
    """Return the values in the type that the extra of this name has, or None where it has none or they do not fit."""
    if name in _TEXTS:
        return _texts(column)
    if name not in _NUMBERS | _COUNTS and not name.startswith(HAZARD):
        return None
    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.isna().all()):
        return None
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(values)
    values = np.where(missing, 0.0, values)
    if name not in _COUNTS:
        return pd.arrays.FloatingArray(values, missing)
    is_whole = np.isfinite(values).all() and (values == values // 1).all()
    return pd.arrays.IntegerArray(values.astype(np.int64), missing) if is_whole else None
