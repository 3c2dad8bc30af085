"""One message a row: ids never merge and never split conversations, order and branches are followed or refused."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hostile_rows import hostile_column
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import Conversation
from guard_magic.errors import ColumnError, ConversationError
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.by_message import LongTable, read_long, read_long_turns
from guard_magic.tables.column_plan import ColumnPlan, plan_columns
from guard_magic.tables.message_ids import is_no_id

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
        (None, "x", "the role of message 2 is missing"),
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


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "nan", "NaN", "None", "<NA>", "null", "NaT"])
def test_what_a_missing_id_becomes_as_text_joins_no_rows(text: str) -> None:
    frame = long_frame((text, "user", "a"), ("x", "user", "b"), (text, "user", "c"))
    table = read_long(frame, plan_columns(frame, **LONG))
    assert table.members == [[0], [1], [2]]
    assert [isinstance(row, Conversation) for row in table.rows] == [False, True, False]


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


def test_long_tables_are_found_by_none_and_named_in_the_hint() -> None:
    frame = pd.DataFrame({"conversation": [1, 1], "role": ["user", "assistant"], "content": ["a", "b"]})
    with pytest.raises(ColumnError, match="no column to score") as caught:
        plan_columns(frame)
    assert "conversation_id=" in caught.value.hint


# Ids


def groups(ids: pd.Series) -> list[list[int]]:
    frame = pd.DataFrame({"id": ids.reset_index(drop=True), "who": "user", "said": "x"})
    return read_long(frame, plan_columns(frame, **LONG)).members


BIG = 1_234_567_890_123_456_789


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (pd.Series([BIG, BIG + 1, None], dtype="float64"), "floats of 9,007,199,254,740,992 and more"),
        (pd.Series([float(BIG), None], dtype=pd.ArrowDtype(pa.float64())), "floats of"),
        (pd.Series([2.0**24, 1], dtype="float32"), "floats of 16,777,216 and more"),
        (pd.Series([2.0**24, 1], dtype=pd.ArrowDtype(pa.float32())), "floats of 16,777,216 and more"),
        (pd.Series([float(BIG), 1.0]).astype("category"), "floats of"),
        (pd.Series([np.inf, 1.0]), "floats of"),
        (pd.Series(["1.2345678901234568e+18", "x"]), "ids that were rounded"),
        (pd.Series(["9007199254740993.0", "x"]), "ids that were rounded"),
        (pd.Series(["7", 7], dtype=object), "two kinds"),
        (pd.Series([7, "8"], dtype=object), "two kinds"),
        (pd.Series([7, "007"], dtype=object), "two kinds"),
        (pd.Series([7.0, "7"], dtype=object), "two kinds"),
        (pd.Series(["7.0", "7"], dtype=object), "two kinds"),
        (pd.Series([1, True], dtype=object), "two kinds"),
        (pd.Series([True, "True"], dtype=object), "two kinds"),
        (pd.Series([("a", 1), ("a", True)], dtype=object), "two kinds"),
        (pd.Series([datetime.date(2026, 1, 1), "2026-01-01"], dtype=object), "two kinds"),
    ],
)
def test_ids_that_cannot_tell_conversations_apart_are_refused(ids: pd.Series, says: str) -> None:
    with pytest.raises(ColumnError, match=says) as caught:
        groups(ids)
    assert "Int64" in caught.value.hint


@pytest.mark.parametrize(
    "ids",
    [
        pd.Series([BIG, BIG + 1, None, BIG], dtype="Int64"),
        pd.Series([BIG, BIG + 1, None, BIG], dtype=pd.ArrowDtype(pa.int64())),
        pd.Series([BIG, BIG + 1, None, BIG], dtype=pd.ArrowDtype(pa.decimal128(25))),
        pd.Series([BIG, BIG + 1, None, BIG], dtype=object),
        pd.Series([str(BIG), str(BIG + 1), None, str(BIG)]),
        pd.Series([BIG, BIG + 1, None, BIG], dtype="Int64").astype("category"),
        pd.Series([1.0, 2.0, None, 1.0]),
        pd.Series([True, False, None, True], dtype="boolean"),
        pd.Series([7, "a", None, 7.0], dtype=object),
        pd.Series(["7", "07", None, "7"]),
        pd.Series([Decimal(1), 2, Decimal("NaN"), 1], dtype=object),
        pd.Series([("a", 1), ("a", 2), None, ("a", 1)], dtype=object),
        pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02", None, "2026-01-01"])),
        pd.Series([1, 2, np.float32("nan"), 1], dtype=object),
    ],
)
def test_ids_that_tell_conversations_apart(ids: pd.Series) -> None:
    assert groups(ids) == [[0, 3], [1], [2]]


WHOLE = st.one_of(st.integers(-3, 12), st.integers(2**53 - 2, 2**53 + 3), st.integers(BIG, BIG + 3))
WORDS = st.one_of(st.sampled_from(["7", "07", "a", "A", "x y", "true", "1e3", "None"]), st.text(max_size=3))
WAYS: dict[str, Any] = {
    "int64": "int64",
    "Int64": "Int64",
    "UInt64": "UInt64",
    "float64": "float64",
    "float32": "float32",
    "arrow integers": pd.ArrowDtype(pa.int64()),
    "arrow floats": pd.ArrowDtype(pa.float64()),
    "arrow text": pd.ArrowDtype(pa.string()),
    "text": "string",
    "category": "category",
    "object": "object",
}


@st.composite
def written_ids(draw: st.DrawFn) -> tuple[list[object], pd.Series]:
    """Ids of conversations (None where missing), and a column in which each is written in one of many ways."""
    missing = draw(st.booleans())
    kind = draw(st.sampled_from([WHOLE, WORDS, st.booleans(), st.one_of(WHOLE, WORDS, st.booleans())]))
    true: list[Any] = draw(st.lists(st.one_of(st.none(), kind) if missing else kind, min_size=1, max_size=6))
    way = draw(st.sampled_from(list(WAYS)))
    values: list[Any] = list(true)
    if way == "object":
        for i, value in enumerate(values):
            if type(value) is int:
                values[i] = draw(st.sampled_from([value, np.int64(value), float(value), str(value), f"{value}.0"]))
    elif way not in ("text", "arrow text", "category") and not all(type(value) in (int, type(None)) for value in true):
        way = "object"  # as numbers, "7" and "07" are one id before we see them
    elif way in ("text", "arrow text"):
        values = [None if value is None else str(value) for value in values]
    try:
        column = pd.Series(values, dtype=WAYS[way])
    except (TypeError, ValueError, OverflowError, pa.ArrowInvalid, pa.ArrowTypeError, NotImplementedError):
        column = pd.Series(values, dtype=object)
    return [(type(value).__name__, value) if value is not None else None for value in true], column


def as_written(true: list[Any], column: pd.Series) -> list[Any]:
    """Where all is text, ``1`` and ``"1"`` are one id: nothing can tell them apart any more; "None" is none."""
    true = [None if one is not None and one[0] == "str" and is_no_id(one[1]) else one for one in true]
    if all(isinstance(value, str) or pd.isna(value) for value in column):
        return [None if one is None or is_no_id(str(one[1])) else ("str", str(one[1])) for one in true]
    return true


@given(written_ids())
@settings(deadline=None, max_examples=250)
def test_ids_never_merge_and_never_split_conversations(case: tuple[list[Any], pd.Series]) -> None:
    true, column = case
    try:
        found = groups(column)
    except ColumnError:
        return
    true = as_written(true, column)
    expected: dict[object, list[int]] = {}
    for i, one in enumerate(true):
        expected.setdefault(("missing", i) if one is None else one, []).append(i)
    assert found == list(expected.values())
    assert sorted(itertools.chain(*found)) == list(range(len(true)))


# Order


def ordered(times: Any, ids: Any = None, **names: Any) -> tuple[LongTable, list[list[str]]]:
    n = len(times)
    frame = pd.DataFrame(
        {"id": [1] * n if ids is None else ids, "who": "user", "said": [f"m{i}" for i in range(n)], "sent_at": times}
    )
    table = read_long(frame, plan_columns(frame, **LONG, **names))
    return table, [[m.content for m in row.messages] for row in table.rows if isinstance(row, Conversation)]


@pytest.mark.parametrize(
    "times",
    [
        [3, 1, 2],
        [3.5, 1.0, 2.0],
        [BIG + 2, BIG, BIG + 1],
        ["10", "2", "9"],
        ["2026-01-03", "2026-01-01", "2026-01-02T10:00:00"],
        pd.to_datetime(["2026-01-03", "2026-01-01", "2026-01-02"]),
        [datetime.datetime(2026, 1, 3), datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)],
        pd.Categorical(["c", "a", "b"], categories=["a", "b", "c"], ordered=True),
        pd.array([3, 1, 2], dtype="Int64"),
        pd.Series([3, 1, 2], dtype=pd.ArrowDtype(pa.int64())),
    ],
)
def test_messages_are_sorted_by_a_column(times: Any) -> None:
    table, said = ordered(times, order="sent_at")
    assert table.members == [[1, 2, 0]]
    assert said == [["m1", "m2", "m0"]]
    assert not table.remarks


def test_messages_of_one_time_keep_the_direction_of_the_table() -> None:
    assert ordered([1, 1, 2, 2], order="sent_at")[0].members == [[0, 1, 2, 3]]
    assert ordered([2, 2, 1, 1], order="sent_at")[0].members == [[3, 2, 1, 0]], "newest first: the last rows came first"


def test_a_message_without_time_makes_its_conversation_an_error() -> None:
    table, said = ordered([2, 1, None, 4, None], ids=[1, 1, 2, 2, 3], order="sent_at")
    assert said == [["m1", "m0"], ["m4"]]
    lost = table.rows[1]
    assert isinstance(lost, ConversationError)
    assert "order of a message is missing (column 'sent_at', row 2)" in lost.message


@pytest.mark.parametrize(
    "times",
    [
        ["soon", "later"],
        ["03/04/2026", "04/03/2026"],
        ["10:02", "10:03"],
        [1, "2"],
        [True, False],
        [[1], [2]],
        ["2026-01-01T00:00", "2026-01-01T00:00Z"],
        [datetime.datetime(2026, 1, 1), 5],
        [datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)],
    ],
)
def test_columns_without_an_order_are_refused(times: Any) -> None:
    with pytest.raises(ColumnError, match="'sent_at' has no order"):
        ordered(pd.Series(times, dtype=object), order="sent_at")


@pytest.mark.parametrize(
    ("name", "times", "is_said"),
    [
        ("created_at", ["2026-01-02", "2026-01-01"], True),
        ("when", pd.to_datetime(["2026-01-02", "2026-01-01"]), True),
        ("turn", [1, 0], True),
        ("messageIndex", [5, 3], True),
        ("created_at", ["2026-01-01", "2026-01-02"], False),
        ("updated_at", ["2026-01-02", "2026-01-01"], False),
        ("likes", [9, 3], False),
        ("turn", ["b", "a"], False),
    ],
)
def test_exports_that_run_backwards_are_said(name: str, times: Any, is_said: bool) -> None:
    frame = pd.DataFrame({"id": [1, 1], "who": ["user", "assistant"], "said": ["a", "b"], name: times})
    table = read_long(frame, plan_columns(frame, **LONG))
    assert table.members == [[0, 1]], "said, not changed"
    if not is_said:
        assert table.remarks == []
        return
    (remark,) = table.remarks
    assert f"1 of 1 conversations are not in the order of {name!r} (in 1 the newest message stands first)" in remark
    assert f"order={name!r}" in remark


def test_one_conversation_out_of_order_is_counted() -> None:
    table, _ = ordered([1, 2, 3, 5, 4, 6], ids=[1, 1, 1, 2, 2, 2])
    assert table.remarks[0].startswith("1 of 2 conversations are not in the order of 'sent_at' (in 0 the newest")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
@settings(deadline=None, max_examples=100)
def test_sorting_loses_no_row(times: list[int], data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 2), min_size=len(times), max_size=len(times)))
    table, _ = ordered(times, ids=ids, order="sent_at")
    assert sorted(itertools.chain(*table.members)) == list(range(len(times)))
    for positions in table.members:
        assert len({ids[i] for i in positions}) == 1
        assert [times[i] for i in positions] == sorted(times[i] for i in positions)


# Branches


def oasst() -> pd.DataFrame:
    """One question with two answers, the second of which is asked about, and another tree, as OASST writes them."""
    rows = [
        ("m1", None, "t1", "prompter", "question"),
        ("m2", "m1", "t1", "assistant", "answer one"),
        ("m3", "m1", "t1", "assistant", "answer two"),
        ("m5", None, "t2", "prompter", "alone"),
        ("m4", "m3", "t1", "prompter", "and then?"),
    ]
    return pd.DataFrame(rows, columns=["message_id", "parent_id", "message_tree_id", "role", "text"])


TREE: dict[str, Any] = {"conversation_id": "message_tree_id", "role": "role", "content": "text"}


def contents(table: LongTable) -> list[list[str] | None]:
    return [[m.content for m in row.messages] if isinstance(row, Conversation) else None for row in table.rows]


def test_branches_are_never_read_as_one_history() -> None:
    frame = oasst()
    with pytest.raises(ColumnError, match="row 2 answers message 'm1'") as caught:
        read_long(frame, plan_columns(frame, **TREE))
    assert "parent='parent_id'" in caught.value.hint
    line = frame[frame["message_id"] != "m2"]
    assert contents(read_long(line, plan_columns(line, **TREE)))[0] == ["question", "answer two", "and then?"]
    backwards = line.iloc[::-1]
    with pytest.raises(ColumnError, match="is not one line of messages"):
        read_long(backwards, plan_columns(backwards, **TREE))


@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("parent", ["parent_id", ("message_id", "parent_id")])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]])
def test_branches_are_followed(with_ids: bool, parent: Any, order: list[int]) -> None:
    frame = oasst().iloc[order]
    names = TREE if with_ids else {name: column for name, column in TREE.items() if name != "conversation_id"}
    table = read_long(frame, plan_columns(frame, **names, parent=parent))
    assert sorted(filter(None, contents(table))) == [
        ["alone"],
        ["question", "answer one"],
        ["question", "answer two", "and then?"],
    ]
    assert sorted(table.index) == ["m2", "m4", "m5"]
    assert (table.index.name, len(table.rows)) == ("message_id", 3)
    turns = read_long_turns(frame, plan_columns(frame, **names, parent=parent))
    assert sorted(turns.positions) == list(range(5))
    for place, row in zip(turns.positions, turns.rows, strict=True):
        assert isinstance(row, Conversation)
        assert row.assessed.content == frame["text"].iloc[place]
        assert len(row) == {"m1": 1, "m2": 2, "m3": 2, "m4": 3, "m5": 1}[frame["message_id"].iloc[place]]


def test_what_marks_share_begins_alike() -> None:
    frame = oasst()
    turns = read_long_turns(frame, plan_columns(frame, **TREE, parent="parent_id"))
    for _, lines in itertools.groupby(zip(turns.groups, turns.rows, strict=True), key=lambda pair: pair[0]):
        chats = [row.messages for _, row in lines if isinstance(row, Conversation)]
        for one, other in itertools.pairwise(chats):
            assert other[: len(one)] == one


@pytest.mark.parametrize(
    ("changes", "lost", "says"),
    [
        ({("m3", "parent_id"): "gone"}, {"m3", "m4"}, "not in the table ('gone', row 2)"),
        ({("m3", "parent_id"): "m4"}, {"m3", "m4"}, "go in a circle"),
        ({("m3", "parent_id"): "m3"}, {"m3", "m4"}, "go in a circle"),
        ({("m3", "message_tree_id"): "t2"}, {"m3", "m4"}, "belongs to another conversation ('t1', row 2)"),
        ({("m3", "message_tree_id"): None}, {"m3", "m4"}, "conversation id is missing"),
        ({("m3", "role"): "narrator"}, {"m3", "m4"}, "unknown role"),
        ({("m4", "role"): "narrator"}, {"m4"}, "unknown role"),
        ({("m1", "text"): None}, {"m1", "m2", "m3", "m4"}, "missing"),
    ],
)
def test_what_cannot_be_followed_is_an_error(changes: Any, lost: set[str], says: str) -> None:
    frame = oasst()
    for (message, column), value in changes.items():
        frame.loc[frame["message_id"] == message, column] = value
    plan = plan_columns(frame, **TREE, parent="parent_id")
    table = read_long(frame, plan)
    found = {name for name, row in zip(table.index, table.rows, strict=True) if isinstance(row, ConversationError)}
    assert found <= lost
    assert found
    assert any(says in row.message for row in table.rows if isinstance(row, ConversationError))
    turns = read_long_turns(frame, plan)
    assert sorted(turns.positions) == list(range(5)), "no row vanishes"
    places = [frame["message_id"].iloc[place] for place in turns.positions]
    wrong = {name for name, row in zip(places, turns.rows, strict=True) if isinstance(row, ConversationError)}
    assert wrong == lost


def test_the_messages_own_ids_are_found_or_asked_for() -> None:
    frame = oasst()
    names = {**TREE, "parent": "parent_id"}
    assert contents(read_long(frame.set_index("message_id"), plan_columns(frame, **names))) == contents(
        read_long(frame, plan_columns(frame, **names))
    )
    twins = frame.assign(copy_id=frame["message_id"])
    with pytest.raises(ColumnError, match="not clear which column holds the messages' own ids") as caught:
        read_long(twins, plan_columns(twins, **names))
    assert "parent=(\"message_id\", 'parent_id')" in caught.value.hint
    chosen = plan_columns(twins, **{**names, "parent": ("copy_id", "parent_id")})
    assert read_long(twins, chosen).index.name == "copy_id"
    double = frame.assign(message_id=["m1", "m1", "m3", "m5", "m4"])
    with pytest.raises(ColumnError, match="holds 'm1' twice"):
        read_long(double, plan_columns(double, **{**names, "parent": ("message_id", "parent_id")}))
    with pytest.raises(ColumnError, match="no column 'nothing'"):
        plan_columns(frame, **{**names, "parent": "nothing"})
    with pytest.raises(ColumnError, match="parent= without role= and content="):
        plan_columns(frame, parent="parent_id")
    with pytest.raises(ColumnError, match="order= without conversation_id= and role= and content="):
        plan_columns(frame, order="parent_id")


@given(st.lists(st.integers(-1, 7), min_size=1, max_size=8))
@settings(deadline=None, max_examples=150)
def test_no_message_of_a_tree_vanishes(ups: list[int]) -> None:
    """Every message is in a conversation or an error, whatever answers what: orphans, circles, itself."""
    n = len(ups)
    frame = pd.DataFrame(
        {
            "message_id": [f"m{i}" for i in range(n)],
            "parent_id": [None if up < 0 else f"m{up}" for up in ups],
            "role": "user",
            "text": [f"t{i}" for i in range(n)],
        }
    )
    plan = plan_columns(frame, role="role", content="text", parent=("message_id", "parent_id"))
    table = read_long(frame, plan)
    assert {place for members in table.members for place in members} == set(range(n))
    for members, row in zip(table.members, table.rows, strict=True):
        if isinstance(row, Conversation):
            assert [message.content for message in row.messages] == [f"t{i}" for i in members]
            assert all(ups[below] == above for above, below in itertools.pairwise(members))
            assert ups[members[0]] < 0
    assert sorted(read_long_turns(frame, plan).positions) == list(range(n))


@pytest.mark.parametrize("column", ["id", "role", "content"])
def test_one_hostile_row_never_stops_a_long_table(column: str) -> None:
    good = {"id": "a", "role": "user", "content": "hi"}
    hostile = hostile_column(good[column])
    hostile = hostile[[type(value) is not memoryview for value in hostile]].reset_index(drop=True)
    frame = pd.DataFrame({"id": [f"i{n}" for n in range(len(hostile))], "role": "user", "content": "x"})
    frame[column] = hostile
    plan = plan_columns(frame, conversation_id="id", role="role", content="content")
    table = read_long(frame, plan)
    read = {
        place
        for row, places in zip(table.rows, table.members, strict=True)
        for place in places
        if isinstance(row, Conversation)
    }
    assert {0, len(frame) - 1} <= read
    assert sorted(read_long_turns(frame, plan).positions) == list(range(len(frame)))


def _remarks(table: dict[str, list[Any]]) -> list[str]:
    frame = pd.DataFrame(table)
    return read_long(frame, plan_columns(frame, conversation_id="c", role="role", content="text")).remarks


SAID: dict[str, list[Any]] = {"c": ["a", "a"], "role": ["user", "assistant"], "text": ["hi there", "hello you"]}


@pytest.mark.parametrize("other", ["a ", "A", "a\u200b"], ids=["blank", "case", "unseen"])
def test_ids_that_look_alike_are_told(other: str) -> None:
    (remark,) = _remarks({**SAID, "c": ["a", other]})
    assert f"{'a'!a} and {other!a}" in remark
    assert _remarks({**SAID, "c": ["a", "b"]}) == []


def test_conversations_that_stand_there_twice_are_told() -> None:
    (remark,) = _remarks({name: values * 2 for name, values in SAID.items()})
    assert "every row of 1 of 1 conversations" in remark
    again = {"c": ["a"] * 3, "role": ["user", "assistant", "user"], "text": ["ok", "yes", "ok"]}
    assert _remarks(again) == [], "people say a word again"


@pytest.mark.parametrize("name", ["deleted", "is_deleted", "isInternal", "hidden"])
def test_messages_put_away_are_told(name: str) -> None:
    (remark,) = _remarks({**SAID, name: [False, True]})
    assert f"1 messages are {name.removeprefix('is_').removeprefix('is').lower()} by column '{name}'" in remark
    assert _remarks({**SAID, name: [False, False]}) == []
