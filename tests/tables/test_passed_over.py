"""What was said in other columns is not passed over: contexts, answers, pictures. The calls shown work."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import Conversation
from guard_magic.errors import ColumnError, ConversationError
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.by_message import read_long
from guard_magic.tables.column_plan import plan_columns, remarks_on

CHAT = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three four"}]
FRAMES: dict[str, dict[str, list[Any]]] = {
    "text": {"text": ["how are you", "what now"]},
    "prompt": {"prompt": ["how are you", "what now"]},
    "exchange": {"prompt": ["how are you", "what now"], "response": ["fine thanks", "nothing much"]},
    "messages": {"messages": [[{"role": "user", "content": "how are you"}]] * 2},
}
FORMS: dict[str, Any] = {
    "text": ["five six seven", "eight nine"],
    "chats": [CHAT, CHAT],
    "json": [json.dumps(CHAT)] * 2,
    "one missing": ["five six seven", None],
}


def read(call: str, frame: pd.DataFrame) -> list[Any]:
    before, _, named = call.rpartition(".guard.score(")
    table = eval(before, {"df": frame, "zip": zip})
    return list(read_frame(table, plan_columns(table, **eval(f"dict({named}"))))


AHEAD = ["history", "system", "instructions", "context", "chatHistory", "system_prompt", "input"]


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("kind", list(FRAMES))
def test_what_stood_ahead_is_not_passed_over(kind: str, name: str, form: str) -> None:
    frame = pd.DataFrame({**FRAMES[kind], name: FORMS[form]})
    with pytest.raises(ColumnError, match=f"two readings: .* behind what stands in '{name}'") as caught:
        plan_columns(frame)
    both, alone = caught.value.hint.removesuffix(" leaves it out.").split(" reads both; ")
    assert all(isinstance(row, Conversation) for row in read(alone, frame))
    if form != "json":
        row = read(both, frame)[0]
        assert isinstance(row, Conversation)
        seen = "\n".join(message.content for message in row.messages)
        for text in ["how are you"] + (["three four"] if form == "chats" else ["five six seven"]):
            assert text in seen
    names = {k: v for k, v in (("prompt", "prompt"), ("text", "text"), ("messages", "messages")) if v in frame}
    assert remarks_on(frame, plan_columns(frame, **names)) == [], "who names the columns has chosen"


@pytest.mark.parametrize("kind", ["text", "prompt", "exchange", "messages"])
@given(
    st.text("abcdefgh_", min_size=1, max_size=8),
    st.sampled_from([CHAT, json.dumps(CHAT), "user: one\nassistant: two", {"messages": CHAT}]),
)
@settings(deadline=None, max_examples=40)
def test_conversations_are_found_whatever_their_column_is_called(kind: str, name: str, value: object) -> None:
    frame = pd.DataFrame({**FRAMES[kind], name: pd.Series([value, None], dtype=object)})
    with pytest.raises(ColumnError, match="two readings"):
        plan_columns(frame)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("system", ["linux", "mac"]),
        ("context", ["work", "home"]),
        ("message", ["hello there you", "again hello"]),
        ("question", ["what is it then", "who"]),
    ],
)
def test_what_may_be_harmless_is_said(name: str, values: list[str]) -> None:
    frame = pd.DataFrame({"text": ["a b", "c d"], name: values})
    try:
        (remark,) = remarks_on(frame, plan_columns(frame))
    except ColumnError:
        assert name == "question"
        return
    assert f"'{name}' may hold what" in remark


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("system", [None, None]),
        ("history", [[], []]),
        ("history", ["[]", ""]),
        ("context_id", ["a b c", "d e f"]),
        ("input_tokens", [5, 6]),
        ("system_fingerprint", ["fp a b", "fp c d"]),
        ("n_instructions", [1, 2]),
        ("title", ["a b c", "d e f"]),
        ("topic", ["cats and dogs", "cars"]),
    ],
)
def test_columns_that_hold_nothing_said(name: str, values: list[Any]) -> None:
    frame = pd.DataFrame({"text": ["a b", "c d"], name: pd.Series(values, dtype=object)})
    assert remarks_on(frame, plan_columns(frame)) == []


def test_conversations_that_start_with_the_system_have_their_instructions() -> None:
    chat = [{"role": "system", "content": "be kind now"}, {"role": "user", "content": "hi"}]
    frame = pd.DataFrame({"messages": [chat, chat], "system": ["be kind now"] * 2})
    assert plan_columns(frame).kind == "messages"


@pytest.mark.parametrize("name", ["choices", "candidates", "options", "model_outputs"])
def test_several_answers_in_one_cell(name: str) -> None:
    frame = pd.DataFrame({"prompt": ["a b", "c d"], name: [["x y", "z"], ["v", "w"]]})
    with pytest.raises(ColumnError, match=f"answers in '{name}'") as caught:
        plan_columns(frame)
    rows = read(caught.value.hint.partition(" assesses the answers")[0], frame)
    assert [row.assessed.content for row in rows] == ["x y", "z", "v", "w"]


# What a row carries beside its text

MEDIA = [
    *("image", "images", "image_url", "media_url", "attachments", "audio", "video_path", "user_image", "imageUrls"),
    *("n_images", "has_image", "screenshot", "photo_1", "files", "picture_b64", "audio_file", "attached_files"),
]
GIVEN: list[Any] = [["x"], [{"url": "x"}], {"bytes": b"x", "path": None}, b"x", np.zeros((2, 2))]
NONE: list[Any] = [None, float("nan"), pd.NA, "", " ", "[]", "none", [], {}, {"bytes": None}, 0, False]


@pytest.mark.parametrize("kind", list(FRAMES))
@given(st.sampled_from(MEDIA), st.sampled_from(range(len(GIVEN))), st.sampled_from(range(len(NONE))))
@settings(deadline=None, max_examples=60)
def test_a_row_with_a_picture_is_refused_and_one_without_is_read(kind: str, name: str, given: int, none: int) -> None:
    values = np.empty(2, dtype=object)
    values[0], values[1] = GIVEN[given], NONE[none]
    frame = pd.DataFrame(FRAMES[kind]).assign(**{name: values})
    lost, kept = read_frame(frame, plan_columns(frame))
    assert isinstance(lost, ConversationError)
    assert f"column '{name}' holds a picture, sound or file, which guards" in lost.message
    assert isinstance(kept, Conversation)
    alone = frame.drop(columns=[name])
    assert all(isinstance(row, Conversation) for row in read_frame(alone, plan_columns(alone)))


@pytest.mark.parametrize("value", ["a.png", "https://x/y.png", 2, True])
@pytest.mark.parametrize("name", ["image", "image_url", "n_images", "has_image"])
def test_pictures_as_text_numbers_and_truth_values(name: str, value: object) -> None:
    frame = pd.DataFrame({"text": ["a"], name: [value]})
    assert isinstance(read_frame(frame, plan_columns(frame))[0], ConversationError)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("image_caption", ["a b", "c d"]),
        ("media", ["twitter", "print"]),
        ("video_id", ["abc", "def"]),
        ("video_title", ["a", "b"]),
        ("file", ["a.csv", "b.csv"]),
        ("document_id", ["a", "b"]),
        ("images", [None, "[]"]),
    ],
)
def test_columns_about_pictures_are_none(name: str, values: list[Any]) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], name: values})
    assert all(isinstance(row, Conversation) for row in read_frame(frame, plan_columns(frame)))


@pytest.mark.parametrize("kind", list(FRAMES))
@pytest.mark.parametrize("name", ["tool_calls", "function_call", "reasoning_content", "toolCalls"])
def test_tool_calls_are_counted(kind: str, name: str) -> None:
    frame = pd.DataFrame(FRAMES[kind]).assign(**{name: [None, [{"name": "x"}]]})
    without, one = read_frame(frame, plan_columns(frame))
    assert isinstance(without, Conversation)
    assert isinstance(one, Conversation)
    assert (without.n_left_out, one.n_left_out) == (0, 1)


LONG = {"conversation_id": "c", "role": "who", "content": "said"}


@pytest.mark.parametrize("name", ["image", "media_url", "attachments", "image_url"])
def test_pictures_of_a_long_table(name: str) -> None:
    frame = pd.DataFrame({"c": [1, 1, 2], "who": ["user", "bot", "user"], "said": list("abd"), name: [None, "u/x", ""]})
    lost, kept = read_long(frame, plan_columns(frame, **LONG)).rows
    assert isinstance(lost, ConversationError)
    assert "message 2 holds" in lost.message
    assert isinstance(kept, Conversation)


def test_tool_calls_of_a_long_table_are_counted() -> None:
    frame = pd.DataFrame({"c": [1, 1], "who": ["user", "bot"], "said": list("ab"), "tool_calls": [None, "[{}]"]})
    (row,) = read_long(frame, plan_columns(frame, **LONG)).rows
    assert isinstance(row, Conversation)
    assert row.n_left_out == 1


# The call to write where nothing is found


@pytest.mark.parametrize(
    "name", ["Prompt", "Text", " text ", "\ufefftext", "TEXT", "\uff54ext", "text\u200b", "Messages"]
)
def test_names_that_differ_in_what_is_hardly_seen(name: str) -> None:
    frame = pd.DataFrame({name: [CHAT if name == "Messages" else "hello you"]})
    with pytest.raises(ColumnError, match="no column to score") as caught:
        plan_columns(frame)
    call = caught.value.hint.partition("written: ")[2].partition("()")[0] + "()"
    assert all(isinstance(row, Conversation) for row in read(call, frame))
    with pytest.raises(ColumnError, match="no column 'text'") as caught:
        plan_columns(frame.rename(columns={"Prompt": "Text", "Messages": "Text"}), text="text")
    assert "meant?" in caught.value.hint


@pytest.mark.parametrize(
    "frame",
    [
        {"instruction": ["a b"], "output": ["c d"]},
        {"instruction": ["a b"], "input": ["x"], "output": ["c d"]},
        {"user": ["a b"], "assistant": ["c d"]},
        {"question": ["a b"], "answer": ["c d"], "id": [1]},
        {"contents": [[{"role": "user", "parts": [{"text": "a b"}]}, {"role": "model", "parts": [{"text": "c d"}]}]]},
        {"chosen": ["\n\nHuman: a b\n\nAssistant: c d"], "rejected": ["\n\nHuman: a b\n\nAssistant: no"]},
        {"question": ["a b"], "chosen": ["c d"], "rejected": ["no"]},
        {"log": [CHAT]},
        {"instruction": ["a b"], "context": ["some words here"], "response": ["c d"], "category": ["qa"]},
    ],
    ids=lambda frame: "+".join(frame),
)
def test_the_call_to_write_is_shown_and_works(frame: dict[str, Any]) -> None:
    table = pd.DataFrame(frame)
    with pytest.raises(ColumnError, match="no column to score") as caught:
        plan_columns(table)
    (row,) = read(caught.value.hint.partition(" reads ")[0], table)
    assert isinstance(row, Conversation)
    assert [message.role for message in row.messages] == ["user", "assistant"]


@pytest.mark.parametrize(
    "frame",
    [
        {"comment": ["hello you"], "likes": [3]},
        {"id": ["a b"], "comment_text": ["hello you"], "toxic": [0]},
        {"date": ["01/02/2024"], "sender": ["Ann"], "message": ["hello you"]},
    ],
    ids=lambda frame: "+".join(frame),
)
def test_a_column_of_sentences_is_shown(frame: dict[str, Any]) -> None:
    table = pd.DataFrame(frame)
    with pytest.raises(ColumnError, match="no column to score") as caught:
        plan_columns(table)
    (row,) = read(caught.value.hint.partition(" reads each as a user message")[0], table)
    assert isinstance(row, Conversation)
    assert row.assessed.content == "hello you"


def test_other_ways_to_say_what_is_meant() -> None:
    with pytest.raises(ColumnError) as caught:
        plan_columns(pd.DataFrame({"text;label": ["a;b"]}))
    assert "sep=';'" in caught.value.hint
    with pytest.raises(ColumnError, match="several columns") as caught:
        plan_columns(pd.DataFrame({"prompt": ["a"], "messages": [CHAT]}))
    assert "df.guard.score(messages='messages') or df.guard.score(prompt='prompt')" in caught.value.hint


SENTENCES = ["that is how it is done", "I would rather not say that"]


@pytest.mark.parametrize("values", [SENTENCES, ["我不能帮助你做这件事", "今天的天气很好"]], ids=["spaced", "unspaced"])
@pytest.mark.parametrize("name", ["Antwort", "réponse", "回答", "gpt4", "llama-2-7b-chat", "target", "bot", "title", 7])
@pytest.mark.parametrize("said", ["prompt", "text"])
def test_sentences_beside_the_text_are_told_whatever_their_column_is_called(
    said: str, name: object, values: list[str]
) -> None:
    frame = pd.DataFrame({said: ["how are you", "what now"], name: values})
    (remark,) = remarks_on(frame, plan_columns(frame))
    assert repr(name) in remark
    assert remarks_on(frame, plan_columns(frame, **{said: said})) == [], "who names the columns has chosen"


@pytest.mark.parametrize("values", [["red", "blue"], ["Sat Nov 28 2026"] * 2, ["one and the same label"] * 5, [1, 2]])
def test_what_is_not_sentences_is_not_told(values: list[Any]) -> None:
    frame = pd.DataFrame({"prompt": ["how are you"] * len(values), "target": values})
    assert remarks_on(frame, plan_columns(frame)) == []


def test_the_sentences_of_an_earlier_call_are_not_told() -> None:
    frame = pd.DataFrame({"text": ["how are you", "what now"], "lg3_guard_error": SENTENCES})
    assert remarks_on(frame, plan_columns(frame)) == []
