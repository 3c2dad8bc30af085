"""The order of a table's messages: by a column of numbers or times, and what such a column says of the rows' order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from guard_magic.errors import ColumnError, ConversationError, shorten
from guard_magic.tables.columns import column_of, name_words, places_of
from guard_magic.tables.message_ids import NUMBER, is_no_id, kind_of

__all__ = ["against_times", "sort_messages"]

_TIME = re.compile("times?|timestamp|ts|date|datetime|created|sent|posted|at|turn|seq|sequence|idx|index|position")
_LATER = re.compile("updated|modified|edited|deleted|removed|read|seen|expires|expired|birth")
"""Words of times that say nothing of when a message was sent."""


def sort_messages(column: pd.Series, members: list[list[int]]) -> dict[int, ConversationError]:
    """Sort each conversation in place by a column; returns what cannot be sorted, by its first position.

    Raises
    ------
    ColumnError
        For values without one order: neither numbers nor times, nor text of these.
    """
    ranks = _ranks(column)
    lost: dict[int, ConversationError] = {}
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
    return lost


def _falls(ranks: Sequence[int | None]) -> int:
    """Count the messages that have a smaller rank than the one before."""
    known = [rank for rank in ranks if rank is not None]
    return sum(one > other for one, other in itertools.pairwise(known))


def _never_rises(ranks: Sequence[int | None]) -> bool:
    known = [rank for rank in ranks if rank is not None]
    pairs = list(itertools.pairwise(known))
    return all(one >= other for one, other in pairs) and any(one > other for one, other in pairs)


def _ranks(column: pd.Series) -> list[int | None]:
    """Return what to sort by: whole numbers in the order of the column's values; None where one is missing."""
    missing = [is_no_id(value) for value in column.tolist()]
    values = _sortable(column[np.logical_not(np.array(missing, dtype=bool))])
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
    ranked = iter(order[value] for value in values)
    return [None if gone else next(ranked) for gone in missing]


def _sortable(column: pd.Series) -> list[object]:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        return list(column.cat.codes.tolist())
    values: list[object] = column.tolist()
    kinds = {kind_of(value) for value in values}
    try:
        if kinds <= {"number"}:
            return values
        if kinds == {"text"}:
            return _sortable_texts([str(value) for value in values])
        if kinds == {"value"}:
            sorted(values)  # type: ignore[type-var]
            return values
    except (TypeError, ValueError):
        pass
    kind = " and ".join(sorted({type(value).__name__ for value in values}))
    raise ColumnError(
        f"column {shorten(column.name)} has no order: it holds {kind}, such as {shorten(values[0])}",
        hint="Use numbers, times, or text of either (2026-11-28T09:30:00); pd.to_datetime reads other forms.",
    )


def _sortable_texts(texts: list[str]) -> list[object]:
    """Return numbers or times for their texts; anything else is a `ValueError`."""
    if all(NUMBER.fullmatch(text) for text in texts):
        return [int(text) if text.strip().lstrip("+-").isdigit() else float(text) for text in texts]
    zoned = {bool(re.search(r"(Z|[+-]\d\d:?\d\d)\s*$", text)) for text in texts}
    if len(zoned) > 1:
        raise ValueError("times with and without zone")
    return list(pd.to_datetime(pd.Series(texts), format="ISO8601", utc=True))


def against_times(frame: pd.DataFrame, read: Sequence[object], members: Sequence[Sequence[int]]) -> list[str]:
    """Return what is to be said where a column of times (not one of those `read`) runs against the messages' order."""
    worst: tuple[int, object, int] = (0, None, 0)
    several = [positions for positions in members if len(positions) > 1]
    for name in frame.columns if several else ():
        if places_of(read, name) or not _may_be_time(frame, name):
            continue
        try:
            ranks = _ranks(column_of(frame, name))
        except ColumnError:
            continue
        chains = [[ranks[i] for i in positions] for positions in several]
        against = sum(_falls(chain) > 0 for chain in chains)
        worst = max(worst, (against, name, sum(map(_never_rises, chains))), key=lambda found: found[0])
    n_against, against_name, n_newest_first = worst
    if not n_against:
        return []
    return [
        f"{n_against:,} of {len(several):,} conversations are not in the order of {against_name!r} "
        f"(in {n_newest_first:,} the newest message stands first): they are read in the table's order; "
        f"order={against_name!r} sorts their messages"
    ]


def _may_be_time(frame: pd.DataFrame, name: object) -> bool:
    words = name_words(name)
    if any(map(_LATER.fullmatch, words)) or len(places_of(frame.columns, name)) != 1:
        return False
    return any(map(_TIME.fullmatch, words)) or pd.api.types.is_datetime64_any_dtype(column_of(frame, name).dtype)
