"""Tables that have the newest message first are said to, in whatever way times and numbers are written."""

from __future__ import annotations

import datetime
from email.utils import format_datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import Conversation
from guard_magic.errors import ColumnError
from guard_magic.tables.by_message import LongTable, read_long
from guard_magic.tables.column_plan import plan_columns

LONG = {"conversation_id": "c", "role": "who", "content": "said"}
UTC = datetime.UTC

WRITTEN: dict[str, Any] = {
    "ISO": lambda at: at.isoformat(),
    "ISO with a space": lambda at: at.strftime("%Y-%m-%d %H:%M:%S"),
    "dots": lambda at: at.strftime("%d.%m.%Y %H:%M:%S"),
    "slashes, year first": lambda at: at.strftime("%Y/%m/%d %H:%M:%S"),
    "month name": lambda at: at.strftime("%b %d, %Y %H:%M:%S"),
    "day and month name": lambda at: at.strftime("%d %B %Y %H:%M:%S"),
    "RFC 2822": format_datetime,
    "seconds": lambda at: int(at.timestamp()),
    "milliseconds as text": lambda at: str(int(at.timestamp() * 1000)),
    "date": lambda at: at,
}


def long(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    who = [("user", "assistant")[i % 2] for i in range(n)]
    return pd.DataFrame({"c": 1, "who": who, "said": [f"m{i}" for i in range(n)], **columns})


def read(frame: pd.DataFrame, **names: Any) -> LongTable:
    return read_long(frame, plan_columns(frame, **{**LONG, **names}))


def said(table: LongTable) -> list[str]:
    (row,) = table.rows
    assert isinstance(row, Conversation)
    return [message.content for message in row.messages]


TIMES = st.lists(
    st.datetimes(datetime.datetime(2001, 1, 1), datetime.datetime(2037, 1, 1), timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=0)
    ),
    min_size=2,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize("way", list(WRITTEN))
@given(TIMES, st.sampled_from(["sent", "created_at", "timestamp", "Date"]))
@settings(deadline=None, max_examples=25)
def test_times_in_every_form_that_run_backwards_are_said_and_sorted(way: str, times: list[Any], name: str) -> None:
    newest_first = [WRITTEN[way](at) for at in sorted(times, reverse=True)]
    frame = long(**{name: newest_first})
    (remark,) = read(frame).remarks
    assert f"not in the order of '{name}' (in 1 the newest message stands first)" in remark
    assert f"order='{name}' sorts" in remark
    ordered = read(frame, order=name)
    assert said(ordered) == said(read(frame))[::-1]
    assert ordered.remarks == []
    assert read(frame[::-1]).remarks == []


@pytest.mark.parametrize(
    "name", ["msg_no", "seq", "turn", "index", "messageNumber", "step", "pos", "line_no", "msg_idx"]
)
@pytest.mark.parametrize("kind", [int, float, str])
def test_numbers_of_messages(name: str, kind: Any) -> None:
    frame = long(**{name: [kind(3), kind(2), kind(1)]})
    assert f"order={name!r}" in read(frame).remarks[0]
    assert said(read(frame, order=name)) == ["m2", "m1", "m0"]


@pytest.mark.parametrize("values", [["10:03", "10:02"], ["10:03:01", "10:02:59"], ["1:05 PM", "1:04 PM"]])
def test_times_of_a_day_turn_the_table_round(values: list[str]) -> None:
    frame = long(at=values)
    (remark,) = read(frame).remarks
    assert "df[::-1]" in remark
    assert read(frame[::-1]).remarks == []
    with pytest.raises(ColumnError, match="has no order: it holds times of a day") as caught:
        read(frame, order="at")
    assert "df[::-1]" in caught.value.hint
    assert read(long(at=["23:58", "23:59", "00:01"])).remarks == [], "past midnight"


def test_a_column_called_otherwise_is_known_by_its_values() -> None:
    assert "order='x'" in read(long(x=["03.02.2024", "02.02.2024"])).remarks[0]
    assert "order='x'" in read(long(x=[datetime.date(2024, 2, 3), datetime.date(2024, 2, 2)])).remarks[0]


SNOWFLAKE = 1_190_000_000_000_000_000


def test_ids_that_grow_with_time() -> None:
    assert "order='id'" in read(long(id=[SNOWFLAKE + 2, SNOWFLAKE + 1])).remarks[0]
    assert "order='message_id'" in read(long(message_id=[str(SNOWFLAKE + 2), str(SNOWFLAKE + 1)])).remarks[0]
    assert "order='id'" in read(long(id=[9, 8, 7, 6])).remarks[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", [9, 3]),
        ("id", [SNOWFLAKE + 2, SNOWFLAKE + 1, SNOWFLAKE + 5]),
        ("likes", [9, 3]),
        ("n_tokens", [9, 3]),
        ("line_count_of_words", [9, 3]),
        ("updated_at", ["2024-01-02", "2024-01-01"]),
        ("sent_at", ["2024-01-01", "2024-01-02"]),
        ("note", ["b", "a"]),
        ("is_time", [True, False]),
    ],
)
def test_columns_that_say_nothing_of_the_order(name: str, values: list[Any]) -> None:
    assert read(long(**{name: values})).remarks == []


def test_day_or_month_first() -> None:
    """Where both readings give one order it is read; where not, it is asked for, and never sorted by a guess."""
    with pytest.raises(ColumnError, match="has no order"):
        read(long(sent=["Jan 2, 2024", "1/2/2024"]), order="sent")
    assert "order='sent'" in read(long(sent=["3/1/2024", "2/1/2024"])).remarks[0]
    assert said(read(long(sent=["13/1/2024", "2/1/2024"]), order="sent")) == ["m1", "m0"]
    assert said(read(long(sent=["1/13/24", "1/2/24"]), order="sent")) == ["m1", "m0"]
    frame = long(sent=["2/1/2024", "1/2/2024"])
    assert "by one reading of day and month; pd.to_datetime(df['sent'], dayfirst=True)" in read(frame).remarks[0]
    with pytest.raises(ColumnError, match="day and month could be either") as caught:
        read(frame, order="sent")
    assert "dayfirst=True" in caught.value.hint


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_order_is_guessed_of_dates_in_numbers(data: st.DataObject) -> None:
    """Whatever is sorted, is sorted so by every reading that all of the dates have."""
    parts = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(2020, 2022))
    dates = data.draw(st.lists(parts, min_size=2, max_size=5, unique=True))
    texts = [f"{a}/{b}/{year}" for a, b, year in dates]
    readings = []
    for day_at in (0, 1):
        try:
            readings.append([datetime.date(d[2], d[1 - day_at], d[day_at]) for d in dates])
        except ValueError:
            continue
    try:
        found = said(read(long(sent=texts), order="sent"))
    except ColumnError:
        orders = {tuple(sorted(range(len(dates)), key=reading.__getitem__)) for reading in readings}
        assert len(orders) != 1 or any(len(set(reading)) < len(reading) for reading in readings)
        return
    places = [int(text[1:]) for text in found]
    assert readings
    for reading in readings:
        assert [reading[i] for i in places] == sorted(reading)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
@settings(deadline=None, max_examples=60)
def test_messages_of_one_time_are_said_to_keep_the_tables_order(times: list[int]) -> None:
    remarks = read(long(sent=times), order="sent").remarks
    assert len(remarks) == (len(set(times)) < len(times))
    assert all("in 1 of 1 conversations some messages have one value of 'sent'" in remark for remark in remarks)


@pytest.mark.parametrize("root", ["0", 0, -1, "-1", "root", ""])
def test_parents_that_stand_for_none(root: object) -> None:
    own = [1, 2] if isinstance(root, int) else ["a", "b"]
    frame = long(message_id=own, parent_id=[root, own[0]])
    named = {"role": "who", "content": "said", "parent": "parent_id"}
    table = read_long(frame, plan_columns(frame, **named))
    if root == "":
        assert said(table) == ["m0", "m1"]
        return
    (remark,) = table.remarks
    assert f"{root!r} is not the id of a message, and 1 rows answer it" in remark
    mended = eval(remark.partition("for none, ")[2].partition(" makes")[0], {"df": frame})
    assert said(read_long(mended, plan_columns(mended, **named))) == ["m0", "m1"]
