"""Values of a frame as text that other programs read."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from guard_magic.characters import first_seen
from guard_magic.conversations.conversation import Conversation, Message, is_missing
from guard_magic.errors import LabelError, shorten

__all__ = ["named_once", "plain", "spreadsheet_text", "to_json"]

_FORMULA = frozenset("=+-@|%\u2212")  # U+2212 is the minus sign
_BREAKS = ("'", "\t", "\r", "\n")


def spreadsheet_text(text: str) -> str:
    """Return `text` so that no spreadsheet takes it for a formula.

    An apostrophe is put before text whose first character that a reader sees is one of ``= + - @ | %`` or a form of
    these (full-width, small, raised), before text that starts with a tab or line break, and before text that starts
    with an apostrophe: taking one leading apostrophe away gives the text back. Spaces, controls, marks and invisible
    characters before it are looked through, for spreadsheets drop them.
    """
    place = first_seen(text)
    sign = "" if place is None else unicodedata.normalize("NFKC", text[place])
    risky = text.startswith(_BREAKS) or sign[:1] in _FORMULA
    return f"'{text}" if risky else text


def plain(value: Any) -> Any:
    """Return a value of a frame as JSON has it: None for missing and for numbers that are none, ISO times."""
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool):
        return value
    if isinstance(value, Conversation):
        return value.to_list()
    if isinstance(value, Message):
        return value.to_dict()
    if isinstance(value, Mapping):
        return named_once([(str(name), plain(one)) for name, one in value.items()])
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return names with their values as a dict; two values under one name are a `LabelError`: one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LabelError(
            f"two names are both written {shorten(twice)}, and one value would be lost", hint="Rename one of them."
        )
    return found


def to_json(value: object, *, ascii_only: bool = True) -> str:
    """Return `value` as JSON; ASCII only, so no line separator or direction mark of a text acts on a reader."""
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
