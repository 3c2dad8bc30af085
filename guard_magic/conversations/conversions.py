"""What to write in order to turn messages of other programs into ours, for errors to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guard_magic.conversations.plain_values import MESSAGE_HINT, plain
from guard_magic.conversations.role_names import ROLE_ALIASES, ROLE_HINT

__all__ = ["UNKNOWN_ROLE_HINT", "conversion", "object_hint"]

UNKNOWN_ROLE_HINT = (
    f'{ROLE_HINT} Rename others first: df["role"].replace({{"client": "user"}}) where roles are a column, or in '
    '[{**m, "role": {"client": "user"}.get(m["role"], m["role"])} for m in messages].'
)
_DOCS = " (see docs/files.md)"


def conversion(item: Mapping[Any, Any], otherwise: str = MESSAGE_HINT) -> str:
    """Return the line that turns messages such as this one into ours, where its keys show it."""
    author = item.get("author")
    if isinstance(author, Mapping) and isinstance(item.get("content"), str):  # Discord
        return f'[{{**m, "role": "assistant" if m["author"]["isBot"] else "user"}} for m in messages]{_DOCS}'
    if isinstance(author, Mapping):  # ChatGPT
        said = 'm["content"].get("parts") or m["content"]["text"]'
        return f'[{{"role": m["author"]["role"], "content": {said}}} for m in messages]{_DOCS}'
    if "from_id" in item:  # Telegram
        role = '"assistant" if m["from_id"] in ours else "user"'
        return f'ours = {{"user…"}}; [{{**m, "from": {role}, "value": m["text"]}} for m in messages]{_DOCS}'
    if "ts" in item and "text" in item:  # Slack
        role = '"assistant" if m.get("user") in ours else "user"'
        return f'ours = {{"U…"}}; [{{**m, "role": {role}, "content": m["text"]}} for m in messages]{_DOCS}'
    if isinstance(item.get("data"), Mapping) and isinstance(item.get("type"), str):
        data = '**{k: v for k, v in m["data"].items() if k not in ("role", "type")}'
        return f'[{{"role": m["type"], {data}}} for m in messages]'
    who = [
        key for key, value in item.items() if isinstance(value, str) and plain(value).strip().lower() in ROLE_ALIASES
    ]
    what = [
        key for key in ("content", "text", "message", "value", "body", "utterance") if isinstance(item.get(key), str)
    ]
    if len(who) == 1 and what and (who[0], what[0]) not in (("role", "content"), ("from", "value")):
        return f'[{{**m, "role": m[{who[0]!r}], "content": m[{what[0]!r}]}} for m in messages]'
    return otherwise


def object_hint(value: object) -> str:
    """Return the line that turns objects of other libraries into messages."""
    kind = type(value)
    if kind.__name__ in ("DataFrame", "LazyFrame"):
        return "A table is scored by df.guard.score(), a row of it by moderate(df.messages[0])."
    if kind.__name__ == "Series":
        return "A column is scored by series.guard.score()."
    if kind.__module__.startswith("langchain"):
        calls = '"tool_calls": getattr(m, "tool_calls", None)'
        return f'[{{"role": m.type, "content": m.content, {calls}}} for m in messages]'
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
