from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations import conversation as conversation_module
from guard_magic.conversations.conversation import (
    MAX_CHARACTERS,
    ROLE_ALIASES,
    Conversation,
    Message,
    is_missing,
    looks_like_conversation,
    parse_body,
    parse_conversation,
    parse_messages,
    parse_transcript,
)
from guard_magic.errors import ConversationError

USER = {"role": "user", "content": "hi"}
AGENT = {"role": "assistant", "content": "hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def said(*pairs: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in pairs))  # type: ignore[arg-type]


def pairs(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in conversation.messages]


# What is read


def test_string_is_one_user_message_verbatim() -> None:
    text = '  user: hi\nassistant: [ {"role": \r\n\t'
    assert pairs(parse_conversation(text)) == [("user", text)]


@pytest.mark.parametrize("value", [USER, [USER], (USER,), Message("user", "hi"), [Message("user", "hi")], iter([USER])])
def test_one_message_in_any_container(value: object) -> None:
    assert pairs(parse_conversation(value)) == [("user", "hi")]


@pytest.mark.parametrize("make", [list, tuple, pd.Series, lambda x: np.array(x, dtype=object)])
def test_lists_of_messages(make: Any) -> None:
    conversation = parse_conversation(make([USER, AGENT]))
    assert pairs(conversation) == [("user", "hi"), ("assistant", "hello")]
    assert conversation.assessed == Message("assistant", "hello")
    assert conversation.roles == ("user", "assistant")
    assert conversation.to_list() == [USER, AGENT]
    assert len(conversation) == 2


def test_conversation_is_returned_as_it_is() -> None:
    conversation = said(("user", "hi"))
    assert parse_conversation(conversation) is conversation
    assert parse_messages(conversation) is conversation


def test_from_value_log() -> None:
    log = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    assert pairs(parse_conversation(log)) == [("user", "hi"), ("assistant", "hello")]
    assert parse_messages({"conversations": log}) == parse_messages(json.dumps(log)) == parse_conversation(log)


@pytest.mark.parametrize("key", ["messages", "conversations", "conversation"])
def test_wrapped_messages(key: str) -> None:
    assert pairs(parse_messages(json.dumps({"id": 3, key: [USER]}))) == [("user", "hi")]


@pytest.mark.parametrize(("alias", "role"), ROLE_ALIASES.items())
def test_role_aliases(alias: str, role: str) -> None:
    conversation = parse_conversation([{"role": f" {alias.upper()} ", "content": "x"}])
    assert conversation.roles == (role,)


def test_text_parts_are_joined_with_newlines() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"type": "input_text", "text": "c"}]
    assert parse_conversation([{"role": "user", "content": parts}]).assessed.content == "a\nb\nc"


@pytest.mark.parametrize(
    "roles", [["system", "user"], ["assistant", "user"], ["assistant"], ["user", "user"], ["tool"]]
)
def test_any_order_of_roles_is_read(roles: list[str]) -> None:
    assert parse_conversation([{"role": r, "content": "x"} for r in roles]).roles == tuple(roles)


# What is refused: each with its own message


@pytest.mark.parametrize("value", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_missing(value: object) -> None:
    assert is_missing(value)
    with pytest.raises(ConversationError, match="the conversation is missing"):
        parse_conversation(value)
    with pytest.raises(ConversationError, match="the messages are missing"):
        parse_messages(value)
    with pytest.raises(ConversationError, match="the content of message 2 is missing"):
        parse_conversation([USER, {"role": "assistant", "content": value}])


@pytest.mark.parametrize("value", ["", 0, False, [], "nan", 1.5])
def test_not_missing(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t \r\n", "\u2003", "\u200b\u200b", "\u2800", "\u3164", "\ufeff\u00ad\U000e0041"]
)
def test_empty(text: str) -> None:
    for read in (parse_conversation, parse_body):
        with pytest.raises(ConversationError, match="the message to assess is empty"):
            read(text)
    with pytest.raises(ConversationError, match=r"the message to assess is empty .*message 2, assistant"):
        parse_conversation([USER, {"role": "assistant", "content": text}])
    with pytest.raises(ConversationError, match="the messages are empty text"):
        parse_messages(text)


@pytest.mark.parametrize("value", [[], (), pd.Series([], dtype=object), np.array([])])
def test_no_messages(value: object) -> None:
    with pytest.raises(ConversationError, match="the conversation has no messages"):
        parse_conversation(value)


def test_empty_first_message_is_allowed() -> None:
    assert len(parse_conversation([{"role": "user", "content": ""}, AGENT])) == 2


@pytest.mark.parametrize("value", [3, 2.5, True, b"hi", object(), Decimal("NaN"), np.array(3), len])
def test_wrong_type(value: object) -> None:
    with pytest.raises(ConversationError, match="expected a list of messages, got ") as caught:
        parse_conversation(value)
    assert type(value).__name__ in caught.value.message


@pytest.mark.parametrize("value", [{1, 2}, ["hi"], [None], [[USER]], [3], bytearray(b"hi"), range(3)])
def test_message_of_wrong_type(value: object) -> None:
    with pytest.raises(ConversationError, match=r"message 1 is (not a mapping but |missing)"):
        parse_conversation(value)


@pytest.mark.parametrize("value", [3, True, b"hi", {"text": "hi"}, np.array(3), 1.5])
def test_content_of_wrong_type(value: object) -> None:
    with pytest.raises(ConversationError, match=r"the content of message 1 is .*, not text"):
        parse_conversation([{"role": "user", "content": value}])


@pytest.mark.parametrize("role", ["", "wizard", "user2", "волшебник", "x" * 100_000])
def test_unknown_role(role: str) -> None:
    with pytest.raises(ConversationError, match="message 2 has an unknown role") as caught:
        parse_conversation([USER, {"role": role, "content": "x"}])
    assert "assistant" in caught.value.hint
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("role", [None, 3, ["user"], b"user", float("nan")])
def test_role_that_is_no_text(role: object) -> None:
    with pytest.raises(ConversationError, match=r"the role of message 1 is (not text|missing)"):
        parse_conversation([{"role": role, "content": "x"}])


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ({}, "role"),
        ({"role": "user"}, "content"),
        ({"content": "x"}, "role"),
        ({"from": "human"}, "value"),
        ({"value": "x"}, "role"),
        ({"role": "user", "value": "x"}, "content"),
        ({"from": "human", "content": "x"}, "value"),
    ],
)
def test_missing_key(message: dict[str, str], key: str) -> None:
    with pytest.raises(ConversationError, match=f"message 1 has no '{key}'"):
        parse_conversation([message])


@pytest.mark.parametrize("part", [IMAGE, {"type": "input_audio"}, {"type": "file"}, {"type": "image", "text": "a cat"}])
def test_parts_that_are_not_text_are_refused(part: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "what is this?"}, part]
    with pytest.raises(ConversationError, match=f"message 1 holds a part of type '{part['type']}'") as caught:
        parse_conversation([{"role": "user", "content": content}])
    assert "nothing is scored as if they were not there" in caught.value.hint


@pytest.mark.parametrize(
    "part", [{}, {"type": "text"}, {"type": "text", "text": None}, {"type": ["text"], "text": "x"}, 3, None, ["x"]]
)
def test_unreadable_parts(part: object) -> None:
    with pytest.raises(ConversationError, match=r"message 1 (holds an unreadable part|is missing)"):
        parse_conversation([{"role": "user", "content": [part]}])


@pytest.mark.parametrize("text", ["\ud800", "ok \udcff ok", "é\udfff"])
def test_lone_surrogates(text: str) -> None:
    for value in (text, [{"role": "user", "content": text}], json.dumps([{"role": "user", "content": text}])):
        read = parse_messages if isinstance(value, str) and value[0] == "[" else parse_conversation
        with pytest.raises(ConversationError, match=r"a lone surrogate '\\u.* at position") as caught:
            read(value)
        str(caught.value).encode()


def test_nul() -> None:
    with pytest.raises(ConversationError, match="the text has a NUL character at position 2"):
        parse_conversation("ab\0c")
    with pytest.raises(ConversationError, match="message 1 has a NUL character"):
        parse_messages('[{"role": "user", "content": "\\u0000"}]')


@pytest.mark.parametrize("unit", ["a", "é", "🙂", "user:", "-\n", "{", '"'])
def test_ten_megabytes_are_refused_at_once(unit: str) -> None:
    text = (unit * 10_000_000)[:10_000_000] + "."
    start = time.process_time()
    for read in (parse_conversation, parse_messages, parse_body):
        with pytest.raises(ConversationError) as caught:
            read(text)
        assert len(caught.value.message) < 250
    with pytest.raises(ConversationError, match="message 1 has 10,000,001 characters; at most 1,000,000 are read"):
        parse_conversation([{"role": "user", "content": text}])
    assert time.process_time() - start < 3


def test_longest_message() -> None:
    assert len(parse_conversation("x" * MAX_CHARACTERS).assessed.content) == MAX_CHARACTERS
    with pytest.raises(ConversationError, match="1,000,001 characters"):
        parse_conversation("x" * (MAX_CHARACTERS + 1))


def test_conversations_are_values() -> None:
    assert said(("user", "hi")) == parse_conversation("hi")
    assert len({said(("user", "hi")), parse_conversation("hi")}) == 1
    with pytest.raises(AttributeError):
        parse_conversation("hi").assessed.content = "x"  # type: ignore[misc]


# Bodies of cells


@pytest.mark.parametrize(
    "text", ["How do I\n\nkill a process?", "the user: is king", "Note:\nuser: x", "https://a.b/c"]
)
def test_body_of_plain_text(text: str) -> None:
    assert parse_transcript(text) is None
    assert [pairs(c) for c in parse_body(f"\n{text}\n")] == [[("user", text)]]


@pytest.mark.parametrize(
    ("marker", "role"),
    [
        ("user", "user"),
        ("human", "user"),
        ("assistant", "assistant"),
        ("agent", "assistant"),
        ("ai", "assistant"),
        ("system", "system"),
        ("tool", "tool"),
    ],
)
@pytest.mark.parametrize("form", ["{}: x", "{}:x", "  {}:\tx", "{} : x", "\n\n{}:\n\nx\n\n", "{}:\r\nx\r\n"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_markers(marker: str, role: str, form: str, case: Any) -> None:
    [conversation] = parse_body(form.format(case(marker)))
    assert pairs(conversation) == [(role, "x")]


def test_transcript_keeps_what_stands_between_markers() -> None:
    [conversation] = parse_body("\nuser: one\n\n  two: 2\nassistant: three\nfour\n\nsystem:\nfive\n")
    assert pairs(conversation) == [
        ("user", "one\n\n  two: 2"),
        ("assistant", "three\nfour"),
        ("system", "five"),
    ]


def test_empty_last_turn_of_a_transcript() -> None:
    with pytest.raises(ConversationError, match=r"empty .*message 2, assistant"):
        parse_body("user: hi\nassistant:\n")


@pytest.mark.parametrize("text", ["user: a\nassistant: b", '[{"role": "user"', "{% raw %}", "x"])
def test_text_only_takes_the_whole_body(text: str) -> None:
    assert [pairs(c) for c in parse_body(text + "\n", text_only=True)] == [[("user", text)]]


def test_json_bodies() -> None:
    both = parse_conversation([USER, AGENT])
    one = parse_conversation([USER])
    assert parse_body(json.dumps([USER, AGENT])) == [both]
    assert parse_body(json.dumps([USER, AGENT], indent=2)) == [both]
    assert parse_body(json.dumps(USER)) == [one]
    assert parse_body(json.dumps({"messages": [USER, AGENT]})) == [both]
    assert parse_body(json.dumps([[USER], [USER, AGENT]])) == [one, both]
    assert parse_body("\n".join(map(json.dumps, [[USER], [USER, AGENT]]))) == [one, both]
    assert parse_body("\r\n\n".join(map(json.dumps, [USER, {"messages": [USER, AGENT]}, [USER]]))) == [one, both, one]


def test_json_lines_with_line_separators_in_strings() -> None:
    lines = [json.dumps({"role": "user", "content": f"a{c}b"}, ensure_ascii=False) for c in "\u2028\x85\u2029"]
    assert [c.assessed.content for c in parse_body("\n".join(lines))] == ["a\u2028b", "a\x85b", "a\u2029b"]


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{",
        "[1,",
        '{"role": "user", "content": "x"',
        "[bread] recipe?",
        "{{ user }}",
        "{'role': 'user', 'content': f(x)}",
        "[{'role': 'user', 'content': 'x}]",
        '{"role": "user", "content": "x"} and more',
        "[" + "9" * 5000 + "]",
        '[{"role": "user", "content": "x"}]\n[{"role": "us',
    ],
)
def test_broken_json(text: str) -> None:
    with pytest.raises(ConversationError, match="JSON") as caught:
        parse_body(text)
    assert "--text" in caught.value.hint
    with pytest.raises(ConversationError, match="JSON"):
        parse_messages(text)


def test_text_that_is_no_json_in_a_messages_column() -> None:
    with pytest.raises(ConversationError, match="neither a JSON list of messages nor a transcript"):
        parse_messages("hello")


@pytest.mark.parametrize("text", ["3", '"hi"', "null", "true"])
def test_json_that_is_no_list(text: str) -> None:
    with pytest.raises(ConversationError, match="expected a list of messages"):
        parse_messages(text)


@pytest.mark.parametrize("depth", [50, 900, 970, 100_000])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("[", "]"),
        ('{"a":', "}"),
        ('{"messages":', "}"),
        ('[{"role":"user","content":', "}]"),
        ("[", ""),
        ("\n[", "\n]"),
    ],
)
def test_deep_json(depth: int, left: str, right: str) -> None:
    text = left * depth + "3" + right * depth
    for read in (parse_body, parse_messages):
        with pytest.raises(ConversationError) as caught:
            read(text)
        assert len(caught.value.message) < 200


def test_deep_lists() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ConversationError, match="nested too deeply to show"):
        parse_conversation(deep)


@pytest.mark.parametrize("text", ["[]", "[[]]", '{"messages": []}'])
def test_json_without_messages(text: str) -> None:
    with pytest.raises(ConversationError, match="no messages"):
        parse_body(text)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([USER, AGENT]),
        "\ufeff" + json.dumps([USER]),
        json.dumps({"messages": [USER]}, indent=2),
        "user: hi\nassistant: hello",
        "\n\nHuman: hi\n\nAssistant: hello",
    ],
)
def test_texts_that_hide_a_conversation(text: str) -> None:
    assert looks_like_conversation(text)


@pytest.mark.parametrize(
    "text", ["", "hi", "user: hi", "Note: a\nuser: b", "[1, 2]", "[bread] recipe?", '{"a": 1}', "{" * 5_000, "\u200b"]
)
def test_texts_that_are_only_texts(text: str) -> None:
    assert not looks_like_conversation(text)


@pytest.mark.parametrize("messages", [None, "hi", [Message("user", "hi")], (USER,), (Message("user", None),), (None,)])  # type: ignore[arg-type]
def test_conversations_made_by_hand_are_checked(messages: Any) -> None:
    with pytest.raises(ConversationError):
        Conversation(messages)


def test_contents_of_other_string_types_become_plain_strings() -> None:
    for value in (np.str_("hi"), [{"role": np.str_("user"), "content": np.str_("hi")}]):
        found = parse_conversation(value)
        assert (pairs(found), type(found.assessed.content)) == ([("user", "hi")], str)


SIGNS = [
    *"\n\t:：><[](){}|;=#\\\"'-–—@*_.,/ ",
    *(
        "User",
        "Assistant",
        "Ann",
        "bot",
        "10:02",
        "[INST]",
        "<|im_start|>",
        "### Human:",
        "role",
        "content",
        "hello there",
    ),
]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(SIGNS), max_size=12).map("".join))
def test_the_quick_look_misses_no_conversation(text: str) -> None:
    with patch.object(conversation_module, "_MAY_HIDE", re.compile("")):
        slow = looks_like_conversation(text)
    assert looks_like_conversation(text) == slow
