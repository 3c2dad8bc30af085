"""Conversations made ready for a guard, and the rows of token ids that its engine reads."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from guard_magic.conversation import Conversation
from guard_magic.engine.batching import group_positions, nested_prefixes
from guard_magic.engine.local import TokenRow
from guard_magic.protocols.inquiry import Question
from guard_magic.protocols.plan import Prompt
from guard_magic.roles import RoleChanges

__all__ = ["Asked", "longest_prompt", "token_rows"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation made ready: the prompts of all questions, and what its roles had to give up."""

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
        return sum(map(len, {prompt.ids for prompt in self.prompts}))

    @property
    def n_neutralised(self) -> int:
        """Pieces of structural text in the contents that were rewritten."""
        return self.prompt.n_neutralised


def longest_prompt(questions: Sequence[Question], prompts: Sequence[Prompt]) -> int:
    """Return the tokens of the longest prompt with what is appended to it."""
    return max(len(p.ids) + len(q.spine.tokens) for p, q in zip(prompts, questions, strict=True))


def token_rows(
    rows: Sequence[Asked], marks: Sequence[Hashable], places: Sequence[tuple[int, int]]
) -> tuple[list[TokenRow], list[tuple[int, int]]]:
    """Return what the engine is to read for these (row, question) pairs, and the pair of each.

    What the prompts of one mark have in common is made their prefix where that saves work.
    """
    made: list[TokenRow] = []
    asked: list[tuple[int, int]] = []
    for members in group_positions([marks[row] for row, _ in places]).values():
        pairs = [places[member] for member in members]
        prompts = [rows[row].prompts[number] for row, number in pairs]
        prefixes = nested_prefixes([p.ids for p in prompts], [p.n_prefix for p in prompts])
        order = sorted(range(len(pairs)), key=lambda i: -prefixes[i])
        made += [TokenRow(prompts[i].ids, prefixes[i]) for i in order]
        asked += [pairs[i] for i in order]
    return made, asked
