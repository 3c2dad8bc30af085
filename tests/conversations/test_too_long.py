"""What is far too long is refused before it is rendered or tokenized, and long conversations cost what they hold."""

from __future__ import annotations

import random
from typing import Any

import families
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import Conversation, Message, parse_conversation
from guard_magic.conversations.roles import turns
from guard_magic.errors import ConversationError, GuardWarning
from guard_magic.guards.encoder import MAX_CONVERSATION
from guard_magic.guards.guard import Guard
from guard_magic.prompts.rendering import ChatTemplate
from guard_magic.prompts.text_only import TextTokenizers
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_series

ROLES: Any = ("user", "assistant")


def chat(n: int, text: str = "message {} about bread") -> Conversation:
    return Conversation(tuple(Message(ROLES[i % 2], text.format(i)) for i in range(n)))


class Work:
    """Messages rendered and characters tokenized from here on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_rendered = self.n_characters = 0
        render, encode = ChatTemplate.render, TextTokenizers.encode

        def counted_render(template: ChatTemplate, messages: Any) -> str:
            self.n_rendered += len(messages)
            return render(template, messages)

        def counted_encode(tokenizers: TextTokenizers, texts: Any) -> list[list[int]]:
            self.n_characters += sum(len(text) for text, _ in texts)
            return encode(tokenizers, texts)

        monkeypatch.setattr(ChatTemplate, "render", counted_render)
        monkeypatch.setattr(TextTokenizers, "encode", counted_encode)


@pytest.fixture
def work(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Work:
    tiny.encode(chat(8))
    tiny.encode(chat(1))
    assert tiny.questionnaire(None).first.least_tokens(chat(8), 10**9) > 0
    return Work(monkeypatch)


@pytest.mark.parametrize("overflow", ["error", "truncate"])
def test_thirty_thousand_turns(overflow: Any, session: Session, tiny: Guard, work: Work) -> None:
    row = chat(32_000)
    if overflow == "error":
        with pytest.raises(ConversationError, match="too long: at least 160,000 tokens, and tiny reads"):
            tiny.encode(row)
        assert work.n_rendered == work.n_characters == 0
    else:
        with pytest.warns(GuardWarning):
            found = score_series(session, pd.Series([row.to_list()]), overflow="truncate", progress=False)
        assert found["category"].notna().all()
        assert work.n_rendered < 40_000


def test_a_long_text_is_refused_by_its_words(tiny: Guard, work: Work) -> None:
    with pytest.raises(ConversationError, match=r"at least 200,00\d tokens"):
        tiny.encode(parse_conversation("word " * 200_000))
    assert work.n_characters == 0


@pytest.mark.parametrize("overflow", ["error", "window", "truncate"])
def test_long_messages_that_are_too_much_together(overflow: Any, session: Session, work: Work) -> None:
    messages = chat(21, "{}" + "x" * 950_000).to_list()
    with pytest.warns(GuardWarning):
        found = score_series(session, pd.Series([messages, "Hi"]), overflow=overflow, progress=False)
    assert found["category"].notna().tolist() == [False, True]
    assert "19,950,032 characters in 21 messages; at most 4,000,000 are read" in found["guard_error"][0]
    assert work.n_characters < 10_000
    assert MAX_CONVERSATION == 4_000_000


def test_each_turn_costs_its_text_and_no_more(tiny: Guard, work: Work) -> None:
    """Its prompt is tokenized once, and its roles are rendered once."""
    cuts = [cut for cut in turns(chat(97)) if isinstance(cut, Conversation)]
    tiny.questionnaire(None).first._layouts.clear()
    n_messages = sum(map(len, cuts))
    n_characters = sum(len(message.content) + 20 for cut in cuts for message in cut.messages)
    assert len(tiny.encode_all(cuts)) == 97
    assert work.n_characters < n_characters
    assert work.n_rendered < 1.2 * n_messages


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**9), family=st.sampled_from(["shieldgemma", "qwen3guard", "granite-guardian-3.3"]))
def test_no_prompt_has_less_tokens(seed: int, family: str) -> None:
    rng = random.Random(seed)
    pieces = ["a", "!", "7", " ", "\n", "\t", "'s", "é", "日", "\u00a0", "🙂", "_", "x" * 30, "\r\n", "  ", "."]
    plan = families.guard(family).questionnaire(None).first
    n = rng.choice([1, 2]) if plan._turn == 0 else rng.randint(1, 7)
    row = Conversation(
        tuple(Message(ROLES[i % 2], "".join(rng.choices(pieces, k=rng.randint(1, 60))) + "a") for i in range(n))
    )
    try:
        n_tokens = len(plan.prompt(row).ids)
    except ConversationError:
        return
    assert plan.least_tokens(row, 0) <= n_tokens
