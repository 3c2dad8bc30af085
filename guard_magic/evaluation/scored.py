"""The scores of a table that is evaluated: its own, a column of another tool's, or made now; and whose they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.checks import checked_share
from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.evaluation.labelled import read_labels, read_numbers
from guard_magic.evaluation.thresholds import hazards_of
from guard_magic.policy import BUILT_IN, Category, Policy, listed_codes
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.scoring.session import Session
from guard_magic.tables.attach import policies_in_use
from guard_magic.tables.column_plan import MissingResponse, plan_columns
from guard_magic.tables.columns import column_of, places_of
from guard_magic.tables.restoring import restored_verdicts, verdict_places
from guard_magic.tables.score import score_frame
from guard_magic.verdict import COLUMNS, SAFE

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["Asked", "Reading", "ScoredTable", "contents_of", "labels_of", "scored_table", "try_scores", "with_draw"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Reading(TypedDict, total=False):
    """Which columns to read where the table has no scores yet."""

    text: str | None
    prompt: str | None
    response: str | None
    messages: str | None
    missing_response: MissingResponse


class Asked(TypedDict, total=False):
    """Whose scores are meant, and from where on rows are flagged."""

    score: str | None
    prefix: str
    guard: Guard | str | None
    threshold: float | None
    policy: object
    exclude: Iterable[str] | None
    progress: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredTable:
    """A table with scores.

    Attributes
    ----------
    frame
        The table, with the columns of the scores.
    scores
        In [0, 1], NaN where not scored, shape (n_rows,).
    hazards
        Code of each row's most probable hazard, also of rows below the threshold where scores of all hazards are
        there; shape (n_rows,); None where the scores are not a guard's.
    codes
        Of the policy.
    column, title, threshold
        Name of the scores' column, whose they are in words, and from where on rows are flagged.
    scored_by
        Whose they are; None where that is not known.
    """

    frame: pd.DataFrame
    scores: Floats
    hazards: npt.NDArray[np.object_] | None
    codes: tuple[str, ...]
    column: str
    title: str
    threshold: float
    scored_by: ScoredBy | None


def scored_table(
    session: Session,
    frame: pd.DataFrame,
    names: Reading,
    labels: Floats,
    *,
    score: str | None = None,
    prefix: str = "",
    guard: object = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    progress: bool = True,
) -> ScoredTable:
    """Return the table's scores, those of a column, or those of a guard, which is asked where there are none.

    Raises
    ------
    ColumnError, EvaluationError, GuardError
        For columns that are not there, scores that cannot be, and as `guard_magic.score`.
    """
    given = None if threshold is None else checked_share("threshold", threshold)
    if not isinstance(prefix, str):
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="lg3_", or "" for none.')
    if score is not None:
        return _of_column(session, frame, score, given)
    is_asked = guard is not None or policy is not None or bool(listed_codes(exclude))
    known = None if is_asked else restored_verdicts(frame, prefix, policies_in_use(), session.written)
    if known is None:
        asked: dict[str, Any] = {"guard": guard, "policy": policy, "exclude": exclude, "threshold": given}
        extras = ("log_odds", "category_scores", "guard")
        columns: Any = names
        known = score_frame(session, frame, columns, extras=extras, overwrite=True, progress=progress, **asked)
        prefix = ""
    return _of_verdicts(session, known, prefix, given)


def try_scores(
    session: Session, frame: pd.DataFrame, *, score: str | None = None, prefix: str = "", threshold: float | None = None
) -> ScoredTable | None:
    """Return the scores that a table has, or those of a column; None where it has none."""
    if score is None and isinstance(prefix, str) and verdict_places(frame, prefix) is None:
        return None
    return scored_table(session, frame, {}, np.zeros(len(frame)), score=score, prefix=prefix, threshold=threshold)


def _of_column(session: Session, frame: pd.DataFrame, score: object, threshold: float | None) -> ScoredTable:
    n = len(places_of(frame.columns, score))
    if n != 1:
        raise ColumnError(
            f"the table has {n or 'no'} column{'s' if n else ''} {shorten(score)}",
            hint="score= names one column of scores in [0, 1].",
        )
    scores = read_numbers(column_of(frame, score))
    strange = scores[~np.isnan(scores) & ~((scores >= 0) & (scores <= 1))]
    if strange.size:
        raise EvaluationError(
            f"column {shorten(score)} holds {strange[0]:g}, which is not in [0, 1]",
            hint="Scale it first: a logistic of log-odds, or (x - low) / (high - low) with ends fixed beforehand.",
        )
    flag_at = session.threshold_of(None) if threshold is None else threshold
    return ScoredTable(
        frame=frame,
        scores=scores,
        hazards=None,
        codes=(),
        column=str(score),
        title=f"column {score}",
        threshold=flag_at,
        scored_by=None,
    )


def _of_verdicts(session: Session, known: pd.DataFrame, prefix: str, threshold: float | None) -> ScoredTable:
    column, category = prefix + COLUMNS[0], known[prefix + COLUMNS[1]]
    origin = _origin(session, known, prefix)
    codes = tuple(category.cat.categories[1:])
    flagged = np.array([None if pd.isna(word) or word == SAFE else word for word in category], dtype=object)
    found = hazards_of(known, prefix)
    return ScoredTable(
        frame=known,
        scores=read_numbers(known[column]),
        hazards=flagged if found is None else found,
        codes=codes,
        column=column,
        title=str(origin) if origin else f"column {column} (of a guard that is not known)",
        threshold=session.threshold_of(origin) if threshold is None else threshold,
        scored_by=origin,
    )


def _origin(session: Session, known: pd.DataFrame, prefix: str) -> ScoredBy | None:
    """Return whose scores these are: as this session remembers, else as the column ``guard`` says."""
    remembered = session.written.scored_by(known[prefix + COLUMNS[0]])
    if remembered is not None:
        return remembered
    named = known[f"{prefix}guard"].dropna().unique().tolist() if f"{prefix}guard" in known.columns else []
    if len(named) != 1 or not isinstance(named[0], str):
        return None
    guard = next((one for one in session.guards.values() if one.label == named[0]), None)
    codes = tuple(known[prefix + COLUMNS[1]].cat.categories[1:])
    listed = [*policies_in_use(), *BUILT_IN.values()]
    own = [guard.policy] if guard is not None else []
    policy = next((one for one in [*own, *listed] if one.codes == codes), None)
    if policy is None:
        policy = Policy("the table's", tuple(Category(code, code) for code in codes))
    return ScoredBy(named[0], guard.protocol if guard is not None else None, policy)


def labels_of(frame: pd.DataFrame, label: object) -> Floats:
    """Return 1 for unsafe, 0 for safe and NaN for undecided, (n_rows,), of a column or of values beside the table.

    Raises
    ------
    ColumnError
        Where there is no such column.
    EvaluationError
        For values that are no labels, of another number than rows, or with another index.
    """
    if isinstance(label, str):
        return read_labels(frame, label)
    if not isinstance(label, pd.Series | np.ndarray | list):
        raise ColumnError(
            f"label={shorten(label)} is not the name of a column", hint='label="label" after df.guard.labels(…).'
        )
    if np.ndim(label) != 1 or len(label) != len(frame):
        raise EvaluationError(
            f"{len(label):,} labels do not belong to {len(frame):,} rows", hint="Pass one a row, in the table's order."
        )
    if isinstance(label, pd.Series) and not label.index.equals(frame.index):
        raise EvaluationError(
            "the labels have another index than the table",
            hint="Pass label=labels.to_numpy() where they stand in order.",
        )
    values = label if isinstance(label, pd.Series) else pd.Series(label, dtype=object)
    return read_labels(pd.DataFrame({"label": values.array}), "label")


def with_draw(frame: pd.DataFrame, labels: Floats) -> pd.DataFrame:
    """Return labels with what the table says of how they were drawn, as `weights` takes them."""
    asked = pd.DataFrame({"label": labels})
    for name in ("order", "labelled_at"):
        if len(places_of(frame.columns, name)) == 1:
            asked[name] = column_of(frame, name).array
    return asked


def contents_of(frame: pd.DataFrame, names: Reading) -> Ints | None:
    """Return equal numbers for rows with equal conversations, (n_rows,); None where none can be read."""
    try:
        plan = plan_columns(frame, **names)
    except ColumnError:
        return None
    if plan.kind == "long":
        return None
    numbers = [_numbered(column_of(frame, name)) for name in plan.columns]
    _, found = np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)
    return np.asarray(found.reshape(-1), dtype=np.int64)


def _numbered(column: pd.Series) -> Ints:
    """Return equal numbers for equal values; lists and mappings by what they look like."""
    values = column if isinstance(column.dtype, pd.StringDtype) else column.map(_as_text)
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64)


def _as_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return value if isinstance(value, str) else repr(value)
