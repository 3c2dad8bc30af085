"""What contradicts a reading of messages is an error that names it: another speaker, times that run backwards."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import parse_conversation, parse_messages
from guard_magic.errors import ConversationError

SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "bye"}]
DAY = datetime.datetime(2026, 1, 2)
RISING: dict[str, tuple[str, list[Any]]] = {
    "ISO": ("created_at", ["2026-01-02T10:00:00Z", "2026-01-02T10:00:05Z", "2026-01-02T10:01:00Z"]),
    "ISO with fractions": ("timestamp", ["2026-01-02 10:00:00", "2026-01-02 10:00:00.250", "2026-01-02 10:01"]),
    "zones": ("time", ["2026-01-02T10:00+02:00", "2026-01-02T09:00Z", "2026-01-02T09:00-01:00"]),
    "epoch": ("ts", [1767348000, 1767348001, 1767348002.5]),
    "epoch as text": ("create_time", ["1767348000.1", "1767348000.2", "1767348001"]),
    "turns": ("turn", [0, 1, 2]),
    "index": ("message_index", [1, 2, 10]),
    "days": ("date", ["2026-01-01", "2026-01-02", "2026-02-01"]),
    "datetimes": ("sentAt", [DAY, DAY + datetime.timedelta(hours=1), DAY + datetime.timedelta(days=1)]),
    "clock": ("time", ["09:58", "10:00", "10:01"]),
    "mongo": ("createdAt", [{"$date": f"2026-01-0{n}T00:00:00Z"} for n in (1, 2, 3)]),
    "snowflakes": ("id", [1100000000000000001, 1100000000000000002, 1100000000000000003]),
}


def log(key: str, values: list[Any]) -> list[dict[str, Any]]:
    return [{**message, key: value} for message, value in zip(SAID, values, strict=False)]


@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize("n", [2, 3])
def test_messages_listed_newest_first_are_refused(name: str, n: int) -> None:
    key, values = RISING[name]
    rising = log(key, values[:n])
    assert parse_messages(rising).to_list() == SAID[:n]
    falling = log(key, values[:n][::-1])
    for value in (falling, {"messages": falling}, json.dumps(falling, default=str)):
        for read in (parse_messages, parse_conversation) if not isinstance(value, str) else (parse_messages,):
            with pytest.raises(ConversationError, match=f"run backwards in time: '{key}'") as caught:
                read(value)
            assert "m[::-1]" in caught.value.hint
    assert parse_messages(falling[::-1]).to_list() == SAID[:n][::-1]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        *(
            ("id", [7, 3]),
            ("ts", [2, 3, 1]),
            ("ts", [1, 1, 1]),
            ("time", ["23:59", "00:01"]),
            ("updated_at", [3, 2, 1]),
        ),
        *(("n_turns", [3, 2, 1]), ("score", [3, 2, 1]), ("response_time", [3.5, 2.5]), ("time", ["b", "a"])),
        *(("turn", [None, 3, None]), ("ts", [True, False]), ("created", [float("nan"), 2])),
    ],
)
def test_what_says_nothing_of_the_order_is_let_pass(key: str, values: list[Any]) -> None:
    assert parse_messages(log(key, values)).to_list() == SAID[: len(values)]


def test_a_number_that_rises_says_that_the_order_is_right() -> None:
    messages = [{**m, "ts": 9 - i, "turn": i} for i, m in enumerate(SAID)]
    assert parse_messages(messages).to_list() == SAID


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=8, unique=True), st.sampled_from(["ts", "turn", "seq_no"]))
def test_numbers_are_refused_exactly_where_they_only_fall(values: list[int], key: str) -> None:
    messages = [{"role": "user", "content": "hi", key: value} for value in values]
    if values == sorted(values, reverse=True):
        with pytest.raises(ConversationError, match="run backwards"):
            parse_messages(messages)
    else:
        assert len(parse_messages(messages)) == len(values)


@pytest.mark.parametrize(
    ("role", "beside"),
    [
        *(
            ("user", {"is_bot": True}),
            ("user", {"isBot": 1}),
            ("user", {"bot": True}),
            ("user", {"is_assistant": "true"}),
        ),
        *(("user", {"sender": "agent"}), ("user", {"author": "assistant"}), ("user", {"speaker": "bot"})),
        *(("user", {"type": "ai"}), ("user", {"sender_type": "Bot "}), ("user", {"authorRole": "model"})),
        *(("user", {"author": {"role": "assistant"}}), ("user", {"sender": {"type": "bot", "name": "x"}})),
        *(("user", {"name": "assistant"}), ("human", {"type": "ai"}), ("user", {"sender": "system"})),
        *(("assistant", {"sender": "user"}), ("assistant", {"type": "human"}), ("assistant", {"is_user": True})),
        *(("assistant", {"is_bot": False}), ("user", {"is_user": False}), ("system", {"author": "user"})),
    ],
)
def test_another_speaker_beside_the_role_is_refused(role: str, beside: dict[str, Any]) -> None:
    [key] = beside
    with pytest.raises(ConversationError, match=f"message 1 has 'role' and '{key}'") as caught:
        parse_messages([{"role": role, "content": "x", **beside}])
    assert caught.value.hint
    if role != "system":
        with pytest.raises(ConversationError, match=f"'from' and '{key}'"):
            parse_messages([{"from": role, "value": "x", **beside}])


@pytest.mark.parametrize(
    ("role", "beside"),
    [
        *(("user", {"is_bot": False}), ("user", {"sender": "human"}), ("assistant", {"type": "ai"})),
        *(("user", {"sender": "ann"}), ("user", {"type": "message"}), ("assistant", {"author": "gpt"})),
        *(("agent", {"is_bot": False}), ("tool", {"author": "agent"}), ("system", {"sender": "bot"})),
        *(("assistant", {"type": "function"}), ("user", {"is_bot": None}), ("user", {"name": None})),
        *(("user", {"author": {"name": "ann", "is_bot": False}}), ("user", {"model": "gpt"})),
    ],
)
def test_what_contradicts_no_role_is_let_pass(role: str, beside: dict[str, Any]) -> None:
    assert len(parse_messages([SAID[0], {"role": role, "content": "x", **beside}])) == 2
