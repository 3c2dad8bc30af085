"""What stands beside messages and contradicts how they are read: another speaker, or times that run backwards."""

from __future__ import annotations

import datetime
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from guard_magic.conversations.beside import key_words
from guard_magic.conversations.plain_values import is_missing, is_pair, plain
from guard_magic.conversations.role_names import ROLE_ALIASES, Role
from guard_magic.conversations.speakers import split
from guard_magic.errors import ConversationError, shorten

__all__ = ["check_order", "check_speaker", "names_speaker"]

_SPEAKERS = split("sender author speaker participant type kind name user by role from")
_BESIDE_SPEAKERS = split("sender author speaker participant message msg sent created role type kind name")
_FLAG = frozenset({"is", "from", "by", "was"})
_ORDER = split(
    "time times timestamp ts date datetime created sent posted utc epoch unix turn seq sequence idx index position pos "
    "order step ordinal"
)
_BESIDE_ORDER = split("message msg at on creation create ms iso no nr num number id local")
_SNOWFLAKE = 2**40
"""Ids from here on are made of a time; smaller ones may be anything, and say something where they fall three times."""
_CLOCK = re.compile(r"\s*(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?\s*")
_HALF_A_DAY = 12 * 3600
_NUMBER = re.compile(r"\s*[-+]?\d{1,30}(?:\.\d{1,20})?\s*")


@functools.lru_cache(maxsize=4096)
def _flagged(key: str) -> str | None:
    """Return the role name that a key such as ``is_bot`` asks about, or None."""
    words = [word for word in key_words(key) if word not in _FLAG]
    if len(words) != 1 or words[0] not in ROLE_ALIASES or (key in ROLE_ALIASES and words[0] != "bot"):
        return None
    return words[0]


@functools.lru_cache(maxsize=4096)
def _is_speaker(key: str) -> bool:
    words = {*key_words(key)}
    return bool(words & _SPEAKERS) and words <= _SPEAKERS | _BESIDE_SPEAKERS and key not in ("role", "from")


def names_speaker(key: object) -> bool:
    """Say whether who speaks may stand under a key beside `role` and `from`."""
    return type(key) is str and (_is_speaker(key) or _flagged(key) is not None)


def check_speaker(item: Mapping[Any, Any], role: Role, role_key: str, where: str) -> None:
    """Refuse a message of one role beside which another speaker is named.

    A user's words are nobody else's. A program may speak through a tool, and a human agent is not a bot: neither
    contradicts anything.

    Raises
    ------
    ConversationError
        Naming both.
    """
    for key in filter(names_speaker, item):
        value = item[key]
        inner = value.items() if isinstance(value, Mapping) and _is_speaker(key) else [(key, value)]
        for name, said in inner:
            is_named = name in ("role", "from") or names_speaker(name)
            if is_named and _contradicts(name, said, role, item[role_key]):
                raise ConversationError(
                    f"{where} has {role_key!r} and {key!r}, which contradict each other: {shorten(item[role_key])}, "
                    f"{shorten(value)}",
                    hint="Keep the one that says who spoke.",
                )


def _contradicts(key: str, value: object, role: Role, role_name: object) -> bool:
    flagged = _flagged(key)
    is_true = _as_flag(value) if flagged else None
    if flagged and is_true is False:
        return ROLE_ALIASES[flagged] == role and str(role_name).strip().lower() != "agent"
    if flagged and is_true is not True and not _is_speaker(key):
        return False
    name = flagged if is_true else plain(value).strip().lower() if isinstance(value, str) else ""
    other = ROLE_ALIASES.get(name or "")
    if other is None or other == role or other == "tool":
        return False
    return "user" in (other, role) or other == "system"


def _as_flag(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(value.lower())
    is_flag = isinstance(value, bool | np.bool_ | int | float | np.number) and value in (0, 1)
    return bool(value) if is_flag else None


def check_order(items: Sequence[object]) -> None:
    """Refuse messages beside which a time or a number only falls: the newest stands first.

    Raises
    ------
    ConversationError
        Naming the key and its first two values.
    """
    if len(items) < 2:
        return
    columns = [column for column in _columns(items) if len(column[1]) > 1]
    falling = [column for column in columns if _falls(*column)]
    if falling and not any(_rises(values) for _, values in columns):
        key, values = falling[0]
        raise ConversationError(
            f"messages run backwards in time: {key!r} falls from {shorten(values[0])} to {shorten(values[1])}",
            hint="Turn lists round: messages.apply(lambda m: m[::-1]) for a column, messages[::-1] for one "
            "conversation. Where the order is right, leave that key out.",
        )


def _columns(items: Sequence[object]) -> Iterator[tuple[str, list[object]]]:
    """Yield the keys that say when or where a message stands, with the values that are there."""
    rows = [_mapping(item) for item in items]
    keys = dict.fromkeys(key for row in rows for key in row if type(key) is str and _is_order(key))
    for key in keys:
        yield key, [_inner(row[key]) for row in rows if key in row and not is_missing(_inner(row[key]))]


def _mapping(item: object) -> Mapping[Any, Any]:
    if isinstance(item, Mapping):
        return item
    return dict(item) if isinstance(item, list | tuple) and item and all(map(is_pair, item)) else {}


def _inner(value: object) -> object:
    """Return what MongoDB's exports wrap: ``{"$date": …}``."""
    if isinstance(value, Mapping) and len(value) == 1:
        [(key, inner)] = value.items()
        return _inner(inner) if isinstance(key, str) and key.startswith("$") and inner is not value else None
    return value


@functools.lru_cache(maxsize=4096)
def _is_order(key: str) -> bool:
    words = {*key_words(key)}
    return words <= _ORDER | _BESIDE_ORDER and (bool(words & _ORDER) or words in ({"id"}, {"message", "id"}))


def _falls(key: str, values: Sequence[object]) -> bool:
    read = _read(values)
    if read is None or not all(one > other for one, other in itertools.pairwise(read)):
        return False
    if all(isinstance(value, str) and _CLOCK.fullmatch(value) for value in values):
        return read[0] - read[-1] < _HALF_A_DAY  # else midnight lies between
    is_id = key_words(key)[-1:] == ("id",)
    return not is_id or len(read) > 3 or min(map(abs, read)) >= _SNOWFLAKE


def _rises(values: Sequence[object]) -> bool:
    read = _read(values)
    return read is not None and all(one < other for one, other in itertools.pairwise(read))


def _read(values: Sequence[object]) -> list[float] | None:
    """Return numbers that grow with the values; None where one is neither a number nor a time."""
    found = [_as_number(value) for value in values]
    known = [number for number in found if number is not None and math.isfinite(number)]
    return known if len(known) == len(values) else None


def _as_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[us]").astype(np.int64))
    if isinstance(value, int | float | np.number):
        return value if isinstance(value, int) and abs(value) < 2**1000 else float(value)
    if isinstance(value, str):
        return _text_as_number(value)
    if isinstance(value, datetime.date):
        return _text_as_number(value.isoformat())
    return None


def _text_as_number(text: str) -> float | None:
    if len(text) > 60:
        return None
    if _NUMBER.fullmatch(text):
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3] or 0)
    try:
        read = datetime.datetime.fromisoformat(text.strip().replace("/", "-").replace("Z", "+00:00"))
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=datetime.UTC)).timestamp()
