"""Columns are found by exact name, rows are read in place."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from guard_magic.conversations.conversation import Conversation, parse_messages
from guard_magic.errors import ConversationError
from guard_magic.tables.by_conversation import read_frame, read_series, read_turns
from guard_magic.tables.column_plan import plan_columns

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


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


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT])
def test_what_is_missing_is_not_spelled_out(value: object) -> None:
    pairs = pd.DataFrame({"p": ["a", "b"], "r": ["c", value]}, dtype=object)
    found = [
        *read_series(pd.Series(["a", value], dtype=object, name="text")),
        *read_series(pd.Series([[], value], dtype=object, name="messages")),
        *read_frame(pairs, plan_columns(pairs.columns, prompt="p", response="r")),
    ]
    messages = [str(row) for row in found if isinstance(row, ConversationError)]
    assert sum("missing" in message for message in messages) >= 3
    assert not [message for message in messages if "(" in message and "missing" in message]
