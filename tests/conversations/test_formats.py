"""Chat logs of other programs: read rightly, or refused by name; and rows that were made to break the reading."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chat_logs import CALL, CONVERTED, OPENAI, SHAPES, TEXTS, Pairs
from hostile_rows import HOSTILE, USER, hostile_column
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import (
    ROLE_ALIASES,
    Conversation,
    looks_like_conversation,
    parse_body,
    parse_conversation,
    parse_messages,
)
from guard_magic.conversations.message_forms import MAX_MESSAGES
from guard_magic.errors import ConversationError
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.column_plan import plan_columns

DOCS = Path(__file__).parents[2] / "docs" / "files.md"


def pairs(conversation: Conversation) -> Pairs:
    return [(m.role, m.content) for m in conversation.messages]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=list))


# Public shapes


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_read(name: str) -> None:
    value, expected, n_left_out = SHAPES[name]
    for read in (parse_messages, parse_conversation):
        found = read(value)
        assert pairs(found) == expected
        assert found.n_left_out == n_left_out


@pytest.mark.parametrize("name", [name for name in SHAPES if "Arrow" not in name])
def test_shapes_are_read_as_json_and_as_python_writes_them(name: str) -> None:
    value, expected, n_left_out = SHAPES[name]
    for text in (json.dumps(plain(value)), str(plain(value))):
        found = parse_messages(text)
        assert (pairs(found), found.n_left_out) == (expected, n_left_out)
        assert looks_like_conversation(text)
        assert [pairs(one) for one in parse_body(text)] == [expected]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_read(name: str) -> None:
    text, expected = TEXTS[name]
    assert pairs(parse_messages(text)) == expected
    assert looks_like_conversation(text)


@pytest.mark.parametrize("name", CONVERTED)
def test_other_shapes_are_refused_by_name(name: str) -> None:
    value, named = CONVERTED[name]
    for read in (parse_messages, parse_conversation):
        with pytest.raises(ConversationError, match=re.escape(named)) as caught:
            read(value)
        assert caught.value.hint


def test_the_documentation_names_all_markers() -> None:
    said = DOCS.read_text(encoding="utf-8").split("## Transcripts")[1]
    assert {name for name in ROLE_ALIASES if f"`{name}`" not in said} == set()


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (str(np.array(OPENAI, dtype=object)), "as JSON"),
        (repr([OPENAI[0], np.array(["x", "y"])]), "as JSON"),
        ("[{'role': 'user', 'content': 'a' 'b'}]", "as JSON"),
    ],
)
def test_what_numpy_prints_is_refused_with_the_way_out(values: str, hint: str) -> None:
    with pytest.raises(ConversationError, match="what NumPy or pandas prints of an array") as caught:
        parse_messages(values)
    assert hint in caught.value.hint


# What stands beside the text


@pytest.mark.parametrize("key", ["images", "image", "audio", "attachments", "files", "file", "video", "inlineData"])
@pytest.mark.parametrize("value", ["a.png", ["a.png"], {"url": "a.png"}, np.array(["a.png"])])
def test_pictures_and_files_beside_the_text_are_refused(key: str, value: object) -> None:
    for log in ([{**USER, key: value}], {"messages": [USER], key: value}):
        with pytest.raises(ConversationError, match=f"'{key}' beside") as caught:
            parse_messages(log)
        assert "nothing is scored as if they were not there" in caught.value.hint


@pytest.mark.parametrize("empty", [None, [], "", {}, np.array([]), float("nan"), False, [None], {"url": None}])
@pytest.mark.parametrize("key", ["images", "tool_calls", "reasoning_content", "attachments", "value", "refusal"])
def test_what_is_empty_stands_beside_nothing(key: str, empty: object) -> None:
    found = parse_messages([{**USER, key: empty}])
    assert (pairs(found), found.n_left_out) == ([("user", "hi")], 0)


@pytest.mark.parametrize(
    ("beside", "n"),
    [
        ({"tool_calls": [CALL, CALL]}, 2),
        ({"function_call": {"name": "brew", "arguments": "{}"}}, 1),
        ({"reasoning_content": "hm"}, 1),
        ({"tool_calls": np.array([CALL], dtype=object), "reasoning": "hm"}, 2),
    ],
)
@pytest.mark.parametrize("content", [{"content": None}, {}, {"content": ""}, {"content": "\u200b"}, {"content": []}])
def test_a_turn_of_tool_calls_alone_is_left_out_and_counted(
    beside: dict[str, object], n: int, content: dict[str, object]
) -> None:
    log = [USER, {"role": "assistant", **content, **beside}, {"role": "assistant", "content": "tea"}]
    found = parse_messages(log)
    assert (pairs(found), found.left_out) == ([("user", "hi"), ("assistant", "tea")], (1,) * n)
    assert found == parse_messages([log[0], log[2]]), "what was left out does not enter equality"
    assert parse_messages(log[:2]).left_out_last.startswith("message 2 is a tool call or reasoning")
    with pytest.raises(ConversationError, match="the conversation has no messages: message 1 is a tool call"):
        parse_messages(log[1:2])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "a", "value": "b"},
        {"role": "user", "from": "gpt", "content": "a"},
        {"role": "user", "content": "", "value": "b"},
        {"role": "user", "content": None, "value": "b"},
        {"role": "user", "content": "a", "parts": [{"text": "b"}]},
        {"role": "assistant", "content": "a", "refusal": "b"},
        {"role": "user", "content": "a", "text": "b"},
        {"role": "user", "content": "a", "messages": [USER]},
    ],
)
def test_two_readings_of_a_message_are_refused(message: dict[str, object]) -> None:
    with pytest.raises(ConversationError, match=r"which of them was said|'role' and 'from'|several readings"):
        parse_messages([message]) if "messages" not in message else parse_messages(message)


@pytest.mark.parametrize(
    "log",
    [
        {"messages": [USER], "conversations": [USER]},
        {"messages": [USER], "response": "yes"},
        {"messages": [USER], "prompt": "something else"},
        {"messages": [USER], "system": "a", "system_prompt": "b"},
        {"role": ["user"], "content": ["a", "b"]},
        {"role": ["user"], "content": "a"},
        [("role", "user"), ("role", "assistant"), ("content", "hi")],
        {"messages": {"messages": [USER]}},
    ],
)
def test_two_readings_of_a_log_are_refused(log: object) -> None:
    with pytest.raises(ConversationError):
        parse_messages(log)


@pytest.mark.parametrize(
    "text",
    [
        '[{"role": "user", "content": "a", "content": "b"}]',
        '[{"role": "user", "role": "assistant", "content": "a"}]',
        '{"messages": [], "messages": [{"role": "user", "content": "a"}]}',
        "[{'role': 'user', 'content': 'a', 'content': 'b'}]",
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    for read in (parse_messages, parse_body):
        with pytest.raises(ConversationError, match="stands twice"):
            read(text)


def test_the_system_prompt_beside_messages_is_the_first_message() -> None:
    assert pairs(parse_messages({"system": "Be brief.", "messages": [USER]})) == [
        ("system", "Be brief."),
        ("user", "hi"),
    ]


def test_a_conversation_may_have_as_many_messages_as_are_read() -> None:
    with pytest.raises(ConversationError, match=f"more than {MAX_MESSAGES:,} elements"):
        parse_messages(USER for _ in iter(int, 1))
    with pytest.raises(ConversationError, match=f"more than {MAX_MESSAGES:,} elements"):
        parse_messages([{"role": "user", "content": ("x" for _ in iter(int, 1))}])


# Rows that raise


def try_row(read: Callable[[object], Conversation], value: object) -> Conversation | ConversationError:
    try:
        return read(value)
    except ConversationError as error:
        return error


def places(thing: object) -> list[object]:
    """Put a thing wherever a conversation could hold one."""
    return [
        thing,
        [thing],
        [USER, thing],
        {"messages": thing},
        {"role": thing},
        [{"role": thing, "content": "x"}],
        [{"role": "user", "content": thing}],
        [{"role": "user", "content": [thing]}],
        [{"role": "user", "content": [{"type": thing, "text": "x"}]}],
        [{"role": "user", "content": [{"type": "text", "text": thing}]}],
        [{"role": "user", "content": "x", "tool_calls": thing}],
        [{"role": "user", "content": "x", "images": thing}],
        [{"from": "user", "value": "x", "role": thing}],
        {"messages": [USER], "system": thing, "prompt": thing},
    ]


@pytest.mark.parametrize("which", range(len(HOSTILE)), ids=lambda i: type(HOSTILE[i]).__name__)
def test_whatever_a_row_raises_is_a_conversation_error(which: int) -> None:
    for value in places(HOSTILE[which]):
        for read in (parse_conversation, parse_messages):
            found = try_row(read, value)
            if isinstance(found, Conversation):
                assert all(type(message.content) is str for message in found.messages)
            else:
                assert len(str(found)) < 400


@pytest.mark.parametrize("column", ["messages", "text", "prompt", "response"])
def test_one_hostile_row_never_stops_the_reading(column: str) -> None:
    hostile = hostile_column([USER] if column == "messages" else "hi")
    frame = pd.DataFrame({"prompt": ["hi"] * len(hostile)} if column == "response" else {})
    frame[column] = hostile
    rows = read_frame(frame, plan_columns(frame.columns))
    assert [isinstance(row, Conversation) for row in rows] == [True, *[False] * (len(hostile) - 2), True]
    assert rows.sizes()[0] == rows.sizes()[-1] > 0


@pytest.mark.parametrize("make", ['{{"a":{}}}', "[{}]", '[{{"role":"user","content":{}}}]', '{{"messages":{}}}'])
@pytest.mark.parametrize("depth", [200, 600, 900, 950, 1_000, 3_000])
def test_deep_json_lines(make: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    line = make.format(deep)
    for read in (parse_body, parse_messages):
        with pytest.raises(ConversationError):
            read(f"{line}\n{line}")
    assert not looks_like_conversation(line)


# Properties

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
words = texts.map(lambda text: f"w{text}")
said = st.lists(st.tuples(st.sampled_from(sorted(ROLE_ALIASES)), words), min_size=1, max_size=6)


def written(pairs: Pairs, form: str) -> object:
    """Write a conversation in one of the forms that are read."""
    listed = [{"role": role, "content": text} for role, text in pairs]
    return {
        "list": listed,
        "json": json.dumps(listed),
        "python": repr(listed),
        "sharegpt": {"conversations": [{"from": role, "value": text} for role, text in pairs]},
        "columns": {"role": [role for role, _ in pairs], "content": [text for _, text in pairs]},
        "maps": [list(message.items()) for message in listed],
        "gemini": {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in pairs]},
        "bedrock": [{"role": role, "content": [{"text": text}]} for role, text in pairs],
        "openai": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in pairs],
        "unified": [{"role": None, "content": None, "from": role, "value": text} for role, text in pairs],
    }[form]


FORMS = ["list", "json", "python", "sharegpt", "columns", "maps", "gemini", "bedrock", "openai", "unified"]


@settings(deadline=None, max_examples=60)
@given(said)
def test_every_form_holds_the_same_conversation(pairs_: Pairs) -> None:
    expected = [(ROLE_ALIASES[role], text) for role, text in pairs_]
    for form in FORMS:
        assert pairs(parse_messages(written(pairs_, form))) == expected, form


@settings(deadline=None, max_examples=150)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | texts
        | st.sampled_from(["user", "text", "assistant"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "role",
                        "content",
                        "from",
                        "value",
                        "type",
                        "text",
                        "parts",
                        "messages",
                        "tool_calls",
                        "system",
                        "tool_use",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_text_never_vanishes(value: Any) -> None:
    """Whatever is read holds each text that a message was given under a key of contents; all else is an error."""
    try:
        found = parse_messages([value] if not isinstance(value, list) else value)
    except ConversationError:
        return
    shown = "\n".join(message.content for message in found.messages)
    for item in value if isinstance(value, list) else [value]:
        items = item["messages"] if isinstance(item, dict) and "messages" in item and "role" not in item else [item]
        for message in items if isinstance(items, list) else []:
            for key in ("content", "value", "parts", "text"):
                text = message.get(key) if isinstance(message, dict) else None
                if isinstance(text, str) and text.strip():
                    assert text in shown or found.left_out
