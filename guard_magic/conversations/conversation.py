"""Conversations as values: what is read from text, transcripts, JSON and chat logs.

This layer knows nothing about guards, templates or tokens. It promises that a `Conversation` is never
empty, holds only the four roles, and ends in a message with words in it; everything else is a
`ConversationError` that says what was seen.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable

from guard_magic.characters import is_blank
from guard_magic.conversations.cells import no_json, refuse_data
from guard_magic.conversations.chat_templates import holds_template, read_template
from guard_magic.conversations.contradictions import check_order
from guard_magic.conversations.dialogues import find_dialogue
from guard_magic.conversations.formats import unwrap
from guard_magic.conversations.line_heads import fold_colons
from guard_magic.conversations.literals import begins_like_literal, read_literal
from guard_magic.conversations.message_forms import (
    MESSAGE_HINT,
    LeftOut,
    is_missing,
    is_plain_message,
    plain,
    read_message,
)
from guard_magic.conversations.role_names import ROLE_ALIASES, ROLE_HINT, Role
from guard_magic.conversations.transcripts import count_turns, read_turns
from guard_magic.conversations.values import MAX_CHARACTERS, Conversation, Message, checked, unreadable
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
    "with_text_hint",
]


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
        return Conversation((Message("user", checked(plain(value), "the text")),))
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
    return _read_text(plain(value)) if isinstance(value, str) else _read(value)


def _read_text(text: str) -> Conversation:
    """Read a conversation that was written as a string."""
    turns = _try_turns(text)
    if turns is not None:
        return turns
    try:
        return _read(_unquoted(read_literal(text)))
    except ConversationError as error:
        if not error.message.startswith("broken JSON") and begins_like_literal(text):
            raise
        _refuse_json_lines(text)
        _refuse_dialogue(text)
        if begins_like_literal(text) or is_blank(text) or not error.message.startswith("broken JSON"):
            raise
    raise ConversationError(
        f"the text is neither a JSON list of messages nor a transcript: {shorten(text)}",
        hint=f"{MESSAGE_HINT} A transcript begins with user: or another role; text=… reads texts as user messages.",
    )


def _refuse_json_lines(text: str) -> None:
    lines = [line for line in text.split("\n") if not is_blank(line)] if begins_like_literal(text) else []
    if len(lines) > 1 and all(line.lstrip()[:1] in ("{", "[") and line.rstrip()[-1:] in ("}", "]") for line in lines):
        raise ConversationError(
            f"this is JSON Lines, {len(lines):,} values in one text: {shorten(text)}",
            hint="If each line is a message: [json.loads(line) for line in text.splitlines()]. If each line is a "
            "conversation, each needs a row of its own: pd.read_json(…, lines=True).",
        )


def _unquoted(value: object) -> object:
    """Return the value of JSON that was written as JSON once more."""
    return read_literal(value) if isinstance(value, str) and begins_like_literal(value) else value


def _try_turns(text: str) -> Conversation | None:
    """Read a transcript or a chat model's prompt; None where the text begins as neither does."""
    turns = read_template(text)
    if turns is None:
        return None if begins_like_literal(text) else parse_transcript(text)
    return _read([{"role": name, "content": said} for name, said in turns])


def _refuse_dialogue(text: str, *, only_certain: bool = False) -> None:
    found = find_dialogue(text)
    if found is not None and (found.is_certain or not only_certain):
        raise ConversationError(
            f"this looks like {found.what}, and who said what cannot be told for certain: {shorten(text)}",
            hint=f"{_DIALOGUE_HINT} {ROLE_HINT}",
        )


_DIALOGUE_HINT = (
    "Give every turn a line that begins with user: or assistant: (docs/files.md has recipes), or pass a list of "
    "messages."
)


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

    True for what `parse_messages` reads, if it has two marked turns or is a list of messages; for JSON Lines, printed
    arrays and other lists of two messages or more that cannot be read; and for what looks like the talk of several
    people, whether or not it is certain who said what.
    """
    if not _MAY_HIDE.search(fold_colons(text)):
        return False
    if (begins_like_literal(text) or text.lstrip()[:2] in _QUOTED) and (_is_readable(text) or _has_keys(text, 2)):
        return True
    n_turns = count_turns(text)
    if n_turns == 0:
        return holds_template(text) or find_dialogue(text) is not None
    try:
        return n_turns > 1 or read_turns(text) is None or holds_template(text)
    except ConversationError:
        return True


_MAY_HIDE = re.compile(
    r"""[\n\r\v\f\x1c-\x1e\x85\u2028\u2029:\uff1a\ufe13\ufe55\u2236\ua789\u02d0\u0589\u05c3<>\uff1e\[\]{}|;=\t\\#]"""
    r"""|\s[-–—]\s|["'],|\A[^\w]{0,20}["'(]|\(\s*["']"""
)
"""A sign that every conversation in one text has; most prompts have none, and then nothing more is looked at."""
_QUOTED = ('"[', '"{', "'[", "'{", "\"'")
_KEYS = (
    re.compile(r"""(?:role|from|sender|speaker|author|author_id|user)\\{0,3}["']{1,2}\s*:"""),
    re.compile(r"""(?:content|value|text|parts|message|body|utterance)\\{0,3}["']{1,2}\s*:"""),
)
"""Keys of messages, also in JSON that was quoted once more."""


def _has_keys(text: str, n: int) -> bool:
    """Say whether a text has the keys of `n` messages."""
    return all(len(list(itertools.islice(found.finditer(text), n))) == n for found in _KEYS)


def _is_readable(text: str) -> bool:
    try:
        return len(parse_messages(text)) > 0
    except ConversationError:
        return False


def parse_body(text: str, *, text_only: bool = False) -> list[Conversation]:
    """Read the body of a ``%%moderate`` cell.

    Parameters
    ----------
    text
        Plain text (one user message), a transcript, a chat model's prompt, a list of messages as JSON (or as Python
        writes it), or JSON Lines (several).
    text_only
        Take the whole body as one user message, whatever it looks like.

    Returns
    -------
    list of Conversation
        At least one, in order.

    Raises
    ------
    ConversationError
        For an empty body, one that starts like JSON and is not, and one that looks like a conversation and cannot be
        read for certain (all but the first naming ``--text``).
    """
    if text_only or is_blank(text):
        return [parse_conversation(text.strip("\n"))]
    try:
        return _parse_body(text)
    except ConversationError as error:
        raise ConversationError(error.message, hint=with_text_hint(error.hint)) from None


def with_text_hint(hint: str) -> str:
    """Return what to do about a cell, with the option that takes all of it as one user message."""
    return hint if "--text" in hint else f"{hint} --text takes the cell as one user message.".lstrip()


def _parse_body(text: str) -> list[Conversation]:
    turns = _try_turns(text)
    if turns is not None:
        if len(turns) == 1:
            refuse_data(text)
        return [turns]
    if begins_like_literal(text) and text.lstrip("\ufeff\u200b\u2060 \t\r\n")[0] != "(":
        return _parse_json_body(text)
    if text.lstrip()[:2] in _QUOTED and _is_readable(text):
        return [parse_messages(text)]
    _refuse_dialogue(text, only_certain=True)
    return [parse_conversation(text.strip("\n"))]


def _parse_json_body(text: str) -> list[Conversation]:
    try:
        whole = read_literal(text)
    except ConversationError as error:
        lines = [line for line in text.split("\n") if not is_blank(line)]
        if not _has_keys(text, 1):
            _refuse_dialogue(text)
        if len(lines) < 2 or not all(begins_like_literal(line) for line in lines):
            raise no_json(text, error) from None
        return [parse_messages(line) for line in lines]
    if isinstance(whole, list) and whole and all(isinstance(item, list) for item in whole):
        return [parse_messages(item) for item in whole]
    return [parse_messages(whole)]


def _read(value: object) -> Conversation:
    """Read a conversation from what is no string."""
    if isinstance(value, Conversation):
        return _rechecked(value)
    messages: list[Message] = []
    left_out: list[int] = []
    at_end = ""
    i = 0
    items = [value] if isinstance(value, Message) else unwrap(value)
    check_order(items)
    for item in items:
        if isinstance(item, LeftOut):
            left_out += [len(messages)] * item.n
            continue
        i += 1
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
                messages.append(Message(piece.role, checked(piece.content, where)))
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
    elif not is_plain_message(item):
        return None
    known = ROLE_ALIASES.get(role) if type(role) is str else None
    return Message(known, checked(content, where)) if known is not None and type(content) is str else None


def _rechecked(conversation: Conversation) -> Conversation:
    """Return a conversation that may have been made by hand, its messages checked like all others."""
    for i, message in enumerate(conversation.messages, start=1):
        where = f"message {i}"
        if _try_simple(message.to_dict(), where) is None:
            read_message(message.to_dict(), where)
            checked(message.content, where)
    return conversation
