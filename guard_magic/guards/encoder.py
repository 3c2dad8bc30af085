"""Conversations to token ids, as one guard is asked: its questionnaires, and what its context has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from guard_magic.aside import do_together
from guard_magic.characters import spell_hidden
from guard_magic.conversations.conversation import Conversation, parse_conversation
from guard_magic.conversations.roles import RoleChanges, RoleRules, adapt_roles, try_adapt
from guard_magic.errors import ConversationError
from guard_magic.families.base import GuardFamily, Questioned, Questionnaire
from guard_magic.guards.encoded import Encoded
from guard_magic.policy import Policy, as_policy
from guard_magic.prompts.plan import Prompt

__all__ = ["MAX_CONVERSATION", "PROBE", "Encoder", "longest_prompt", "runs"]

MAX_CONVERSATION = 4_000_000
"""Characters of all messages of a conversation together, at the most: tokenizing these takes about 400 MB."""
PROBE = parse_conversation("What is the capital of France?")
_TOGETHER = 1_000_000
"""Characters tokenized together: their ids and what the tokenizer makes of them take about 100 bytes each at worst."""
_MAX_QUESTIONNAIRES = 16

Adapted = tuple[Conversation, RoleChanges]


class Encoder:
    """How one guard's tokenizer is asked about conversations.

    Parameters
    ----------
    name
        The guard's name, for messages.
    family
        How it is asked.
    tokenizer
        The guard's fast tokenizer.
    n_context
        Returns the longest prompt that the guard reads now, in tokens.
    """

    def __init__(self, name: str, family: GuardFamily, tokenizer: Any, n_context: Callable[[], int]) -> None:
        self.family = family
        self.name, self._tokenizer, self._n_context = name, tokenizer, n_context
        self._questionnaires: dict[Policy | None, Questionnaire] = {}
        self._answer_prefix = family.answer_prefixes[0]

    def expect(self, answer_prefix: str) -> None:
        """Ask from now on for an answer that begins so; one of the family's."""
        self._answer_prefix = answer_prefix
        self._questionnaires.clear()

    def questionnaire(self, policy: object) -> Questionnaire:
        """Return how the guard is asked about `policy` (None: its own), whatever `as_policy` reads."""
        policy = None if policy is None else as_policy(policy)
        if policy not in self._questionnaires:
            made = self.family.questionnaire(
                self._tokenizer, policy, answer_prefix=self._answer_prefix, like=self._questionnaires.get(None)
            )
            if len(self._questionnaires) > _MAX_QUESTIONNAIRES:
                self._questionnaires = {None: self._questionnaires[None]}
            self._questionnaires[policy] = made
        return self._questionnaires[policy]

    def encode_all(
        self, conversations: Sequence[Conversation], policy: Policy | None, roles: RoleRules
    ) -> list[Encoded | ConversationError]:
        """Encode conversations, in order; one whose roles do not fit, or that is too long, is its error."""
        return [found for run in runs(conversations) for found in self._encode_run(run, policy, roles)]

    def fits(self, conversation: Conversation, policy: Policy | None, roles: RoleRules) -> bool:
        """Say whether a conversation is short enough; what else `encode_all` refuses is raised here."""
        adapted, _ = adapt_roles(conversation, roles, self.family.roles)
        _check_size(adapted)
        if self.questionnaire(policy).first.least_tokens(adapted, self._n_context()) > self._n_context():
            return False
        return longest_prompt(self.questionnaire(policy).encode(adapted)) <= self._n_context()

    def room(self, policy: Policy | None) -> int:
        """Return how many tokens of the context are left for a conversation, about."""
        return max(self._n_context() - longest_prompt(self.questionnaire(policy).encode(PROBE)), 1)

    def _encode_run(
        self, conversations: Sequence[Conversation], policy: Policy | None, roles: RoleRules
    ) -> list[Encoded | ConversationError]:
        tried = [try_adapt(conversation, roles, self.family.roles) for conversation in conversations]
        adapted = [self._try_size(row, policy) for row in tried]

        def encode(fitting: list[Adapted]) -> Iterator[Encoded | ConversationError]:
            found = self.questionnaire(policy).encode_all([conversation for conversation, _ in fitting])
            return map(self._try_length, fitting, found)

        return do_together(tuple, adapted, encode)

    def _try_size(self, adapted: Adapted | ConversationError, policy: Policy | None) -> Adapted | ConversationError:
        """Return why a conversation surely does not fit, looked at before it is rendered; else what was given."""
        if isinstance(adapted, ConversationError):
            return adapted
        try:
            _check_size(adapted[0])
        except ConversationError as error:
            return error
        n_most = self._n_context()
        n_least = self.questionnaire(policy).first.least_tokens(adapted[0], n_most)
        return adapted if n_least <= n_most else self._refusal(f"at least {n_least:,}", n_most)

    def _try_length(self, adapted: Adapted, found: Questioned | ConversationError) -> Encoded | ConversationError:
        if isinstance(found, ConversationError):
            return found
        conversation, changes = adapted
        n_longest, n_most = longest_prompt(found), self._n_context()
        return Encoded(conversation, *found, changes) if n_longest <= n_most else self._too_long(found[1], n_longest)

    def _too_long(self, prompts: Sequence[Prompt], n_longest: int) -> ConversationError:
        n_prompt = max(len(prompt.ids) for prompt in prompts)
        return self._refusal(f"{n_prompt:,}", self._n_context() - (n_longest - n_prompt))

    def _refusal(self, amount: str, n_most: int) -> ConversationError:
        return ConversationError(
            f"the conversation is too long: {amount} tokens, and {spell_hidden(self.name)} reads {n_most:,}",
            hint='overflow="window" scores it in pieces, "truncate" a part of it; nothing is cut silently.',
        )


def longest_prompt(questioned: Questioned) -> int:
    """Return the tokens of the longest prompt with what is appended to it."""
    questions, prompts = questioned
    return max(len(p.ids) + len(q.continuation.tokens) for p, q in zip(prompts, questions, strict=True))


def runs(conversations: Sequence[Conversation]) -> Iterator[Sequence[Conversation]]:
    """Cut conversations, in order, into runs whose prompts are made together: their texts fit into memory."""
    start = n_characters = 0
    for i, conversation in enumerate(conversations):
        n_characters += sum(len(message.content) for message in conversation.messages)
        if n_characters > _TOGETHER:
            yield conversations[start : i + 1]
            start, n_characters = i + 1, 0
    if start < len(conversations):
        yield conversations[start:]


def _check_size(conversation: Conversation) -> None:
    """Refuse, before anything is made of it, a conversation that takes too much memory only to be measured."""
    n_characters = sum(len(message.content) for message in conversation.messages)
    if n_characters > MAX_CONVERSATION:
        raise ConversationError(
            f"the conversation has {n_characters:,} characters in {len(conversation):,} messages; "
            f"at most {MAX_CONVERSATION:,} are read",
            hint="Split it into several conversations and score each.",
        )
