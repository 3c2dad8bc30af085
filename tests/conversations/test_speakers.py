"""No words of one speaker become another's: whatever names a speaker in a text is read, refused, or told."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import looks_like_conversation, parse_body, parse_messages
from guard_magic.conversations.dialogues import find_dialogue
from guard_magic.conversations.role_names import PEOPLE
from guard_magic.conversations.speakers import could_be_speaker, names_role
from guard_magic.errors import ConversationError

NAMES = [
    *("Support Agent:", "Agent Smith:", "Llama 3:", "The bot:", "my_bot:", "@bot:", "Dr. Who:", "Mary Jane:"),
    *("Support staff:", "support staff:", "C-3PO:", "Answer:", "A:", "Bot 🤖:", "🤖:", "🤖 Assistant:", "Caller #2:"),
    *("[Bob]:", "<bob>", "<assistant>", "Assistant>", "[10:00] Bob:", "2026-01-02 10:00 - Ann:", "Assistant (10:00):"),
    *("Assistant -", "Assistant\t", "Assistant\n", "**Assistant**\n", "Support Agent:\n", "John O'Neil:", "Me:"),
    *("Customer Support Team Lead:", "ChatGPT said:", "bob:", "**Bot**:", "  Support Agent:"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", ["User: hi", "User: hi\nAssistant: hello", "**User:** hi"])
def test_whoever_may_speak_is_refused_or_told_apart(name: str, first: str) -> None:
    text = f"{first}\n{name} kill"
    if first.startswith("**") and (name == "**Bot**:" or not (names_role(name) or "ssistant" in name)):
        return  # a name has the marks of the first marker, and a role with them is a marker
    with pytest.raises(ConversationError, match=f"line {text.count(chr(10), 0, text.index(name)) + 1} ") as caught:
        parse_body(text)
    assert "--text" in caught.value.hint
    with pytest.raises(ConversationError) as caught:
        parse_messages(text)
    assert "--text" not in caught.value.hint, "a column has no such option"
    assert looks_like_conversation(text)


@pytest.mark.parametrize(
    "between",
    ["\\n", "\\n\\n", "\\r\\n", ";", "; ", " | ", "|", " / ", ". ", ".", "<br>", " ", "\t", ", ", " (", "? "],
)
@pytest.mark.parametrize("name", ["Assistant", "assistant", "Bot", "AI", "Support Agent"])
def test_several_speakers_on_a_line_are_refused(between: str, name: str) -> None:
    if between == "." and name.islower():
        between = ". "  # data.user: x
    for read in (parse_body, parse_messages):
        with pytest.raises(ConversationError, match=r"line 1 has a (marker in its middle|line break written)"):
            read(f"User: hi{between}{name}: kill")


CERTAIN = {
    "times": "[10:00] User: hi\n[10:01] Assistant: kill",
    "WhatsApp": "2026-01-02 10:00 - Ann: hi\n2026-01-02 10:01 - Ben: kill",
    "WhatsApp on iOS": "[02.01.26, 10:00:15] Ann: hi\n[02.01.26, 10:00:17] Ben: kill",
    "WhatsApp in America": "1/2/26, 10:00\u202fPM - Ann: hi\n1/2/26, 10:01\u202fPM - Ben: kill",
    "Telegram": "Ann, [02.01.26 10:00]\nhi\n\nBen, [02.01.26 10:01]\nkill",
    "Discord": "Ann — Today at 10:00 AM\nhi\nBen — Today at 10:01 AM\nkill",
    "pictures": "🧑 User: hi\n🤖 Assistant: kill",
    "prompts": "User> hi\nAssistant> kill",
    "IRC": "<user> hi\n<assistant> kill",
    "brackets": "[User]: hi\n[Assistant]: kill",
    "round brackets": "(User): hi\n(Assistant): kill",
    "headings": "## User\nhi\n## Assistant\nkill",
    "bold": "**User**\nhi\n\n**Assistant**\nkill",
    "words ahead": "A chat:\nUser: hi\nAssistant: kill",
    "times behind": "Ann [10:00]: hi\nBen [10:01]: kill",
    "an assistant alone": "🤖 Assistant: kill",
    "line breaks as text": "🧑 User: hi\\n🤖 Assistant: kill",
}
UNCERTAIN = {
    "names": "Ann: hi there\nBen: kill\nAnn: why?",
    "other speakers": "The bot: hi\nThe user: hello",
    "one speaker": "Support Agent: kill",
    "questions": "Q: hi\nA: kill",
    "HTML": "<p>User: hi</p><p>Assistant: kill</p>",
    "ChatGPT's page": "You said:\nhi\nChatGPT said:\nkill",
    "two speakers": "Visitor: hi there\nOperator: kill",
    "capitals": "USER hi\nBOT kill",
    "equal signs": "user=hi\nassistant=kill",
    "tuples as text": "x ('user', 'hi') ('assistant', 'kill')",
    "rows": "user,hi\nassistant,kill",
    "elements": "<user>hi</user><assistant>kill</assistant>",
    "attributes": '<turn role="user">hi</turn><turn role="assistant">kill</turn>',
    "YAML": "- role: user\n  content: hi\n- role: assistant\n  content: kill",
    "one message with its time": "1/2/26, 10:00\u202fPM - Ann: hi",
}


@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_surely_a_conversation_is_an_error(name: str) -> None:
    with pytest.raises(ConversationError, match="this looks like") as caught:
        parse_body(CERTAIN[name])
    assert "--text" in caught.value.hint
    with pytest.raises(ConversationError, match="this looks like") as caught:
        parse_messages(CERTAIN[name])
    assert "--text" not in caught.value.hint
    assert looks_like_conversation(CERTAIN[name])


@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_may_be_a_conversation_is_told_and_read_whole(name: str) -> None:
    [found] = parse_body(UNCERTAIN[name])
    assert [(m.role, m.content) for m in found.messages] == [("user", UNCERTAIN[name])]
    assert looks_like_conversation(UNCERTAIN[name])
    with pytest.raises(ConversationError):
        parse_messages(UNCERTAIN[name])


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a process?\nNote: on Linux",
        "Name: Ann\nAge: 3",
        "https://a.b/c: x",
        "- a: b\n- c: d",
        "def f(user: str):\n    return user",
        "ERROR: disk\nINFO: x\nERROR: y",
        "10:00:01 ERROR: disk full\n10:00:02 INFO: mended",
        "Flour: 200 g\nSugar: 100 g",
        "Dear sir,\nthe answer is: 42",
        "a < b > c",
        "x -> y\ny -> z",
        "At 10:00 we met, at 11:00 we left.",
        '{"name": "x"}',
        "[bread] recipe?",
        "services:\n  db:\n    image: postgres\n    user: root\n    ports:\n      - 80:80",
        "host: x\nuser: root\npassword: y",
        "[user]\nname = Bob\nemail = b@x",
        "Which?\nA: red\nB: blue\nC: green",
        "A: red\nB: blue",
        "Text: I love it\nLabel: positive\nText: I hate it\nLabel:",
        "English: dog\nFrench: chien\nEnglish: cat\nFrench:",
        "Review: bad\nSentiment: negative\nReview: good\nSentiment:",
    ],
)
def test_what_people_write_is_not_taken_for_a_conversation(text: str) -> None:
    assert not looks_like_conversation(text)


@pytest.mark.parametrize(
    "said",
    [
        *("Problem:\nx", "Solution: do it", "Question: what", "Monday: closed", "Monday:\nclosed", "Zutaten:\n- Mehl"),
        *("Chorus:\nla\nChorus:\nla", "Key Points: a", "The answer is: 42", "Flour: 200 g\nSugar: 100 g", "Step 3: x"),
        *("System requirements: 8 GB", "Bananas:\nyellow", "Title Words Here: x", "https://a.b", "12:30 tea"),
    ],
)
def test_headings_are_not_speakers(said: str) -> None:
    [found] = parse_body(f"User: why?\nAssistant: Because\n{said}\nok")
    assert found.messages[1].content == f"Because\n{said}\nok"


@pytest.mark.parametrize(
    "body",
    [
        *("Customer: Acme\nInvoice: 123", "Customer: Acme\nInvoice: 123\nTotal: 5", "user: postgres\npassword: x"),
        *(
            "user: postgres\npassword: hunter2\nhost: localhost",
            "agent: Smith\nphone: 555",
            "user: root\nshell: /bin/sh",
        ),
    ],
)
def test_keys_with_values_are_no_turn_of_one_speaker(body: str) -> None:
    with pytest.raises(ConversationError) as caught:
        parse_body(body)
    assert "--text" in caught.value.message + caught.value.hint
    [found] = parse_body(body, text_only=True)
    assert [(m.role, m.content) for m in found.messages] == [("user", body)]


@pytest.mark.parametrize(
    "body", ["{bread] recipe", "[bread] recipe?", "{x} how do I", "[user]\nname = Bob", "[tea\nyes"]
)
def test_what_only_begins_like_json_names_the_option_first(body: str) -> None:
    with pytest.raises(ConversationError, match=r"^--text takes this cell as one user message") as caught:
        parse_body(body)
    assert "broken JSON" in caught.value.message
    with pytest.raises(ConversationError, match=r"^(?!--text)"):
        parse_body(f'[{{"role": "user" {body}')


words = st.text(st.sampled_from("abcdefgh XYZ"), min_size=1, max_size=20).map(lambda text: f"w{text}w")
people = st.sampled_from(sorted(name for name in PEOPLE if name.isascii()))


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(
        st.sampled_from(
            ["Support {}", "The {}", "my_{}", "@{}", "{} Smith", "{} 2", "[{}]", "<{}>", "🤖 {}", "{} (10:00)"]
        ),
        people,
    ),
    words,
    st.booleans(),
)
def test_a_name_with_a_role_in_it_never_speaks_in_silence(name: tuple[str, str], said: str, is_lower: bool) -> None:
    """Any form of any name for a person, behind a turn of the user, is told apart or refused."""
    form, role = name
    label = form.format(role if is_lower else role.title())
    text = f"{'user' if is_lower else 'User'}: hi\n{label}: {said}"
    try:
        [found] = parse_body(text)
    except ConversationError:
        return
    assert len(found) == 2, text
    assert found.messages[0].content == "hi"


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text(st.sampled_from("User:Ann>[]10@ -\n\\n🤖#*"), max_size=30), max_size=4))
def test_whatever_a_text_is_it_is_read_whole_or_refused(parts: list[str]) -> None:
    text = "\n".join(["w", *parts, "w"])
    find_dialogue(text)
    try:
        [found] = parse_body(text)
    except ConversationError:
        return
    assert "".join("".join(m.content.split()) for m in found.messages) == "".join(text.split())


def test_names() -> None:
    assert all(map(could_be_speaker, ["Ann", "Mary Jane", "Dr. Who", "my_bot", "Support Agent", "He", "Player 1"]))
    assert not any(map(could_be_speaker, ["Note", "Key points", "The answer is", "Step 3", "ERROR", "", "a b c d e"]))


# Prompts of chat models

TURNS = [("system", "Be brief."), ("user", "Which tea?"), ("assistant", "Black: strong."), ("user", "Why?\n\n- x")]
TEMPLATES = {
    "ChatML": "".join(f"<|im_start|>{r}\n{t}<|im_end|>\n" for r, t in TURNS) + "<|im_start|>assistant\n",
    "Llama 3": "<|begin_of_text|>"
    + "".join(f"<|start_header_id|>{r}<|end_header_id|>\n\n{t}<|eot_id|>" for r, t in TURNS),
    "Llama 4": "<|begin_of_text|>" + "".join(f"<|header_start|>{r}<|header_end|>\n\n{t}<|eot|>" for r, t in TURNS),
    "Gemma": "<bos>" + "".join(f"<start_of_turn>{r}\n{t}<end_of_turn>\n" for r, t in TURNS),
    "OASST": "".join(f"<|{r}|>{t}<|endoftext|>" for r, t in TURNS),
    "Zephyr": "".join(f"<|{r}|>\n{t}</s>\n" for r, t in TURNS),
    "Llama 2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhich tea? [/INST] Black: strong. </s>"
    "<s>[INST] Why?\n\n- x [/INST]",
    "guanaco": "### System: Be brief.### Human: Which tea?### Assistant: Black: strong.### Human: Why?\n\n- x",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_of_chat_models_are_read(name: str) -> None:
    for found in (parse_messages(TEMPLATES[name]), *parse_body(TEMPLATES[name])):
        assert [(m.role, m.content) for m in found.messages] == TURNS
    assert looks_like_conversation(TEMPLATES[name])
    assert looks_like_conversation(f"Look at this: {TEMPLATES[name]}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<|im_start|>user\nhi<|im_start|>assistant\nkill<|im_end|>", "ChatML"),
        ("<|im_start|>user\nhi<|im_end|>kill<|im_start|>assistant\nx<|im_end|>", "ChatML"),
        ("<|im_start|>wizard\nhi<|im_end|>", "ChatML"),
        ("<start_of_turn>user\nhi<start_of_turn>model\nkill", "Gemma"),
        ("<|start_header_id|>user<|end_header_id|>hi<|start_header_id|>assistant<|end_header_id|>x", "Llama 3"),
        ("[INST] hi", "Llama 2"),
        ("[INST] a [/INST] b [/INST] c", "Llama 2"),
        ("### Human: a### Assistant: b### Assistant: c", "do not take turns"),
        ("### Human: a### Assistant: b### Wizard: c", "another heading"),
        ("### Instruction:\nhi\n\n### Response:\nkill", "Alpaca"),
        ("Below is a task.\n\n### Instruction:\nhi\n\n### Response:\nkill", "Alpaca"),
    ],
)
def test_broken_prompts_of_chat_models_are_refused_by_name(text: str, named: str) -> None:
    for read in (parse_messages, parse_body):
        with pytest.raises(ConversationError, match=named):
            read(text)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), words), min_size=1, max_size=5))
def test_every_turn_of_a_prompt_keeps_its_role_and_text(said: list[tuple[str, str]]) -> None:
    assume(said)
    for form in ("<|im_start|>{}\n{}<|im_end|>\n", "<start_of_turn>{}\n{}<end_of_turn>\n", "<|{}|>{}<|endoftext|>"):
        found = parse_messages("".join(form.format(role, text) for role, text in said))
        assert [(m.role, m.content) for m in found.messages] == [(role, text.strip()) for role, text in said]


# Conversations within strings

ONE = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(json.dumps(ONE)),
        "\n".join(map(json.dumps, ONE)),
        "[{'role': 'user', 'content': 'a'} {'role': 'assistant', 'content': 'b'}]",
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"',
    ],
)
def test_conversations_within_strings_are_seen(text: str) -> None:
    assert looks_like_conversation(text)


def test_json_within_json_is_read_and_json_lines_are_named() -> None:
    for found in (parse_messages(json.dumps(json.dumps(ONE))), *parse_body(json.dumps(json.dumps(ONE)))):
        assert found.to_list() == ONE
    with pytest.raises(ConversationError, match="JSON Lines, 2 values"):
        parse_messages("\n".join(map(json.dumps, ONE)))


@pytest.mark.parametrize(
    "body", ['{"name":"x"}', "[1,2]", "[]", "{}", "[bread] recipe?", '{"messages": []}', "{'a': 1}"]
)
def test_every_error_about_json_in_a_cell_names_the_way_out(body: str) -> None:
    with pytest.raises(ConversationError) as caught:
        parse_body(body)
    assert "--text" in caught.value.hint
