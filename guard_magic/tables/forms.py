"""Forms of tables: what is read of one, and where its verdicts go.

A form is one small class: `read` gives rows to score, `write` makes a frame of their verdicts. How they are scored is
no matter of its.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.conversations.rows import Row
from guard_magic.errors import shorten
from guard_magic.policy import Policy
from guard_magic.scoring.notices import warn_kept, warn_read, warn_read_as_text, warn_replaced
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.scoring.written import Written
from guard_magic.tables.attach import attach_verdicts, check_free, doubtful_columns
from guard_magic.tables.by_conversation import TurnTable, holds_messages, read_frame, read_series, read_turns
from guard_magic.tables.by_message import LongTable, read_long, read_long_turns
from guard_magic.tables.changes import replaced_values
from guard_magic.tables.column_plan import ColumnPlan, remarks_on
from guard_magic.tables.columns import column_of, count_conversations
from guard_magic.tables.passed_over import level_remarks
from guard_magic.verdict import Verdicts, column_names

__all__ = ["ConversationTurns", "Conversations", "Form", "MessageTurns", "Messages", "NewColumns", "Read", "SeriesOf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewColumns:
    """The columns that verdicts become, as a call wants them.

    Attributes
    ----------
    extras, prefix
        As for `Verdicts.to_frame`.
    overwrite
        Whether columns of these names are replaced, whosever they are.
    written
        What was written before, by which extras are known to be ours.
    by
        What scored them; None for not known.
    """

    extras: Sequence[str]
    prefix: str
    overwrite: bool
    written: Written
    by: ScoredBy | None = None

    def check_free(self, frame: pd.DataFrame, policy: Policy, answer_names: Sequence[str]) -> None:
        """Refuse, before any work, to replace what is not ours; say what is kept because that is not clear."""
        names = column_names(list(self.extras), policy, answer_names)
        how = {"prefix": self.prefix, "overwrite": self.overwrite, "written": self.written, "policies": [policy]}
        check_free(frame, names, **how)  # type: ignore[arg-type]
        warn_kept([] if self.overwrite else doubtful_columns(frame, self.prefix, self.written))

    def attach(self, frame: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
        """Put the columns behind those of a frame."""
        if not self.overwrite:
            columns = verdicts.to_frame(prefix=self.prefix)
            warn_replaced(replaced_values(frame, columns, self.prefix, self.written))
        how = {"extras": self.extras, "prefix": self.prefix, "overwrite": self.overwrite, "written": self.written}
        return attach_verdicts(frame, verdicts, by=self.by, **how)  # type: ignore[arg-type]

    def alone(self, verdicts: Verdicts, index: pd.Index | None = None) -> pd.DataFrame:
        """Return the columns by themselves."""
        return verdicts.to_frame(self.extras, prefix=self.prefix, index=index)


@dataclass(frozen=True, slots=True)
class Read:
    """What is read of a table.

    Attributes
    ----------
    rows
        Conversations to score, or why there is none.
    groups
        For each row whose beginning it is, as for `guard_magic.scoring.run.score_rows`; None where each row is a
        conversation of its own.
    roles
        For each row the role of the message assessed, None where that is not known; None where messages are not the
        rows.
    positions
        For each row which one of the result it is; None where they come in that order.
    """

    rows: Sequence[Row]
    groups: Sequence[Hashable] | None = None
    roles: Sequence[Role | None] | None = None
    positions: Sequence[int] | None = None

    def in_order(self, verdicts: Verdicts) -> Verdicts:
        """Return the verdicts in the order of the result."""
        if self.positions is None:
            return verdicts
        of_row = dict(zip(self.positions, verdicts, strict=True))
        return Verdicts([of_row[i] for i in range(len(of_row))], verdicts.policy, verdicts.answer_names)

    def never_assessed(self, assessed: Collection[Role]) -> set[int]:
        """Return the positions of messages whose role a guard never assesses: for them no score is no failure."""
        roles = self.roles or ()
        positions = range(len(roles)) if self.positions is None else self.positions
        pairs = zip(positions, roles, strict=False)
        return {i for i, role in pairs if role is not None and role not in assessed}


class Form(ABC):
    """One form of a table, holding one.

    Attributes
    ----------
    label
        What is read, for the bar.
    attaches_to
        The frame whose own columns stay in the result; None where the result has none of them.
    """

    label: str
    attaches_to: pd.DataFrame | None = None

    @abstractmethod
    def read(self) -> Read:
        """Read the rows, and say once what is to be said of how they were read."""

    @abstractmethod
    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Return a new frame with the verdicts, which come in its order."""


class Conversations(Form):
    """A frame with one conversation a row: the same rows, the columns behind its own."""

    def __init__(self, frame: pd.DataFrame, plan: ColumnPlan) -> None:
        self.label = str(plan)
        self.attaches_to = self._frame = frame
        self._plan = plan

    def read(self) -> Read:
        """Read every row when it is taken."""
        _say_how_read(self._frame, self._plan)
        return Read(read_frame(self._frame, self._plan))

    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Put each verdict into its row."""
        return columns.attach(self._frame, verdicts)


class SeriesOf(Form):
    """A Series of conversations: the columns alone, under its index."""

    def __init__(self, series: pd.Series) -> None:
        self.label = "series" if series.name is None else str(series.name)
        self._series = series

    def read(self) -> Read:
        """Read every element when it is taken."""
        _say_how_series_is_read(self._series)
        return Read(read_series(self._series))

    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Return the columns."""
        return columns.alone(verdicts, self._series.index)


class Messages(Form):
    """A frame with one message a row: one row a conversation, under its id."""

    _table: LongTable

    def __init__(self, frame: pd.DataFrame, plan: ColumnPlan) -> None:
        self.label = str(plan)
        self._frame, self._plan = frame, plan

    def read(self) -> Read:
        """Put the conversations together."""
        self._table = read_long(self._frame, self._plan)
        warn_read(self._table.remarks)
        return Read(self._table.rows)

    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Return the columns behind the number of messages."""
        result = columns.alone(verdicts, self._table.index)
        n_messages = np.array([len(members) for members in self._table.members], dtype=np.int64)
        result.insert(0, "n_messages", n_messages)
        return result


class ConversationTurns(Form):
    """Every message of conversations that stand one a row (a frame's, a Series'): one row a message."""

    _table: TurnTable

    def __init__(self, conversations: Conversations | SeriesOf) -> None:
        self.label = conversations.label
        self._conversations = conversations

    def read(self) -> Read:
        """Cut the conversations."""
        self._table = read_turns(self._conversations.read().rows)
        return Read(self._table.rows, self._table.conversations, self._table.roles)

    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Return the columns behind who said what, in which conversation."""
        said = {
            "conversation": pd.array(self._table.conversations, dtype="Int64"),
            "turn": pd.array(self._table.turns, dtype="Int64"),
            "role": pd.array(self._table.roles, dtype="string"),
            "content": pd.array(self._table.contents, dtype="string"),
        }
        return pd.concat([pd.DataFrame(said), columns.alone(verdicts)], axis=1)


class MessageTurns(Form):
    """Every message of a frame with one message a row: the same rows, the columns behind its own."""

    def __init__(self, frame: pd.DataFrame, plan: ColumnPlan) -> None:
        self.label = str(plan)
        self.attaches_to = self._frame = frame
        self._plan = plan

    def read(self) -> Read:
        """Put the conversations together and cut them again; all messages of an unreadable one are errors."""
        table = read_long_turns(self._frame, self._plan)
        warn_read(table.remarks)
        roles = [row.assessed.role if isinstance(row, Conversation) else None for row in table.rows]
        return Read(table.rows, table.groups, roles, table.positions)

    def write(self, verdicts: Verdicts, columns: NewColumns) -> pd.DataFrame:
        """Put each verdict into the row of its message."""
        return columns.attach(self._frame, verdicts)


def _say_how_read(frame: pd.DataFrame, plan: ColumnPlan) -> None:
    """Warn where rows are read as messages of the user's and the table says that they are more than that."""
    if plan.kind in ("text", "prompt"):
        warn_read(remarks_on(frame, plan))
        for name in plan.columns:
            warn_read_as_text(count_conversations(column_of(frame, name)), len(frame), f"column {shorten(name)}")


def _say_how_series_is_read(series: pd.Series) -> None:
    if not holds_messages(series):
        warn_read(level_remarks(series.index))
        warn_read_as_text(count_conversations(series), len(series), "the Series")
