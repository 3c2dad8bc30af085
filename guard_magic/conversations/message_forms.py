"""One message in the forms that chat logs give it: what was said, and what was only done or thought.

Contents are read from strings and from the parts of OpenAI, Claude, Bedrock and Gemini. Tool calls and reasoning are
left out and counted. What a guard would have to see to judge (pictures, files, sound), and every message with two
readings, is an error with the line that converts it, where there is one. Nothing is passed over in silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guard_magic.characters import is_blank
from guard_magic.conversations.role_names import ROLE_ALIASES, ROLE_HINT, Role
from guard_magic.errors import ConversationError, shorten

__all__ = [
    "BESIDE",
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
    "listed",
    "object_hint",
    "plain",
    "read_message",
]

MAX_MESSAGES = 100_000
"""Most messages of a conversation, and most parts of a message: what yields more has no end."""
MESSAGE_HINT = 'A message is {"role": "user", "content": "…"} or {"from": "human", "value": "…"}.'

MEDIA = (
    *("images", "image", "image_url", "audio", "audios", "input_audio", "video", "videos", "file", "files"),
    *("attachments", "experimental_attachments", "inlineData", "inline_data", "fileData", "file_data", "document"),
)
_DEEDS = (
    *("tool_calls", "tool_call", "function_call", "functionCall", "toolInvocations", "tool_use", "toolUse"),
    *("reasoning_content", "reasoning", "reasoning_details", "thinking", "thoughts"),
)
BESIDE = frozenset({*MEDIA, *_DEEDS, "from", "value", "parts", "refusal", "text"})
"""Keys of a message with ``role`` and ``content`` of which something could stand beside its content."""
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_DEED_PARTS = frozenset(
    {"tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "tool-call", "function_call", "functionCall"}
    | {
        "toolUse",
        "thinking",
        "redacted_thinking",
        "reasoning",
        "reasoningContent",
        "executableCode",
        "custom_tool_call",
    }
)
_RESULT_PARTS = frozenset(
    {"tool_result", "toolResult", "tool-result", "functionResponse", "function_call_output", "codeExecutionResult"}
)
_PARTS_BY_KEY = ("text", "refusal", *sorted(_DEED_PARTS | _RESULT_PARTS), *MEDIA)
NOT_TEXT_HINT = "Remove images and files, or leave the row out: nothing is scored as if they were not there."


@dataclass(frozen=True, slots=True)
class Said:
    """What one speaker said at one time."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Tool calls, results without words, or reasoning: `n` of them, which stand where something could be said."""

    n: int


Piece = Said | LeftOut


def is_missing(value: object) -> bool:
    """Say whether `value` is a missing cell: None, NaN, NaT or ``pandas.NA``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return isinstance(value, float) and bool(value != value)
    except Exception:
        return False


def plain(text: str) -> str:
    """Return a string of the plain type, whatever class of strings it is of."""
    return text if type(text) is str else str.__str__(text)


def listed(value: Any) -> list[object] | None:
    """Return the elements of a list, array or the like; None for text, mappings and what has none.

    Raises
    ------
    ConversationError
        For more than `MAX_MESSAGES`.
    """
    if isinstance(value, str | bytes | Mapping):
        return None
    try:
        elements = iter(value)
    except TypeError:
        return None
    found = list(itertools.islice(elements, MAX_MESSAGES + 1))
    if len(found) > MAX_MESSAGES:
        raise ConversationError(
            f"a {type(value).__name__} with more than {MAX_MESSAGES:,} elements", hint="Score a part of it."
        )
    return found


def is_pair(item: object) -> bool:
    """Say whether this is a key with its value, as Arrow's maps give them."""
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def from_pairs(pairs: Sequence[Any]) -> dict[str, object]:
    """Return the mapping that Arrow's map type gives as a list of pairs."""
    if not all(is_pair(pair) for pair in pairs):
        raise ConversationError(f"a list of pairs and of other things: {shorten(list(pairs))}", hint=MESSAGE_HINT)
    built = dict(pairs)
    if len(built) < len(pairs):
        raise ConversationError(f"a key stands twice in {shorten(list(pairs))}", hint="Keep the one that was meant.")
    return built


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
        return _merged(list(_read_part(item, "tool", where)))
    role_key, content_key = _keys(item, where)
    role = _read_role(item, role_key, where)
    for key in MEDIA:
        if has(item, key):
            raise ConversationError(
                f"{where} holds {key!r} beside its text; guards here read text only", hint=NOT_TEXT_HINT
            )
    n_deeds = sum(_n_given(item[key]) for key in _DEEDS if has(item, key))
    content = item.get(content_key)
    if not n_deeds:
        pieces = _read_content(content, role, content_key, where)
    else:
        said = [] if is_missing(content) else _read_content(content, role, content_key, where)
        pieces = [LeftOut(n_deeds), *said]
    if any(isinstance(piece, LeftOut) for piece in pieces):
        return [piece for piece in pieces if isinstance(piece, LeftOut) or not is_blank(piece.content)]
    return pieces


def _is_deed(item: Mapping[Any, Any]) -> bool:
    """Say whether something stands for itself that was done or thought, and has no role."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in _DEED_PARTS | _RESULT_PARTS


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
    has_deeds = any(has(item, key) for key in _DEEDS)
    for key in (role_key, content_key):
        if key not in item and not (key == content_key and has_deeds):
            raise ConversationError(f"{where} has no {key!r}: {shorten(dict(item))}", hint=_conversion(item))
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
    if not isinstance(value, str):
        raise ConversationError(
            f"the role of {where} is not text but {shorten(value)}", hint=_conversion(item, ROLE_HINT)
        )
    role = ROLE_ALIASES.get(plain(value).strip().lower())
    if role is None:
        raise ConversationError(f"{where} has an unknown role {shorten(value)}", hint=ROLE_HINT)
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
    pieces = [piece for part in parts for piece in _read_part(part, role, where)]
    return _merged(pieces) or [Said(role, "")]


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Join what one speaker says in parts, a line each; tool calls in between do not part it."""
    merged: list[Piece] = []
    left = sum(piece.n for piece in pieces if isinstance(piece, LeftOut))
    said = [piece for piece in pieces if isinstance(piece, Said)]
    for role, group in itertools.groupby(said, key=lambda piece: piece.role):
        merged.append(Said(role, "\n".join(piece.content for piece in group)))
    return [LeftOut(left), *merged] if left else merged


def _read_part(part: object, role: Role, where: str) -> Iterator[Piece]:
    if isinstance(part, str):
        yield Said(role, plain(part))
        return
    kind = _part_kind(part)
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise ConversationError(f"{where} holds an unreadable part: {shorten(part)}", hint=MESSAGE_HINT)
    if kind in _TEXT_PARTS and part.get("thought") is not True:
        yield Said(role, _part_text(part, kind, where))
    elif kind in _DEED_PARTS or kind in _TEXT_PARTS:
        yield LeftOut(1)
    elif kind in _RESULT_PARTS:
        yield from _read_result(part, kind, where)
    elif kind not in ("cachePoint", "cache_point", "step-start"):
        if "text" in kind:
            raise ConversationError(f"{where} holds an unreadable part: {shorten(dict(part))}", hint=MESSAGE_HINT)
        raise ConversationError(
            f"{where} holds a part of type {shorten(kind)}; guards here read text only", hint=NOT_TEXT_HINT
        )


def _part_kind(part: object) -> object:
    """Return what a part is: its type, or, where it has none, the one key that says so."""
    if not isinstance(part, Mapping):
        return None
    if not is_missing(part.get("type")):
        return part["type"]
    named = [key for key in part if isinstance(key, str) and key != "thought" and has(part, key)]
    known = [key for key in named if key in _PARTS_BY_KEY or key == "cachePoint"]
    if len(known) == 1:
        return known[0]
    return named[0] if len(named) == 1 and named[0] != "type" and not known else None


def _part_text(part: Mapping[Any, Any], kind: str, where: str) -> str:
    text = part.get("refusal" if kind == "refusal" else "text")
    if isinstance(text, Mapping):
        text = text.get("value")
    beside = [key for key in MEDIA if has(part, key)]
    if not isinstance(text, str) or beside:
        raise ConversationError(f"{where} holds an unreadable part: {shorten(dict(part))}", hint=MESSAGE_HINT)
    return plain(text)


def _read_result(part: Mapping[Any, Any], kind: str, where: str) -> Iterator[Piece]:
    """Read what a tool gave back: its words are the tool's; a result that is no text is left out."""
    inner = part.get(kind) if isinstance(part.get(kind), Mapping) else part
    content = inner.get("content", inner.get("output"))  # type: ignore[union-attr]
    if isinstance(content, str):
        yield Said("tool", plain(content))
        return
    parts = listed(content) or []
    values = [one for one in parts if isinstance(one, Mapping) and has(one, "json")]
    if values or not parts:
        yield LeftOut(max(len(values), 1))
    for one in parts:
        if not (isinstance(one, Mapping) and has(one, "json")):
            yield from _read_part(one, "tool", where)


def _as_mapping(item: object, where: str) -> Mapping[Any, Any]:
    if not isinstance(item, str | bytes):
        pairs = listed(item) or []
        if pairs and all(is_pair(pair) for pair in pairs):
            return from_pairs(pairs)
    raise ConversationError(
        f"{where} is not a mapping but {type(item).__name__}: {shorten(item)}", hint=object_hint(item)
    )


def has(value: Mapping[Any, Any], key: str) -> bool:
    """Say whether something stands under a key: no missing value, nothing empty or blank, not False."""
    return key in value and _n_given(value[key]) > 0


def _n_given(value: object, depth: int = 0) -> int:
    if is_missing(value) or value is False:
        return 0
    if isinstance(value, str):
        return 0 if is_blank(value) else 1
    if depth > 3:
        return 1
    if isinstance(value, Mapping):
        return int(any(_n_given(one, depth + 1) for one in value.values()))
    elements = listed(value)
    return 1 if elements is None else sum(_n_given(one, depth + 1) > 0 for one in elements)


def _conversion(item: Mapping[Any, Any], otherwise: str = MESSAGE_HINT) -> str:
    """Return the line that turns messages such as this one into ours, where its keys show it."""
    if isinstance(item.get("author"), Mapping):
        return '[{"role": m["author"]["role"], "content": m["content"]["parts"]} for m in messages]'
    if isinstance(item.get("data"), Mapping) and isinstance(item.get("type"), str):
        return '[{"role": m["type"], "content": m["data"]["content"]} for m in messages]'
    who = [
        key for key, value in item.items() if isinstance(value, str) and plain(value).strip().lower() in ROLE_ALIASES
    ]
    what = [
        key for key in ("content", "text", "message", "value", "body", "utterance") if isinstance(item.get(key), str)
    ]
    if len(who) == 1 and what and (who[0], what[0]) not in (("role", "content"), ("from", "value")):
        return f'[{{"role": m[{who[0]!r}], "content": m[{what[0]!r}]}} for m in messages]'
    return otherwise


def object_hint(value: object) -> str:
    """Return the line that turns objects of other libraries into messages."""
    kind = type(value)
    if kind.__module__.startswith("langchain"):
        return '[{"role": m.type, "content": m.content} for m in messages]'
    if hasattr(kind, "model_dump"):
        return "[m.model_dump() for m in messages]"
    if hasattr(kind, "as_py"):
        return "Use value.as_py()."
    if isinstance(value, str):
        return 'Who said it? [{"role": r, "content": t} for r, t in zip(["user", "assistant"] * len(turns), turns)]'
    elements = value if isinstance(value, list | tuple) else ()
    if len(elements) == 2 and all(isinstance(element, str) for element in elements):
        return '[{"role": role, "content": text} for role, text in messages]'
    return MESSAGE_HINT
