"""Columns are found by exact name; two readings, or none, are refused with the call to write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import ROLE_ALIASES
from guard_magic.errors import ColumnError
from guard_magic.tables.column_plan import ColumnPlan, plan_columns, remarks_on


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


@pytest.mark.parametrize("name", ["messages", "conversations", "conversation"])
def test_columns_of_messages_are_found_by_what_they_hold(name: str) -> None:
    chat = [{"role": "user", "content": "hi"}]
    assert plan_columns(pd.DataFrame({name: [None, chat]})).columns == (name,)
    assert plan_columns(pd.DataFrame({name: [None, str(chat).replace("'", '"')]})).columns == (name,)
    numbers = pd.DataFrame({name: [1, 2], "text": ["a", "b"]})
    assert plan_columns(numbers).columns == ("text",), "a number of messages, or of a conversation"


def test_columns_of_several_levels_are_refused_at_the_first_call() -> None:
    frame = pd.DataFrame([["a", 1]], columns=pd.MultiIndex.from_tuples([("x", "text"), ("x", "n")]))
    for names in ({}, {"text": ("x", "text")}):
        with pytest.raises(ColumnError, match="columns have 2 levels") as caught:
            plan_columns(frame, **names)
        assert "join" in caught.value.hint


@pytest.mark.parametrize("name", [pd.NA, float("nan"), None, ("a", "b"), 7, True, pd.Timestamp("2026-01-01")])
def test_other_columns_may_have_any_name(name: object) -> None:
    columns = pd.Index(["text", name], dtype=object, tupleize_cols=False)
    frame = pd.DataFrame([["a", "b"]], columns=columns)
    assert plan_columns(frame).columns == ("text",)


def test_columns_that_are_not_called_by_text() -> None:
    frame = pd.DataFrame([["a", "b"]], columns=[1, pd.Timestamp("2026-01-01")])
    assert plan_columns(frame, text=1).columns == (1,)
    with pytest.raises(ColumnError, match="no column True"):
        plan_columns(frame, text=True)


# A column that says who said each row

ROLES = ["prompter", "assistant", "assistant", "prompter"]


def said(roles: Any, name: str = "role", **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(roles))], name: roles, **more})


@pytest.mark.parametrize("name", ["role", "speaker", "from", "kind"])
@pytest.mark.parametrize(
    "roles",
    [
        ROLES,
        ["Human", "AI ", None, "human"],
        pd.Categorical(["user", "bot", "user", "bot"]),
        pd.array(["user", "model", None, "user"], dtype="string[pyarrow]"),
        ["user"] * 30 + ["gpt"],
        ["assistant"] * 4,
    ],
)
def test_a_column_that_names_roles_is_not_passed_over(name: str, roles: Any) -> None:
    frame = said(roles, name)
    with pytest.raises(ColumnError, match=f"two readings: each row of 'text' is a user message, or '{name}'") as caught:
        plan_columns(frame)
    assert f"role='{name}', content='text'" in caught.value.hint
    assert "text='text'" in caught.value.hint
    named = plan_columns(frame, text="text")
    (remark,) = remarks_on(frame, named)
    assert f"rows are not the user's by column '{name}'" in remark


def test_the_call_to_write_is_shown() -> None:
    frame = said(ROLES, message_id=list("abcd"), parent_id=[None, "a", "a", "b"], message_tree_id=["t"] * 4)
    with pytest.raises(ColumnError) as caught:
        plan_columns(frame)
    call = "conversation_id='message_tree_id', role='role', content='text', parent='parent_id'"
    assert f"df.guard.score({call})" in caught.value.hint
    assert plan_columns(frame, **eval(f"dict({call})")).kind == "long"
    exchange = pd.DataFrame({"prompt": ["a", "b"], "response": ["c", "d"], "who": ["user", "bot"]})
    with pytest.raises(ColumnError) as caught:
        plan_columns(exchange)
    assert "df.guard.score(prompt='prompt', response='response')" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("role", ["user", "human", None, "prompter"]),
        ("topic", ["tool", "toy", "book", "car", "tree"]),
        ("n", [1, 2]),
        ("assessed_role", ["user", "assistant"]),
        ("lg3_assessed_role", ["user", "assistant"]),
        ("note", [None, None]),
    ],
)
def test_columns_that_say_nothing_against_a_reading(name: str, values: list[Any]) -> None:
    frame = said(values, name)
    plan = plan_columns(frame)
    assert plan.kind == "text"
    assert remarks_on(frame, plan) == []


def test_lists_of_messages_say_themselves_who_said_what() -> None:
    frame = pd.DataFrame({"messages": [[{"role": "user", "content": "a"}]] * 2, "role": ["user", "assistant"]})
    assert plan_columns(frame).kind == "messages"


@given(
    st.lists(st.sampled_from(sorted(ROLE_ALIASES)), min_size=1, max_size=30),
    st.sampled_from([str, str.upper, str.title, lambda role: f" {role} "]),
    st.sampled_from(["role", "author", "a", "from_"]),
)
@settings(deadline=None, max_examples=100)
def test_no_row_is_read_as_the_user_s_against_a_column_of_roles(roles: list[str], spelt: Any, name: str) -> None:
    frame = said([spelt(role) for role in roles], name)
    if all(ROLE_ALIASES[role] == "user" for role in roles):
        assert plan_columns(frame).kind == "text"
    else:
        with pytest.raises(ColumnError, match="two readings"):
            plan_columns(frame)


# Answers under another name


ANSWERS = (
    *("completion", "answer", "output", "model_output", "response_a", "response_0", "chosen", "rejected"),
    *("modelResponse", "reply", "assistant", "generated_text", "bot_reply", "Completion"),
)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("beside", ["prompt", "text"])
def test_an_answer_under_another_name_is_not_passed_over(name: str, beside: str) -> None:
    frame = pd.DataFrame({beside: ["a", "b"], name: ["x", None]})
    with pytest.raises(ColumnError, match=f"two readings: '{beside}' alone, or with the answers in '{name}'") as caught:
        plan_columns(frame)
    assert f"df.guard.score(prompt='{beside}', response='{name}')" in caught.value.hint
    assert f"df.guard.score({beside}='{beside}')" in caught.value.hint
    assert plan_columns(frame, **{beside: beside}).columns == (beside,), "who names the column has chosen"
    assert plan_columns(frame, prompt=beside, response=name).columns == (beside, name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("output_tokens", [5, 6]),
        ("answer", [0.5, None]),
        ("response_language", ["en", "de"]),
        ("answer_id", ["a1", "a2"]),
        ("question", ["a", "b"]),
        ("output", [None, None]),
        ("outputting", ["x", "y"]),
        (7, ["x", "y"]),
    ],
)
def test_columns_about_answers_are_none(name: Any, values: list[Any]) -> None:
    assert plan_columns(pd.DataFrame({"prompt": ["a", "b"], name: values})).columns == ("prompt",)


def test_an_exchange_and_scored_tables_have_their_answers() -> None:
    frame = pd.DataFrame({"prompt": ["a"], "response": ["b"], "reference_answer": ["c"]})
    assert plan_columns(frame).columns == ("prompt", "response")
    scored = pd.DataFrame({"text": ["a"], "unsafe_score": [0.5], "generated_text": ["unsafe"]})
    assert plan_columns(scored).columns == ("text",), "an extra column of an earlier call"


def test_preferences_beside_conversations() -> None:
    asked = [{"from": "human", "value": "a"}]
    answer = {"from": "gpt", "value": "b"}
    frame = pd.DataFrame({"conversations": [asked, asked], "chosen": [answer] * 2, "rejected": [answer] * 2})
    with pytest.raises(
        ColumnError, match="'conversations' alone, or with the answers in 'chosen' or 'rejected'"
    ) as caught:
        plan_columns(frame)
    assert "messages='conversations'" in caught.value.hint
    whole = pd.DataFrame({"messages": [[*asked, answer]], "answer": ["42"]})
    assert plan_columns(whole).columns == ("messages",), "these conversations end with an answer"
    arrays = pd.DataFrame({"messages": [np.array(asked, dtype=object)], "chosen": ["x"]})
    with pytest.raises(ColumnError, match="two readings"):
        plan_columns(arrays)
