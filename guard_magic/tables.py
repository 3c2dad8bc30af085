"""Tables: rows to conversations.

Column discovery is by exact name and refuses to guess: two possible readings, or none, are a `ColumnError`
that names what was seen and what to pass. Rows that cannot be read become errors in their place; the other
rows are not disturbed. The caller's table is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from guard_magic.conversation import Conversation, Message, Role, is_missing, parse_conversation, parse_messages
from guard_magic.errors import ColumnError, ConversationError, shorten
from guard_magic.roles import turns
from guard_magic.rows import Row, Rows

__all__ = [
    "ColumnPlan",
    "LongTable",
    "Row",
    "TurnTable",
    "plan_columns",
    "read_frame",
    "read_long",
    "read_series",
    "read_turns",
]

Kind = Literal["messages", "prompt", "text", "long"]

_MESSAGE_NAMES = ("messages", "conversations")
_HINT = (
    "Name them: text=…, prompt=… (with response=…), or messages=…; found by themselves are 'messages' or "
    "'conversations', 'prompt' with an optional 'response', and 'text'."
)
_LONG_HINT = "A table with one row a message is read with conversation_id=…, role=… and content=… together."


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which columns are read, and how.

    Attributes
    ----------
    kind
        ``"messages"``: lists of messages or their JSON. ``"prompt"``: a user message, and with a second
        column the assistant's response to it. ``"text"``: one user message, verbatim. ``"long"``: one
        message a row; the columns of conversation ids, roles and contents.
    columns
        The one to three columns read, in order.
    """

    kind: Kind
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return " + ".join(map(str, self.columns))


def plan_columns(
    columns: Iterable[object],
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
) -> ColumnPlan:
    """Decide which columns hold the conversations.

    Parameters
    ----------
    columns
        The table's column names.
    text, prompt, response, messages
        What the caller named; all None to find the columns by name.
    conversation_id, role, content
        What the caller named of a table with one message a row: all three or none. They are never found by
        themselves.

    Raises
    ------
    ColumnError
        For no reading or several, a named column that is not there or there twice, a response without its
        prompt, or some of `conversation_id`, `role` and `content` without the others.
    """
    seen = list(columns)
    long = _long_columns(conversation_id, role, content)
    named = {"text": text, "prompt": prompt, "messages": messages, "conversation_id": long}
    given = [kind for kind, name in named.items() if name is not None]
    if response is not None and prompt is None:
        raise ColumnError("response= needs the column of the prompts it answers", hint="Pass prompt=… too.")
    if len(given) > 1:
        raise ColumnError(f"{' and '.join(f'{kind}=' for kind in given)} are two readings", hint="Pass one of them.")
    if long is not None:
        plan = ColumnPlan("long", long)
    else:
        plan = _named(text, prompt, response, messages) if given else _discover(seen)
    for name in plan.columns:
        if seen.count(name) != 1:
            what = "no column" if name not in seen else f"{seen.count(name)} columns"
            raise ColumnError(f"the table has {what} {name!r}; it has {_names(seen)}", hint=_HINT)
    return plan


def _long_columns(conversation_id: str | None, role: str | None, content: str | None) -> tuple[str, ...] | None:
    named = {"conversation_id": conversation_id, "role": role, "content": content}
    given = {argument: name for argument, name in named.items() if name is not None}
    if not given:
        return None
    if len(given) < len(named):
        lacking = " and ".join(f"{argument}=" for argument in named if argument not in given)
        raise ColumnError(f"{' and '.join(f'{argument}=' for argument in given)} without {lacking}", hint=_LONG_HINT)
    if len(set(given.values())) < len(given):
        raise ColumnError(
            f"one column is named twice: {', '.join(f'{a}={name!r}' for a, name in given.items())}", hint=_LONG_HINT
        )
    return tuple(given.values())


def _named(text: str | None, prompt: str | None, response: str | None, messages: str | None) -> ColumnPlan:
    if messages is not None:
        return ColumnPlan("messages", (messages,))
    if text is not None:
        return ColumnPlan("text", (text,))
    return ColumnPlan("prompt", tuple(name for name in (prompt, response) if name is not None))


def _discover(seen: list[object]) -> ColumnPlan:
    found = [ColumnPlan("messages", (name,)) for name in _MESSAGE_NAMES if name in seen]
    if "prompt" in seen:
        found.append(ColumnPlan("prompt", ("prompt", "response") if "response" in seen else ("prompt",)))
    if "text" in seen:
        found.append(ColumnPlan("text", ("text",)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ColumnError(f"no column to score: the table has {_names(seen)}", hint=_HINT)
    raise ColumnError(f"several columns could be scored: {', '.join(f'{plan}' for plan in found)}", hint=_HINT)


def _names(seen: list[object]) -> str:
    shown = ", ".join(shorten(name, 30) for name in seen[:12])
    return f"{shown}, … ({len(seen)} columns)" if len(seen) > 12 else shown or "no columns"


def read_frame(frame: pd.DataFrame, plan: ColumnPlan) -> Rows:
    """Return the rows of a frame, in order, to be read when they are taken; unreadable ones are errors.

    Raises
    ------
    ColumnError
        For a plan of the kind ``"long"``, whose conversations are not one a row: `read_long` reads these.
    """
    if plan.kind == "long":
        raise ColumnError(f"the columns {plan} hold one message a row, not one conversation", hint="Use read_long.")
    columns = [frame[name] for name in plan.columns]
    if plan.kind == "prompt" and len(columns) == 2:
        return Rows(columns, _try_exchange)
    return Rows(columns, partial(_try_row, parse_messages if plan.kind == "messages" else _parse_text))


@dataclass(frozen=True, slots=True)
class LongTable:
    """Conversations read from a table with one message a row; three lists in the same order.

    Attributes
    ----------
    rows
        The conversations, or why there is none, in order of first sight.
    members
        For each of them the positions (0-based) of its table rows, in order: one a message.
    ids
        Their ids; a missing or unusable one as it stands in the table.
    """

    rows: list[Row]
    members: list[list[int]]
    ids: list[object]


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


def read_long(frame: pd.DataFrame, plan: ColumnPlan) -> LongTable:
    """Read the conversations of a table with one message a row.

    Rows of one id are one conversation, wherever they stand, in row order. A message that cannot be read makes
    its whole conversation an error. A row without a usable id is an error of its own.
    """
    ids, roles, contents = (frame[name].tolist() for name in plan.columns)
    members, shown = _group_rows(ids)
    table = LongTable([], members, shown)
    for positions, value in zip(members, shown, strict=True):
        error = _id_error(value)
        messages = [{"role": roles[i], "content": contents[i]} for i in positions]
        table.rows.append(_try_row(parse_messages, messages) if error is None else error)
    return table


def _group_rows(ids: list[object]) -> tuple[list[list[int]], list[object]]:
    """Return the positions of each id's rows, and the ids, in order of first sight."""
    members: list[list[int]] = []
    shown: list[object] = []
    groups: dict[object, list[int]] = {}
    for i, value in enumerate(ids):
        alone = _id_error(value) is not None
        if not alone and value in groups:
            groups[value].append(i)
            continue
        members.append([i])
        shown.append(value)
        if not alone:
            groups[value] = members[-1]
    return members, shown


def _id_error(value: object) -> ConversationError | None:
    if is_missing(value):
        return ConversationError(f"the conversation id is missing ({value!r})", hint="Leave the row out or fill it.")
    try:
        hash(value)
    except TypeError:
        return ConversationError(
            f"the conversation id is a {type(value).__name__}: {shorten(value)}", hint="Use numbers or text as ids."
        )
    return None


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

    In a Series called ``messages`` or ``conversations`` strings are the JSON of message lists.
    """
    read = parse_messages if series.name in _MESSAGE_NAMES else parse_conversation
    return Rows([series], partial(_try_row, read))


def _try_row(read: object, value: object) -> Row:
    try:
        return read(value)  # type: ignore[operator, no-any-return]
    except ConversationError as error:
        return error


def _parse_text(value: object) -> Conversation:
    if is_missing(value):
        raise ConversationError(f"the text is missing ({value!r})", hint="Leave the row out or fill it.")
    if not isinstance(value, str):
        raise ConversationError(
            f"expected text, got {type(value).__name__}: {shorten(value)}", hint="Use messages=… for lists."
        )
    return parse_conversation(value)


def _try_exchange(prompt: object, response: object) -> Row:
    try:
        asked = _parse_text(prompt).assessed
        if is_missing(response) or (isinstance(response, str) and not response.strip()):
            raise ConversationError(
                f"the response is missing ({shorten(response)})",
                hint="It is not assessed as a prompt instead; for that, pass prompt=… alone.",
            )
        answered = _parse_text(response).assessed
    except ConversationError as error:
        return error
    return Conversation((asked, Message("assistant", answered.content)))
