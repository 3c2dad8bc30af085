"""Conversations as values: what is read from text, transcripts, JSON and chat logs.

This layer knows nothing about guards, templates or tokens. It promises that a `Conversation` is never
empty, holds only the four roles, and ends in a message with words in it; everything else is a
`ConversationError` that says what was seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guard_magic.errors import ConversationError, shorten

__all__ = [
    "MAX_CHARACTERS",
    "Conversation",
    "Message",
    "Role",
    "is_missing",
    "looks_like_conversation",
    "parse_body",
    "parse_conversation",
    "parse_messages",
    "parse_transcript",
]

Role = Literal["user", "assistant", "system", "tool"]

MAX_CHARACTERS = 1_000_000
"""Longest message read, in characters: beyond it no guard's context reaches, and tokenizing takes seconds."""

ROLE_ALIASES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "agent": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "function_call": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""Role names of common chat logs (OpenAI, ShareGPT, Gemini, Llama) and the role each one is."""

_ROLE_HINT = f"Known roles: {', '.join(sorted(ROLE_ALIASES))}."
_JSON_HINT = "Mend the JSON, or read it as plain text: --text in a cell, text=… in df.guard.score()."
_MESSAGE_HINT = 'A message is {"role": "user", "content": "…"} or {"from": "human", "value": "…"}.'
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_MARKER = re.compile(r"^[ \t]*(user|human|assistant|agent|ai|system|tool)[ \t]*:[ \t]?", re.I | re.M)


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
    """Messages in the order they were said; the last one is the one a guard assesses."""

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        if not self.messages:
            raise ConversationError("the conversation has no messages", hint=_MESSAGE_HINT)
        if not self.messages[-1].content.strip():
            raise ConversationError(
                f"the message to assess is empty ({shorten(self.messages[-1].content)}, "
                f"message {len(self.messages)}, {self.messages[-1].role})",
                hint="Remove the empty last message, or leave the row out.",
            )

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def assessed(self) -> Message:
        """The message that a guard assesses: the last one."""
        return self.messages[-1]

    @property
    def roles(self) -> tuple[Role, ...]:
        """The role of each message, in order."""
        return tuple(message.role for message in self.messages)

    def to_list(self) -> list[dict[str, str]]:
        """Return the messages as ``[{"role": …, "content": …}, …]``."""
        return [message.to_dict() for message in self.messages]


def is_missing(value: object) -> bool:
    """Say whether `value` is a missing cell: None, NaN, NaT or ``pandas.NA``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def parse_conversation(value: object) -> Conversation:
    """Read one conversation from whatever a notebook holds.

    Parameters
    ----------
    value
        A `Conversation`; a string (one user message, verbatim); one message mapping; or a sequence of
        message mappings in ``role/content`` or ``from/value`` form, content a string or text parts.

    Raises
    ------
    ConversationError
        For anything else, naming what was seen.
    """
    if isinstance(value, Conversation):
        return _rechecked(value)
    if is_missing(value):
        raise ConversationError(f"the conversation is missing ({value!r})", hint="Leave the row out or fill it.")
    if isinstance(value, str):
        return Conversation((Message("user", _checked(value, "the text")),))
    if isinstance(value, Message | Mapping):
        return parse_messages([value])
    return parse_messages(value)


def parse_messages(value: object) -> Conversation:
    """Read one conversation from a sequence of messages or from the JSON text of one.

    Unlike `parse_conversation`, a string is JSON here: it stands in a column of message lists.
    """
    if is_missing(value):
        raise ConversationError(f"the messages are missing ({value!r})", hint="Leave the row out or fill it.")
    if isinstance(value, Conversation):
        return _rechecked(value)
    if isinstance(value, str):
        value = _load_json(value)
    if isinstance(value, Mapping):
        value = _unwrap(value)
    items = _listed(value)
    if items is None:
        raise ConversationError(
            f"expected a list of messages, got {type(value).__name__}: {shorten(value)}", hint=_MESSAGE_HINT
        )
    return Conversation(tuple(_parse_message(item, i) for i, item in enumerate(items, start=1)))


def parse_transcript(text: str) -> Conversation | None:
    """Read a transcript with role markers (``user:``, ``assistant:`` …) at line starts.

    Returns None where the first line with words in it carries no marker: then the text is no transcript.
    """
    found = list(_MARKER.finditer(text))
    if not found or text[: found[0].start()].strip():
        return None
    ends = [m.start() for m in found[1:]] + [len(text)]
    messages = [
        {"role": m.group(1), "content": text[m.end() : end].strip()} for m, end in zip(found, ends, strict=True)
    ]
    return parse_messages(messages)


def looks_like_conversation(text: str) -> bool:
    """Say whether a text, read as one user message, would hide a conversation.

    True for what `parse_messages` reads: a JSON list of messages, a Python literal of one, and a transcript
    with at least two marked turns. Texts that begin like neither cost a look at their first characters.
    """
    start = text[:1_000].lstrip("\ufeff \t\r\n")
    try:
        if start.startswith(("[", "{")):
            return len(parse_messages(text.removeprefix("\ufeff"))) > 0
        return len(parse_transcript(text) or ()) > 1
    except ConversationError:
        return False


def parse_body(text: str, *, text_only: bool = False) -> list[Conversation]:
    """Read the body of a ``%%moderate`` cell.

    Parameters
    ----------
    text
        Plain text (one user message), a transcript, a JSON list of messages, or JSON Lines (several).
    text_only
        Take the whole body as one user message, whatever it looks like.

    Returns
    -------
    list of Conversation
        At least one, in order.

    Raises
    ------
    ConversationError
        For an empty body, or one that starts like JSON and is not (naming ``--text``).
    """
    if text_only or not text.strip():
        return [parse_conversation(text.strip("\n"))]
    bare = text.removeprefix("\ufeff").strip()
    if bare.startswith(("[", "{")):
        return _parse_json_body(bare)
    transcript = parse_transcript(text)
    return [transcript if transcript is not None else parse_conversation(text.strip("\n"))]


def _parse_json_body(text: str) -> list[Conversation]:
    try:
        whole = _load_json(text)
    except ConversationError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not all(line.lstrip()[0] in "[{" for line in lines):
            raise
        return [parse_messages(line) for line in lines]
    if isinstance(whole, list) and whole and all(isinstance(item, list) for item in whole):
        return [parse_messages(item) for item in whole]
    return [parse_messages(whole)]


def _load_json(text: str) -> Any:
    if not text.strip():
        raise ConversationError(f"the messages are empty text ({shorten(text)})", hint=_MESSAGE_HINT)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        seen = f"broken JSON at line {error.lineno}, column {error.colno} ({error.msg})"
    except RecursionError:
        seen = "the JSON is nested too deeply"
    except ValueError:
        seen = "the JSON has a number with too many digits"
    raise ConversationError(f"{seen}: {shorten(text)}", hint=_JSON_HINT)


def _unwrap(value: Mapping[Any, Any]) -> object:
    for key in ("messages", "conversations", "conversation"):
        if key in value and "role" not in value and "from" not in value:
            return value[key]
    return [value]


def _rechecked(conversation: Conversation) -> Conversation:
    """Return a conversation that may have been made by hand, its messages checked like all others."""
    for i, message in enumerate(conversation.messages, start=1):
        _parse_message(message, i)
    return conversation


def _listed(value: Any) -> list[object] | None:
    """Return the elements of a list, array or the like; None for text, mappings and what has none."""
    if isinstance(value, str | bytes | Mapping):
        return None
    try:
        return list(value)
    except TypeError:
        return None


def _parse_message(item: object, position: int) -> Message:
    where = f"message {position}"
    if isinstance(item, Message):
        item = item.to_dict()
    if not isinstance(item, Mapping):
        raise ConversationError(
            f"{where} is not a mapping but {type(item).__name__}: {shorten(item)}", hint=_MESSAGE_HINT
        )
    role_key, content_key = ("from", "value") if "from" in item and "role" not in item else ("role", "content")
    for key in (role_key, content_key):
        if key not in item:
            raise ConversationError(f"{where} has no {key!r}: {shorten(dict(item))}", hint=_MESSAGE_HINT)
    role = _parse_role(item[role_key], where)
    return Message(role, _checked(_parse_content(item[content_key], where), where))


def _parse_role(value: object, where: str) -> Role:
    if not isinstance(value, str):
        raise ConversationError(f"the role of {where} is not text but {shorten(value)}", hint=_ROLE_HINT)
    role = ROLE_ALIASES.get(value.strip().lower())
    if role is None:
        raise ConversationError(f"{where} has an unknown role {shorten(value)}", hint=_ROLE_HINT)
    return role


def _parse_content(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if is_missing(value):
        raise ConversationError(f"the content of {where} is missing ({value!r})", hint=_MESSAGE_HINT)
    parts = _listed(value)
    if parts is None:
        raise ConversationError(
            f"the content of {where} is {type(value).__name__}, not text: {shorten(value)}", hint=_MESSAGE_HINT
        )
    return "\n".join(_parse_part(part, where) for part in parts)


def _parse_part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _TEXT_PARTS and isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind is not None and "text" not in str(kind):
        raise ConversationError(
            f"{where} holds a part of type {shorten(kind)}; guards here read text only",
            hint="Remove images and files, or leave the row out: nothing is scored as if they were not there.",
        )
    raise ConversationError(f"{where} holds an unreadable part: {shorten(part)}", hint=_MESSAGE_HINT)


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
