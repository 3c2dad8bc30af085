r"""The forced chain: what is appended after the verdict position, and how its answer is read.

Attention is causal, so tokens appended after the verdict position cannot change what the model says there.
One pass over ``prompt + "unsafe" + "\\n" + "S"`` therefore gives the verdict at one position and the
distribution over hazard codes at another. Nothing here is typed in as a token id: all of it is discovered
by tokenizing whole answers.

Where codes are several tokens (``S``, ``1``, ``4``), they form a trie; a code's probability is the product
along its path, and a code that is a prefix of others (S1 of S10…S14) gets its path times the probability
that none of the policy's longer codes goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guard_magic.errors import ProtocolError

__all__ = ["AnswerChain", "CodePath", "common_prefix", "discover_chain", "read_codes"]

Offset = int
"""How many chain tokens stand before a position: 0 is the verdict position."""
Wanted = tuple[Offset, int]
"""A log-probability to be read: of this token id, at this offset."""


@dataclass(frozen=True, slots=True)
class CodePath:
    """One hazard code as tokens: what is read along its path, and what must not follow it."""

    steps: tuple[Wanted, ...]
    not_followed_by: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class AnswerChain:
    """What to append after the verdict position, and what to read.

    Attributes
    ----------
    tokens
        Token ids appended after the verdict position, the same for every row.
    safe
        Id of the verdict token ``safe``.
    unsafe
        Ids of ``unsafe``: one, or several whose probabilities are multiplied.
    codes
        One path a hazard code, in the policy's order.
    wanted
        Every (offset, token id) that must be read, without repeats.
    """

    tokens: tuple[int, ...]
    safe: int
    unsafe: tuple[int, ...]
    codes: tuple[CodePath, ...]
    wanted: tuple[Wanted, ...]

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """The offsets that must be read, ascending."""
        return tuple(sorted({offset for offset, _ in self.wanted}))


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest prefix that all `sequences` share."""
    shortest = min(len(sequence) for sequence in sequences)
    first = sequences[0]
    return next(
        (i for i in range(shortest) if any(sequence[i] != first[i] for sequence in sequences)),
        shortest,
    )


def discover_chain(tokenize: Callable[[str], Sequence[int]], codes: Sequence[str], lead: str = "\n\n") -> AnswerChain:
    """Find the forced prefix, the verdict tokens and the code trie of a guard.

    Parameters
    ----------
    tokenize
        Text of an answer -> token ids of a whole prompt followed by that answer, special tokens included.
    codes
        The policy's hazard codes.
    lead
        The whitespace that the guard writes before its verdict.

    Raises
    ------
    ProtocolError
        Where this tokenizer leaves no position at which ``safe`` and ``unsafe`` can be told apart, or writes
        the codes in a way that one pass cannot read.
    """
    safe_ids = list(tokenize(f"{lead}safe"))
    unsafe_ids = list(tokenize(f"{lead}unsafe"))
    answers = [list(tokenize(f"{lead}unsafe\n{code}")) for code in codes]
    forced = common_prefix([safe_ids, *answers])
    if len(safe_ids) != forced + 1:
        raise ProtocolError(
            f"the tokenizer writes 'safe' after {lead!r} as {len(safe_ids) - forced} tokens; one is needed",
            hint="This guard family needs a protocol of its own.",
        )
    unsafe = unsafe_ids[forced:]
    if not unsafe or any(answer[forced : forced + len(unsafe)] != unsafe for answer in answers):
        raise ProtocolError(
            "the tokenizer writes 'unsafe' differently when a hazard code follows it",
            hint="This guard family needs a protocol of its own.",
        )
    return _build_chain([answer[forced:] for answer in answers], safe_ids[-1], tuple(unsafe), codes)


def _build_chain(answers: Sequence[list[int]], safe: int, unsafe: tuple[int, ...], codes: Sequence[str]) -> AnswerChain:
    root = min(common_prefix(answers), *(len(answer) - 1 for answer in answers))
    children: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for end in range(root, len(answer)):
            children.setdefault(tuple(answer[:end]), set()).add(answer[end])
    spine = max(children, key=len)
    astray = [node for node in children if spine[: len(node)] != node]
    if astray:
        raise ProtocolError(
            f"the codes {', '.join(codes)} branch in more than one place in this tokenizer",
            hint="Use codes whose numbers share their first digit, such as S1 to S19.",
        )
    paths = tuple(_code_path(tuple(answer), root, children) for answer in answers)
    wanted = [(0, safe), *((i, token) for i, token in enumerate(unsafe))]
    wanted += [step for path in paths for step in (*path.steps, *path.not_followed_by)]
    return AnswerChain(spine, safe, unsafe, paths, tuple(dict.fromkeys(wanted)))


def _code_path(answer: tuple[int, ...], root: int, children: dict[tuple[int, ...], set[int]]) -> CodePath:
    steps = tuple((end, answer[end]) for end in range(root, len(answer)))
    after = tuple((len(answer), token) for token in sorted(children.get(answer, ())))
    return CodePath(steps, after)


def read_codes(chain: AnswerChain, logs: dict[Wanted, float]) -> tuple[float, ...]:
    """Return log P(the first code written is c | unsafe), in the policy's order, not normalised.

    Parameters
    ----------
    chain
        The chain that was appended.
    logs
        Natural-log probabilities of at least ``chain.wanted``.
    """
    return tuple(
        math.fsum(logs[step] for step in path.steps) + _log_rest([logs[step] for step in path.not_followed_by])
        for path in chain.codes
    )


def _log_rest(logs: Sequence[float]) -> float:
    """Log of 1 - sum(exp(logs)); -inf where nothing is left."""
    rest = 1.0 - math.fsum(math.exp(x) for x in logs)
    return math.log(rest) if rest > 0 else -math.inf
