"""Conversations as values: what is read from text, transcripts, JSON and chat logs.

This layer knows nothing about guards, templates or tokens. It promises that a `Conversation` is never
empty, holds only the four roles, and ends in a message with words in it; everything else is a
`ConversationError` that says what was seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from guard_magic.characters import is_blank
from guard_magic.conversations.formats import unwrap
from guard_magic.conversations.literals import begins_like_literal, read_literal
from guard_magic.conversations.message_forms import BESIDE, MESSAGE_HINT, LeftOut, is_missing, plain, read_message
from guard_magic.conversations.role_names import ROLE_ALIASES, Role
from guard_magic.conversations.transcripts import count_turns, read_turns
from guard_magic.errors import ConversationError, shorten

__all__ = [
    "MAX_CHARACTERS",
    "ROLE_ALIASES",
    "Conversation",
    "Message",
    "Role",
    "is_missing",
    "looks_like_conversation",
    "parse_body",
    "parse_conversation",
    "parse_messages",
    "parse_transcript",
    "unreadable",
]

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


def _only_conversation_errors(read: Callable[[object], Conversation]) -> Callable[[object], Conversation]:
    """Turn whatever a hostile or broken value raises while it is read into a `ConversationError`."""

    @functools.wraps(read)
    def wrapper(value: object) -> Conversation:
        try:
            return read(value)
        except ConversationError:
            raise
        except Exception as error:
            found = unreadable(error)
        raise found

    return wrapper


@_only_conversation_errors
def parse_conversation(value: object) -> Conversation:
    """Read one conversation from whatever a notebook holds.

    Parameters
    ----------
    value
        A `Conversation`; a string (one user message, verbatim); one message mapping; a mapping that holds messages
        (``{"messages": […]}``); or a sequence of messages in any form that `parse_messages` reads.

    Raises
    ------
    ConversationError
        For anything else, naming what was seen; also where reading the value raises something of its own.
    """
    if is_missing(value):
        raise ConversationError("the conversation is missing", hint="Leave the row out or fill it.")
    if isinstance(value, str):
        return Conversation((Message("user", _checked(plain(value), "the text")),))
    return _read(value)


@_only_conversation_errors
def parse_messages(value: object) -> Conversation:
    """Read one conversation from a cell of a column of message lists.

    Parameters
    ----------
    value
        A sequence of messages in ``role/content`` or ``from/value`` form, content a string or parts (of OpenAI, Claude,
        Bedrock, or Gemini's `parts`); a mapping of lists; a mapping that holds one of these under ``messages``,
        ``conversations``, ``conversation`` or ``contents``. Unlike with `parse_conversation`, a string is the JSON of
        one of these, a Python literal of one, or a transcript.

    Raises
    ------
    ConversationError
        For anything else, naming what was seen; also where reading the value raises something of its own.
    """
    if is_missing(value):
        raise ConversationError("the messages are missing", hint="Leave the row out or fill it.")
    if isinstance(value, str):
        text = plain(value)
        transcript = None if begins_like_literal(text) else parse_transcript(text)
        return _read(_literal(text)) if transcript is None else transcript
    return _read(value)


def parse_transcript(text: str) -> Conversation | None:
    """Read a transcript with role markers (``user:``, ``**Assistant:**`` …) at line starts.

    Returns None where the first line with words in it carries no marker: then the text is no transcript.

    Raises
    ------
    ConversationError
        Where a later line looks like a marker and is not one of them; see `guard_magic.conversations.transcripts`.
    """
    turns = read_turns(text)
    return None if turns is None else _read([{"role": name, "content": said} for name, said in turns])


def looks_like_conversation(text: str) -> bool:
    """Say whether a text, read as one user message, would hide a conversation.

    True for what `parse_messages` reads: a JSON list of messages, a Python literal of one, and a transcript
    with at least two marked turns. Texts that begin like neither cost a look at their first line.
    """
    if not begins_like_literal(text):
        return count_turns(text) > 1
    try:
        return len(parse_messages(text)) > 0
    except ConversationError:
        return False


def parse_body(text: str, *, text_only: bool = False) -> list[Conversation]:
    """Read the body of a ``%%moderate`` cell.

    Parameters
    ----------
    text
        Plain text (one user message), a transcript, a list of messages as JSON (or as Python writes it), or JSON
        Lines (several).
    text_only
        Take the whole body as one user message, whatever it looks like.

    Returns
    -------
    list of Conversation
        At least one, in order.

    Raises
    ------
    ConversationError
        For an empty body, one that starts like JSON and is not, and a transcript with a line that looks like an
        unknown marker (both naming ``--text``).
    """
    if text_only or is_blank(text):
        return [parse_conversation(text.strip("\n"))]
    if begins_like_literal(text) and text.lstrip("\ufeff\u200b\u2060 \t\r\n")[0] != "(":
        return _parse_json_body(text)
    transcript = parse_transcript(text)
    return [transcript if transcript is not None else parse_conversation(text.strip("\n"))]


def _parse_json_body(text: str) -> list[Conversation]:
    try:
        whole = read_literal(text)
    except ConversationError:
        lines = [line for line in text.split("\n") if not is_blank(line)]
        if len(lines) < 2 or not all(begins_like_literal(line) for line in lines):
            raise
        return [parse_messages(line) for line in lines]
    if isinstance(whole, list) and whole and all(isinstance(item, list) for item in whole):
        return [parse_messages(item) for item in whole]
    return [parse_messages(whole)]


def _literal(text: str) -> object:
    try:
        return read_literal(text)
    except ConversationError:
        if begins_like_literal(text) or is_blank(text):
            raise
    raise ConversationError(
        f"the text is neither a JSON list of messages nor a transcript: {shorten(text)}",
        hint=f"{MESSAGE_HINT} A transcript begins with user: or another role; text=… reads texts as user messages.",
    )


def _read(value: object) -> Conversation:
    """Read a conversation from what is no string."""
    if isinstance(value, Conversation):
        return _rechecked(value)
    messages: list[Message] = []
    left_out: list[int] = []
    at_end = ""
    for i, item in enumerate([value] if isinstance(value, Message) else unwrap(value), start=1):
        where = f"message {i}"
        simple = _try_simple(item, where)
        if simple is not None:
            messages.append(simple)
            at_end = ""
            continue
        for piece in read_message(item.to_dict() if isinstance(item, Message) else item, where):
            if isinstance(piece, LeftOut):
                left_out += [len(messages)] * piece.n
                at_end = f"{where} is a tool call or reasoning without text"
            else:
                messages.append(Message(piece.role, _checked(piece.content, where)))
                at_end = ""
    if left_out and not messages:
        raise ConversationError(f"the conversation has no messages: {at_end}", hint=_DEED_HINT)
    return Conversation(tuple(messages), tuple(left_out), at_end)


_DEED_HINT = "Guards here read what was said: leave the row out, or assess an earlier message (assess=…)."


def _try_simple(item: object, where: str) -> Message | None:
    """Return the message of a mapping with a known role, a text and nothing beside it; None for all others."""
    if type(item) is not dict:
        return None
    role, content = item.get("role"), item.get("content")
    if role is None and len(item) == 2:
        role, content = item.get("from"), item.get("value")
    elif not BESIDE.isdisjoint(item):
        return None
    known = ROLE_ALIASES.get(role) if type(role) is str else None
    return Message(known, _checked(content, where)) if known is not None and type(content) is str else None


def _rechecked(conversation: Conversation) -> Conversation:
    """Return a conversation that may have been made by hand, its messages checked like all others."""
    for i, message in enumerate(conversation.messages, start=1):
        where = f"message {i}"
        if _try_simple(message.to_dict(), where) is None:
            read_message(message.to_dict(), where)
            _checked(message.content, where)
    return conversation


def _checked(text: str, where: str) -> str:
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
