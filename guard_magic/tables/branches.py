"""Messages that answer others: branches recognised, and followed from a first message to each last one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from guard_magic.conversations.conversation import parse_messages
from guard_magic.conversations.rows import Row
from guard_magic.errors import ColumnError, ConversationError, shorten
from guard_magic.tables.by_conversation import try_row
from guard_magic.tables.carried import message_keys
from guard_magic.tables.column_plan import ColumnPlan
from guard_magic.tables.columns import column_of, name_words, parent_columns, places_of
from guard_magic.tables.message_ids import checked_ids, id_error, is_key, is_no_id
from guard_magic.tables.speakers import unknown_roles

__all__ = ["Tree", "message_lists", "refuse_branches"]

_MAX_MESSAGES = 20_000_000
"""Messages of all branches together, each counted with all that was said before it."""


def refuse_branches(
    frame: pd.DataFrame, plan: ColumnPlan, members: Sequence[Sequence[int]], shown: Sequence[object]
) -> None:
    """Refuse conversations in which a message answers another one than that before it."""
    for name in parent_columns(frame.columns):
        if places_of(plan.columns, name) or len(places_of(frame.columns, name)) != 1:
            continue
        parents: list[object] = column_of(frame, name).tolist()
        breaks = [_break(own.tolist(), parents, members) for own in _own_ids(frame, parents, name, plan)]
        if breaks and all(breaks):
            which, row = breaks[0] or (0, 0)
            raise ColumnError(
                f"conversation {shorten(shown[which])} is not one line of messages: row {row} answers message "
                f"{shorten(parents[row])} (column {name!r}), which is not the one before it",
                hint=f"parent={name!r} reads each branch as a conversation of its own; or drop that column to read the "
                "messages in the table's order.",
            )


def _break(
    own: Sequence[object], parents: Sequence[object], members: Sequence[Sequence[int]]
) -> tuple[int, int] | None:
    """Return the first conversation and row whose parent is in the conversation and not the message before it."""
    for which, positions in enumerate(members):
        there = {own[i] for i in positions if is_key(own[i])}
        for before, i in itertools.pairwise(positions):
            if is_key(parents[i]) and parents[i] in there and parents[i] != own[before]:
                return which, i
    return None


def _own_ids(frame: pd.DataFrame, parents: Sequence[object], name: object, plan: ColumnPlan) -> list[pd.Series]:
    """Return the columns that may hold each message's own id: no id twice, and the parents among them.

    Columns that know all parents count before those that know some, those called ids before others, and the index where
    no column will do.
    """
    wanted = {value for value in parents if is_key(value)}
    columns = [frame.iloc[:, i] for i, one in enumerate(frame.columns) if not places_of([name, *plan.columns], one)]
    some: list[pd.Series] = []
    whole: list[pd.Series] = []
    for column in columns:
        keys = [value for value in column.tolist() if is_key(value)]
        if len(keys) == len(set(keys)) and not wanted.isdisjoint(keys):
            (whole if wanted <= set(keys) else some).append(column)
    found = whole or some
    named = [column for column in found if name_words(column.name)[-1:] == ["id"]]
    if found:
        return named if len(named) == 1 else found
    index = frame.index.to_series().reset_index(drop=True)
    return [index] if frame.index.is_unique and not wanted.isdisjoint(index) else []


@dataclass(frozen=True, slots=True)
class Tree:
    """Messages and what each of them answers; lists by position in the table.

    Attributes
    ----------
    messages
        As `parse_messages` takes them.
    own
        The column of the messages' own ids.
    up
        Position of the message answered; None for a first one.
    errors
        What is wrong with a place in the tree, by position.
    remarks
        What is to be said once of the columns read.
    """

    messages: list[dict[str, object]]
    own: pd.Series
    up: list[int | None]
    errors: dict[int, ConversationError]
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, frame: pd.DataFrame, plan: ColumnPlan) -> Tree:
        """Return the messages of a table with what each answers; ids that cannot be told apart are a `ColumnError`."""
        column = column_of(frame, plan.parent[-1])
        parents = checked_ids(column)
        own = column_of(frame, plan.parent[0]) if len(plan.parent) == 2 else _only_own(frame, parents, plan)
        places: dict[object, int] = {}
        for i, value in enumerate(checked_ids(own)):
            if is_key(value) and places.setdefault(value, i) != i:
                raise ColumnError(
                    f"column {shorten(own.name)} holds {shorten(value)} twice: it is not the messages' own id",
                    hint='parent=("message_id", "parent_id") names the column of the messages\' own ids too.',
                )
        tree = cls(message_lists(frame, plan), own, [], {})
        for i, value in enumerate(parents):
            tree.up.append(places.get(value) if is_key(value) else None)
            if not is_no_id(value) and tree.up[-1] is None:
                tree.errors[i] = ConversationError(
                    f"the message answered is not in the table ({shorten(value)}, row {i})",
                    hint="Add it, or leave out what answers it: a guard must see what was said before.",
                )
        tree.remarks.extend([*unknown_roles(column_of(frame, plan.columns[-2])), *_roots_named(column, tree)])
        if len(plan.columns) == 3:
            tree._check_ids(checked_ids(column_of(frame, plan.columns[0])))
        return tree

    def _check_ids(self, ids: Sequence[object]) -> None:
        for i, value in enumerate(ids):
            error, above = id_error(value), self.up[i]
            if error is None and above is not None and ids[above] != value:
                error = ConversationError(
                    f"the message answered belongs to another conversation ({shorten(ids[above])}, row {i})",
                    hint="Leave conversation_id= out where parents alone say what belongs together.",
                )
            if error is not None:
                self.errors.setdefault(i, error)

    def depths(self) -> list[int]:
        """Return how many messages lead to each one, itself included; 0 where they go in a circle."""
        depths = [-1] * len(self.up)
        for start in range(len(self.up)):
            path: list[int] = []
            i: int | None = start
            while i is not None and depths[i] == -1:
                depths[i] = -2
                path.append(i)
                i = self.up[i]
            depth = 0 if i is None else depths[i]
            for place in reversed(path):
                depth = 0 if depth == -2 or (depth == 0 and self.up[place] is not None) else depth + 1
                depths[place] = depth
        return depths

    def path(self, place: int) -> list[int]:
        """Return the positions of the messages that lead to this one, first to last."""
        path = [place]
        while (above := self.up[path[-1]]) is not None:
            path.append(above)
        return path[::-1]

    def read(self, path: Sequence[int]) -> Row:
        """Return the conversation that a path of positions is, or the first thing that is wrong on it."""
        error = next((self.errors[i] for i in path if i in self.errors), None)
        return error or try_row(parse_messages, [self.messages[i] for i in path])

    def leaves(self) -> tuple[list[int], list[int]]:
        """Return the messages that nobody answered, and those that lead nowhere because they go in a circle."""
        depths = self.depths()
        answered = {above for above in self.up if above is not None}
        leaves = [i for i, depth in enumerate(depths) if depth and i not in answered]
        if sum(depths[i] for i in leaves) > _MAX_MESSAGES:
            raise ColumnError(
                f"the branches hold more than {_MAX_MESSAGES:,} messages in all", hint="Score the table in parts."
            )
        return leaves, [i for i, depth in enumerate(depths) if not depth]


def _only_own(frame: pd.DataFrame, parents: Sequence[object], plan: ColumnPlan) -> pd.Series:
    name = plan.parent[-1]
    found = _own_ids(frame, parents, name, plan)
    if not found and not any(map(is_key, parents)):
        return pd.Series(range(len(frame)))
    if len(found) != 1:
        seen = ", ".join(shorten(column.name, 30) for column in found) or "none"
        raise ColumnError(
            f"it is not clear which column holds the messages' own ids, to which {shorten(name)} refers: {seen} could",
            hint=f'Name both: parent=("message_id", {name!r}).',
        )
    return found[0]


def _roots_named(column: pd.Series, tree: Tree) -> list[str]:
    """Return what is to be said where one value, which is no message's id, may stand for "answers none"."""
    lost = Counter(value for i, value in enumerate(column.tolist()) if i in tree.errors and _may_be_none(value))
    return [
        f"{shorten(value)} is not the id of a message, and {n:,} rows answer it: if it stands for none, "
        f"df.assign(**{{{column.name!r}: df[{column.name!r}].replace({value!r}, None)}}) makes them first messages"
        for value, n in lost.most_common(2)
    ]


def _may_be_none(value: object) -> bool:
    return str(value).strip().strip("+-").lower() in ("0", "1", "0.0", "1.0", "root", "null", "nil", "top", "t0")


def message_lists(frame: pd.DataFrame, plan: ColumnPlan) -> list[dict[str, object]]:
    """Return each row's message as `parse_messages` takes it, with what other columns say that it carries."""
    roles, contents = (column_of(frame, name).tolist() for name in plan.columns[-2:])
    read = (*plan.columns, *plan.parent, *([] if plan.order is None else [plan.order]))
    beside = message_keys(frame, read)
    return [
        {**more, "role": role, "content": content} for role, content, more in zip(roles, contents, beside, strict=True)
    ]
