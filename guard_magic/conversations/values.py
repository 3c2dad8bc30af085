"""Conversations as values: messages with a role each, in the order they were said.

A `Conversation` is never empty, holds only the four roles, and ends in a message with words in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guard_magic.characters import is_blank
from guard_magic.conversations.plain_values import MESSAGE_HINT
from guard_magic.conversations.role_names import Role
from guard_magic.errors import ConversationError, shorten

__all__ = ["MAX_CHARACTERS", "Conversation", "Message", "checked", "unreadable"]

MAX_CHARACTERS = 1_000_000
"""Longest message read, in characters: beyond it no guard's context reaches, and tokenizing takes seconds."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who said it and what was said, verbatim."""

    role: Role
    content: str

    def to_dict(self) -> dict[str, str]:
        """Return ``{"role": …, "content": …}``."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in the order they were said; the last one is the one a guard assesses.

    Attributes
    ----------
    messages
        At least one; the last one has words in it.
    left_out
        For each tool call or piece of reasoning of the log that is no message here: how many messages stand ahead
        of it, in order. It does not enter equality.
    left_out_last
        What the log ends with where that was left out (``"message 3 is a tool call …"``), else ``""``: then only
        earlier messages can be assessed. It does not enter equality.
    """

    messages: tuple[Message, ...]
    left_out: tuple[int, ...] = field(default=(), compare=False, repr=False)
    left_out_last: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.messages, tuple) or not all(isinstance(message, Message) for message in self.messages):
            raise ConversationError(f"not a tuple of messages: {shorten(self.messages)}", hint=_BY_HAND_HINT)
        if not self.messages:
            raise ConversationError("the conversation has no messages", hint=MESSAGE_HINT)
        last = self.messages[-1]
        if not isinstance(last.content, str):
            raise ConversationError(f"the content of a message is not text: {shorten(last)}", hint=_BY_HAND_HINT)
        if is_blank(last.content):
            raise ConversationError(
                f"the message to assess is empty ({shorten(last.content)}, message {len(self.messages)}, {last.role})",
                hint="Remove the empty last message, or leave the row out.",
            )

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def assessed(self) -> Message:
        """The message that a guard assesses: the last one."""
        return self.messages[-1]

    @property
    def n_left_out(self) -> int:
        """How many tool calls and pieces of reasoning the log has that are no messages here."""
        return len(self.left_out)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The role of each message, in order."""
        return tuple(message.role for message in self.messages)

    def to_list(self) -> list[dict[str, str]]:
        """Return the messages as ``[{"role": …, "content": …}, …]``."""
        return [message.to_dict() for message in self.messages]


_BY_HAND_HINT = 'Conversation((Message("user", "…"),)); lists of mappings are read by moderate() and score().'


def unreadable(error: Exception) -> ConversationError:
    """Return what is said of a value whose own code raised `error` while it was read."""
    try:
        told = shorten(str(error), 120)[1:-1]
    except Exception:
        told = "(its message cannot be read)"
    return ConversationError(
        f"reading it raised {type(error).__name__}: {told}",
        hint="Turn it into a list of plain mappings first, or leave the row out.",
    )


def checked(text: str, where: str) -> str:
    """Return `text` if a tokenizer can read it whole, else raise."""
    if len(text) > MAX_CHARACTERS:
        raise ConversationError(
            f"{where} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read",
            hint="Split it into parts and score each.",
        )
    nul = text.find("\0")
    if nul >= 0:
        raise ConversationError(
            f"{where} has a NUL character at position {nul}", hint="Binary content read as text? Remove it."
        )
    if not text.isascii():
        _check_surrogates(text, where)
    return text


def _check_surrogates(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConversationError(
            f"{where} has a lone surrogate {shorten(text[error.start])} at position {error.start}",
            hint='Text decoded with errors="surrogateescape"? Decode it again with the right encoding.',
        ) from None
