"""What the names and values of a table's columns say of them: what a row belongs to, and what may be read of it.

Nothing here decides how a table is read; that is `guard_magic.tables.column_plan`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import is_missing, looks_like_conversation
from guard_magic.conversations.message_forms import plain

__all__ = [
    "column_of",
    "conversation_columns",
    "count_conversations",
    "has_word",
    "is_same",
    "may_hold_messages",
    "name_words",
    "parent_columns",
    "places_of",
    "sample_of",
    "texts_of",
]

_SAMPLE = 200
"""Values of a column that are looked at before all are."""
_PARENT = re.compile("parents?|reply|replied|responds|previous|prev|predecessor")
_CONVERSATION = re.compile(
    "conversation|conv|chat|thread|tree|dialog|dialogue|session|ticket|case|room|channel|call|interaction"
)
_KEY = re.compile("id|uuid|hash|key")


def places_of(names: Iterable[object], name: object) -> list[int]:
    """Return the places (0-based) of the columns of this name, whatever objects names are."""
    return [i for i, one in enumerate(names) if is_same(one, name)]


def is_same(one: object, other: object) -> bool:
    """Say whether two column names are one; ``1`` and ``True`` are two, and a missing one is like no other."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    try:
        return bool(one == other)
    except Exception:
        return one is other


def column_of(frame: pd.DataFrame, name: object) -> pd.Series:
    """Return the only column of this name."""
    (place,) = places_of(frame.columns, name)
    return frame.iloc[:, place]


def name_words(name: object) -> list[str]:
    """Return the words of a column's name in lower case: those of ``parentMessage_id`` are parent, message and id."""
    if not isinstance(name, str):
        return []
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", bare)]


def has_word(name: object, words: re.Pattern[str]) -> bool:
    """Say whether one of the words of a column's name is one of these."""
    return any(words.fullmatch(word) for word in name_words(name))


def parent_columns(names: Iterable[object]) -> list[str]:
    """Return the names that say that a column holds ids of the messages answered."""
    return [name for name in names if isinstance(name, str) and has_word(name, _PARENT)]


def conversation_columns(names: Iterable[object]) -> list[str]:
    """Return the names that say that a column holds ids of conversations."""
    return [
        name
        for name in names
        if isinstance(name, str) and has_word(name, _CONVERSATION) and _KEY.fullmatch(name_words(name)[-1])
    ]


def may_hold_messages(name: str, column: pd.Series) -> bool:
    """Say whether a column called so may hold messages: their numbers, or ids of conversations, are none."""
    values = sample_of(column)
    texts = texts_of(values)
    if name == "conversation" and texts and len(texts) == len(values):
        return any(text.lstrip()[:1] in ("[", "{") or looks_like_conversation(text) for text in texts)
    return not values or not all(issubclass(type(value), int | float | np.number) for value in values)


def count_conversations(values: Iterable[object]) -> int:
    """Count the texts that are whole conversations and would be read as one message each."""
    return sum(map(looks_like_conversation, texts_of(values)))


def texts_of(values: Iterable[object]) -> list[str]:
    """Return the texts among values, plain: only classes are looked at, for hostile values answer for themselves."""
    return [plain(value) for value in values if issubclass(type(value), str)]  # type: ignore[arg-type]


def sample_of(column: pd.Series) -> list[object]:
    """Return values that are there, from all over the column."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        values = column.iloc[:_SAMPLE]
    else:
        values = column.iloc[:: max(1, len(column) // _SAMPLE)]
    found: list[object] = [value for value in values.tolist() if not is_missing(value)]
    if found or not len(column):
        return found
    present = column[column.notna()].iloc[:_SAMPLE]
    return list(present.tolist())
