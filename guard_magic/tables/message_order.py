"""The order of a table's messages: by a column of numbers or times, and what such a column says of the rows' order."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, ConversationError, shorten
from guard_magic.tables.columns import column_of, has_word, name_words, places_of, sample_of
from guard_magic.tables.message_ids import NUMBER, is_no_id, kind_of
from guard_magic.tables.message_times import is_clock, looks_like_time, time_readings

__all__ = ["against_times", "sort_messages"]

Ranks = list[int | None]

_TIME = re.compile(
    "times?|timestamp|ts|date|datetime|created|sent|posted|at|utc|epoch|unix|when|day|turns?|seq|sequence|idx|index|"
    "indices|position|pos|no|nr|num|number|step|order|ordinal|rank|line|row"
)
_LATER = re.compile("updated|modified|edited|deleted|removed|read|seen|expires|expired|birth|joined|registered|scraped")
"""Words of times that say nothing of when a message was sent."""
_COUNTED = re.compile("n|of|tokens?|words?|chars?|characters|messages|likes?|replies|votes?|phone|house|page|version")
"""Words beside which a number is a count or a name, not a place in an order."""
_SNOWFLAKE = 2**40
"""Ids from here on are made of a time, and grow with it; smaller ones may be anything."""
_ENOUGH = 3
"""Falling steps from which ids that only ever fall say something."""


def sort_messages(column: pd.Series, members: list[list[int]]) -> tuple[dict[int, ConversationError], list[str]]:
    """Sort each conversation in place by a column.

    Returns
    -------
    dict, list of str
        What cannot be sorted, by its first position; and what is to be said once.

    Raises
    ------
    ColumnError
        For values without one order: neither numbers nor times, nor text of these.
    """
    ranks = _ranks(column)
    lost: dict[int, ConversationError] = {}
    n_tied = 0
    for positions in members:
        missing = [i for i in positions if ranks[i] is None]
        if missing and len(positions) > 1:
            lost[positions[0]] = ConversationError(
                f"the order of a message is missing (column {shorten(column.name)}, row {missing[0]})",
                hint="Fill it, or leave the conversation out.",
            )
            continue
        if _never_rises([ranks[i] for i in positions]):
            positions.reverse()  # newest first: messages of one time stand so too
        positions.sort(key=lambda i: ranks[i] or 0)
        n_tied += len({ranks[i] for i in positions}) < len(positions)
    remark = (
        f"in {n_tied:,} of {len(members):,} conversations some messages have one value of {column.name!r}: among "
        "themselves they stand in the table's order (turned round where that is newest first)"
    )
    return lost, [remark] if n_tied else []


def _falls(ranks: Sequence[int | None]) -> int:
    """Count the messages that have a smaller rank than the one before."""
    known = [rank for rank in ranks if rank is not None]
    return sum(one > other for one, other in itertools.pairwise(known))


def _never_rises(ranks: Sequence[int | None]) -> bool:
    known = [rank for rank in ranks if rank is not None]
    pairs = list(itertools.pairwise(known))
    return all(one >= other for one, other in pairs) and any(one > other for one, other in pairs)


def _ranks(column: pd.Series) -> Ranks:
    """Return what to sort by: whole numbers in the order of the column's values; None where one is missing."""
    first, *others = _rankings(column)
    if others:
        raise ColumnError(
            f"column {shorten(column.name)} has no order: day and month could be either of two numbers, and the order "
            f"depends on it ({shorten(next(value for value in column.tolist() if not is_no_id(value)))})",
            hint=f"Say which: df[{column.name!r}] = pd.to_datetime(df[{column.name!r}], dayfirst=True), or False.",
        )
    if all(is_clock(value) for value in sample_of(column) if isinstance(value, str)) and _are_texts(column):
        raise ColumnError(
            f"column {shorten(column.name)} has no order: it holds times of a day, without the day",
            hint="df[::-1] turns a table round that has the newest message first; a column with dates can be sorted.",
        )
    return first


def _are_texts(column: pd.Series) -> bool:
    return any(isinstance(value, str) for value in sample_of(column))


def _rankings(column: pd.Series) -> list[Ranks]:
    """Return the orders that a column's values can be read in: one, or two where its dates have two readings."""
    missing = [is_no_id(value) for value in column.tolist()]
    found: list[Ranks] = []
    for values in _sortable(column[np.logical_not(np.array(missing, dtype=bool))]):
        order = {value: rank for rank, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
        ranked = iter([order[value] for value in values])
        ranks: Ranks = [None if gone else next(ranked) for gone in missing]
        if ranks not in found:
            found.append(ranks)
    return found


def _sortable(column: pd.Series) -> list[list[object]]:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        return [list(column.cat.codes.tolist())]
    values: list[object] = column.tolist()
    kinds = {kind_of(value) for value in values}
    try:
        if kinds <= {"number"}:
            return [values]
        if kinds == {"text"}:
            return _sortable_texts([str(value) for value in values])
        if kinds == {"value"}:
            sorted(values)  # type: ignore[type-var]
            return [values]
    except (TypeError, ValueError):
        pass
    kind = " and ".join(sorted({type(value).__name__ for value in values}))
    raise ColumnError(
        f"column {shorten(column.name)} has no order: it holds {kind}, such as {shorten(values[0])}",
        hint="Use numbers, times, or text of either (2026-11-28T09:30:00); pd.to_datetime reads other forms.",
    )


def _sortable_texts(texts: list[str]) -> list[list[object]]:
    """Return numbers or times for their texts, in each reading; anything else is a `ValueError`."""
    if all(NUMBER.fullmatch(text) for text in texts):
        return [[int(text) if text.strip().lstrip("+-").isdigit() else float(text) for text in texts]]
    return [list(reading) for reading in time_readings(texts)]


@dataclass(frozen=True, slots=True)
class _Against:
    """How a column runs against the table's order: in how many conversations, and in how many the newest is first."""

    name: object
    n_against: int
    n_newest_first: int
    remedy: Literal["sort", "turn", "say"]


def against_times(frame: pd.DataFrame, read: Sequence[object], members: Sequence[Sequence[int]]) -> list[str]:
    """Return what is to be said where a column of times (not one of those `read`) runs against the messages' order."""
    several = [positions for positions in members if len(positions) > 1]
    found = [_against(frame, name, several) for name in frame.columns if several and not places_of(read, name)]
    worst = max((one for one in found if one is not None), key=lambda one: one.n_against, default=None)
    if worst is None:
        return []
    how = {
        "sort": f"order={worst.name!r} sorts their messages",
        "turn": "df[::-1] turns the table round",
        "say": f"that is by one reading of day and month; pd.to_datetime(df[{worst.name!r}], dayfirst=True), or False, "
        "says which, and order= sorts by it",
    }[worst.remedy]
    return [
        f"{worst.n_against:,} of {len(several):,} conversations are not in the order of {worst.name!r} "
        f"(in {worst.n_newest_first:,} the newest message stands first): they are read in the table's order; {how}"
    ]


def _against(frame: pd.DataFrame, name: object, several: Sequence[Sequence[int]]) -> _Against | None:
    if len(places_of(frame.columns, name)) != 1 or has_word(name, _LATER):
        return None
    column = column_of(frame, name)
    try:
        kind = _kind_of_order(name, column)
        rankings = [] if kind is None else _rankings(column)
    except Exception:  # values without an order, or whose own code raises: such a column says nothing
        return None
    if kind is None:
        return None
    found = max((_counted(name, ranks, several, kind, len(rankings)) for ranks in rankings), key=lambda f: f.n_against)
    return found if found.n_against else None


def _counted(name: object, ranks: Ranks, several: Sequence[Sequence[int]], kind: str, n_readings: int) -> _Against:
    chains = [[ranks[i] for i in positions] for positions in several]
    n_newest = sum(map(_never_rises, chains))
    n_against = sum(_falls(chain) > 0 for chain in chains)
    if kind != "time":  # these may be anything: they count where they only ever fall
        is_enough = kind != "id" or sum(map(_falls, chains)) >= _ENOUGH
        n_against = n_newest if n_newest == len(chains) and is_enough else 0
    return _Against(name, n_against, n_newest, "turn" if kind == "clock" else "sort" if n_readings == 1 else "say")


def _kind_of_order(name: object, column: pd.Series) -> Literal["time", "clock", "time id", "id"] | None:
    """Return what a column may say of its messages' order, by its values and by its name."""
    values = sample_of(column)
    words = name_words(name)
    texts = [value for value in values if isinstance(value, str)]
    is_number = bool(values) and all(_is_number(value) for value in values)
    if len(texts) == len(values) > 0 and not is_number:
        if all(map(is_clock, texts)):
            return "clock"
        return "time" if has_word(name, _TIME) or all(map(looks_like_time, texts)) else None
    if all(isinstance(value, datetime.date | np.datetime64) for value in values) and values:
        return "time"
    if is_number and words and not any(map(_COUNTED.fullmatch, words)):
        if words[-1] == "id" or words == ["id"]:
            return "time id" if all(abs(float(value)) >= _SNOWFLAKE for value in values) else "id"  # type: ignore[arg-type]
        return "time" if has_word(name, _TIME) else None
    return "time" if has_word(name, _TIME) and not is_number else None


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return len(value) < 40 and NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
