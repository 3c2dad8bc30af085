"""Columns are found by exact name, rows are read in place."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from guard_magic.conversation import Conversation, parse_messages
from guard_magic.errors import ColumnError, ConversationError
from guard_magic.tables import (
    ColumnPlan,
    plan_columns,
    read_frame,
    read_long,
    read_series,
    read_turns,
)

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.mark.parametrize(
    ("columns", "plan"),
    [
        (["id", "messages"], ColumnPlan("messages", ("messages",))),
        (["conversations"], ColumnPlan("messages", ("conversations",))),
        (["prompt", "response", "x"], ColumnPlan("prompt", ("prompt", "response"))),
        (["prompt"], ColumnPlan("prompt", ("prompt",))),
        (["text", "Text", "response"], ColumnPlan("text", ("text",))),
    ],
)
def test_columns_are_found_by_name(columns: list[str], plan: ColumnPlan) -> None:
    assert plan_columns(columns) == plan


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ([], "no columns"),
        (["Text", "message"], "'Text', 'message'"),
        (["response"], "no column to score"),
        (["text", "prompt", "response"], "prompt \\+ response, text"),
        (["messages", "conversations"], "several columns"),
        (["text", "text"], "2 columns 'text'"),
        ([f"c{i}" for i in range(50)], "50 columns"),
    ],
)
def test_unclear_columns_are_refused(columns: list[str], says: str) -> None:
    with pytest.raises(ColumnError, match=says) as caught:
        plan_columns(columns)
    assert "text=" in caught.value.hint
    assert isinstance(caught.value, KeyError)


def test_named_columns() -> None:
    assert plan_columns(["a", "text"], text="a") == ColumnPlan("text", ("a",))
    assert plan_columns(["q", "a"], prompt="q", response="a") == ColumnPlan("prompt", ("q", "a"))
    assert plan_columns(["prompt", "response"], prompt="prompt") == ColumnPlan("prompt", ("prompt",))
    with pytest.raises(ColumnError, match="two readings"):
        plan_columns(["a", "b"], text="a", messages="b")
    with pytest.raises(ColumnError, match="response= needs"):
        plan_columns(["a"], response="a")
    with pytest.raises(ColumnError, match="no column 'b'; it has 'a'"):
        plan_columns(["a"], text="b")


@pytest.mark.parametrize("dtype", ["object", "string", pd.ArrowDtype(pa.string()), "category"])
def test_text_of_every_type(dtype: object) -> None:
    frame = pd.DataFrame({"text": pd.Series(["hi", None, "user: x"], dtype=dtype)})  # type: ignore[call-overload]
    first, second, third = read_frame(frame, plan_columns(frame))
    assert isinstance(first, Conversation)
    assert isinstance(second, ConversationError)
    assert "missing" in second.message
    assert isinstance(third, Conversation)
    assert third.assessed.content == "user: x", "text is verbatim, never a transcript"


def test_messages_of_every_type() -> None:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    for column in (
        [CHAT, json.dumps(CHAT), tuple(CHAT), np.array(CHAT, dtype=object)],
        pd.Series([CHAT] * 4, dtype=pd.ArrowDtype(kind)),
    ):
        frame = pd.DataFrame({"messages": column})
        for row in read_frame(frame, plan_columns(frame)):
            assert isinstance(row, Conversation)
            assert row.to_list() == CHAT


def test_a_missing_response_is_never_assessed_as_a_prompt() -> None:
    frame = pd.DataFrame({"prompt": ["a", "b", "c", None], "response": ["x", None, " ", "y"]})
    rows = read_frame(frame, plan_columns(frame))
    assert isinstance(rows[0], Conversation)
    assert rows[0].roles == ("user", "assistant")
    for row in rows[1:3]:
        assert isinstance(row, ConversationError)
        assert "response is missing" in row.message
    assert isinstance(rows[3], ConversationError)


def test_wrong_rows_do_not_disturb_others() -> None:
    frame = pd.DataFrame({"text": [1, 2.5, ["x"], b"x", "fine", float("nan"), pd.NaT]})
    rows = read_frame(frame, plan_columns(frame))
    assert [isinstance(row, Conversation) for row in rows] == [False] * 4 + [True] + [False] * 2


def test_series_of_text_and_of_messages() -> None:
    text = '[{"role": "user", "content": "hi"}]'
    (as_text,) = read_series(pd.Series([text]))
    (as_messages,) = read_series(pd.Series([text], name="messages"))
    assert isinstance(as_text, Conversation)
    assert isinstance(as_messages, Conversation)
    assert (as_text.assessed.content, as_messages.assessed.content) == (text, "hi")


# One message a row

LONG = {"conversation_id": "id", "role": "who", "content": "said"}


def long_frame(*rows: tuple[object, object, object]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["id", "who", "said"], dtype=object)
    return frame.set_index(pd.Index([7] * len(frame)))


def test_long_tables_are_named_never_found() -> None:
    assert plan_columns(["id", "who", "said", "text"], **LONG) == ColumnPlan("long", ("id", "who", "said"))
    assert plan_columns(["id", "who", "said", "text"]).kind == "text"
    with pytest.raises(ColumnError, match="no column to score"):
        plan_columns(["conversation_id", "role", "content"])


@pytest.mark.parametrize("lacking", list(LONG))
def test_long_columns_come_together(lacking: str) -> None:
    given = {argument: name for argument, name in LONG.items() if argument != lacking}
    with pytest.raises(ColumnError, match=f"without {lacking}=") as caught:
        plan_columns(list(LONG.values()), **given)
    assert "conversation_id=" in caught.value.hint


def test_long_and_another_reading_are_refused() -> None:
    with pytest.raises(ColumnError, match="text= and conversation_id= are two readings"):
        plan_columns(["id", "who", "said"], text="said", **LONG)
    with pytest.raises(ColumnError, match="one column is named twice: conversation_id='id', role='who', content='who'"):
        plan_columns(["id", "who"], conversation_id="id", role="who", content="who")
    with pytest.raises(ColumnError, match="no column 'said'"):
        plan_columns(["id", "who"], **LONG)
    with pytest.raises(ColumnError, match="one message a row"):
        read_frame(long_frame(("a", "user", "hi")), plan_columns(["id", "who", "said"], **LONG))


def test_interleaved_conversations_are_put_together() -> None:
    frame = long_frame(
        ("b", "user", "b1"), ("a", "human", "a1"), ("b", "bot", "b2"), ("a", "assistant", "a2"), ("b", "user", "b3")
    )
    table = read_long(frame, plan_columns(frame, **LONG))
    assert table.ids == ["b", "a"]
    assert table.members == [[0, 2, 4], [1, 3]]
    b, a = table.rows
    assert isinstance(b, Conversation)
    assert isinstance(a, Conversation)
    assert [message.content for message in b.messages] == ["b1", "b2", "b3"]
    assert (a.roles, b.roles) == (("user", "assistant"), ("user", "assistant", "user"))


@pytest.mark.parametrize(
    ("role", "content", "says"),
    [
        ("user", None, "content of message 2 is missing"),
        ("user", 5, "content of message 2 is int"),
        ("narrator", "x", "message 2 has an unknown role 'narrator'"),
        (None, "x", "the role of message 2 is not text"),
        ("assistant", [{"type": "image_url"}], "message 2 holds a part of type 'image_url'"),
    ],
)
def test_an_unreadable_message_makes_its_conversation_an_error(role: object, content: object, says: str) -> None:
    frame = long_frame((1, "user", "fine"), (2, "user", "other"), (1, role, content), (1, "user", "last"))
    table = read_long(frame, plan_columns(frame, **LONG))
    lost, other = table.rows
    assert isinstance(lost, ConversationError)
    assert says in lost.message
    assert isinstance(other, Conversation)
    assert table.members == [[0, 2, 3], [1]]


def test_rows_without_a_usable_id_are_errors_of_their_own() -> None:
    frame = long_frame((None, "user", "a"), ("x", "user", "b"), (float("nan"), "user", "c"), (["x"], "user", "d"))
    table = read_long(frame, plan_columns(frame, **LONG))
    assert table.members == [[0], [1], [2], [3]]
    assert [isinstance(row, Conversation) for row in table.rows] == [False, True, False, False]
    messages = [row.message for row in table.rows if isinstance(row, ConversationError)]
    assert ["missing" in message for message in messages] == [True, True, False]
    assert "is a list" in messages[2]


@pytest.mark.parametrize("dtype", ["Int64", "float64", "string", "category", pd.ArrowDtype(pa.string())])
def test_ids_of_every_type(dtype: object) -> None:
    ids = pd.Series(["1", "2", "1"]).astype("float64" if dtype == "Int64" else "object").astype(dtype)  # type: ignore[call-overload]
    frame = pd.DataFrame({"id": ids, "who": ["user", "user", "assistant"], "said": ["a", "b", "c"]})
    assert read_long(frame, plan_columns(frame, **LONG)).members == [[0, 2], [1]]
    frame["id"] = frame["id"].where([True, False, True])
    table = read_long(frame, plan_columns(frame, **LONG))
    assert table.members == [[0, 2], [1]]
    assert [isinstance(row, Conversation) for row in table.rows] == [True, False]


def test_an_empty_long_table() -> None:
    table = read_long(long_frame(), plan_columns(["id", "who", "said"], **LONG))
    assert (table.rows, table.members, table.ids) == ([], [], [])


def test_turns_are_one_line_a_message() -> None:
    chat = parse_messages([*CHAT, {"role": "user", "content": " "}, {"role": "user", "content": "bye"}])
    broken = ConversationError("why")
    table = read_turns([chat, broken, parse_messages(CHAT)])
    assert table.conversations == [0, 0, 0, 0, 1, 2, 2]
    assert table.turns == [0, 1, 2, 3, None, 0, 1]
    assert table.roles == ["user", "assistant", "user", "user", None, "user", "assistant"]
    assert table.contents == ["hi", "hello", " ", "bye", None, "hi", "hello"]
    assert [len(row) for row in table.rows if isinstance(row, Conversation)] == [1, 2, 4, 1, 2]
    assert isinstance(table.rows[2], ConversationError)
    assert table.rows[4] is broken
