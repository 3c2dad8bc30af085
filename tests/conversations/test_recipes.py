"""The conversions of docs/files.md, each run against exports written for this project: none loses a word in silence."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chat_logs import Pairs
from log_exports import EXPORTS, REFUSED

from guard_magic.conversations.conversation import Conversation, parse_conversation, parse_messages
from guard_magic.errors import ConversationError

DOCS = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", body, re.S)
    for title, body in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", DOCS, re.S | re.M)
}


def converted(section: str, value: object) -> list[object]:
    """Run the code of a section as a user would paste it."""
    [title] = [title for title in SECTIONS if title.lower() == section.lower()]
    [code] = SECTIONS[title]
    names: dict[str, Any] = {"value": value}
    exec(code, names)
    found: list[object] = names["conversations"] if "conversations" in names else [names["messages"]]
    return found


def pairs(conversation: Conversation) -> Pairs:
    return [(m.role, m.content) for m in conversation.messages]


def texts(value: object) -> list[str]:
    """Return every text of several words in an export, without tags."""
    if isinstance(value, str):
        lines = [re.sub(r"^\S+ \S+(?:\s[AP]M\])?(?: - | )(?:\w+: )?", "", line) for line in value.splitlines()]
        return [html.unescape(re.sub("<[^>]+>", "", line)).strip() for line in lines if " " in line]
    if isinstance(value, dict):
        return [text for key, one in value.items() if key not in ("nickname", "function") for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list | tuple) else []


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_converted(name: str) -> None:
    section, value, expected, n_left_out = EXPORTS[name]
    found = [parse_messages(one) for one in converted(section, value)]
    assert [pairs(one) for one in found] == expected
    assert sum(one.n_left_out for one in found) == n_left_out


@pytest.mark.parametrize("name", EXPORTS)
def test_every_text_of_an_export_is_read_or_counted(name: str) -> None:
    section, value, _, n_left_out = EXPORTS[name]
    said = "\n".join(text for one in converted(section, value) for _, text in pairs(parse_messages(one)))
    lost = {text for text in texts(value) if text not in said and text.replace("which", "") not in said}
    if name == "Telegram":
        lost -= {"Which", "keeps me awake?"}
    assert len(lost) <= n_left_out


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_conversion_cannot_keep_is_refused(name: str) -> None:
    section, value, what = REFUSED[name]
    with pytest.raises(ConversationError, match=what):
        [parse_messages(one) for one in converted(section, value)]


def test_every_conversion_of_the_documentation_is_tested() -> None:
    tested = {section.lower() for section, *_ in EXPORTS.values()}
    assert {title.lower() for title in SECTIONS} == tested


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_refused_unconverted(name: str) -> None:
    """What is not read as it stands is refused, and the error says what to do."""
    _, value, expected, _ = EXPORTS[name]
    read = parse_messages if isinstance(value, str) else parse_conversation
    with pytest.raises(ConversationError) as caught:
        read(value)
    assert caught.value.hint
    assert len(expected) > 0


def test_renamed_roles_of_a_column() -> None:
    [code] = re.findall(r"```python\n(renamed.*?)```", DOCS, re.S)
    names: dict[str, Any] = {"df": pd.DataFrame({"role": ["client", "advisor", "system"]})}
    exec(code, names)
    assert names["renamed"]["role"].tolist() == ["user", "assistant", "system"]
