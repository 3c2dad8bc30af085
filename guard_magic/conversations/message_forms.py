"""One message in the forms that chat logs give it: what was said, and what was only done or thought.

Contents are read from strings and from the parts of OpenAI, Claude, Bedrock and Gemini. Tool calls and reasoning are
left out and counted. What a guard would have to see to judge (pictures, files, sound), and every message with two
readings, is an error with the line that converts it, where there is one. Nothing is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guard_magic.characters import is_blank
from guard_magic.conversations.beside import (
    DEEDS,
    MEDIA,
    NOT_TEXT_HINT,
    has,
    is_harmless,
    may_say,
    media_in,
    n_given,
    n_sentences,
    n_unread,
)
from guard_magic.conversations.contradictions import check_speaker, names_speaker
from guard_magic.conversations.conversions import UNKNOWN_ROLE_HINT, conversion, object_hint
from guard_magic.conversations.parts import DEED_PARTS, RESULT_PARTS, LeftOut, Piece, Said, merged, read_part
from guard_magic.conversations.plain_values import (
    MAX_MESSAGES,
    MESSAGE_HINT,
    from_pairs,
    is_missing,
    is_pair,
    listed,
    plain,
)
from guard_magic.conversations.role_names import ROLE_ALIASES, ROLE_HINT, Role
from guard_magic.errors import ConversationError, shorten

__all__ = [
    "MAX_MESSAGES",
    "MEDIA",
    "MESSAGE_HINT",
    "NOT_TEXT_HINT",
    "LeftOut",
    "Said",
    "from_pairs",
    "has",
    "is_message",
    "is_missing",
    "is_pair",
    "is_plain_message",
    "listed",
    "object_hint",
    "plain",
    "read_message",
]

_READ_KEYS = ("role", "from", "content", "value", "parts", "refusal", "text")


def is_plain_message(item: dict[Any, Any]) -> bool:
    """Say whether a mapping with role and content has nothing beside them but ids, times and the like."""
    return all(
        key in ("role", "content") or (is_harmless(key) and not may_say(key) and not names_speaker(key)) for key in item
    )


def is_message(value: object) -> bool:
    """Say whether a value is one message, and not a conversation, by its keys."""
    if not isinstance(value, Mapping):
        pairs = value if isinstance(value, list | tuple) else ()
        return any(is_pair(pair) and pair[0] in ("role", "from") for pair in pairs)
    return "role" in value or "from" in value or _is_deed(value)


def read_message(item: object, where: str) -> list[Piece]:
    """Read one message.

    Parameters
    ----------
    item
        A mapping, or the pairs of one, in any form that is known.
    where
        What errors call it: ``"message 3"``.

    Returns
    -------
    list
        Usually one `Said`. Tool results within a user's message are said by the tool. What was done or thought, and not
        said, is a `LeftOut` each time.

    Raises
    ------
    ConversationError
        For everything else, naming what was seen.
    """
    if not isinstance(item, Mapping):
        item = _as_mapping(item, where)
    if not has(item, "role") and not has(item, "from") and _is_deed(item):
        return merged(list(read_part(item, "tool", where)))
    role_key, content_key = _keys(item, where)
    role = _read_role(item, role_key, where)
    check_speaker(item, role, role_key, where)
    if (shown := media_in(item)) is not None:
        raise ConversationError(
            f"{where} holds {shown!r} beside its text; guards here read text only", hint=NOT_TEXT_HINT
        )
    n_deeds = sum(n_given(item[key]) for key in DEEDS if has(item, key))
    content = item.get(content_key)
    said = [] if n_deeds and is_missing(content) else _read_content(content, role, content_key, where)
    texts = "\n".join(piece.content for piece in said if isinstance(piece, Said))
    n_beside = n_deeds + n_unread(item, (*DEEDS, *_READ_KEYS), texts) + n_sentences(item, texts)
    pieces = [LeftOut(n_beside), *said] if n_beside else said
    if any(isinstance(piece, LeftOut) for piece in pieces):
        return [piece for piece in pieces if isinstance(piece, LeftOut) or not is_blank(piece.content)]
    return pieces


def _is_deed(item: Mapping[Any, Any]) -> bool:
    """Say whether something stands for itself that was done or thought, and has no role."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in DEED_PARTS | RESULT_PARTS


def _keys(item: Mapping[Any, Any], where: str) -> tuple[str, str]:
    """Return under which keys a message says who spoke and what was said."""
    if has(item, "role") and has(item, "from") and not _same_role(item["role"], item["from"]):
        raise ConversationError(
            f"{where} has 'role' and 'from': {shorten(item['role'])}, {shorten(item['from'])}", hint="Keep one of them."
        )
    uses_from = "from" in item and not has(item, "role") and ("role" not in item or has(item, "from"))
    role_key, usual, other = ("from", "value", "content") if uses_from else ("role", "content", "value")
    given = [key for key in (usual, other, "parts", "refusal", "text") if has(item, key)]
    if (other in given and usual in item and usual not in given) or len({_texts(item[key]) for key in given}) > 1:
        raise ConversationError(
            f"{where} has {' and '.join(map(repr, dict.fromkeys([usual, *given])))}: which of them was said?",
            hint="Keep one of them.",
        )
    content_key = next((key for key in given if key in (usual, "parts", "refusal")), usual)
    has_deeds = any(has(item, key) for key in DEEDS)
    for key in (role_key, content_key):
        if key not in item and not (key == content_key and has_deeds):
            raise ConversationError(f"{where} has no {key!r}: {shorten(dict(item))}", hint=conversion(item))
    return role_key, content_key


def _same_role(one: object, other: object) -> bool:
    names = [plain(value).strip().lower() for value in (one, other) if isinstance(value, str)]
    return len(names) == 2 and ROLE_ALIASES.get(names[0], names[0]) == ROLE_ALIASES.get(names[1], names[1])


def _texts(value: object) -> str:
    """Return the text of a content only to compare it; what has none is equal to nothing else."""
    if isinstance(value, str):
        return plain(value)
    parts = listed(value) or []
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "\n".join(texts) if texts and all(isinstance(text, str) for text in texts) else f"\0{id(value)}"  # type: ignore[arg-type]


def _read_role(item: Mapping[Any, Any], key: str, where: str) -> Role:
    value = item[key]
    if is_missing(value):
        raise ConversationError(f"the role of {where} is missing", hint=conversion(item, ROLE_HINT))
    if not isinstance(value, str):
        raise ConversationError(
            f"the role of {where} is not text but {shorten(value)}", hint=conversion(item, ROLE_HINT)
        )
    role = ROLE_ALIASES.get(plain(value).strip().lower())
    if role is None:
        raise ConversationError(f"{where} has an unknown role {shorten(value)}", hint=UNKNOWN_ROLE_HINT)
    return role


def _read_content(value: object, role: Role, key: str, where: str) -> list[Piece]:
    if isinstance(value, str):
        return [Said(role, plain(value))]
    if is_missing(value):
        raise ConversationError(f"the content of {where} is missing", hint=MESSAGE_HINT)
    if key == "parts" and isinstance(value, Mapping):
        value = [value]
    parts = listed(value)
    if parts is None:
        hint = f'Use value["{key}"]["parts"] as the content.' if isinstance(value, Mapping) and "parts" in value else ""
        raise ConversationError(
            f"the content of {where} is {type(value).__name__}, not text: {shorten(value)}", hint=hint or MESSAGE_HINT
        )
    pieces = [piece for part in parts for piece in read_part(part, role, where)]
    return merged(pieces) or [Said(role, "")]


def _as_mapping(item: object, where: str) -> Mapping[Any, Any]:
    if is_missing(item):
        raise ConversationError(f"{where} is missing", hint=MESSAGE_HINT)
    if not isinstance(item, str | bytes):
        pairs = listed(item) or []
        if pairs and all(is_pair(pair) for pair in pairs):
            return from_pairs(pairs)
    raise ConversationError(
        f"{where} is not a mapping but {type(item).__name__}: {shorten(item)}", hint=object_hint(item)
    )
