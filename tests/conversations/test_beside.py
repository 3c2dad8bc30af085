"""What stands beside a message, or beside the messages: known to say nothing, refused, or counted."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.beside import is_harmless
from guard_magic.conversations.conversation import parse_conversation, parse_messages
from guard_magic.errors import ConversationError

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "key",
    [
        *("media", "photo", "photos", "voice", "video_note", "stickers", "sticker_items", "embeds", "animation", "gif"),
        *("photo_url", "image_urls", "mediaUrl", "screenshot", "thumbnail", "documents", "album_photos"),
    ],
)
@pytest.mark.parametrize("value", ["a.png", ["a.png"], {"url": "a.png"}])
def test_what_shows_something_is_refused(key: str, value: object) -> None:
    for log in ([{**USER, key: value}], {"messages": [USER], key: value}):
        with pytest.raises(ConversationError, match=f"'{key}' beside"):
            parse_messages(log)
    assert parse_messages([{**USER, key: [] if value else None}]).n_left_out == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quoted_message", {"text": "kill"}),
        ("message", "kill"),
        ("caption", "bomb"),
        ("reply_to", {"content": "x"}),
        ("anything", "kill them all"),
        ("anything", ["kill"]),
        ("anything", {"deep": {"deeper": ["kill"]}}),
        ("发言", "杀人"),
        ("hidden_text", "kill"),
        ("html", "<p>kill</p>"),
        ("translation", "töten"),
        ("title", "How do I kill him?"),
        ("label", "tell me how to kill him"),
        ("metadata", {"x": "How do I kill him?"}),
        ("metadata", {"x": [{"title": "How do I kill him?"}]}),
        ("title", "怎么杀人呢"),
    ],
)
def test_what_could_be_said_is_counted(key: str, value: object) -> None:
    logs: list[Any] = [[{**USER, key: value}]]
    if key not in ("title", "label", "metadata"):  # a part's are those of a document
        logs.append([{"role": "user", "content": [{"type": "text", "text": "hi", key: value}]}])
    for log in logs:
        found = parse_messages(log)
        assert (found.to_list(), found.n_left_out, found.left_out_last) == ([USER], 1, "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("id", "m 1"), ("created_at", "2026-01-02 at 10:00"), ("name", "Ann Smith"), ("language", "old English")),
        *(
            ("metadata", {"a": "two words"}),
            *(
                ("title", "My chat"),
                ("label", "violence and threats"),
                ("title", "hi"),
                ("metadata", {"model": "a b c d"}),
            ),
            ("toxic", False),
            ("file_name", "my tea.txt"),
            ("media_type", "none at all"),
        ),
        *(
            ("anything", [1, 2]),
            ("anything", 3),
            ("anything", "https://a.b/c"),
            ("anything", "2026-01-02T10:00"),
            ("n", "a b"),
        ),
        *(("text", "hi"), ("message", "hi"), ("logprobs", [{"token": "hi"}]), ("is_edited", "no it is not")),
    ],
)
def test_what_says_nothing_is_not_counted(key: str, value: object) -> None:
    found = parse_messages([{**USER, key: value}])
    assert (found.to_list(), found.n_left_out) == ([USER], 0)


prose = st.lists(st.text("abcdefgh", min_size=2, max_size=6), min_size=2, max_size=5).map(" ".join)
keys = st.text("abcdefghijk_", min_size=1, max_size=12)


@settings(deadline=None, max_examples=150)
@given(keys, prose, st.sampled_from(["text", "list", "mapping", "nested"]), st.booleans())
def test_prose_under_any_key_is_known_refused_or_counted(key: str, text: str, shape: str, is_beside_all: bool) -> None:
    value: Any = {"text": text, "list": [text], "mapping": {"x": text}, "nested": [{"x": [text]}]}[shape]
    log: Any = {"messages": [USER], key: value} if is_beside_all else [{**USER, key: value}]
    try:
        found = parse_messages(log)
    except ConversationError:
        return
    assert found.n_left_out == 1 or is_harmless(key)
    assert found.to_list() == [USER]


@pytest.mark.parametrize(
    ("beside", "hint"),
    [
        ({"choices": [{"message": {"role": "assistant", "content": "kill"}}]}, 'value["choices"][0]["message"]'),
        ({"candidates": [{"content": {"parts": [{"text": "kill"}]}}]}, 'value["candidates"][0]["content"]'),
        ({"history": [USER]}, "value['history'] + value['messages']"),
        ({"answer": "kill"}, "value['answer']"),
        ({"turns": [USER]}, "value['messages']"),
    ],
)
def test_answers_and_earlier_messages_are_refused_by_name(beside: dict[str, Any], hint: str) -> None:
    [key] = beside
    with pytest.raises(ConversationError, match=f"'{key}'") as caught:
        parse_messages({"messages": [USER], **beside})
    assert hint in caught.value.hint


@pytest.mark.parametrize("key", ["system", "instructions", "system_instruction", "systemInstruction"])
@pytest.mark.parametrize("where", ["messages", "contents", "input"])
def test_system_prompts_are_the_first_message(key: str, where: str) -> None:
    found = parse_messages({key: "Be brief.", where: [USER]})
    assert found.to_list() == [{"role": "system", "content": "Be brief."}, USER]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"contents": "hi"}, "a text stands under 'contents'"),
        ({"chosen": [USER], "rejected": [USER]}, "a preference pair"),
        ({"user": "hi", "assistant": "yes"}, "a mapping from roles"),
        ({"prompt": "a", "response": "b"}, "a prompt with its answer"),
        ({"input": "a", "output": "b"}, "an input with its output"),
        ({"request": {}, "response": {}}, "a request of a chat API"),
        (pd.DataFrame({"text": ["x"]}), "a table is not a conversation"),
        (pd.Series(["x"]), "a column of texts"),
        ([{"role": "user", "content": [{"type": "odd", "x": "y"}]}], "a part of type 'odd'"),
        ([float("nan")], "message 1 is missing"),
        ([{"role": float("nan"), "content": "x"}], "the role of message 1 is missing"),
    ],
)
def test_formats_are_named_with_the_way_out(value: object, named: str) -> None:
    with pytest.raises(ConversationError, match=named) as caught:
        parse_conversation(value)
    assert caught.value.hint
    assert "Remove images" not in caught.value.hint
    assert "nan" not in str(caught.value)


def test_hints_for_tables_and_roles() -> None:
    with pytest.raises(ConversationError) as caught:
        parse_conversation(pd.DataFrame({"text": ["x"]}))
    assert "df.guard.score()" in caught.value.hint
    with pytest.raises(ConversationError) as caught:
        parse_conversation([{"role": "client", "content": "x"}])
    assert '.replace({"client": "user"})' in caught.value.hint
    with pytest.raises(ConversationError) as caught:
        parse_conversation([{"author": {"name": "ann", "isBot": False}, "content": "x"}])
    assert 'm["author"]["isBot"]' in caught.value.hint


def test_guarded_content_and_results_of_searches() -> None:
    guarded = [{"guardContent": {"text": {"text": "hi"}}}]
    assert parse_messages([{"role": "user", "content": guarded}]).to_list() == [USER]
    searched = [{"type": "web_search_tool_result", "content": [{"title": "x"}]}, {"type": "text", "text": "hi"}]
    found = parse_messages([{"role": "user", "content": searched}])
    assert (found.to_list(), found.n_left_out) == ([USER], 1)
