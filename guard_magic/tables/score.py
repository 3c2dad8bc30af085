"""Tables scored end to end: a form reads its rows, the session scores them, the form writes the verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import ColumnError, ScoreError, shorten
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.scoring.session import Session
from guard_magic.tables.calibrated import PROBABILITY, Calibrating, checked_calibration, with_probabilities
from guard_magic.tables.column_plan import MissingResponse, plan_columns
from guard_magic.tables.forms import (
    Conversations,
    ConversationTurns,
    Form,
    Messages,
    MessageTurns,
    NewColumns,
    SeriesOf,
)
from guard_magic.verdict import checked_extras

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = [
    "ColumnNames",
    "Errors",
    "ScoreOptions",
    "SeriesOptions",
    "SeriesTurnOptions",
    "TurnOptions",
    "score_frame",
    "score_frame_turns",
    "score_series",
    "score_series_turns",
    "split_names",
]

Errors = Literal["coerce", "raise"]


class ColumnNames(TypedDict, total=False):
    """Which columns to read and how, as `guard_magic.tables.column_plan.plan_columns` takes it."""

    text: str | None
    prompt: str | None
    response: str | None
    messages: str | None
    conversation_id: str | None
    role: str | None
    content: str | None
    order: str | None
    parent: str | tuple[str, str] | None
    missing_response: MissingResponse


class SeriesTurnOptions(TypedDict, total=False):
    """How the messages of a Series are scored; see `guard_magic.api.score`."""

    guard: Guard | str | None
    threshold: float | None
    policy: object
    exclude: Iterable[str] | None
    extras: Iterable[str] | None
    roles: RoleRules
    overflow: Overflow
    recheck: float | None
    calibration: Calibrating | str | os.PathLike[str] | None
    errors: Errors
    prefix: str
    progress: bool


class SeriesOptions(SeriesTurnOptions, total=False):
    """How the conversations of a Series are scored."""

    assess: Assess


class TurnOptions(ColumnNames, SeriesTurnOptions, total=False):
    """How the messages of a frame are scored."""

    overwrite: bool


class ScoreOptions(ColumnNames, SeriesOptions, total=False):
    """How the conversations of a frame are scored."""

    overwrite: bool


@interruptible
def score_frame(
    session: Session,
    frame: pd.DataFrame,
    names: ColumnNames | None = None,
    *,
    overwrite: bool = False,
    **options: Unpack[SeriesOptions],
) -> pd.DataFrame:
    """Score the conversations of a table; see `guard_magic.api.score`."""
    plan = plan_columns(frame, **(names or {}))
    form = Messages(frame, plan) if plan.kind == "long" else Conversations(frame, plan)
    return _score(session, form, overwrite=overwrite, **options)


@interruptible
def score_series(session: Session, series: pd.Series, **options: Unpack[SeriesOptions]) -> pd.DataFrame:
    """Score a Series of strings or message lists; the verdict columns alone come back, with its index."""
    return _score(session, SeriesOf(series), **options)


@interruptible
def score_frame_turns(
    session: Session,
    frame: pd.DataFrame,
    names: ColumnNames | None = None,
    *,
    overwrite: bool = False,
    **options: Unpack[SeriesTurnOptions],
) -> pd.DataFrame:
    """Score every message of a table's conversations; see `guard_magic.api.score_turns`."""
    plan = plan_columns(frame, **(names or {}))
    is_long = plan.kind == "long"
    form = MessageTurns(frame, plan) if is_long else ConversationTurns(Conversations(frame, plan))
    return _score(session, form, overwrite=overwrite, **options)


@interruptible
def score_series_turns(session: Session, series: pd.Series, **options: Unpack[SeriesTurnOptions]) -> pd.DataFrame:
    """Score every message of the conversations of a Series; see `guard_magic.api.score_turns`."""
    return _score(session, ConversationTurns(SeriesOf(series)), **options)


def split_names(options: Any) -> tuple[ColumnNames, dict[str, Any]]:
    """Return which of these options say what columns to read, and the rest."""
    known = ColumnNames.__annotations__
    names: Any = {name: value for name, value in options.items() if name in known}
    return names, {name: value for name, value in options.items() if name not in known}


def _score(
    session: Session,
    form: Form,
    *,
    extras: Iterable[str] | None = (),
    errors: Errors = "coerce",
    prefix: str = "",
    progress: bool = True,
    overwrite: bool = False,
    overflow: Overflow = "error",
    calibration: Calibrating | str | os.PathLike[str] | None = None,
    **asked: Any,
) -> pd.DataFrame:
    """Check every option before any work is done, then read, score and write."""
    names = _with_probability(checked_extras(extras), calibration)
    _check(errors, prefix, overwrite=overwrite, progress=progress)
    request = session.request(generate="generated_text" in names, overflow=overflow, **asked)
    rescale = checked_calibration(calibration, request)
    names = names if overflow == "error" else checked_extras([*names[: rescale is not None], "cut", *names])
    by = ScoredBy(request.guard.label, request.guard.protocol, request.policy)
    columns = NewColumns(extras=names, prefix=prefix, overwrite=bool(overwrite), written=session.written, by=by)
    if form.attaches_to is not None:
        columns.check_free(form.attaches_to, request.policy, request.guard.answer_names)
    read = form.read()
    found = session.score_rows(read.rows, request, label=form.label, progress=bool(progress), groups=read.groups)
    verdicts = read.in_order(found)
    if errors == "raise":
        verdicts.raise_errors(read.never_assessed(request.guard.family.roles.assessed))
    return form.write(verdicts if rescale is None else with_probabilities(verdicts, rescale), columns)


def _with_probability(names: list[str], calibration: object) -> list[str]:
    """Put the probabilities first where there is a calibration to give them."""
    if calibration is not None:
        return checked_extras([PROBABILITY, *names])
    if PROBABILITY in names:
        raise ColumnError(
            f"{PROBABILITY} is what a calibration gives, and there is none",
            hint="Pass calibration=…, as df.guard.calibrate(label=…) fits it.",
        )
    return names


def _check(errors: Errors, prefix: str, **flags: bool) -> None:
    if not isinstance(errors, str) or errors not in ("coerce", "raise"):
        raise ScoreError(f"errors={shorten(errors)} is not known", hint='Use errors="coerce" or errors="raise".')
    if not isinstance(prefix, str):
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="lg3_", or "" for none.')
    for option, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise ScoreError(f"{option}={shorten(value)} is not true or false", hint=f"Use {option}=True or False.")
