"""What the names and values of a table's columns say of them: who said a row, what answers it, what it belongs to.

Nothing here decides how a table is read; that is `guard_magic.tables.column_plan`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import (
    ROLE_ALIASES,
    Role,
    is_missing,
    looks_like_conversation,
    parse_messages,
)
from guard_magic.conversations.message_forms import plain
from guard_magic.errors import ConversationError

__all__ = [
    "answer_columns",
    "column_of",
    "conversation_columns",
    "count_conversations",
    "end_answered",
    "is_same",
    "may_hold_messages",
    "name_words",
    "parent_columns",
    "places_of",
    "role_columns",
    "role_of",
]

_SAMPLE = 200
"""Values of a column that are looked at before all are."""
_ANSWER = re.compile(
    "responses?|completions?|answers?|outputs?|reply|replies|generations?|generated|chosen|rejected|assistant"
)
_ABOUT = re.compile(
    "ids?|lang|language|model|name|time|date|at|length|len|tokens|scores?|rating|labels?|types?|kind|url|source|format|"
    "status|roles?|by|category|error"
)
"""Words behind those of an answer, with which a column is one about answers, not of answers (``response_language``)."""
_PARENT = re.compile("parents?|reply|replied|responds|previous|prev|predecessor")
_CONVERSATION = re.compile("conversation|conv|chat|thread|tree|dialog|dialogue|session")
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
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _has_word(name: object, words: re.Pattern[str]) -> bool:
    return any(words.fullmatch(word) for word in name_words(name))


def role_columns(frame: pd.DataFrame) -> dict[str, Counter[str]]:
    """Return the columns that name roles, and how often each is named: what the user's only name is left out.

    At least half of their values are names of roles (any, where they are called ``role``).
    """
    found = {}
    for place, name in enumerate(frame.columns):
        if isinstance(name, str) and not name.endswith("assessed_role"):
            counts = _role_counts(frame.iloc[:, place], is_named_so=name.lower() in ("role", "roles"))
            if counts:
                found[name] = counts
    return found


def _role_counts(column: pd.Series, is_named_so: bool) -> Counter[str]:
    """Count the names of roles in a column; empty where it is no column of roles, or of the user's only."""
    sample = _texts(_sample(column))
    if not sample or not (is_named_so or _share_of_roles(Counter(map(_plain, sample))) >= 0.5):
        return Counter()
    counts = Counter(map(_plain, _texts(column.tolist())))
    share = _share_of_roles(counts)
    if share == 0 or (share < 0.5 and not is_named_so):
        return Counter()
    return counts if any(role_of(value) != "user" for value in counts) else Counter()


def _share_of_roles(counts: Counter[str]) -> float:
    return sum(n for value, n in counts.items() if role_of(value) is not None) / max(1, counts.total())


def _plain(value: str) -> str:
    return value[:40].strip().lower()


def role_of(value: str) -> Role | None:
    """Return the role that a name in lower case is of, or None."""
    return ROLE_ALIASES.get(value)


def answer_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold answers, by their names and because they hold text or messages."""
    found = [i for i, name in enumerate(frame.columns) if _is_answer_name(name, frame)]
    return [frame.columns[i] for i in found if _holds_text(frame.iloc[:, i])]


def _is_answer_name(name: object, frame: pd.DataFrame) -> bool:
    if name_words(name) == ["generated", "text"] and places_of(frame.columns, "unsafe_score"):
        return False  # an extra column of an earlier call
    words = name_words(name)
    at = next((i for i, word in enumerate(words) if _ANSWER.fullmatch(word)), None)
    return at is not None and not any(_ABOUT.fullmatch(word) for word in words[at:])


def _holds_text(column: pd.Series) -> bool:
    return any(issubclass(type(value), str | dict | list | tuple | np.ndarray) for value in _sample(column))


def end_answered(column: pd.Series) -> bool:
    """Say whether most conversations of this column end with an answer themselves."""
    ends: Counter[str] = Counter()
    for value in _sample(column):
        try:
            ends[parse_messages(value).assessed.role] += 1
        except ConversationError:
            continue
    return ends["assistant"] * 2 > ends.total()


def parent_columns(names: Iterable[object]) -> list[str]:
    """Return the names that say that a column holds ids of the messages answered."""
    return [name for name in names if isinstance(name, str) and _has_word(name, _PARENT)]


def conversation_columns(names: Iterable[object]) -> list[str]:
    """Return the names that say that a column holds ids of conversations."""
    return [
        name
        for name in names
        if isinstance(name, str) and _has_word(name, _CONVERSATION) and _KEY.fullmatch(name_words(name)[-1])
    ]


def may_hold_messages(name: str, column: pd.Series) -> bool:
    """Say whether a column called so may hold messages: their numbers, or ids of conversations, are none."""
    values = _sample(column)
    texts = _texts(values)
    if name == "conversation" and texts and len(texts) == len(values):
        return any(text.lstrip()[:1] in ("[", "{") or looks_like_conversation(text) for text in texts)
    return not values or not all(issubclass(type(value), int | float | np.number) for value in values)


def count_conversations(values: Iterable[object]) -> int:
    """Count the texts that are whole conversations and would be read as one message each."""
    return sum(map(looks_like_conversation, _texts(values)))


def _texts(values: Iterable[object]) -> list[str]:
    """Return the texts among values, plain: only classes are looked at, for hostile values answer for themselves."""
    return [plain(value) for value in values if issubclass(type(value), str)]  # type: ignore[arg-type]


def _sample(column: pd.Series) -> list[object]:
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
