"""Everything that guard_magic raises or warns with.

GuardError
├── ConversationError   (ValueError)    a conversation that cannot be read or assessed
├── ColumnError         (KeyError)      a table whose columns cannot be read or written
├── PolicyError         (ValueError)    hazards that do not exist, or a guard that takes none
├── ProtocolError       (ValueError)    a model that cannot be asked the way its family is asked
├── LoadError           (OSError)       a model that cannot be loaded
├── UnknownGuardError   (LookupError)   a guard that is not resident in this session
├── ScoreError          (RuntimeError)  a row that was asked and could not be scored
├── LabelError          (OSError)       labels that cannot be read, kept or exported
├── CallError           (TypeError)     an option that a function does not have, or one that it needs
└── EvaluationError     (ValueError)    labels and scores that do not carry what is asked of them

Each carries ``message`` (what is wrong and the value seen) and ``hint`` (what to do). An interrupt is none of them:
ScoringInterrupted is a KeyboardInterrupt that IPython shows in one line.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

__all__ = [
    "CallError",
    "ColumnError",
    "ConversationError",
    "EmbeddedGuardWarning",
    "EvaluationError",
    "GuardError",
    "GuardWarning",
    "LabelError",
    "LoadError",
    "PolicyError",
    "ProtocolError",
    "ScoreError",
    "ScoringInterrupted",
    "UnknownGuardError",
    "shorten",
]

_OURS = f"{os.path.dirname(__file__)}{os.sep}"


class GuardError(Exception):
    """Base class of every error raised by guard_magic.

    Parameters
    ----------
    message
        What is wrong, with the value seen.
    hint
        What to do about it; shown on a line of its own below the message.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"Hint: {hint}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the user's own lines and the message, none of the lines of this package."""
        shell, lines = sys.modules["IPython"].get_ipython(), _outside(self.__traceback__)
        if shell is None:  # a shell that somebody made by hand, beside IPython's own
            return "".join(traceback.format_exception(type(self), self, lines)).splitlines()
        shown: list[str] = shell.InteractiveTB.structured_traceback(type(self), self, lines, tb_offset=1)
        return shown


def _outside(lines: TracebackType | None) -> TracebackType | None:
    """Return a traceback up to the first line of this package; all of it where it begins there."""
    frames: list[TracebackType] = []
    while lines is not None and not lines.tb_frame.f_code.co_filename.startswith(_OURS):
        frames.append(lines)
        lines = lines.tb_next
    found = None if frames else lines
    for frame in reversed(frames):
        found = TracebackType(found, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return found


def _rebuild(kind: type[GuardError], message: str, hint: str) -> GuardError:
    return kind(message, hint=hint)


class ConversationError(GuardError, ValueError):
    """A conversation that cannot be read, or whose message cannot be assessed."""


class ColumnError(GuardError, KeyError):
    """A table whose columns do not say what to score, or where scores would overwrite others."""


class PolicyError(GuardError, ValueError):
    """Hazards that do not exist, or a guard whose prompt carries no policy."""


class ProtocolError(GuardError, ValueError):
    """A model whose template or tokenizer does not allow it to be asked as its family is."""


class LoadError(GuardError, OSError):
    """A model that cannot be loaded."""


class UnknownGuardError(GuardError, LookupError):
    """A guard that is not resident in this session."""


class ScoreError(GuardError, RuntimeError):
    """A row that was asked and could not be scored."""


class LabelError(GuardError, OSError):
    """Labels that cannot be read, kept or exported; nothing of what was asked was written."""


class CallError(GuardError, TypeError):
    """A call with an option that the function does not have, or without one that it needs."""


class EvaluationError(GuardError, ValueError):
    """Labels and scores that do not carry what is asked of them: nothing is measured, fitted or applied."""


class ScoringInterrupted(KeyboardInterrupt):
    """An interrupt within a call of ours, in IPython: the cell fails, and shows one line.

    Parameters
    ----------
    message
        What is kept and how to go on.
    n_done, n_rows
        Rows whose results are kept, of how many; None where they were not counted yet.
    """

    def __init__(self, message: str, n_done: int = 0, n_rows: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.n_done = n_done
        self.n_rows = n_rows

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback."""
        return [f"Interrupted. {self.message}"]


class GuardWarning(UserWarning):
    """Something a moderator should know before trusting a column."""


class EmbeddedGuardWarning(GuardWarning):
    """A table was scored by the small embedded guard, not by a full-size one."""


def shorten(value: object, width: int = 60) -> str:
    """Return ``repr(value)``, cut in the middle to at most `width` characters; never raises.

    Only as much is formatted as can be shown: a text of 10 MB costs nothing, nor does a list that holds another one
    millions of times.
    """
    text = _brief(value, [8 * width], 2 * width)
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", dict: "{}"}
_MOST_NESTED = 10


def _brief(value: object, left: list[int], longest: int, depth: int = 0) -> str:
    """Format a value; `left` (of one element) is how many characters may still be written, and counts down."""
    kind = type(value)
    if kind in _BRACKETS:
        text = _brief_items(value, left, longest, depth)
    elif kind is str and len(value) > longest:  # type: ignore[arg-type]
        half = longest // 2
        text = repr(value[:half] + value[-half:])  # type: ignore[index]
    else:
        text = _safe_repr(value)
    left[0] -= len(text)
    return text if len(text) <= 4 * longest else f"{text[: 2 * longest]}…{text[-2 * longest :]}"


def _brief_items(value: object, left: list[int], longest: int, depth: int) -> str:
    brackets = _BRACKETS[type(value)]
    if depth == _MOST_NESTED:
        return f"a {type(value).__name__} nested too deeply to show"
    parts = []
    for item in value.items() if isinstance(value, dict) else value:  # type: ignore[attr-defined]
        if left[0] <= 0:
            parts.append("…")
            break
        if isinstance(value, dict):
            key, item = item
            parts.append(f"{_brief(key, left, longest, depth + 1)}: {_brief(item, left, longest, depth + 1)}")
        else:
            parts.append(_brief(item, left, longest, depth + 1))
        left[0] -= 2
    comma = "," if isinstance(value, tuple) and len(parts) == 1 else ""
    return f"{brackets[0]}{', '.join(parts)}{comma}{brackets[1]}"


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # whatever the repr of a stranger's class raises
        return f"a value of type {type(value).__name__} that cannot be shown"
