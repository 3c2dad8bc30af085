"""Rows of a table that are read when they are taken: a large table is never held as conversations all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import Conversation
from guard_magic.errors import ConversationError

__all__ = ["Row", "Rows", "text_size"]

Row = Conversation | ConversationError
"""A row as read: the conversation, or why there is none."""

_TOGETHER = 512
_MOST_NESTED = 6


class Rows(Sequence[Row]):
    """The rows of a table, in order, each read anew whenever it is taken.

    Parameters
    ----------
    columns
        What is read, one or several columns of equal length.
    read
        Reads the values of one row. It raises nothing.
    """

    def __init__(self, columns: Sequence[pd.Series], read: Callable[..., Row]) -> None:
        self._columns = tuple(columns)
        self._read = read

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...
    def __getitem__(self, key: int | slice) -> Row | list[Row]:
        if isinstance(key, slice):
            return [self._read(*values) for values in self._values(key)]
        position = range(len(self))[key]
        return self[position : position + 1][0]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _TOGETHER):
            yield from self[start : start + _TOGETHER]

    def sizes(self, step: int = 1) -> list[int]:
        """Return the characters of every `step`-th row, about, without reading it."""
        return [sum(map(text_size, values)) for values in self._values(slice(None, None, step))]

    def _values(self, key: slice) -> Iterator[tuple[object, ...]]:
        return zip(*(column.iloc[key] for column in self._columns), strict=True)


def text_size(value: Any, depth: int = 0) -> int:
    """Return the characters of all texts in a cell, about; 0 for what is neither text nor holds any."""
    if issubclass(type(value), str):  # the class alone: a hostile value may answer for itself
        return str.__len__(value)
    if type(value) is Conversation:
        return sum(len(message.content) for message in value.messages)
    if depth == _MOST_NESTED:
        return 0
    if type(value) is dict:
        return sum(text_size(part, depth + 1) for part in value.values())
    if type(value) in (list, tuple, np.ndarray):
        return sum(text_size(part, depth + 1) for part in value)
    return 0
