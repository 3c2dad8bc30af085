"""Ids of messages and conversations: equal where they are one id, and only there.

What stands in a column may not tell ids apart (floats hold 15 digits) or may write one id in two ways (``7`` and
``"7"``): where that is not certain, it is a `ColumnError`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from guard_magic.characters import is_blank, strip_unseen
from guard_magic.conversations.conversation import is_missing
from guard_magic.errors import ColumnError, ConversationError, shorten

__all__ = ["NUMBER", "alike_ids", "checked_ids", "id_error", "is_key", "is_no_id", "kind_of"]

NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")
"""A number as text."""
_ROUNDED = re.compile(r"[+-]?(\d+\.?\d*[eE]\+\d+|\d{16,}\.0*)")
_WHOLE_FLOAT = re.compile(r"\s*[+-]?\d+\.0*\s*")
_MISSING_AS_TEXT = frozenset({"nan", "none", "null", "<na>", "nat"})
_EXCLUSIVE = (
    ("number", "text of a number"),
    ("number", "text of a float"),
    ("text of a number", "text of a float"),
    ("text of a float", "truth value"),
    ("number", "truth value"),
    ("text of a number", "truth value"),
    ("truth value", "text of a truth value"),
    *(("value", kind) for kind in ("number", "text", "text of a number", "text of a float", "text of a truth value")),
)
"""Kinds that may write one id in two ways: one column holds one of them."""
_ID_HINT = 'Read ids as text: pd.read_csv(…, dtype={"id": "string"}), or keep them as integers ("Int64").'


_SOUND = frozenset({int, str, float, bool, type(None), type(pd.NA), list, dict, set, tuple, np.ndarray})
"""Classes whose values raise nothing of their own when they are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class _Unusable:
    """Stands for an id whose own code raises when it is compared or hashed."""

    shown: str

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self.shown


def _sound(value: object) -> object:
    """Return a value that raises nothing when it is compared: itself, or what stands for it."""
    try:
        if issubclass(type(value), str):
            return str.__str__(value)
        hash(value)
        is_sound = not isinstance(value, _Unusable) and bool(value == value or value != value)
    except Exception:
        is_sound = False
    return value if is_sound else _Unusable(shorten(value))


def id_error(value: object) -> ConversationError | None:
    """Return why this is not a conversation's id, or None."""
    if is_no_id(value):
        seen = f" ({shorten(value)})" if isinstance(value, str) else ""
        return ConversationError(f"the conversation id is missing{seen}", hint="Leave the row out or fill it.")
    if kind_of(value) == "other":
        return ConversationError(
            f"the conversation id is a {type(value).__name__.strip('_')}: {shorten(value)}",
            hint="Use numbers or text as ids.",
        )
    return None


def is_no_id(value: object) -> bool:
    """Say whether an id is missing, or the text that one becomes on its way through a file or ``astype(str)``."""
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, str):
        return is_blank(value) or value.strip().lower() in _MISSING_AS_TEXT
    return is_missing(value) or (isinstance(value, np.floating | np.datetime64 | np.timedelta64) and value != value)


def kind_of(value: object) -> str:
    """Return what an id is; ``"other"`` is what cannot be one."""
    if isinstance(value, bool | np.bool_):
        return "truth value"
    if isinstance(value, int | float | np.number | Decimal):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, tuple):
        return "tuple" if all(kind_of(one) != "other" and not is_no_id(one) for one in value) else "other"
    try:
        hash(value)
    except TypeError:
        return "other"
    return "value" if type(value).__eq__ is not object.__eq__ and value == value else "other"


def checked_ids(column: pd.Series) -> list[object]:
    """Return ids as plain values that are equal where they are one id, and only there.

    Raises
    ------
    ColumnError
        Where that is not certain: floats too large to be exact, text of rounded floats, ids of two kinds.
    """
    values: list[object] = column.tolist()
    if column.dtype == object:
        values = [value if type(value) in _SOUND else _sound(value) for value in values]
    if not pd.api.types.is_integer_dtype(column.dtype):
        _check(column.name, values, _exact_below(column.dtype))
    return values


def _check(name: Hashable, values: Iterable[object], limit: int) -> None:
    kinds: dict[str, object] = {}
    tuples = []
    for value in values:
        if isinstance(value, tuple):
            tuples.append(value)
        elif not is_no_id(value):
            kinds.setdefault(_exact_kind(name, value, limit), value)
    for one, other in _EXCLUSIVE:
        if one in kinds and other in kinds:
            raise ColumnError(
                f"column {shorten(name)} holds ids of two kinds, which may be one id written in two ways: "
                f"{shorten(kinds[one], 30)} ({one}) and {shorten(kinds[other], 30)} ({other})",
                hint=f"Make them one kind: df[{name!r}] = df[{name!r}].astype('string'). {_ID_HINT}",
            )
    for parts in itertools.zip_longest(*tuples):
        _check(name, parts, limit)


def _exact_kind(name: Hashable, value: object, limit: int) -> str:
    """Return what an id is, where it is exact."""
    kind = kind_of(value)
    if isinstance(value, str):
        if _ROUNDED.fullmatch(value):
            raise ColumnError(f"column {shorten(name)} holds ids that were rounded: {shorten(value)}", hint=_ID_HINT)
        if NUMBER.fullmatch(value):
            return "text of a float" if _WHOLE_FLOAT.fullmatch(value) else "text of a number"
        return "text of a truth value" if value.strip().lower() in ("true", "false") else kind
    if isinstance(value, np.float32 | np.float16):
        limit = min(limit, 2 ** (np.finfo(type(value)).nmant + 1))
    if isinstance(value, float | np.floating) and not abs(float(value)) < limit:
        raise ColumnError(
            f"column {shorten(name)} holds ids as floats of {limit:,} and more ({value!r}): "
            "different ids may have become one",
            hint=f"Floats hold no more digits. {_ID_HINT}",
        )
    return kind


def _exact_below(dtype: object) -> int:
    """Return the number from which floats of this type cannot tell integers apart."""
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    name = str(dtype).lower()
    if name in ("float16", "halffloat[pyarrow]"):
        return 2**11
    return 2**24 if name in ("float32", "float[pyarrow]") else 2**53


def alike_ids(ids: Iterable[object]) -> list[str]:
    """Return what is to be said once of different ids that differ by case or by what is not seen around them only."""
    first: dict[str, str] = {}
    pairs = []
    for value in ids:
        if isinstance(value, str) and not is_no_id(value):
            one = first.setdefault(strip_unseen(value).strip().casefold(), value)
            if one != value:
                pairs.append((one, value))
    if not pairs:
        return []
    shown = ", ".join(f"{one!a} and {other!a}" for one, other in pairs[:3])
    return [f"ids that look alike are read as different conversations ({len(pairs):,} ×): {shown}"]


def is_key(value: object) -> bool:
    """Say whether this can be looked up as an id."""
    return not is_no_id(value) and kind_of(value) != "other"
