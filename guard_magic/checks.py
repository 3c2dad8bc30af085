"""Options checked before any work, the same for every way in: a value that cannot be meant is an error of ours."""

from __future__ import annotations

import math
import numbers
import re
import shlex
from collections.abc import Collection
from typing import TypeVar

from guard_magic.characters import is_word
from guard_magic.errors import ConversationError, GuardError, LoadError, ScoreError, shorten

__all__ = ["MAX_NAME", "checked_choice", "checked_flag", "checked_guard_name", "checked_share", "is_missing", "name_of"]

Choice = TypeVar("Choice", bound=str)

MAX_NAME = 200
"""Longest name of a guard, in characters: it stands on one line of every report."""

_TRUTHS = ("bool", "bool_")
"""What truth values are called, NumPy's among them."""

# 0.05: bfloat16 moved scores of the embedded guard by at most 0.031 on 192 rows, and by 0.031 and 0.040 on others
# (benchmarks/LOG.md, "bfloat16 on a CPU with AMX" and "FP8, on the embedded guard"); other guards were not measured.
_USUAL = {
    "threshold": "0.5 is the usual start; a Choice goes to guard_magic.set_threshold(choice).",
    "recheck": "0.05 is a usual distance from the threshold.",
    "min_verdict_mass": "0.9 is the default; 0 is for guards with random weights.",
}


def checked_choice(name: str, value: Choice, choices: Collection[Choice], hint: str) -> Choice:
    """Return `value`; anything but one of the words `choices` is a `ConversationError` that says `hint`."""
    if not isinstance(value, str) or value not in choices:
        raise ConversationError(f"{name}={shorten(value)} is not known", hint=hint)
    return value


def checked_share(name: str, value: object, kind: type[GuardError] = ScoreError) -> float:
    """Return `value` as a float in [0, 1].

    Parameters
    ----------
    name
        What the option is called.
    value
        A real number; text, truth values, NaN and arrays are none.
    kind
        What is raised for anything else.
    """
    is_number = isinstance(value, numbers.Real) and type(value).__name__ not in _TRUTHS
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise kind(
            f"{name} {shorten(value)} is not a number in [0, 1]", hint=_USUAL.get(name, "Use a number between 0 and 1.")
        )
    return number


def checked_flag(name: str, value: object, kind: type[GuardError] = ScoreError) -> bool:
    """Return `value`, True or False; anything else is an error, as text such as "no" would count as true."""
    if type(value).__name__ not in _TRUTHS:
        raise kind(f"{name}={shorten(value)} is neither True nor False", hint=f"Write {name}=True or {name}=False.")
    return bool(value)


def checked_guard_name(value: object) -> str:
    """Return a guard's name: one visible word, so that ``%guard use NAME`` reads it back; else a `LoadError`."""
    if isinstance(value, str) and len(value) <= MAX_NAME and is_word(value) and _is_one_argument(value):
        return value
    raise LoadError(
        f"{shorten(value)} cannot be a guard's name",
        hint=f"Use one word of at most {MAX_NAME} characters, without spaces, quotes or a dash in front: name='lg3'.",
    )


def name_of(source: str) -> str:
    """Return the name that a guard loaded from `source` has by default: its last part, as one word."""
    last = source.rstrip("/\\").rsplit("/", 1)[-1]
    if len(last) <= MAX_NAME and is_word(last) and _is_one_argument(last):
        return last
    kept = "".join(c if is_word(c) and c not in "'\"\\" else "-" for c in last[:MAX_NAME])
    return re.sub("--+", "-", kept).strip("-") or "guard"


def _is_one_argument(value: str) -> bool:
    try:
        return shlex.split(value) == [value] and not value.startswith("-")
    except ValueError:
        return False


def is_missing(value: object) -> bool:
    """Say whether `value` is a missing cell: None, NaN, NaT or ``pandas.NA``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return isinstance(value, float) and bool(value != value)
    except Exception:
        return False
