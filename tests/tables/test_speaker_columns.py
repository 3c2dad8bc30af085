"""Who said each row: a column's name and its words together, in every language, and no label taken for a speaker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_rows import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.errors import ColumnError
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.by_message import read_long
from guard_magic.tables.column_plan import plan_columns, remarks_on
from guard_magic.tables.speakers import role_of

LANGUAGES = [
    *[("Nutzer", "Assistent"), ("Kundin", "Berater"), ("utilisateur", "assistant"), ("Usuário", "assistente")],
    *[("usuario", "asistente"), ("Käyttäjä", "Avustaja"), ("Kullanıcı", "Asistan"), ("Użytkownik", "asystent")],
    *[
        ("Пользователь", "Ассистент"),
        ("用户", "助手"),
        ("ユーザー", "アシスタント"),
        ("사용자", "봇"),
        ("مستخدم", "مساعد"),
    ],
]
NAMES = ["role", "sender", "author", "from", "speaker", "Rolle", "messageRole", "sender_type", "角色"]


def said(values: Any, name: str = "role", **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text number {i}" for i in range(len(values))], name: values, **more})


def call_of(error: ColumnError) -> str:
    """The first call of a hint, with ids where it leaves them open."""
    call = error.hint.partition(" reads conversations")[0].rpartition("; ")[2]
    return call.replace("conversation_id=…", "conversation_id='c'")


def runs(call: str, frame: pd.DataFrame) -> list[Any]:
    """What the call reads, of a table to which it would be put."""
    before, _, named = call.rpartition(".guard.score(")
    table = eval(before, {"df": frame.assign(c=1), "pd": pd})
    plan = plan_columns(table, **eval(f"dict({named}"))
    return list(read_long(table, plan).rows if plan.kind == "long" else read_frame(table, plan))


@given(
    st.sampled_from(LANGUAGES),
    st.sampled_from([*NAMES, "x", "kind"]),
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.sampled_from([str, str.upper, str.title, lambda word: f" {word} "]),
)
@settings(deadline=None, max_examples=150)
def test_roles_in_every_language_are_refused_with_a_call_that_reads_them(
    words: tuple[str, str], name: str, turns: list[bool], spelt: Any
) -> None:
    frame = said([spelt(words[turn]) for turn in turns], name)
    if not any(turns):
        assert remarks_on(frame, plan_columns(frame)) == []
        return
    with pytest.raises(
        ColumnError, match=f"each row of 'text' is a user message, or '{name}' says who said it"
    ) as caught:
        plan_columns(frame)
    (read,) = runs(call_of(caught.value), frame)
    assert [message.role for message in read.messages] == [("user", "assistant")[turn] for turn in turns]


@pytest.mark.parametrize("name", ["is_bot", "from_agent", "isAssistant", "sent_by_bot", "outbound", "is_outgoing"])
@pytest.mark.parametrize(
    "flags",
    [
        [True, False],
        [0, 1],
        ["true", "false"],
        [1.0, 0.0],
        pd.array([True, None, False], dtype="boolean"),
        np.array(["Yes", "no"], dtype=object),
    ],
    ids=str,
)
def test_truth_values_about_the_speaker(name: str, flags: Any) -> None:
    frame = said(flags, name)
    with pytest.raises(ColumnError, match=f"'{name}' says who said it") as caught:
        plan_columns(frame)
    (read,) = runs(call_of(caught.value), frame.dropna())
    truths = [str(flag).lower() in ("true", "1", "1.0", "yes") for flag in frame[name].dropna()]
    assert [message.role for message in read.messages] == ["assistant" if truth else "user" for truth in truths]


@pytest.mark.parametrize("name", ["is_user", "from_customer", "inbound", "is_incoming"])
def test_truth_values_about_the_user(name: str) -> None:
    assert plan_columns(said([True, True], name)).kind == "text", "all are the user's"
    with pytest.raises(ColumnError, match="says who said it") as caught:
        plan_columns(said([True, False], name))
    assert "{True: 'user', False: 'assistant'}" in caught.value.hint


@pytest.mark.parametrize("values", [["inbound", "outbound"], ["Incoming", "OUTGOING"], ["in", "out"]])
def test_directions(values: list[str]) -> None:
    with pytest.raises(ColumnError, match="says who said it"):
        plan_columns(said(values, "direction"))


LABELS = ["label", "source", "model", "split", "status", "Category", "data_source", "target_class", "modelName"]


@given(
    st.sampled_from(LABELS),
    st.lists(st.sampled_from(["human", "ai", "gpt", "claude", "train", "system", "agent", "user", "bot"]), min_size=1),
)
@settings(deadline=None, max_examples=100)
def test_a_label_is_never_taken_for_a_speaker(name: str, values: list[str]) -> None:
    frame = said(values, name)
    plan = plan_columns(frame)
    assert plan.kind == "text"
    roles = [role_of(value) for value in values]
    both = {"user", "assistant"} <= {*roles} and 2 * roles.count(None) <= len(roles)
    assert len(remarks_on(frame, plan)) == both, "which side is whose is said where it names both"


@pytest.mark.parametrize(
    ("name", "values", "n"),
    [
        ("role", ["engineer", "manager"], 1),
        ("speaker", [0, 1], 1),
        ("author", ["alice", "bob"], 1),
        ("author", [f"person {i}" for i in range(30)], 0),
        ("role", ["user", "user"], 0),
        ("author_id", [1, 2], 0),
        ("direction", ["north", "south"], 0),
        ("user", ["alice", "bob"], 0),
        ("is_spam", [True, False], 0),
        ("note", ["client", "operator"], 0),
    ],
)
def test_what_stays_open_is_said_and_blocks_nothing(name: str, values: list[Any], n: int) -> None:
    frame = said(values, name)
    found = remarks_on(frame, plan_columns(frame))
    assert len(found) == n
    assert all(f"column '{name}' may say who said each row" in remark for remark in found)
    assert remarks_on(frame, plan_columns(frame, text="text")) == [], "who names the column has chosen"


def test_words_for_roles_where_the_name_says_so() -> None:
    with pytest.raises(ColumnError, match="says who said it"):
        plan_columns(said(["visitor", "Support Agent", "gpt-4o"], "sender"))
    assert plan_columns(said(["visitor", "support"], "team")).kind == "text"


def test_unknown_roles_of_a_long_table_are_told_with_the_words_seen() -> None:
    frame = pd.DataFrame({"c": [1, 1, 2], "who": ["Käyttäjä", "Avustaja", "xyz"], "said": ["a", "b", "d"]})
    named = {"conversation_id": "c", "role": "who", "content": "said"}
    (remark,) = read_long(frame, plan_columns(frame, **named)).remarks
    assert "column 'who' holds 3 words that are not roles ('Käyttäjä' (1 ×)" in remark
    call = "replace({'Käyttäjä': 'user', 'Avustaja': 'assistant', 'xyz': '…'})"
    assert call in remark
    by_parent = frame.assign(id=[1, 2, 3], up=[None, 1, None])
    plan = plan_columns(by_parent, role="who", content="said", parent=("id", "up"))
    assert call in read_long(by_parent, plan).remarks[0]
    known = frame.replace({"who": {"Käyttäjä": "user", "Avustaja": "bot", "xyz": "human"}})
    assert read_long(known, plan_columns(known, **named)).remarks == []


@pytest.mark.parametrize(
    "name", ["role", "is_bot", "history", "choices", "images", "tool_calls", "chat", "sent_at", "id"]
)
def test_hostile_values_beside_the_text_stop_nothing(name: str) -> None:
    values = np.empty(len(HOSTILE), dtype=object)
    for i, value in enumerate(HOSTILE):
        values[i] = value
    frame = said(values, name, c=1, who="user")
    try:
        plan = plan_columns(frame)
    except ColumnError:
        plan = plan_columns(frame, text="text")
    remarks_on(frame, plan)
    assert len(list(read_frame(frame, plan))) == len(HOSTILE)
    named = plan_columns(frame, conversation_id="c", role="who", content="text")
    assert len(read_long(frame, named).rows) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("message_type", ["HumanMessage", "AIMessage"]),
        ("event", ["user_message", "bot_message"]),
        ("turn_type", ["question", "answer"]),
        ("field", ["input", "output"]),
        ("variable", ["prompt", "response"]),
        ("is_response", [0, 1]),
    ],
)
def test_words_made_with_those_of_both_sides_are_roles(name: str, values: list[Any]) -> None:
    frame = pd.DataFrame({"text": ["a b", "c d"], name: values})
    with pytest.raises(ColumnError, match=f"two readings: .* '{name}' says who said it"):
        plan_columns(frame)
    one_side = pd.DataFrame({"text": ["a b", "c d"], name: values[:1] * 2})
    if name != "is_response":
        assert plan_columns(one_side).kind == "text"


def test_the_gender_of_a_speaker_is_not_a_role() -> None:
    frame = pd.DataFrame({"text": ["a b", "c d"], "speaker_gender": ["m", "f"]})
    assert remarks_on(frame, plan_columns(frame)) == []


@pytest.mark.parametrize("name", ["job", "occupation"])
def test_assistants_may_be_people_of_that_job(name: str) -> None:
    frame = pd.DataFrame({"text": ["a b", "c d"], name: ["assistant", "agent"]})
    assert remarks_on(frame, plan_columns(frame)) == []
