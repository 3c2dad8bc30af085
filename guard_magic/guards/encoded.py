"""Encoded conversations for a guard, and the rows of token ids that its engine reads."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from guard_magic.conversations.conversation import Conversation, Message, parse_conversation
from guard_magic.conversations.roles import RoleChanges
from guard_magic.conversations.rows import Row
from guard_magic.engine.batching import group_positions, nested_prefixes
from guard_magic.engine.local import TokenRow
from guard_magic.errors import ConversationError, shorten
from guard_magic.families.base import Question
from guard_magic.prompts.plan import Prompt

__all__ = [
    "Encoded",
    "checked_conversations",
    "make_keys",
    "token_rows",
    "try_parse_all",
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as a guard is asked about it: the prompts of all questions, and what its roles had to give up."""

    conversation: Conversation
    questions: tuple[Question, ...]
    prompts: tuple[Prompt, ...]
    changes: RoleChanges

    @property
    def prompt(self) -> Prompt:
        """The first question's prompt: for most guards there is no other."""
        return self.prompts[0]

    @property
    def n_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        if len(self.prompts) == 1:
            return len(self.prompts[0].ids)
        return sum(map(len, {prompt.ids for prompt in self.prompts}))

    @property
    def n_neutralised(self) -> int:
        """Pieces of structural text in the contents that were rewritten."""
        return self.prompt.n_neutralised


def checked_conversations(values: object) -> list[object]:
    """Return conversations as a list; an iterator is read once.

    Raises
    ------
    ConversationError
        For one conversation, a table, what has no order, or what is not many.
    """
    if isinstance(values, str | bytes | Mapping | Conversation | Message):
        raise _not_many(values, "Put one conversation into a list: guard.score([conversation]).")
    if isinstance(values, pd.DataFrame):
        raise _not_many(values, "For a table: df.guard.score(), or pass one of its columns.")
    if isinstance(values, set | frozenset):
        raise _not_many(values, "It has no order that scores could come back in: pass a list, such as sorted(…).")
    if getattr(values, "ndim", 1) != 1:
        raise _not_many(values, "Pass one dimension, one conversation an element: list(array.ravel()) for texts.")
    try:
        found: list[object] = list(values)  # type: ignore[call-overload]
    except TypeError:
        raise _not_many(values, "Pass a list: guard.score([conversation]).") from None
    if any(isinstance(value, Mapping | Message) for value in found):
        raise _not_many(values, "Put one conversation into a list: guard.score([conversation]).")
    return found


def try_parse_all(values: Iterable[object]) -> list[Row]:
    """Read conversations, in order; one that cannot be read is its error."""
    return [_try_parse(value) for value in values]


def _try_parse(value: object) -> Row:
    try:
        return value if isinstance(value, ConversationError) else parse_conversation(value)
    except ConversationError as error:
        return error


def _not_many(values: object, hint: str) -> ConversationError:
    kind = type(values).__name__
    return ConversationError(f"expected a list of conversations, got {kind}: {shorten(values)}", hint=hint)


def make_keys(rows: Sequence[Encoded], whose: str) -> list[bytes]:
    """Return a key for each row: of who is asked, what is read, and the token ids."""
    known: dict[int, bytes] = {}
    found = []
    for row in rows:
        digest = hashlib.blake2b(whose.encode(), digest_size=16)
        for prompt, question in zip(row.prompts, row.questions, strict=True):
            continuation = known.get(id(question))
            if continuation is None:
                continuation = known[id(question)] = (
                    f"|{question.continuation.tokens}|{question.continuation.reads}|".encode()
                )
            digest.update(b"%b%d|" % (continuation, len(prompt.ids)))
            digest.update(array("i", prompt.ids))
        found.append(digest.digest())
    return found


def token_rows(
    rows: Sequence[Encoded], groups: Sequence[Hashable], pairs: Sequence[tuple[int, int]]
) -> tuple[list[TokenRow], list[tuple[int, int]]]:
    """Return what the engine is to read for these (row, question) pairs, and the pair of each.

    What the prompts of one group have in common is made their prefix where that saves work.
    """
    made: list[TokenRow] = []
    pair_of: list[tuple[int, int]] = []
    for members in group_positions([groups[row] for row, _ in pairs]).values():
        if len(members) == 1:
            row, number = pairs[members[0]]
            prompt = rows[row].prompts[number]
            made.append(TokenRow(prompt.ids, prompt.n_prefix))
            pair_of.append((row, number))
            continue
        of_group = [pairs[member] for member in members]
        prompts = [rows[row].prompts[number] for row, number in of_group]
        prefixes = nested_prefixes([p.ids for p in prompts], [p.n_prefix for p in prompts])
        order = sorted(range(len(of_group)), key=lambda i: -prefixes[i])
        made += [TokenRow(prompts[i].ids, prefixes[i]) for i in order]
        pair_of += [of_group[i] for i in order]
    return made, pair_of
