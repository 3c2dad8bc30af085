"""The content of a message in parts, as OpenAI, Claude, Bedrock and Gemini give it: what was said or only done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guard_magic.conversations.beside import MEDIA, NOT_TEXT_HINT, has, media_in, n_unread
from guard_magic.conversations.plain_values import MESSAGE_HINT, is_missing, listed, plain
from guard_magic.conversations.role_names import Role
from guard_magic.errors import ConversationError, shorten

__all__ = ["DEED_PARTS", "RESULT_PARTS", "LeftOut", "Piece", "Said", "merged", "read_part"]

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
DEED_PARTS = frozenset(
    (
        *("tool_use", "server_tool_use", "mcp_tool_use", "toolUse", "tool_call", "tool-call", "custom_tool_call"),
        *("function_call", "functionCall", "executableCode", "web_search_call", "file_search_call"),
        *("code_interpreter_call", "computer_call"),
        *("thinking", "redacted_thinking", "reasoning", "reasoningContent"),
    )
)
RESULT_PARTS = frozenset(
    (
        *("tool_result", "mcp_tool_result", "toolResult", "tool-result", "functionResponse", "function_call_output"),
        "codeExecutionResult",
    )
)
_KEYS_OF_TEXT = ("type", "text", "refusal", "thought")
_PART_HINT = 'Give what it says as a part of its own, {"type": "text", "text": "…"}, or take the part out.'
_PARTS_BY_KEY = ("text", "refusal", *sorted(DEED_PARTS | RESULT_PARTS), *MEDIA)


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


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Join what one speaker says in parts, a line each; tool calls in between do not part it."""
    joined: list[Piece] = []
    left = sum(piece.n for piece in pieces if isinstance(piece, LeftOut))
    said = [piece for piece in pieces if isinstance(piece, Said)]
    for role, group in itertools.groupby(said, key=lambda piece: piece.role):
        joined.append(Said(role, "\n".join(piece.content for piece in group)))
    return [LeftOut(left), *joined] if left else joined


def read_part(part: object, role: Role, where: str) -> Iterator[Piece]:
    """Read one part of a content: what it says, or how much of it was left out.

    Raises
    ------
    ConversationError
        For a part that shows something, or is of an unknown type.
    """
    if isinstance(part, str):
        yield Said(role, plain(part))
        return
    kind = _part_kind(part)
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise ConversationError(f"{where} holds an unreadable part: {shorten(part)}", hint=MESSAGE_HINT)
    if kind in _TEXT_PARTS and part.get("thought") is not True:
        text = _part_text(part, kind, where)
        if unread := n_unread(part, _KEYS_OF_TEXT, text):
            yield LeftOut(unread)
        yield Said(role, text)
    elif kind == "guardContent" and isinstance(part.get(kind), Mapping):
        yield from read_part(part[kind].get("text"), role, where)
    elif kind in RESULT_PARTS:
        yield from _read_result(part, kind, where)
    elif kind in DEED_PARTS or kind in _TEXT_PARTS or kind.endswith("_tool_result"):
        yield LeftOut(1)
    elif kind not in ("cachePoint", "cache_point", "step-start"):
        if "text" in kind:
            raise ConversationError(f"{where} holds an unreadable part: {shorten(dict(part))}", hint=MESSAGE_HINT)
        raise ConversationError(
            f"{where} holds a part of type {shorten(kind)}; guards here read text only",
            hint=NOT_TEXT_HINT if media_in({kind: "x"}) else _PART_HINT,
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
    if is_missing(text):
        raise ConversationError(f"{where} is missing: a part of it has no text", hint=MESSAGE_HINT)
    if not isinstance(text, str) or media_in(part):
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
            yield from read_part(one, "tool", where)
