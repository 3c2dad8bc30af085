"""What a guard's prompt has place for: laws that hold for every order of roles, and the message chosen."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from guard_magic.conversations.conversation import Conversation, Message, parse_messages
from guard_magic.conversations.roles import PromptRoles, RoleChanges, adapt_roles, assessed_part, turns
from guard_magic.errors import ConversationError

ALL_ROLES = ["user", "assistant", "system", "tool"]
EVERY = [list(roles) for n in range(1, 6) for roles in itertools.product(ALL_ROLES, repeat=n)]
CHAT = frozenset({"user", "assistant"})
EXCHANGE = PromptRoles(exchange_only=True)
WITH_SYSTEM = PromptRoles(accepted=CHAT | {"system"})
AS_IT_IS = PromptRoles(accepted=CHAT | {"system", "tool"}, alternate=False)


def said(*pairs: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in pairs))  # type: ignore[arg-type]


def pairs(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in conversation.messages]


def conversation_of(roles: list[str]) -> Conversation:
    return said(*((role, f" text {i}\n") for i, role in enumerate(roles)))


def last_run(messages: list[Message]) -> list[Message]:
    return list(itertools.takewhile(lambda m: m.role == messages[-1].role, reversed(messages)))[::-1]


def text_of(run: list[Message]) -> str:
    return run[0].content if len(run) == 1 else "\n\n".join(m.content.strip() for m in run)


def counted(changes: RoleChanges) -> int:
    return changes.merged + changes.left_out + changes.dropped_first + changes.earlier


def test_merge_laws_hold_for_every_order_of_roles() -> None:
    seen = 0
    for roles in EVERY:
        before = conversation_of(roles)
        try:
            after, changes = adapt_roles(before, "merge")
        except ConversationError:
            assert roles[-1] not in CHAT or "user" not in roles
            continue
        seen += 1
        assert after.roles == ("user", "assistant") * (len(after) // 2) + ("user",) * (len(after) % 2)
        assert adapt_roles(after, "merge") == (after, RoleChanges())
        assert adapt_roles(after, "strict") == (after, RoleChanges())
        assert len(after) + counted(changes) == len(before)
        assert changes.left_out == sum(role not in CHAT for role in roles)
        assert changes.earlier == 0
        assert after.assessed.role == before.assessed.role
        # the assessed text is the run of same-role messages at the end, joined
        kept = [m for m in before.messages if m.role in CHAT]
        first = next(i for i, m in enumerate(kept) if m.role == "user")
        assert after.assessed.content == text_of(last_run(kept[first:]))
        check_strict(before, after, changes, PromptRoles())
    assert seen > 300


def test_exchange_laws_hold_for_every_order_of_roles() -> None:
    seen = 0
    for roles in EVERY:
        before = conversation_of(roles)
        try:
            after, changes = adapt_roles(before, "merge", EXCHANGE)
        except ConversationError:
            assert roles[-1] not in CHAT or "user" not in roles
            continue
        seen += 1
        assert after.roles == (("user",) if roles[-1] == "user" else ("user", "assistant"))
        assert len(after) + counted(changes) == len(before)
        assert changes.left_out == sum(role not in CHAT for role in roles)
        assert changes.dropped_first == 0
        chat = [m for m in before.messages if m.role in CHAT]
        run = last_run(chat)
        asked = last_run(chat[: -len(run)]) if run[-1].role == "assistant" else []
        assert after.assessed.content == text_of(run)
        assert changes.earlier == len(chat) - len(run) - len(asked)
        if asked:
            assert after.messages[0].content == text_of(asked)
        assert adapt_roles(after, "strict", EXCHANGE) == (after, RoleChanges())
        check_strict(before, after, changes, EXCHANGE)
    assert seen > 300


def check_strict(before: Conversation, after: Conversation, changes: RoleChanges, place: PromptRoles) -> None:
    if changes:
        with pytest.raises(ConversationError, match="do not fit this guard"):
            adapt_roles(before, "strict", place)
    else:
        assert after is before


@pytest.mark.parametrize("rules", ["merge", "strict"])
def test_without_alternation_everything_accepted_stays_as_it_is(rules: Any) -> None:
    for roles in EVERY:
        before = conversation_of(roles)
        if roles[-1] in CHAT:
            after, changes = adapt_roles(before, rules, AS_IT_IS)
            assert after is before, "assistant-first logs and same-role turns too"
            assert not changes
        else:
            with pytest.raises(ConversationError, match=f"is a {roles[-1]} message"):
                adapt_roles(before, rules, AS_IT_IS)


def test_merge_joins_with_a_blank_line() -> None:
    after, changes = adapt_roles(said(("user", "a\n"), ("user", "  "), ("user", " b"), ("assistant", " c ")), "merge")
    assert pairs(after) == [("user", "a\n\nb"), ("assistant", " c ")]
    assert changes == RoleChanges(merged=2)


def test_merge_over_a_left_out_message() -> None:
    after, changes = adapt_roles(said(("system", "s"), ("user", "a"), ("tool", "t"), ("user", "b")), "merge")
    assert pairs(after) == [("user", "a\n\nb")]
    assert changes == RoleChanges(merged=1, left_out=2)


@pytest.mark.parametrize("rules", ["merge", "strict"])
@pytest.mark.parametrize("place", [PromptRoles(), EXCHANGE, WITH_SYSTEM, AS_IT_IS])
@pytest.mark.parametrize("role", ["tool", "system"])
def test_last_message_that_cannot_be_assessed(rules: Any, place: PromptRoles, role: str) -> None:
    with pytest.raises(ConversationError, match=f"the message to assess is a {role} message") as caught:
        adapt_roles(said(("user", "a"), (role, "t")), rules, place)
    assert caught.value.hint == "End the conversation with a user or assistant message."


def test_a_guard_that_assesses_users_only() -> None:
    place = PromptRoles(assessed=frozenset({"user"}))
    assert adapt_roles(said(("user", "a"), ("assistant", "b"), ("user", "c")), "strict", place)[1] == RoleChanges()
    with pytest.raises(ConversationError, match="is a assistant message, which this guard cannot assess") as caught:
        adapt_roles(said(("user", "a"), ("assistant", "b")), "merge", place)
    assert "with a user message." in caught.value.hint


def test_a_guard_that_reads_one_user_message() -> None:
    place = PromptRoles(accepted=frozenset({"user"}), exchange_only=True)
    log = said(("user", "a"), ("assistant", "b"), ("user", "c"))
    after, changes = adapt_roles(log, "merge", place)
    assert pairs(after) == [("user", "c")], "user turns with an answer between them are not one message"
    assert changes == RoleChanges(earlier=2)
    with pytest.raises(ConversationError, match="cannot assess"):
        adapt_roles(said(("user", "a"), ("assistant", "b")), "merge", place)


def test_a_guard_that_reads_an_answer_without_its_question() -> None:
    place = PromptRoles(accepted=frozenset({"assistant"}), exchange_only=True)
    after, changes = adapt_roles(said(("user", "a"), ("assistant", "b")), "merge", place)
    assert pairs(after) == [("assistant", "b")]
    assert changes == RoleChanges(left_out=1)


@pytest.mark.parametrize("rules", ["merge", "strict"])
@pytest.mark.parametrize("roles", [["assistant"], ["assistant", "assistant"], ["system", "assistant"]])
def test_an_exchange_without_a_question(rules: Any, roles: list[str]) -> None:
    with pytest.raises(ConversationError, match="answers no user message"):
        adapt_roles(conversation_of(roles), rules, EXCHANGE)


def test_assistant_first_is_dropped_and_counted() -> None:
    after, changes = adapt_roles(said(("assistant", "hi"), ("assistant", "hello"), ("user", "a")), "merge")
    assert pairs(after) == [("user", "a")]
    assert changes == RoleChanges(dropped_first=2)
    with pytest.raises(ConversationError, match="2 dropped"):
        adapt_roles(said(("assistant", "hi"), ("assistant", "hello"), ("user", "a")), "strict")


def test_assistant_only() -> None:
    with pytest.raises(ConversationError, match="assistant messages only"):
        adapt_roles(said(("assistant", "hi")), "merge")
    with pytest.raises(ConversationError, match="do not fit"):
        adapt_roles(said(("assistant", "hi")), "strict")
    with pytest.raises(ConversationError, match="assistant messages only"):
        adapt_roles(said(("system", "s"), ("assistant", "hi")), "merge", WITH_SYSTEM)


def test_a_system_message_that_has_a_place_stays_ahead() -> None:
    log = said(("system", "s"), ("assistant", "hi"), ("user", "a"), ("tool", "t"), ("assistant", "b"))
    after, changes = adapt_roles(log, "merge", WITH_SYSTEM)
    assert pairs(after) == [("system", "s"), ("user", "a"), ("assistant", "b")]
    assert changes == RoleChanges(left_out=1, dropped_first=1)
    assert adapt_roles(after, "strict", WITH_SYSTEM) == (after, RoleChanges())


def test_unknown_role_rules() -> None:
    with pytest.raises(ConversationError, match="roles='lenient' is not known"):
        adapt_roles(said(("user", "a")), "lenient")  # type: ignore[arg-type]


def test_changes_add_up() -> None:
    random.seed(0)
    several = [RoleChanges(*(random.randint(0, 3) for _ in range(4))) for _ in range(5)]
    total = sum(several, RoleChanges())
    assert total.merged == sum(c.merged for c in several)
    assert total.left_out == sum(c.left_out for c in several)
    assert total.dropped_first == sum(c.dropped_first for c in several)
    assert total.earlier == sum(c.earlier for c in several)
    assert not RoleChanges()
    assert all(RoleChanges(**{name: 1}) for name in ("merged", "left_out", "dropped_first", "earlier"))
    assert str(RoleChanges()) == ""
    assert str(RoleChanges(1, 0, 2)).startswith("1 joined")
    assert "2 dropped" in str(RoleChanges(1, 0, 2))
    assert str(RoleChanges(earlier=4)) == "4 left out (earlier turns: the guard's prompt holds one exchange)"


# The message assessed


def test_the_part_up_to_a_roles_last_message() -> None:
    for roles in EVERY:
        whole = conversation_of(roles)
        assert assessed_part(whole, "last") is whole
        for role in ("user", "assistant"):
            if role not in roles:
                with pytest.raises(ConversationError, match=f"no {role} message to assess") as caught:
                    assessed_part(whole, role)  # type: ignore[arg-type]
                assert all(seen in caught.value.message for seen in roles)
                continue
            part = assessed_part(whole, role)  # type: ignore[arg-type]
            assert part.messages == whole.messages[: len(part)]
            assert part is whole or len(part) < len(whole)
            assert part.assessed.role == role
            assert role not in whole.roles[len(part) :]


def test_an_empty_message_is_not_passed_over() -> None:
    log = said(("user", "bad"), ("user", " \n"), ("assistant", "b"))
    with pytest.raises(ConversationError, match=r"message to assess is empty .*message 2, user"):
        assessed_part(log, "user")


def test_unknown_assess() -> None:
    with pytest.raises(ConversationError, match="assess='first' is not known"):
        assessed_part(said(("user", "a")), "first")  # type: ignore[arg-type]


def test_turns_are_the_beginnings() -> None:
    log = said(("user", "a"), ("assistant", " "), ("tool", "t"), ("user", "b"))
    first, empty, tool, last = turns(log)
    assert first == said(("user", "a"))
    assert isinstance(empty, ConversationError)
    assert "message 2, assistant" in empty.message
    assert isinstance(tool, Conversation)
    assert tool.messages == log.messages[:3]
    assert last is log
    assert turns(first) == [first]


CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}


def logged(*items: str | dict[str, Any]) -> Conversation:
    """Read a log: ``"user"`` says ``"text of user"``, ``CALL`` is a tool call alone."""
    return parse_messages(
        [item if isinstance(item, dict) else {"role": item, "content": f"text of {item}"} for item in items]
    )


def test_tool_calls_are_counted_beside_the_other_changes() -> None:
    before = logged("user", CALL, "tool", "assistant")
    after, changes = adapt_roles(before, "merge")
    assert after.roles == ("user", "assistant")
    assert changes == RoleChanges(left_out=1, unspoken=1)
    assert "1 tool calls, pieces of reasoning or texts beside messages left out" in str(changes)
    assert adapt_roles(after, "merge") == (after, RoleChanges()), "they are counted once"
    with pytest.raises(ConversationError, match=r"do not fit this guard: .*tool calls"):
        adapt_roles(before, "strict")
    with pytest.raises(ConversationError, match="do not fit this guard: 1 tool calls"):
        adapt_roles(logged("user", CALL, "user"), "strict", AS_IT_IS)
    assert adapt_roles(logged("user", CALL, "assistant"), "merge", EXCHANGE)[1] == RoleChanges(unspoken=1)


def test_a_tool_call_is_never_the_message_assessed() -> None:
    log = logged("user", "assistant", "user", CALL)
    for wanted in ("last", "assistant"):
        with pytest.raises(ConversationError, match="the message to assess is not text: message 4 is a tool call"):
            assessed_part(log, wanted)  # type: ignore[arg-type]
    for place in (PromptRoles(), EXCHANGE, AS_IT_IS):
        with pytest.raises(ConversationError, match="the message to assess is not text"):
            adapt_roles(log, "merge", place)
    asked = assessed_part(log, "user")
    assert (asked.roles, asked.n_left_out, asked.left_out_last) == (("user", "assistant", "user"), 0, "")
    assert adapt_roles(asked, "strict") == (asked, RoleChanges())


def test_a_part_counts_only_what_was_left_out_of_it() -> None:
    log = logged(CALL, "user", CALL, CALL, "assistant", CALL)
    assert [cut.n_left_out for cut in turns(log) if isinstance(cut, Conversation)] == [1, 4]
    assert [adapt_roles(cut, "merge")[1].unspoken for cut in turns(log) if isinstance(cut, Conversation)] == [1, 4]
    assert assessed_part(log, "user").n_left_out == 1


def test_messages_that_nobody_sees_are_not_joined() -> None:
    after, changes = adapt_roles(said(("user", "\u200b\u2800"), ("user", "hi")), "merge")
    assert (pairs(after), changes) == ([("user", "hi")], RoleChanges(merged=1))
