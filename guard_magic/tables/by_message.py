"""Tables with one message a row, and the conversations read from them.

Ids never merge two conversations and never split one: where what stands in the column cannot tell them apart for
certain, that is a `ColumnError`. Messages stand in the table's order, in that of a column, or in that of their parents;
a table whose parents show branches, read without them, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from guard_magic.conversations.conversation import Conversation, parse_messages
from guard_magic.conversations.roles import turns
from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError
from guard_magic.tables.branches import Tree, message_lists, refuse_branches
from guard_magic.tables.by_conversation import try_row
from guard_magic.tables.column_plan import ColumnPlan
from guard_magic.tables.columns import column_of, name_words
from guard_magic.tables.message_ids import alike_ids, checked_ids, id_error
from guard_magic.tables.message_order import against_times, sort_messages
from guard_magic.tables.speakers import unknown_roles

__all__ = ["LongTable", "LongTurns", "read_long", "read_long_turns"]


@dataclass(frozen=True, slots=True)
class LongTable:
    """Conversations read from a table with one message a row; lists in the same order.

    Attributes
    ----------
    rows
        The conversations, or why there is none, in order of first sight; of a table read by its parents one a message
        that nobody answered, in the table's order.
    members
        For each of them the positions (0-based) of its table rows, in the order they were said: one a message.
    ids
        Their ids, or by parents those of their last messages; a missing or unusable one as it stands in the table.
    index
        The same as an index of the column's type and name.
    remarks
        What is to be said once of how the table was read.
    """

    rows: list[Row]
    members: list[list[int]]
    ids: list[object]
    index: pd.Index
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LongTurns:
    """The messages of a table with one a row, each to be assessed in its context; three lists in the same order.

    Attributes
    ----------
    rows
        The conversation up to and including the message, or why it cannot be assessed.
    positions
        Positions (0-based) of their table rows; every row of the table is there once.
    groups
        Messages of one group stand side by side and are beginnings of one conversation, shortest first.
    remarks
        As for `LongTable`.
    """

    rows: list[Row]
    positions: list[int]
    groups: list[int]
    remarks: list[str]


def read_long(frame: pd.DataFrame, plan: ColumnPlan) -> LongTable:
    """Read the conversations of a table with one message a row.

    Rows of one id are one conversation, wherever they stand, in row order or in that of ``plan.order``. With
    ``plan.parent`` a conversation is what leads from a first message to one that nobody answered. A message that cannot
    be read makes its whole conversation an error. A row without a usable id is an error of its own.

    Raises
    ------
    ColumnError
        For ids that cannot be told apart, an order that cannot be sorted by, and branches that would be merged.
    """
    if plan.parent:
        return _read_branches(frame, Tree.of(frame, plan))
    messages = message_lists(frame, plan)
    ids = column_of(frame, plan.columns[0])
    members, shown = _group_rows(checked_ids(ids))
    unsorted: dict[int, ConversationError] = {}
    if plan.order is None:
        remarks = against_times(frame, plan.columns, members)
    else:
        unsorted, remarks = sort_messages(column_of(frame, plan.order), members)
    remarks = [*unknown_roles(column_of(frame, plan.columns[-2])), *remarks]
    remarks += [*alike_ids(shown), *_said_twice(frame, members), *_put_away(frame)]
    refuse_branches(frame, plan, members, shown)
    rows: list[Row] = []
    for positions, value in zip(members, shown, strict=True):
        error = id_error(value) or unsorted.get(positions[0])
        rows.append(error or try_row(parse_messages, [messages[i] for i in positions]))
    index = pd.Index(ids.iloc[[positions[0] for positions in members]], name=ids.name)
    return LongTable(rows, members, shown, index, remarks)


def _said_twice(frame: pd.DataFrame, members: list[list[int]]) -> list[str]:
    """Return what is to be said once of conversations of which every row stands there twice, as ``concat`` makes it."""
    try:
        again = frame.duplicated(keep=False).to_numpy()
    except Exception:  # lists cannot be compared so, and values may be hostile
        return []
    n = sum(len(rows) > 1 and bool(again[rows].all()) for rows in members)
    what = f"every row of {n:,} of {len(members):,} conversations stands in the table more than once"
    return [f"{what}, and is read each time: df.drop_duplicates() leaves one"] if n else []


def _put_away(frame: pd.DataFrame) -> list[str]:
    """Return what is to be said once of messages that a column says were deleted or not shown."""
    found = []
    for place, name in enumerate(frame.columns):
        words = [word for word in name_words(name) if word != "is"]
        if len(words) == 1 and words[0] in ("deleted", "internal", "hidden"):
            column = frame.iloc[:, place]
            if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_integer_dtype(column.dtype):
                n = int((column.fillna(0) != 0).sum())
                found += [f"{n:,} messages are {words[0]} by column {name!r}, and are read all the same"] if n else []
    return found


def read_long_turns(frame: pd.DataFrame, plan: ColumnPlan) -> LongTurns:
    """Read each message of a table with one a row in its context; all of an unreadable conversation's are errors.

    With ``plan.parent`` the context of a message is what leads to it, and only that must be readable.

    Raises
    ------
    ColumnError
        As for `read_long`.
    """
    if plan.parent:
        return _branch_turns(Tree.of(frame, plan))
    table = read_long(frame, plan)
    messages = message_lists(frame, plan)
    found = LongTurns([], [], [], table.remarks)
    for group, (row, members) in enumerate(zip(table.rows, table.members, strict=True)):
        found.rows.extend(_turns_of(row, [messages[i] for i in members]))
        found.positions.extend(members)
        found.groups.extend([group] * len(members))
    return found


def _turns_of(row: Row, messages: list[dict[str, object]]) -> list[Row]:
    """Return a row for each table row of a conversation; those that say nothing (tool calls) cannot be assessed."""
    if not isinstance(row, Conversation):
        return [row] * len(messages)
    if len(row) == len(messages) and not row.left_out:
        return turns(row)
    return [try_row(parse_messages, messages[: n + 1]) for n in range(len(messages))]


def _group_rows(ids: list[object]) -> tuple[list[list[int]], list[object]]:
    """Return the positions of each id's rows, and the ids, in order of first sight."""
    members: list[list[int]] = []
    shown: list[object] = []
    groups: dict[object, list[int]] = {}
    for i, value in enumerate(ids):
        alone = id_error(value) is not None
        if not alone and value in groups:
            groups[value].append(i)
            continue
        members.append([i])
        shown.append(value)
        if not alone:
            groups[value] = members[-1]
    return members, shown


def _circle(position: int) -> ConversationError:
    return ConversationError(
        f"the messages answered go in a circle (row {position})", hint="Mend the column of parents."
    )


def _read_branches(frame: pd.DataFrame, tree: Tree) -> LongTable:
    leaves, circles = tree.leaves()
    members = [tree.path(leaf) for leaf in leaves]
    rows = [*map(tree.read, members), *map(_circle, circles)]
    ends = [*leaves, *circles]
    return LongTable(
        rows,
        [*members, *([i] for i in circles)],
        [tree.own.iloc[i] for i in ends],
        pd.Index(tree.own.iloc[ends], name=tree.own.name),
        tree.remarks,
    )


def _branch_turns(tree: Tree) -> LongTurns:
    """Read each message behind what leads to it; the first branch that goes through a message has it."""
    leaves, circles = tree.leaves()
    found = LongTurns([], [], [], tree.remarks)
    seen: set[int] = set()
    for group, leaf in enumerate(leaves):
        path = tree.path(leaf)
        new = next(n for n, i in enumerate(path) if i not in seen)
        seen.update(path[new:])
        whole = tree.read(path)
        is_aligned = isinstance(whole, Conversation) and len(whole) == len(path) and not whole.left_out
        cuts = turns(whole) if is_aligned else [tree.read(path[: n + 1]) for n in range(len(path))]  # type: ignore[arg-type]
        found.rows.extend(cuts[new:])
        found.positions.extend(path[new:])
        found.groups.extend([group] * len(path[new:]))
    found.rows.extend(map(_circle, circles))
    found.positions.extend(circles)
    found.groups.extend(range(len(leaves), len(leaves) + len(circles)))
    return found
