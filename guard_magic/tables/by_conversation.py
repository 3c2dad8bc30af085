"""Tables with one conversation a row, and what is read from them.

Rows that cannot be read become errors in their place; the other rows are not disturbed. The caller's table is never
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from guard_magic.characters import is_blank
from guard_magic.conversations.conversation import (
    Conversation,
    Message,
    Role,
    is_missing,
    parse_conversation,
    parse_messages,
    unreadable,
)
from guard_magic.conversations.roles import turns
from guard_magic.conversations.rows import Row, Rows
from guard_magic.errors import ColumnError, ConversationError, shorten
from guard_magic.tables.carried import Carried, carried_columns, with_carried
from guard_magic.tables.column_plan import MESSAGE_NAMES, ColumnPlan, MissingResponse
from guard_magic.tables.columns import column_of

__all__ = ["TurnTable", "holds_messages", "read_frame", "read_series", "read_turns", "try_row"]


def read_frame(frame: pd.DataFrame, plan: ColumnPlan) -> Rows:
    """Return the rows of a frame, in order, to be read when they are taken; unreadable ones are errors.

    Raises
    ------
    ColumnError
        For a plan of the kind ``"long"``, whose conversations are not one a row: `read_long` reads these.
    """
    if plan.kind == "long":
        raise ColumnError(f"the columns {plan} hold one message a row, not one conversation", hint="Use read_long.")
    columns = [column_of(frame, name) for name in plan.columns]
    if plan.kind == "prompt" and len(columns) == 2:
        read: Callable[..., Row] = partial(_try_exchange, missing_response=plan.missing_response)
    else:
        read = partial(try_row, parse_messages if plan.kind == "messages" else _parse_text)
    carried = carried_columns(frame, plan.columns)
    if not carried:
        return Rows(columns, read)
    return Rows([*columns, *(one.column for one in carried)], partial(_try_carrying, read, carried))


@dataclass(frozen=True, slots=True)
class TurnTable:
    """One line per message, to be assessed in its context; five lists of the same length.

    Attributes
    ----------
    rows
        The conversation up to and including the message, or why it cannot be assessed.
    conversations
        Position (0-based) of the conversation among those given.
    turns
        Number (0-based) of the message in it; None for an unreadable conversation, which has one line.
    roles, contents
        Who said what; None for an unreadable conversation.
    """

    rows: list[Row]
    conversations: list[int]
    turns: list[int | None]
    roles: list[Role | None]
    contents: list[str | None]


def read_turns(rows: Iterable[Row]) -> TurnTable:
    """Cut conversations into one line per message: each conversation's in order, one after the other."""
    table = TurnTable([], [], [], [], [])
    for position, row in enumerate(rows):
        if isinstance(row, ConversationError):
            lines: list[tuple[Row, int | None, Role | None, str | None]] = [(row, None, None, None)]
        else:
            said = zip(turns(row), row.messages, strict=True)
            lines = [(cut, turn, message.role, message.content) for turn, (cut, message) in enumerate(said)]
        for cut, turn, role, content in lines:
            table.rows.append(cut)
            table.conversations.append(position)
            table.turns.append(turn)
            table.roles.append(role)
            table.contents.append(content)
    return table


def read_series(series: pd.Series) -> Rows:
    """Return the rows of a Series, to be read when they are taken: strings (one user message each) or message lists.

    In a Series called ``messages``, ``conversations`` or ``conversation`` strings are the JSON of message lists.
    """
    read = parse_messages if holds_messages(series) else parse_conversation
    return Rows([series], partial(try_row, read))


def holds_messages(series: pd.Series) -> bool:
    """Say whether strings of this Series are message lists, by its name."""
    return isinstance(series.name, str) and series.name in MESSAGE_NAMES


def try_row(read: Callable[[object], Conversation], value: object) -> Row:
    """Return what `read` returns, or the error that it raises."""
    try:
        return read(value)
    except ConversationError as error:
        return error
    except Exception as error:
        return unreadable(error)


def _try_carrying(read: Callable[..., Row], carried: list[Carried], *values: object) -> Row:
    n = len(values) - len(carried)
    return with_carried(read(*values[:n]), carried, values[n:])


def _parse_text(value: object) -> Conversation:
    if is_missing(value):
        raise ConversationError("the text is missing", hint="Leave the row out or fill it.")
    if not isinstance(value, str):
        raise ConversationError(
            f"expected text, got {type(value).__name__}: {shorten(value)}", hint="Use messages=… for lists."
        )
    return parse_conversation(value)


def _try_exchange(prompt: object, response: object, missing_response: MissingResponse) -> Row:
    try:
        asked = _parse_text(prompt)
        if is_missing(response) or (isinstance(response, str) and is_blank(response)):
            if missing_response == "prompt":
                return asked
            raise ConversationError(
                'the response is missing; missing_response="prompt" assesses such prompts alone',
                hint='It is not assessed as a prompt instead, unless missing_response="prompt" is passed.',
            )
        answered = _parse_text(response).assessed
    except ConversationError as error:
        return error
    except Exception as error:
        return unreadable(error)
    return Conversation((asked.assessed, Message("assistant", answered.content)))
