"""Columns that hold what a row carries beside its text: pictures, sound and files, tool calls and reasoning.

A cell of these is treated as the same thing within a message is: what a guard would have to see makes the row an error,
what was done or thought and not said is left out and counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from guard_magic.characters import is_blank
from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.message_forms import MEDIA, has, plain
from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError
from guard_magic.tables.columns import name_words, places_of, sample_of, texts_of

__all__ = ["Carried", "carried_columns", "message_keys", "with_carried"]

_AROUND = re.compile("has|is|with|n|num|number|of|the|message|msg|user|prompt|input|question|attached|uploaded")
_MEDIA = re.compile(
    "images?|imgs?|pictures?|pics?|photos?|screenshots?|audios?|videos?|media|attachments?|gifs?|stickers?|voice"
)
_FILES = re.compile("files?|documents?")
_AS = re.compile(
    "urls?|uris?|paths?|files?|filenames?|bytes|base64|b64|64|data|links?|src|list|counts?|json|refs?|[0-9]|[ab]"
)
_DEED = re.compile("(tool|function)_(calls?|use|invocations?)|reasoning(_content|_details)?|thinking|thoughts?")
_NOTHING = frozenset({"[]", "{}", "()", "none", "null", "nan", "<na>", "false", "no", "0", "n/a", "-"})
_PLACE = re.compile(r"[\[{<]|.*[/\\].*|\S+\.\w{2,5}")
"""Text that says where something is, or that is a list or mapping of such."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A column of what rows carry, and the key under which a message would carry it."""

    column: pd.Series
    key: str
    is_deed: bool

    def given(self, value: object) -> bool:
        """Say whether a cell holds something; no picture is also 0, False, ``"[]"`` and ``"none"``."""
        if issubclass(type(value), str):
            text = plain(value)  # type: ignore[arg-type]
            return not is_blank(text) and text.strip().lower() not in _NOTHING
        try:
            if issubclass(type(value), int | float | np.number | np.bool_) and not value:
                return False
            return has({self.key: value}, self.key)
        except Exception:  # a value of which nothing can be known is there
            return True


def carried_columns(frame: pd.DataFrame, read: tuple[object, ...]) -> list[Carried]:
    """Return the columns of what rows carry, but for those that are read and those in which nothing is given."""
    found = []
    for i, name in enumerate(frame.columns):
        if isinstance(name, str) and not places_of(read, name):
            column = _carried(name, frame.iloc[:, i])
            if column is not None and any(column.given(value) for value in column.column.tolist() if value is not None):
                found.append(column)
    return found


def _carried(name: str, column: pd.Series) -> Carried | None:
    words = name_words(name)
    if _DEED.fullmatch("_".join(words)):
        return Carried(column, "tool_calls", is_deed=True)
    core = [word for word in words if not _AROUND.fullmatch(word)]
    if not core or not all(map(_AS.fullmatch, core[1:])):
        return None
    key = name if name in MEDIA else "attachments"
    is_clear = len(core) > 1 or core[0] not in ("media", "voice")
    if _MEDIA.fullmatch(core[0]) and (is_clear or _says_where(column)):
        return Carried(column, key, is_deed=False)
    is_held = any(issubclass(type(value), dict | list | bytes | np.ndarray) for value in sample_of(column))
    return Carried(column, key, is_deed=False) if _FILES.fullmatch(core[0]) and is_held else None


def _says_where(column: pd.Series) -> bool:
    values = sample_of(column)
    texts = texts_of(values)
    return len(texts) < len(values) or any(_PLACE.match(text.strip()) for text in texts)


def with_carried(row: Row, carried: list[Carried], values: tuple[object, ...]) -> Row:
    """Return a row as it is with what its cells carry: an error for what a guard would have to see."""
    if isinstance(row, ConversationError):
        return row
    deeds = 0
    for one, value in zip(carried, values, strict=True):
        if one.given(value) and not one.is_deed:
            name = one.column.name
            return ConversationError(
                f"column {name!r} holds a picture, sound or file, which guards here do not see",
                hint=f"df.drop(columns={[name]!r}).guard.score(…) scores what is text alone.",
            )
        deeds += one.given(value)
    return _left_out(row, deeds) if deeds else row


def _left_out(row: Conversation, n: int) -> Conversation:
    return replace(row, left_out=tuple(sorted([*row.left_out, *[len(row) - 1] * n])))


def message_keys(frame: pd.DataFrame, read: tuple[object, ...]) -> list[dict[str, object]]:
    """Return what each row's message carries beside role and content, by the keys that messages have for it."""
    found: list[dict[str, object]] = [{} for _ in range(len(frame))]
    for one in carried_columns(frame, read):
        for keys, value in zip(found, one.column.tolist(), strict=True):
            if one.given(value):
                keys[one.key] = [keys[one.key], value] if one.key in keys else value
    return found
