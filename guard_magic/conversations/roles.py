"""Roles: fitting a conversation to what a guard's prompt has place for, and choosing the message assessed.

Nothing here knows a template or a token. What a guard has place for is passed in (`PromptRoles`), and whatever
is changed is counted (`RoleChanges`), so that the caller can say it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal, get_args

from guard_magic.characters import is_blank
from guard_magic.checks import checked_choice
from guard_magic.conversations.conversation import Conversation, Message, Role
from guard_magic.errors import ConversationError

__all__ = [
    "Assess",
    "PromptRoles",
    "RoleChanges",
    "RoleRules",
    "adapt_roles",
    "assessed_part",
    "checked_assess",
    "checked_roles",
    "try_adapt",
    "turns",
]

RoleRules = Literal["merge", "strict"]
Assess = Literal["last", "user", "assistant"]

_CHAT: frozenset[Role] = frozenset({"user", "assistant"})


@dataclass(frozen=True, slots=True)
class PromptRoles:
    """What a guard's prompt has place for.

    Attributes
    ----------
    accepted
        Roles that the prompt can hold.
    alternate
        Whether it demands user/assistant/user/… beginning with the user; a system message may stand ahead.
    assessed
        Roles whose message can be assessed.
    exchange_only
        Whether it holds only the message assessed and, where that is the assistant's, the user message it
        answers. Then consecutive messages of one role are one, whatever `alternate` says.
    """

    accepted: frozenset[Role] = _CHAT
    alternate: bool = True
    assessed: frozenset[Role] = _CHAT
    exchange_only: bool = False


@dataclass(frozen=True, slots=True)
class RoleChanges:
    """What `adapt_roles` had to change: counts of messages, none counted twice.

    `unspoken` counts what the log holds beside messages: tool calls and pieces of reasoning, which no guard here reads.
    """

    merged: int = 0
    left_out: int = 0
    dropped_first: int = 0
    earlier: int = 0
    unspoken: int = 0

    def __add__(self, other: RoleChanges) -> RoleChanges:
        return RoleChanges(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __bool__(self) -> bool:
        return any((self.merged, self.left_out, self.dropped_first, self.earlier, self.unspoken))

    def __str__(self) -> str:
        parts = [
            (self.merged, "joined to the turn before (same role)"),
            (self.left_out, "left out (the guard's prompt has no place for their roles)"),
            (self.dropped_first, "dropped (assistant messages ahead of the first user message)"),
            (self.earlier, "left out (earlier turns: the guard's prompt holds one exchange)"),
            (
                self.unspoken,
                "tool calls, pieces of reasoning or texts beside messages left out (guards here read what was said)",
            ),
        ]
        return "; ".join(f"{n} {what}" for n, what in parts if n)


_UNCHANGED = RoleChanges()


def adapt_roles(
    conversation: Conversation, roles: RoleRules, prompt_roles: PromptRoles = PromptRoles()
) -> tuple[Conversation, RoleChanges]:
    """Fit a conversation to the roles that a guard's prompt has place for.

    Parameters
    ----------
    conversation
        What was said.
    roles
        ``"merge"``: consecutive messages of one role are joined with a blank line; messages of roles that
        the prompt has no place for, assistant messages ahead of the first user message, turns before the only
        exchange it holds, and tool calls and reasoning are left out; all are counted. ``"strict"``: each of these is
        an error instead.
    prompt_roles
        What the prompt has place for.

    Returns
    -------
    tuple
        The adapted conversation (the same object where nothing changed) and the counts.

    Raises
    ------
    ConversationError
        Under ``"strict"`` for any change; under both where the message to assess cannot be assessed, would
        be lost, or answers a user message that is not there.
    """
    checked_roles(roles)
    if not conversation.left_out and _fits(conversation.roles, prompt_roles):
        return conversation, _UNCHANGED
    _check_assessed(conversation, prompt_roles)
    kept, changes = _fitted(conversation, prompt_roles)
    changes = replace(changes, unspoken=conversation.n_left_out) if conversation.left_out else changes
    if changes and roles == "strict":
        raise ConversationError(
            f"the roles {' '.join(conversation.roles)} do not fit this guard: {changes}",
            hint='roles="merge" does this and says so.',
        )
    if not kept or kept[-1].role != conversation.assessed.role:
        raise ConversationError(
            "the conversation has assistant messages only, and this guard's prompt must begin with the user",
            hint="Add the user message that was answered.",
        )
    return (Conversation(tuple(kept)) if changes else conversation), changes


def try_adapt(
    conversation: Conversation, roles: RoleRules, prompt_roles: PromptRoles = PromptRoles()
) -> tuple[Conversation, RoleChanges] | ConversationError:
    """Return what `adapt_roles` returns, or the error that it raises."""
    try:
        return adapt_roles(conversation, roles, prompt_roles)
    except ConversationError as error:
        return error


@lru_cache(maxsize=1024)
def _fits(roles: tuple[Role, ...], prompt_roles: PromptRoles) -> bool:
    """Say whether messages of these roles need no change, whatever they say."""
    conversation = Conversation(tuple(Message(role, "x") for role in roles))
    try:
        _check_assessed(conversation, prompt_roles)
        _, changes = _fitted(conversation, prompt_roles)
    except ConversationError:
        return False
    return not changes


def assessed_part(conversation: Conversation, assess: Assess) -> Conversation:
    """Return the conversation up to and including the last message of the role that is to be assessed.

    Parameters
    ----------
    conversation
        What was said.
    assess
        ``"last"``: the last message, whoever's it is; ``"user"`` or ``"assistant"``: that role's last one.

    Returns
    -------
    Conversation
        The same object where nothing comes after that message.

    Raises
    ------
    ConversationError
        Where that role said nothing, naming the roles seen, its last message is empty, or the log ends with a tool call
        or reasoning without text and that is what would be assessed.
    """
    if checked_assess(assess) != "user":
        _check_end(conversation)
    if assess == "last" or (assess == conversation.assessed.role and not conversation.left_out_last):
        return conversation
    if assess not in conversation.roles:
        seen = ", ".join(dict.fromkeys(conversation.roles))
        raise ConversationError(
            f"there is no {assess} message to assess (roles seen: {seen})",
            hint='assess="last" takes the last message, whoever\'s it is.',
        )
    end = max(i for i, role in enumerate(conversation.roles, start=1) if role == assess)
    return _beginning(conversation, end)


def _beginning(conversation: Conversation, end: int) -> Conversation:
    """Return the first `end` messages, with what was left out ahead of the last of them."""
    left_out = tuple(n for n in conversation.left_out if n < end)
    return Conversation(conversation.messages[:end], left_out)


def _check_end(conversation: Conversation) -> None:
    if conversation.left_out_last:
        raise ConversationError(
            f"the message to assess is not text: {conversation.left_out_last}",
            hint='Leave it out, or assess an earlier message: assess="user", or score_turns().',
        )


def checked_roles(roles: RoleRules) -> RoleRules:
    """Return `roles`; anything but ``"merge"`` and ``"strict"`` is a `ConversationError`."""
    return checked_choice("roles", roles, get_args(RoleRules), 'Use roles="merge" or roles="strict".')


def checked_assess(assess: Assess) -> Assess:
    """Return `assess`; anything but ``"last"``, ``"user"`` and ``"assistant"`` is a `ConversationError`."""
    hint = 'Use assess="last", assess="user" or assess="assistant".'
    return checked_choice("assess", assess, get_args(Assess), hint)


def turns(conversation: Conversation) -> list[Conversation | ConversationError]:
    """Return, for each message in order, the conversation up to and including it.

    A message that cannot be assessed (an empty one) has its error in that place. The last one is `conversation` itself,
    without what the log may end with instead of text.
    """
    whole = replace(conversation, left_out_last="") if conversation.left_out_last else conversation
    return [*(_try_cut(conversation, end) for end in range(1, len(conversation))), whole]


def _try_cut(conversation: Conversation, end: int) -> Conversation | ConversationError:
    try:
        return _beginning(conversation, end)
    except ConversationError as error:
        return error


def _check_assessed(conversation: Conversation, prompt_roles: PromptRoles) -> None:
    _check_end(conversation)
    possible = [
        role
        for role in ("user", "assistant", "system", "tool")
        if role in prompt_roles.assessed & prompt_roles.accepted
    ]
    if conversation.assessed.role not in possible:
        raise ConversationError(
            f"the message to assess is a {conversation.assessed.role} message, which this guard cannot assess",
            hint=f"End the conversation with a {' or '.join(possible)} message.",
        )


def _fitted(conversation: Conversation, prompt_roles: PromptRoles) -> tuple[list[Message], RoleChanges]:
    return (_exchange if prompt_roles.exchange_only else _kept)(conversation, prompt_roles)


def _kept(conversation: Conversation, prompt_roles: PromptRoles) -> tuple[list[Message], RoleChanges]:
    kept = [message for message in conversation.messages if message.role in prompt_roles.accepted]
    left_out = len(conversation) - len(kept)
    if not prompt_roles.alternate:
        return kept, RoleChanges(left_out=left_out)
    first = next((i for i, message in enumerate(kept) if message.role == "user"), len(kept))
    ahead = [message for message in kept[:first] if message.role == "system"]
    joined = _joined(ahead + kept[first:])
    merged = len(ahead) + len(kept) - first - len(joined)
    return joined, RoleChanges(merged, left_out, first - len(ahead))


def _exchange(conversation: Conversation, prompt_roles: PromptRoles) -> tuple[list[Message], RoleChanges]:
    """Return the message assessed and the one it answers, each joined from the run of its role."""
    chat = [message for message in conversation.messages if message.role in _CHAT]
    said = _last_run(chat)
    asked = _last_run(chat[: -len(said)]) if conversation.assessed.role == "assistant" else []
    if conversation.assessed.role == "assistant" and "user" in prompt_roles.accepted and not asked:
        raise ConversationError(
            "the assistant message to assess answers no user message, and this guard reads it together with one",
            hint="Add the user message that was answered.",
        )
    kept = [message for message in asked + said if message.role in prompt_roles.accepted]
    joined = _joined(kept)
    earlier = len(chat) - len(asked) - len(said)
    left_out = len(conversation) - len(chat) + len(asked) + len(said) - len(kept)
    return joined, RoleChanges(len(kept) - len(joined), left_out, 0, earlier)


def _last_run(messages: Sequence[Message]) -> list[Message]:
    """Return the messages at the end that one role said in a row, in order."""
    run = itertools.takewhile(lambda message: message.role == messages[-1].role, reversed(messages))
    return list(run)[::-1]


def _joined(messages: Sequence[Message]) -> list[Message]:
    """Join consecutive messages of one role with a blank line; a message that stands alone stays as it is."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            texts = (joined[-1].content.strip(), message.content.strip())
            joined[-1] = Message(message.role, "\n\n".join(text for text in texts if not is_blank(text)))
        else:
            joined.append(message)
    return joined
