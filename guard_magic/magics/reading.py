"""What a cell or a variable holds, as conversations, and what is said where it may have been meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from IPython.core.error import UsageError

from guard_magic.callers import warn_caller
from guard_magic.conversations.conversation import (
    Conversation,
    Message,
    looks_like_conversation,
    parse_conversation,
    with_text_hint,
)
from guard_magic.conversations.message_forms import is_message
from guard_magic.conversations.transcripts import count_turns
from guard_magic.errors import ConversationError, shorten
from guard_magic.magics.options import ModerateOptions
from guard_magic.scoring.notices import warn_read_as_text
from guard_magic.tables.by_conversation import holds_messages, read_series
from guard_magic.tables.columns import count_conversations

__all__ = ["conversations_of", "naming_text", "warn_of_reading"]


def is_verbatim(cell: str, found: Sequence[Conversation]) -> bool:
    """Say whether a cell was read as one user message, all of it."""
    return len(found) == 1 and [(m.role, m.content) for m in found[0].messages] == [("user", cell.strip("\n"))]


def warn_of_reading(cell: str, found: Sequence[Conversation]) -> None:
    """Say what may have been meant otherwise: a text with a conversation in it, a text that only begins like a turn."""
    if is_verbatim(cell, found):
        if looks_like_conversation(cell):
            warn_caller(
                "the text reads like a conversation and is scored as one user message: give every turn a line that "
                "begins with user: or assistant:, or a list of messages (--text says that one is meant)"
            )
    elif len(found) == 1 and len(found[0]) == 1 and found[0].assessed.role != "user" and count_turns(cell):
        warn_caller(
            f"the cell is read as one message of the {found[0].assessed.role}, for it begins with "
            f"{shorten(cell.split(':')[0].strip())} and a colon (--text takes all of it as one user message)"
        )


@contextmanager
def naming_text(cell: str | None, found: Sequence[Conversation], options: ModerateOptions) -> Iterator[None]:
    """Let errors about a cell that was not read as one user message name the option that does so."""
    try:
        yield
    except ConversationError as error:
        if cell is None or options.text_only or is_verbatim(cell, found):
            raise
        raise ConversationError(error.message, hint=with_text_hint(error.hint)) from None


def conversations_of(value: Any, name: str) -> list[Conversation]:
    """Read what a variable holds; one unreadable conversation is an error that says which."""
    if isinstance(value, pd.DataFrame):
        raise UsageError(f"{name} is a table: use {name}.guard.score()")
    if isinstance(value, pd.Series):
        rows: Sequence[object] = read_series(value)
    elif isinstance(value, list | tuple) and value and not all(_is_message(item) for item in value):
        rows = value
    else:
        rows = [value]
    found: list[Conversation] = []
    for i, row in enumerate(rows):
        try:
            if isinstance(row, ConversationError):
                raise row
            found.append(parse_conversation(row))
        except ConversationError as error:
            where = f"{name}[{i}]: " if len(rows) > 1 else ""
            raise ConversationError(f"{where}{error.message}", hint=error.hint) from None
    if not found:
        raise ConversationError(f"{name} is empty")
    cells = rows if not isinstance(value, pd.Series) else () if holds_messages(value) else value
    warn_read_as_text(count_conversations(cells), len(rows))
    return found


def _is_message(value: object) -> bool:
    return isinstance(value, Message) or is_message(value)
