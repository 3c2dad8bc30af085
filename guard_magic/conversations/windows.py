"""Conversations that are too long for a guard's context: windows that cover them, or what is cut away.

What a window holds is found by `cutting`; here is what is done with a conversation that does not fit, and how it is
told which part was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from guard_magic.checks import checked_choice
from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.cutting import MAX_WINDOWS, Cutter, Fits, Parts, amount, cut
from guard_magic.errors import ConversationError

__all__ = ["MAX_WINDOWS", "Fits", "Overflow", "Window", "checked_overflow", "plan_windows"]

Overflow = Literal["error", "window", "truncate"]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a conversation that fits; it ends with the message assessed or a piece of it.

    Attributes
    ----------
    conversation
        What is read.
    left_out
        What is not, or which part this is; ``""`` only where it is the whole conversation.
    """

    conversation: Conversation
    left_out: str


def plan_windows(conversation: Conversation, fits: Fits, overflow: Overflow) -> list[Window]:
    """Cut a conversation into parts that fit a guard's context.

    Parameters
    ----------
    conversation
        What was said, with its roles adapted already: a window that has to be adapted again may lose messages.
    fits
        Whether a conversation fits. It should be true for the parts of what fits; where it is not quite, the
        windows still fit but may be shorter than they could.
    overflow
        What to do with a conversation that does not fit. ``"truncate"``: the oldest exchanges leave first;
        where the last one alone is too long, the end of the user message that was answered, then that of the
        assessed message is cut off. ``"window"``: overlapping windows that together cover every message. Each
        holds the assessed message; where that is too long itself, each holds an overlapping piece of it, and
        earlier messages are left out. ``"error"``: raise.

    Returns
    -------
    list of Window
        At least one, all of them fitting, oldest messages first; one with ``left_out == ""`` where the whole
        fits. The score of a conversation in windows is the highest of theirs.

    Raises
    ------
    ConversationError
        Where it does not fit under ``"error"``, where the assessed message does not fit even alone and cut
        short, or where more than `MAX_WINDOWS` windows would be needed.
    """
    checked_overflow(overflow)
    if fits(conversation):
        return [Window(conversation, "")]
    if overflow == "error":
        raise ConversationError(
            f"the conversation is too long: {amount(conversation)}",
            hint='overflow="window" scores overlapping parts, overflow="truncate" leaves the oldest turns out.',
        )
    cutter = Cutter(conversation, fits)
    if overflow == "truncate":
        kept = cutter.truncated()
        return [Window(cut(conversation, kept), _describe_rest(conversation, kept))]
    windows = cutter.windows()
    covered = {part.i for parts in windows for part in parts}
    rest = _ranges([(i, "") for i in range(len(conversation)) if i not in covered])
    lost = f"; {rest} in no window" if rest else ""
    return [
        Window(cut(conversation, parts), f"window {n} of {len(windows)}: {_describe_window(conversation, parts)}{lost}")
        for n, parts in enumerate(windows, start=1)
    ]


def checked_overflow(overflow: Overflow) -> Overflow:
    """Return `overflow`; anything but ``"error"``, ``"window"`` and ``"truncate"`` is a `ConversationError`."""
    hint = 'Use overflow="error", overflow="window" or "truncate".'
    return checked_choice("overflow", overflow, get_args(Overflow), hint)


def _describe_window(conversation: Conversation, parts: Parts) -> str:
    n = len(conversation.assessed.content)
    start, end = parts[0][1:]
    if len(parts) == 1 and end - start < n:
        return f"characters {start + 1:,}–{end:,} of {n:,} of the assessed message"
    lengths = [len(message.content) for message in conversation.messages]
    marks = [
        "" if end - start == lengths[i] else f" (characters {start + 1:,}–{end:,} of {lengths[i]:,})"
        for i, start, end in parts
    ]
    listed = _ranges([(part.i, mark) for part, mark in zip(parts, marks, strict=True)])
    return f"{listed} of {len(conversation)}"


def _ranges(marked: Sequence[tuple[int, str]]) -> str:
    """Name messages (0-based position, what to add to its number): ``messages 4–9 and 20``."""
    runs: list[list[int | str]] = []
    for i, mark in marked:
        if runs and not mark and not runs[-1][2] and runs[-1][1] == i:
            runs[-1][1] = i + 1
        else:
            runs.append([i + 1, i + 1, mark])
    names = [f"{first}{f'–{last}' if last != first else ''}{mark}" for first, last, mark in runs]
    listed = " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
    return f"message{'s' * (len(marked) > 1)} {listed}" if names else ""


def _describe_rest(conversation: Conversation, kept: Parts) -> str:
    rest = []
    if kept[0].i:
        rest.append(f"the first {kept[0].i} of {len(conversation)} messages")
    for part in kept:
        n = len(conversation.messages[part.i].content)
        if part.end - part.start < n:
            last = part.i == len(conversation) - 1
            which = "the assessed message" if last else f"message {part.i + 1}"
            rest.append(f"the last {n - part.end:,} of {n:,} characters of {which}")
    return ", ".join(rest)
