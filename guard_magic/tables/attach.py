"""Verdicts put into tables as columns, and columns of an earlier call known again.

Nothing is kept in ``df.attrs`` (it travels into files and breaks there) and nothing rests on where a column stands.
The three columns are known by name and by what they hold, also where a file has changed their types. More columns are
known by what they hold beside the scores: scores of all hazards that make up the score, or values that this session
wrote beside these very scores. Everything else is the user's own: it is never deleted, and never replaced unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.policy import Policy
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.scoring.session import current_session
from guard_magic.scoring.written import HAZARD, NOTHING, Written
from guard_magic.tables.changes import changed_by_hand
from guard_magic.tables.restoring import (
    COUNTS,
    NUMBERS,
    TEXTS,
    TOLERANCE,
    as_floats,
    is_our_text,
    places_named,
    probabilities,
    restored_verdicts,
    verdict_places,
)
from guard_magic.verdict import COLUMNS, SAFE, Verdicts

__all__ = ["attach_verdicts", "check_free", "doubtful_columns", "policies_in_use", "rows_with"]

Frame = TypeVar("Frame", bound=pd.DataFrame)


def attach_verdicts(
    frame: Frame,
    verdicts: Verdicts,
    *,
    extras: Iterable[str] = (),
    prefix: str = "",
    overwrite: bool = False,
    written: Written = NOTHING,
    by: ScoredBy | None = None,
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
    by
        What scored them, to be remembered too; None for not known.

    Raises
    ------
    ColumnError
        Where a column of a name that is needed is not known to be ours and `overwrite` is false.
    """
    columns = verdicts.to_frame(extras, prefix=prefix)
    known = _known(frame, prefix, written, [verdicts.policy])
    _check_names(frame, columns.columns.tolist(), known, overwrite)
    replaced = {*known.ours, *places_named(frame, columns.columns)}
    result = frame.iloc[:, [i for i in range(frame.shape[1]) if i not in replaced]].copy(deep=False)
    if isinstance(result.columns, pd.CategoricalIndex):
        result.columns = pd.Index(result.columns.tolist(), name=result.columns.name)
    for name in columns:
        result[name] = columns[name].array
    if written is not NOTHING:
        written.add(columns.rename(columns=lambda name: name.removeprefix(prefix)), by)
    return result


def policies_in_use() -> list[Policy]:
    """Return the policies that this session asks with, the one that is set first."""
    session = current_session()
    found = [session.policy, *(guard.policy for guard in session.guards.values())]
    return [policy for policy in found if policy is not None]


def rows_with(frame: pd.DataFrame, what: Literal["flagged", "unscored"], prefix: str = "") -> pd.DataFrame:
    """Return the rows of a scored frame whose category is a hazard, or that have none.

    Raises
    ------
    ColumnError
        Where there are no verdicts, or words in their place that are no codes.
    """
    if not isinstance(prefix, str):
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="lg3_", or "" for none.')
    scored = restored_verdicts(frame, prefix, policies_in_use(), current_session().written)
    if scored is None:
        names = ", ".join(repr(prefix + name) for name in COLUMNS)
        raise ColumnError(
            f"the table has no verdicts ({names})", hint="df.guard.score() adds them; prefix= says how they are called."
        )
    category = scored[prefix + COLUMNS[1]]
    unscored = category.isna().to_numpy()
    return scored[unscored if what == "unscored" else ~unscored & (category != SAFE).to_numpy()]


def check_free(
    frame: pd.DataFrame,
    names: Iterable[str],
    *,
    prefix: str,
    overwrite: bool,
    written: Written = NOTHING,
    policies: Iterable[Policy] = (),
) -> None:
    """Raise `ColumnError` now if `attach_verdicts` would raise it after the work is done."""
    _check_names(frame, [prefix + name for name in names], _known(frame, prefix, written, policies), overwrite)


def doubtful_columns(frame: pd.DataFrame, prefix: str = "", written: Written = NOTHING) -> list[str]:
    """Return the columns that could be an earlier call's and are not known to be: they are kept as the user's."""
    return _known(frame, prefix, written).doubtful


def _check_names(frame: pd.DataFrame, names: list[str], known: _Known, overwrite: bool) -> None:
    ours = [] if known.changed else known.ours
    taken = [frame.columns[i] for i in places_named(frame, names) if i not in ours]
    if taken and not overwrite:
        raise ColumnError(
            f"the table has columns {', '.join(map(repr, dict.fromkeys(taken)))} already, "
            f"and they are not known to be from an earlier call{known.changed and f': {known.changed}'}",
            hint="Use prefix='lg3_' for other names, or overwrite=True to replace them.",
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Which columns an earlier call made, by place, and the names of those that only look like it.

    `changed` says what no call wrote in the three columns of `ours`; "" where a call can have written all of it.
    """

    ours: list[int]
    doubtful: list[str]
    changed: str = ""


def _known(frame: pd.DataFrame, prefix: str, written: Written, policies: Iterable[Policy] = ()) -> _Known:
    places = verdict_places(frame, prefix)
    try:
        restored = restored_verdicts(frame, prefix, (*policies, *policies_in_use()), written)
    except ColumnError as error:
        return _Known([], [], error.message)
    if restored is None or places is None:
        return _Known([], [])
    scores, category, errors = (restored.iloc[:, place] for place in places)
    hazards = _hazard_places(restored, prefix, scores, category.cat.categories[1:].tolist())
    changed = changed_by_hand(
        scores, category, errors, restored.iloc[:, hazards], written, is_in_memory=restored is frame
    )
    others = [
        (i, name.removeprefix(prefix))
        for i, name in enumerate(restored.columns)
        if isinstance(name, str) and name.startswith(prefix) and _is_extra(name.removeprefix(prefix), restored, i)
    ]
    known = [i for i, name in others if written.knows(name, scores, restored.iloc[:, i])]
    unclear = [] if written.knows(COLUMNS[1], scores, category) else [i for i, _ in others if i not in known]
    return _Known([*places, *hazards, *known], [restored.columns[i] for i in unclear], changed)


def _is_extra(name: str, frame: pd.DataFrame, place: int) -> bool:
    dtype = frame.dtypes.iloc[place]
    if name in NUMBERS:
        return isinstance(dtype, pd.Float64Dtype)
    if name in COUNTS:
        return isinstance(dtype, pd.Int64Dtype)
    return name in TEXTS and is_our_text(dtype)


def _hazard_places(frame: pd.DataFrame, prefix: str, scores: pd.Series, codes: Sequence[str]) -> list[int]:
    """Return the places of the hazards' scores: one a code, which sum to the score or have it as their highest."""
    places = [places_named(frame, [f"{prefix}{HAZARD}{code}"]) for code in codes]
    if not places or any(len(found) != 1 for found in places):
        return []
    columns = [probabilities(frame.iloc[:, place]) for (place,) in places]
    if any(column is None for column in columns):
        return []
    shares = np.stack([as_floats(column) for column in columns])
    whole = as_floats(scores.array)
    missing = np.isnan(whole)
    if not (np.isnan(shares) == missing).all():
        return []
    sums, highest = shares[:, ~missing].sum(axis=0), shares[:, ~missing].max(axis=0)
    near = [np.allclose(found, whole[~missing], rtol=0, atol=TOLERANCE) for found in (sums, highest)]
    return [place for (place,) in places] if any(near) else []
