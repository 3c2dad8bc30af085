"""Transcripts: what is a marker, what only looks like one, and what is neither."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import (
    ROLE_ALIASES,
    looks_like_conversation,
    parse_body,
    parse_messages,
    parse_transcript,
)
from guard_magic.conversations.transcripts import count_turns
from guard_magic.errors import ConversationError


def turns(text: str) -> list[tuple[str, str]]:
    found = parse_transcript(text)
    assert found is not None
    return [(message.role, message.content) for message in found.messages]


@pytest.mark.parametrize(("name", "role"), ROLE_ALIASES.items())
def test_every_role_name_is_a_marker(name: str, role: str) -> None:
    assert turns(f"user: hi\n{name}: hello")[-1] == (role, "hello")
    assert turns(f"{name.title()}: hello") == [(role, "hello")]


@pytest.mark.parametrize(
    "form",
    [
        "{}: {}",
        "{}:{}",
        "{} : {}",
        "  {}: {}",
        "{}：{}",
        "{}\ufe55 {}",
        "**{}:** {}",
        "**{}**: {}",
        "__{}:__ {}",
        "### {}: {}",
        "# **{}:** {}",
        "{} (gpt-4): {}",
        "\u200b{}: {}",
        "\u2060{}\u200b: {}",
        "{}:\n\n{}\n",
        "\n{}:\t{}",
    ],
)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("start", ["", "\ufeff", "\u200b\n", "\n\n\u2060"])
def test_forms_of_markers(form: str, case: object, start: str) -> None:
    lines = [form.format(case("user"), "hi"), form.format(case("bot"), "hello"), form.format(case("human"), "bye")]  # type: ignore[operator]
    for end in ("\n", "\n\n", "\r\n", "\r"):
        assert turns(start + end.join(lines)) == [("user", "hi"), ("assistant", "hello"), ("user", "bye")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("user: hi\nwizard: hello", 2, "unknown speaker"),
        ("user: hi\nassistant: x\nwizard: hello", 3, "unknown speaker"),
        ("User: hi\n巫师：你好", 2, "unknown speaker"),
        ("User: hi\nWizard (v2): hello", 2, "unknown speaker"),
        ("User: hi\nGPT-4: hello", 2, "unknown speaker"),
        ("User: hi\n\u0410ssistant: hello", 2, "unknown speaker"),
        ("**User:** hi\n**Wizard:** hello", 2, "unknown speaker"),
        ("### Human: hi\n### Wizard: hello", 2, "unknown speaker"),
        ("user: hi\n\nassistant: x\n\nwizard: hello", 5, "unknown speaker"),
        ("Human: a\nAssistant: b\nCritic: c", 3, "unknown speaker"),
        ("User: hi\nAI assistant: hello", 2, "unknown speaker"),
        ("User: hi\nUser 2: hello", 2, "unknown speaker"),
        ("user:hi\nwizard:hello", 2, "unknown speaker"),
        ("user: a\nann: b\nbob: c\nann: d", 2, "unknown speaker"),
        ("user: hi\rwizard: hello", 2, "unknown speaker"),
        ("user: hi\u2028wizard: hello", 2, "unknown speaker"),
        ("user: hi assistant: hello", 1, "in its middle"),
        ("User: a\nhow? Assistant: b", 2, "in its middle"),
        ("user: a\n- assistant: b", 2, "in its middle"),
        ("user: a\n> assistant: b", 2, "in its middle"),
        ("user: a\n[assistant]: b", 2, "in its middle"),
        ("user: a\n  assistant: b", 2, "not written as the first"),
        ("user: a\nAssistant: b", 2, "not written as the first"),
        ("user: a\n**assistant:** b", 2, "not written as the first"),
        ("**User:** a\nAssistant: b", 2, "not written as the first"),
        ("user: a\n```\nsystem: b\n```", 3, "in a code block"),
    ],
)
def test_what_looks_like_a_marker_is_an_error(text: str, line: int, what: str) -> None:
    for read in (parse_transcript, parse_messages, parse_body):
        with pytest.raises(ConversationError, match=f"line {line} .*{what}") as caught:
            read(text)
        assert ("--text" in caught.value.hint) == (read is parse_body), "columns have no --text"
        assert "JSON list" in caught.value.hint
    assert len(parse_body(text, text_only=True)) == 1


SIGNS = [
    *(
        "[assistant] yo",
        "(assistant) yo",
        "{assistant} yo",
        "«assistant» yo",
        "<assistant>yo</assistant>",
        "<|assistant|>",
    ),
    *("**assistant** yo", "*assistant* yo", "`assistant` yo", "== assistant ==", "--- assistant ---", "#assistant yo"),
    *("@assistant yo", "assistant", "ChatGPT", "Assistant", "【assistant】yo", "_Bot_ yo", "[system] obey", "[tool] x"),
    *(
        "x [/INST] yo",
        "x </s> yo",
        "x<|im_end|>",
        "x <|eot_id|> yo",
        "x<end_of_turn>",
        "<<SYS>> x",
        "<user>x",
        "[AI] x",
    ),
    *("[Sarah] yo", "[Mary Jane] yo", "{Sarah} yo", "«Sarah» yo", "Sarah - yo", "Sarah — yo", "[सारा] yo"),
]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", ["user: hi", "User: hi\nAssistant: hello", "### Human: hi\n\nthere"])
def test_other_signs_of_a_speaker_are_refused_with_their_line(sign: str, before: str) -> None:
    n = before.count("\n") + 2
    for text in (f"{before}\n{sign}", f"{before}\n{sign}\nmore words"):
        for read in (parse_transcript, parse_messages, parse_body):
            with pytest.raises(ConversationError, match=f"^line {n} "):
                read(text)
        assert len(parse_body(text, text_only=True)) == 1


LIKE_COLONS = "\u2236\ua789\u02d0\u0589\u05c3\u02f8\u205a\ufe30\uff1a\ufe13\ufe55\u0703\u16ec\u1803\u2982\ua4fd\u17d6"


@pytest.mark.parametrize("colon", LIKE_COLONS, ids=[f"{ord(colon):04x}" for colon in LIKE_COLONS])
def test_what_looks_like_a_colon_ends_a_label(colon: str) -> None:
    assert turns(f"user{colon} hi\nassistant{colon} ya\u02d0s") == [("user", "hi"), ("assistant", "ya\u02d0s")]
    for text in (f"user: hi\nWizard{colon} yo", f"user: hi assistant{colon} yo"):
        with pytest.raises(ConversationError, match=r"line \d (looks like|has a marker)"):
            parse_transcript(text)
    assert looks_like_conversation(f"Ann{colon} hi\nBen{colon} yo\nAnn{colon} why")


@pytest.mark.parametrize("label", ["सहायक", "সহায়ক", "உதவியாளர்", "ผู้ช่วย", "e\u0301lan", "משׁה", "مُساعِد"])
def test_labels_with_combining_marks_are_labels(label: str) -> None:
    for text in (f"user: hi\n{label}: yo", f"user: hi\n{label}：yo"):
        with pytest.raises(ConversationError, match="line 2 looks like a marker of an unknown speaker"):
            parse_transcript(text)
    assert looks_like_conversation(f"उपयोगकर्ता: hi\n{label}: yo")


@pytest.mark.parametrize(
    "said",
    [
        "Fruits:\nApple - red\nPear - green\nPlum - blue",
        "see <s>old</s> new\n[link](http://x) and [x] done",
        "[Note] it works\n[Verse] la\nParis, France - the city",
        "# Users\n**Users** may\n- user of it\n(see user guide)\n#users\n@users",
        "the user\nassistant professor",
        "see http://a.b/c\nhttps://a.b\nat\n12:30 tea",
        "look\nNote: x\nok\nWarning: y",
        "fix\nname: x\nvalue: y",
        "fix\nservices:\n  web:\n    image: x",
        "why\nelse:\n    return 1",
        "why\n```yaml\nkey: x\n```\ndone",
        "why\n~~~\nkey: x\n~~~\ndone",
        "std::move\nfoo:bar\na::b",
        "The answer is: 42\nTo be clear: no",
        "Title Words Here: x",
        "why\nTitle: A Story",
        "what does “assistant: hello” mean, and assistant:x?",
        "tell the user: no; ask your assistant: yes",
        '{"user": "x", "assistant": "y"}',
        "a\n  key: x\nb",
        "Ratio 3:2\n3: three",
        "user-agent: curl",
    ],
)
def test_what_people_write_is_no_marker(said: str) -> None:
    assert turns(f"user: {said}\nassistant: ok") == [("user", said), ("assistant", "ok")]


def test_labels_between_paragraphs_only_where_markers_stand_there() -> None:
    text = "user: a\n\nassistant: b\nwizard: c\n\nuser: d"
    assert turns(text) == [("user", "a"), ("assistant", "b\nwizard: c"), ("user", "d")]


def test_human_and_assistant_in_turn_know_no_third() -> None:
    text = "\n\nHuman: a\n\nAssistant: b\n\nIngredients: tea\n\nHuman: c"
    assert turns(text) == [("user", "a"), ("assistant", "b\n\nIngredients: tea"), ("user", "c")]


def test_remarks_in_bold_within_an_answer() -> None:
    text = "**User:** how?\n**Assistant:** so:\n**Tip:** x\n**Leaves:** 2 g\n**Water:** 90 °C"
    assert turns(text)[1][1] == "so:\n**Tip:** x\n**Leaves:** 2 g\n**Water:** 90 °C"


@pytest.mark.parametrize("text", ["", "hi", "Note: a\nuser: b", "wizard: a", "**user: a", "http://user:x", "\u200b"])
def test_no_transcripts(text: str) -> None:
    assert parse_transcript(text) is None
    assert count_turns(text) == 0
    assert not looks_like_conversation(text)


WORDS = st.text(st.sampled_from("abc XYZ .,!?\n\t-*#`'\"’é漢🙂\u200b\u00a0"), min_size=1, max_size=40)
SAID = WORDS.map(lambda text: f"w{text}w")
FORMS = ["{}: {}", "{}:{}", "**{}:** {}", "**{}**: {}", "### {}: {}", "{} (x): {}", "{}：{}"]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(ROLE_ALIASES)), SAID), min_size=1, max_size=6),
    st.sampled_from(FORMS),
    st.sampled_from(["\n", "\n\n", "\r\n"]),
    st.sampled_from(["", "\ufeff", "\u200b\n", "\n\n"]),
)
def test_roles_never_change_and_text_never_vanishes(
    said: list[tuple[str, str]], form: str, end: str, start: str
) -> None:
    assume(not any("```" in text or " - " in text for _, text in said))
    text = start + end.join(form.format(name, words) for name, words in said)
    assert turns(text) == [(ROLE_ALIASES[name], words.strip()) for name, words in said]
    assert looks_like_conversation(text) == (len(said) > 1)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("user: asitn\n*#:\u200b\rUA`"), max_size=80))
def test_all_words_of_a_transcript_are_somebodys(text: str) -> None:
    try:
        found = parse_transcript(f"user: w{text}")
    except ConversationError:
        return
    assert found is not None
    kept = "".join("".join(message.content.split()) for message in found.messages)
    if len(found) == 1:
        assert kept == "w" + "".join(text.split())
    assert found.roles[0] == "user"


@pytest.mark.parametrize("unit", ["user:\n", "user: x\n```\n", "user: x\na: b\n", "user: x user: y\n", "a: b\n", "-\n"])
def test_long_transcripts_take_no_long_time(unit: str) -> None:
    text = "user: x\n" + (unit * 200_000)[:200_000]
    start = time.process_time()
    with contextlib.suppress(ConversationError):
        parse_transcript(text)
    count_turns(text)
    assert time.process_time() - start < 5
