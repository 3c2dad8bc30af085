"""Tables scored end to end: columns read, rows scored, columns put in place.

What is asked is settled by the session; what a column holds is known to the modules beside this one.
Here the two meet, once for each form of a table: one conversation a row, one message a row, and one row a message as
a result.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.rows import Row
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import ColumnError, ScoreError, shorten
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.notices import warn_kept, warn_read, warn_read_as_text
from guard_magic.scoring.run import Request
from guard_magic.scoring.session import Session
from guard_magic.tables.attach import attach_verdicts, check_free, doubtful_columns
from guard_magic.tables.by_conversation import holds_messages, read_frame, read_series, read_turns
from guard_magic.tables.by_message import read_long, read_long_turns
from guard_magic.tables.column_plan import ColumnPlan, MissingResponse, plan_columns, remarks_on
from guard_magic.tables.columns import column_of, count_conversations
from guard_magic.verdict import Verdicts, checked_extras, column_names

__all__ = [
    "ColumnNames",
    "Errors",
    "TableOptions",
    "TurnOptions",
    "score_frame",
    "score_frame_turns",
    "score_series",
    "score_series_turns",
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


class TurnOptions(TypedDict, total=False):
    """How a table is scored; see `guard_magic.score`."""

    guard: object
    threshold: float | None
    policy: object
    exclude: Iterable[str] | None
    extras: Iterable[str] | None
    roles: RoleRules
    overflow: Overflow
    recheck: float | None
    errors: Errors
    prefix: str
    progress: bool


class TableOptions(TurnOptions, total=False):
    """The same, and which message of a conversation is assessed."""

    assess: Assess


class _Asked(TypedDict, total=False):
    """The options that are the session's to settle."""

    guard: object
    threshold: float | None
    policy: object
    exclude: Iterable[str] | None
    roles: RoleRules
    assess: Assess
    recheck: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call on a table, its options settled."""

    session: Session
    request: Request
    extras: list[str]
    errors: Errors
    prefix: str
    progress: bool

    def check_free(self, frame: pd.DataFrame, overwrite: bool) -> None:
        names = column_names(self.extras, self.request.policy, self.request.guard.answer_names)
        written = self.session.written
        check_free(frame, names, prefix=self.prefix, overwrite=overwrite, written=written)
        warn_kept([] if overwrite else doubtful_columns(frame, self.prefix, written))

    def score(self, rows: Sequence[Row], label: str, groups: Sequence[Hashable] | None = None) -> Verdicts:
        return self.session.score_rows(rows, self.request, label=label, progress=self.progress, groups=groups)

    def attach(self, frame: pd.DataFrame, verdicts: Verdicts, overwrite: bool) -> pd.DataFrame:
        return attach_verdicts(
            frame,
            verdicts,
            extras=self.extras,
            prefix=self.prefix,
            overwrite=overwrite,
            written=self.session.written,
        )

    def columns(self, verdicts: Verdicts, index: pd.Index | None = None) -> pd.DataFrame:
        return verdicts.to_frame(self.extras, prefix=self.prefix, index=index)

    def check(self, verdicts: Verdicts, roles: Sequence[Role | None] | None = None) -> Verdicts:
        """Raise for rows without a score where that was asked for.

        Messages of roles that the guard never assesses (`roles`, one a row; None where it is not known) are no failure.
        """
        if self.errors == "raise":
            assessed = self.request.guard.family.roles.assessed
            never = {i for i, role in enumerate(roles or ()) if role is not None and role not in assessed}
            verdicts.raise_errors(never)
        return verdicts


@interruptible
def score_frame(
    session: Session,
    frame: pd.DataFrame,
    names: ColumnNames | None = None,
    *,
    overwrite: bool = False,
    **options: Unpack[TableOptions],
) -> pd.DataFrame:
    """Score the conversations of a table; see `guard_magic.score`."""
    plan = plan_columns(frame, **(names or {}))
    call = _settle(session, overwrite=overwrite, **options)
    if plan.kind == "long":
        return _score_long(frame, plan, call)
    call.check_free(frame, overwrite)
    _say_how_read(frame, plan)
    return call.attach(frame, call.check(call.score(read_frame(frame, plan), str(plan))), overwrite)


@interruptible
def score_series(session: Session, series: pd.Series, **options: Unpack[TableOptions]) -> pd.DataFrame:
    """Score a Series of strings or message lists; the verdict columns alone come back, with its index."""
    call = _settle(session, **options)
    _say_how_series_is_read(series)
    return call.columns(call.check(call.score(read_series(series), _label(series))), series.index)


@interruptible
def score_frame_turns(
    session: Session,
    frame: pd.DataFrame,
    names: ColumnNames | None = None,
    *,
    overwrite: bool = False,
    **options: Unpack[TurnOptions],
) -> pd.DataFrame:
    """Score every message of a table's conversations; see `guard_magic.score_turns`."""
    plan = plan_columns(frame, **(names or {}))
    call = _settle(session, overwrite=overwrite, **options)
    if plan.kind == "long":
        call.check_free(frame, overwrite)
        return call.attach(frame, _score_long_turns(frame, plan, call), overwrite)
    _say_how_read(frame, plan)
    return _score_turns(read_frame(frame, plan), str(plan), call)


@interruptible
def score_series_turns(session: Session, series: pd.Series, **options: Unpack[TurnOptions]) -> pd.DataFrame:
    """Score every message of the conversations of a Series; see `guard_magic.score_turns`."""
    call = _settle(session, **options)
    _say_how_series_is_read(series)
    return _score_turns(read_series(series), _label(series), call)


def _settle(
    session: Session,
    *,
    extras: Iterable[str] | None = (),
    errors: Errors = "coerce",
    prefix: str = "",
    progress: bool = True,
    overwrite: bool = False,
    overflow: Overflow = "error",
    **asked: Unpack[_Asked],
) -> _Call:
    """Check every option before any work is done."""
    names = checked_extras(extras)
    if not isinstance(errors, str) or errors not in ("coerce", "raise"):
        raise ScoreError(f"errors={shorten(errors)} is not known", hint='Use errors="coerce" or errors="raise".')
    if not isinstance(prefix, str):
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="lg3_", or "" for none.')
    for option, value in {"overwrite": overwrite, "progress": progress}.items():
        if not isinstance(value, bool | np.bool_):
            raise ScoreError(f"{option}={shorten(value)} is not true or false", hint=f"Use {option}=True or False.")
    request = session.request(generate="generated_text" in names, overflow=overflow, **asked)
    if overflow != "error":
        names = checked_extras(["cut", *names])
    return _Call(session=session, request=request, extras=names, errors=errors, prefix=prefix, progress=bool(progress))


def _score_long(frame: pd.DataFrame, plan: ColumnPlan, call: _Call) -> pd.DataFrame:
    """Return one row a conversation, under its id."""
    table = read_long(frame, plan)
    warn_read(table.remarks)
    result = call.columns(call.check(call.score(table.rows, str(plan))), table.index)
    result.insert(0, "n_messages", np.array([len(members) for members in table.members], dtype=np.int64))
    return result


def _score_turns(rows: Sequence[Row], label: str, call: _Call) -> pd.DataFrame:
    table = read_turns(rows)
    columns = call.columns(call.check(call.score(table.rows, label, table.conversations), table.roles))
    said = {
        "conversation": pd.array(table.conversations, dtype="Int64"),
        "turn": pd.array(table.turns, dtype="Int64"),
        "role": pd.array(table.roles, dtype="string"),
        "content": pd.array(table.contents, dtype="string"),
    }
    return pd.concat([pd.DataFrame(said), columns], axis=1)


def _score_long_turns(frame: pd.DataFrame, plan: ColumnPlan, call: _Call) -> Verdicts:
    """Return a verdict for each table row, in the table's order; all of an unreadable conversation's are errors."""
    table = read_long_turns(frame, plan)
    warn_read(table.remarks)
    verdicts = call.score(table.rows, str(plan), table.marks)
    ordered = dict(zip(table.places, zip(verdicts, table.rows, strict=True), strict=True))
    lines = [ordered[place] for place in range(len(frame))]
    found = Verdicts([verdict for verdict, _ in lines], verdicts.policy, verdicts.answer_names)
    return call.check(found, [row.assessed.role if isinstance(row, Conversation) else None for _, row in lines])


def _say_how_read(frame: pd.DataFrame, plan: ColumnPlan) -> None:
    """Warn where rows are read as messages of the user's and the table says that they are more than that."""
    if plan.kind in ("text", "prompt"):
        warn_read(remarks_on(frame, plan))
        for name in plan.columns:
            warn_read_as_text(count_conversations(column_of(frame, name)), len(frame), f"column {shorten(name)}")


def _say_how_series_is_read(series: pd.Series) -> None:
    if not holds_messages(series):
        warn_read_as_text(count_conversations(series), len(series), "the Series")


def _label(series: pd.Series) -> str:
    return "series" if series.name is None else str(series.name)
