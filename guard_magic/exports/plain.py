"""Values of a frame as text that other programs read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from guard_magic.conversation import Conversation, Message, is_missing

__all__ = ["plain", "spreadsheet_text", "to_json"]

_FORMULA = tuple("=+-@|%\t\r\n＝＋－＠")


def spreadsheet_text(text: str) -> str:
    """Return `text` so that no spreadsheet takes it for a formula.

    An apostrophe is put before text that starts, spaces aside, with one of ``= + - @ | %`` or their full-width forms,
    or with a tab or line break, and before text that starts with an apostrophe: taking one leading apostrophe away
    gives the text back.
    """
    risky = text.startswith(("'", *_FORMULA)) or text.lstrip().startswith(_FORMULA)
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
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def to_json(value: object, *, ascii_only: bool = True) -> str:
    """Return `value` as JSON; ASCII only, so no line separator or direction mark of a text acts on a reader."""
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
