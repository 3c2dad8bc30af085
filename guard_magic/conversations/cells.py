"""Cells that are read as no conversation for certain, and that `--text` takes as one user message."""

from __future__ import annotations

import re

from guard_magic.characters import is_blank
from guard_magic.conversations.line_heads import lines_of, read_label
from guard_magic.errors import ConversationError, shorten

__all__ = ["no_json", "refuse_data"]

_ANY_KEY = re.compile(r"""\b(?:role|content|from|value|parts|text|messages|conversations?)\b\\{0,3}["']?\s*[:=]""")


def no_json(text: str, error: ConversationError) -> ConversationError:
    """Return the error for a cell that begins as JSON does and is not: a text, if no key of messages is in it."""
    if (
        _ANY_KEY.search(text)
        or not re.search(r"[^\W\d_]{2,}|\w\s", text)
        or not error.message.startswith("broken JSON")
    ):
        return error
    return ConversationError(
        f"--text takes this cell as one user message: it begins as JSON does and is not ({shorten(error.message)})",
        hint=error.hint,
    )


def refuse_data(text: str) -> None:
    """Refuse keys with their values, side by side, of which one happens to be a role (``user: postgres``)."""
    lines = [(start, end) for start, end in lines_of(text) if not is_blank(text[start:end])]
    labels = [read_label(text, start, end, False, False) for start, end in lines]
    if len(lines) > 1 and all(label is not None and label.has_text for label in labels):
        raise ConversationError(
            f"--text takes this cell as one user message: all of its lines are keys with values, and one of them is a "
            f"role: {shorten(text[slice(*lines[0])])}",
            hint="As one turn its first word would be lost.",
        )
