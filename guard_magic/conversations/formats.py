"""Whole conversations in the forms that programs give them: the messages in each, or its name and how to convert it.

What is certain is read: lists of messages, mappings of lists, Arrow's maps, and what holds one of these beside other
things. The exports of programs that keep their messages otherwise, and what has two readings, are errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guard_magic.conversations.beside import NOT_TEXT_HINT, has, media_in, n_unread
from guard_magic.conversations.message_forms import (
    MESSAGE_HINT,
    from_pairs,
    is_message,
    is_missing,
    is_pair,
    listed,
    object_hint,
)
from guard_magic.conversations.parts import LeftOut
from guard_magic.conversations.role_names import ROLE_ALIASES
from guard_magic.errors import ConversationError, shorten

__all__ = ["unwrap"]

_LISTS = ("messages", "conversations", "conversation", "contents", "input")
_SYSTEM = ("system", "system_prompt", "systemInstruction", "system_instruction", "instructions", "system_message")
_ANSWERS = (
    *("response", "responses", "completion", "completions", "answer", "answers", "output", "outputs", "model_output"),
    *("reply", "replies", "chosen", "rejected", "choices", "candidates", "generated_text", "generation"),
)
_EARLIER = ("history", "chat_history", "previous_messages", "context")


def unwrap(value: object) -> list[object]:
    """Return the messages of a conversation, each as it stands, from the forms that conversations have.

    Raises
    ------
    ConversationError
        For what has no messages or several lists of them, and for what stands beside them and cannot be left out.
    """
    if isinstance(value, Mapping):
        return _unwrap_mapping(value)
    if type(value).__name__ in ("DataFrame", "LazyFrame"):
        raise ConversationError("a table is not a conversation", hint=object_hint(value))
    items = listed(value)
    if items and type(value).__name__ == "Series" and isinstance(items[0], str):
        raise ConversationError("a column of texts is not a conversation", hint=object_hint(value))
    if items is None:
        raise ConversationError(
            f"expected a list of messages, got {type(value).__name__}: {shorten(value)}", hint=object_hint(value)
        )
    if items and is_pair(items[0]) and any(is_pair(item) and item[0] in ("role", "from") for item in items):  # type: ignore[index]
        return [from_pairs(items)]
    return items


def _unwrap_mapping(value: Mapping[Any, Any]) -> list[object]:
    lists = [key for key in _LISTS if has(value, key) and _may_be_list(key, value[key])]
    lists = lists or [key for key in _LISTS[:-1] if key in value][:1]
    if _is_message(value) and not any(has(value, key) for key in lists):
        return [value]
    if not lists:
        columns = [key for key in ("role", "from") if listed(value.get(key)) is not None]
        if columns:
            return _from_columns(value, columns[0])
        _refuse_format(value)
        return [value]
    if len(lists) > 1 or _is_message(value):
        seen = ", ".join(map(repr, [*lists, *(("role",) if _is_message(value) else ())]))
        raise ConversationError(f"several readings: {seen} stand side by side", hint=f"Pass one: value[{lists[0]!r}].")
    _check_beside(value, lists[0])
    if is_missing(value[lists[0]]):
        raise ConversationError(f"the messages are missing: nothing under {lists[0]!r}", hint=MESSAGE_HINT)
    inner = value[lists[0]]
    if isinstance(inner, str):
        raise ConversationError(
            f"a text stands under {lists[0]!r}, not a list of messages: {shorten(inner)}",
            hint=f"Pass it alone: value[{lists[0]!r}]; a list written as JSON is json.loads(value[{lists[0]!r}]).",
        )
    if isinstance(inner, Mapping) and any(has(inner, key) for key in _LISTS):
        raise ConversationError(f"messages within messages: {shorten(dict(inner))}", hint=MESSAGE_HINT)
    items = unwrap(inner)
    _check_prompt(value, items)
    n_beside = n_unread(value, (*_LISTS, *_SYSTEM, "prompt", *_read_beside(value)))
    return [*([LeftOut(n_beside)] if n_beside else []), *_system_beside(value), *items]


def _may_be_list(key: str, value: object) -> bool:
    """Say whether messages may stand under a key; an input is often one text."""
    return key != "input" or any(is_message(item) for item in listed(value) or ())


def _read_beside(value: Mapping[Any, Any]) -> list[str]:
    """Return the keys of messages that stand beside a list of them in rows unified by Arrow, and are empty."""
    return [key for key in ("role", "content", "from", "value") if key in value and not has(value, key)]


def _check_prompt(value: Mapping[Any, Any], items: Sequence[object]) -> None:
    """Refuse a prompt beside the messages that is not one of them."""
    prompt = value.get("prompt")
    texts = [item.get(key) for item in items if isinstance(item, Mapping) for key in ("content", "value")]
    if has(value, "prompt") and not any(isinstance(text, str) and text == prompt for text in texts):
        raise ConversationError(
            f"a prompt stands beside the messages and is not one of them: {shorten(prompt)}",
            hint="Pass the messages that are meant.",
        )


def _is_message(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(value.get(key), str) for key in ("role", "from"))


def _check_beside(value: Mapping[Any, Any], key: str) -> None:
    """Refuse what stands beside the messages and belongs to the conversation."""
    if (shown := media_in(value)) is not None:
        raise ConversationError(f"{shown!r} beside {key!r}: guards here read text only", hint=NOT_TEXT_HINT)
    for other in value:
        if other in _ANSWERS and has(value, other):
            raise ConversationError(
                f"{other!r} beside {key!r}: is it said after these messages, or one of them?",
                hint=f"Pass the messages that are meant: value[{key!r}], or value[{key!r}] + {_answer(value, other)}.",
            )
        if other in _EARLIER and has(value, other):
            raise ConversationError(
                f"{other!r} beside {key!r}: was it said ahead of these messages?",
                hint=f"Pass the messages that are meant: value[{key!r}], or value[{other!r}] + value[{key!r}].",
            )
        if other not in _LISTS and any(is_message(one) for one in listed(value[other]) or ()) and has(value, other):
            raise ConversationError(f"two lists of messages: {other!r} and {key!r}", hint=f"Pass one: value[{key!r}].")


def _answer(value: Mapping[Any, Any], key: str) -> str:
    """Return the expression for the messages under a key of answers."""
    if key == "choices":
        return '[value["choices"][0]["message"]]'
    if key == "candidates":
        return '[value["candidates"][0]["content"]]'
    if isinstance(value[key], str):
        return f'[{{"role": "assistant", "content": value[{key!r}]}}]'
    return f"value[{key!r}]"


def _system_beside(value: Mapping[Any, Any]) -> list[object]:
    """Return the system prompt that stands beside the messages, as the first of them."""
    given = [key for key in _SYSTEM if has(value, key)]
    if len(given) > 1:
        raise ConversationError(f"several system prompts: {', '.join(map(repr, given))}", hint="Keep one.")
    if not given:
        return []
    said = value[given[0]]
    if isinstance(said, Mapping):
        said = said.get("parts", said.get("content"))
    return [{"role": "system", "content": said}]


def _from_columns(value: Mapping[Any, Any], key: str) -> list[object]:
    """Return the rows of a mapping of lists, which is how `datasets` and Arrow give a list of mappings."""
    columns = {name: listed(column) for name, column in value.items() if not is_missing(column)}
    lengths = {len(column) for column in columns.values() if column is not None}
    if None in columns.values() or len(lengths) > 1:
        raise ConversationError(
            f"a mapping of lists with {key!r} as one of them, and not all are lists of one length: "
            f"{shorten(dict(value))}",
            hint='[{"role": r, "content": c} for r, c in zip(value["role"], value["content"], strict=True)]',
        )
    names = list(columns)
    rows = zip(*(column or [] for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _refuse_format(value: Mapping[Any, Any]) -> None:
    """Refuse, by name, the exports of programs whose conversations stand elsewhere."""
    roles = [key for key in value if isinstance(key, str) and key.lower() in ROLE_ALIASES and key.lower() != "function"]
    if len(roles) > 1 and all(isinstance(value[role], str) for role in roles):
        raise ConversationError(
            f"this is a mapping from roles to what they said: {shorten(dict(value))}",
            hint='[{"role": role, "content": text} for role, text in value.items()]',
        )
    for keys, name, how in _EXPORTS:
        if all(key in value for key in keys):
            raise ConversationError(f"this is {name}: {shorten(dict(value))}", hint=f"{how} (see docs/files.md)")


_EXCHANGE = '[{{"role": "user", "content": value["{}"]}}, {{"role": "assistant", "content": value["{}"]}}]'
_EXPORTS = (
    (
        ("mapping", "current_node"),
        "a conversation of a ChatGPT export, a tree of messages",
        "Follow it from current_node to the root: the parts, the text (of code) and the attachments of each message",
    ),
    (
        ("chat_messages",),
        "a conversation of a Claude export",
        "Take sender, text, the extracted_content of attachments, and files of each of its chat_messages",
    ),
    (
        ("data", "annotations"),
        "a task of Label Studio",
        'task["data"] holds what was labelled: pd.DataFrame([task["data"] for task in tasks]).guard.score()',
    ),
    (("data", "predictions"), "a task of Label Studio", 'Use task["data"].'),
    (
        ("fields",),
        "a record of Argilla",
        'record["fields"] holds what was labelled: pd.DataFrame([r["fields"] for r in records]).guard.score()',
    ),
    (("conversation_a", "conversation_b"), "a comparison of two conversations", 'Pass one: value["conversation_a"].'),
    (("prompt", "message_tree_id"), "a tree of OASST", "Take each path through its replies: role and text of each."),
    (("role", "message_id", "text"), "a message of OASST", '{"role": m["role"], "content": m["text"]}'),
    (
        ("request", "response"),
        "a request of a chat API with its response",
        'OpenAI: value["request"]["messages"] + [value["response"]["choices"][0]["message"]]',
    ),
    (("choices",), "a response of a chat API", '[choice["message"] for choice in value["choices"]]'),
    (("candidates",), "a response of Gemini", '[value["candidates"][0]["content"]]'),
    (("body", "custom_id"), "a request of a batch", 'Use value["body"].'),
    (("request",), "a request of a batch", 'Use value["request"].'),
    (("comments",), "a ticket of Zendesk", '[{"role": …, "content": c["plain_body"]} for c in value["comments"]]'),
    (("conversation_parts",), "a conversation of Intercom", "Its first message stands under source"),
    (("chosen", "rejected"), "a preference pair: two conversations", 'Pass one: value["chosen"].'),
    (
        ("instruction", "output"),
        "an instruction with its answer (Alpaca)",
        '[{"role": "user", "content": value["instruction"] + "\\n\\n" + value["input"]}, '
        '{"role": "assistant", "content": value["output"]}]',
    ),
    (("prompt", "response"), "a prompt with its answer", _EXCHANGE.format("prompt", "response")),
    (("prompt", "completion"), "a prompt with its answer", _EXCHANGE.format("prompt", "completion")),
    (("question", "answer"), "a question with its answer", _EXCHANGE.format("question", "answer")),
    (("input", "preferred_output"), "a comparison of two answers", 'value["input"]["messages"] + one of the outputs'),
    (("input", "output"), "an input with its output", _EXCHANGE.format("input", "output")),
)
