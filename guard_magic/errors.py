"""Everything that guard_magic raises or warns with.

GuardError
├── ConversationError   (ValueError)    a conversation that cannot be read or assessed
├── ColumnError         (KeyError)      a table whose columns cannot be read or written
├── PolicyError         (ValueError)    hazards that do not exist, or a guard that takes none
├── ProtocolError       (ValueError)    a model that cannot be asked the way its family is asked
├── LoadError           (OSError)       a model that cannot be loaded
├── UnknownGuardError   (LookupError)   a guard that is not resident in this session
├── ScoreError          (RuntimeError)  a row that was asked and could not be scored
└── LabelError          (OSError)       labels that cannot be read, kept or exported

Each carries ``message`` (what is wrong and the value seen) and ``hint`` (what to do).
"""

from __future__ import annotations

__all__ = [
    "ColumnError",
    "ConversationError",
    "EmbeddedGuardWarning",
    "GuardError",
    "GuardWarning",
    "LabelError",
    "LoadError",
    "PolicyError",
    "ProtocolError",
    "ScoreError",
    "UnknownGuardError",
    "shorten",
]


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


class GuardWarning(UserWarning):
    """Something a moderator should know before trusting a column."""


class EmbeddedGuardWarning(GuardWarning):
    """A table was scored by the small embedded guard, not by a full-size one."""


def shorten(value: object, width: int = 60) -> str:
    """Return ``repr(value)``, cut in the middle to at most `width` characters.

    Long strings are cut before they are formatted, so a 10 MB value costs nothing.
    """
    if isinstance(value, str) and len(value) > 2 * width:
        value = value[:width] + value[-width:]
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deeply to show"
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
