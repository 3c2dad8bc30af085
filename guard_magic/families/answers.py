r"""Answers: what is appended after the verdict position, and how the answer is read.

Attention is causal, so tokens appended after the verdict position cannot change what the model says there.
One pass over ``prompt + "unsafe" + "\\n" + "S"`` therefore gives the verdict at one position and the
distribution over hazard codes at another. Nothing here is typed in as a token id: all of it is discovered
by tokenizing whole answers.

Where codes are several tokens (``S``, ``1``, ``4``), they form a trie; a code's probability is the product
along its path, and a code that is a prefix of others (S1 of S10…S14) gets its path times the probability
that none of the policy's longer codes goes on from there. One `Continuation` walks one path of the
trie; where the trie branches in several places (S10 beside S20), there is one for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from guard_magic.errors import ProtocolError
from guard_magic.prompts.skeleton import common_prefix

__all__ = [
    "Answers",
    "Continuation",
    "Path",
    "Tokenize",
    "Wanted",
    "as_continuations",
    "build_trie",
    "discover_answers",
    "read_path",
]

Wanted = tuple[int, int, int]
"""A log-probability to be read: in which continuation, after how many of its tokens, of which token id."""
Tokenize = Callable[[str], Sequence[int]]
"""Text of an answer -> token ids of a whole prompt followed by that answer, special tokens included."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids appended after the verdict position, and the (offset, token id) pairs read along them."""

    tokens: tuple[int, ...]
    reads: tuple[tuple[int, int], ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """The offsets that are read, ascending; 0 is the verdict position."""
        return tuple(sorted({offset for offset, _ in self.reads}))


@dataclass(frozen=True, slots=True)
class Path:
    """One answer as tokens: what is read along its path, and what must not follow it."""

    steps: tuple[Wanted, ...]
    not_followed_by: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What to append after the verdict position, and what to read.

    Attributes
    ----------
    continuations
        What is appended, one continuation a pass; nearly always one.
    words
        For each verdict word, in the order asked for, the tokens whose probabilities are multiplied.
    codes
        One path a hazard code, in the policy's order.
    """

    continuations: tuple[Continuation, ...]
    words: tuple[Path, ...]
    codes: tuple[Path, ...]


def discover_answers(
    tokenize: Tokenize,
    codes: Sequence[str],
    *,
    answer_prefix: str = "\n\n",
    words: Sequence[str] = ("safe", "unsafe"),
    before_code: str = "\n",
    every_step: bool = True,
) -> Answers:
    """Find the forced prefix, the verdict tokens and the code trie of a guard.

    Parameters
    ----------
    tokenize
        Text of an answer -> token ids of a whole prompt followed by that answer, special tokens included.
    codes
        The policy's hazards as the guard writes them.
    answer_prefix
        What the guard writes before its verdict.
    words
        The verdict words, the harmless one first; hazard codes follow the second. Of further words only the first
        token is read.
    before_code
        What stands between verdict and code.
    every_step
        Whether every token of a code is read. If not, only those at which the codes part: enough for long
        names, which need one continuation a name otherwise.

    Raises
    ------
    ProtocolError
        Where this tokenizer leaves no position at which the verdict words can be told apart.
    """
    safe, unsafe, *others = words
    first = list(tokenize(f"{answer_prefix}{safe}"))
    second = list(tokenize(f"{answer_prefix}{unsafe}"))
    answers = [list(tokenize(f"{answer_prefix}{unsafe}{before_code}{code}")) for code in codes]
    forced = common_prefix([first, *answers])
    singles = [first, *(list(tokenize(f"{answer_prefix}{word}")) for word in others)]
    for word, ids in zip([safe, *others], singles, strict=True):
        n_tokens = len(ids) - forced
        if ids[:forced] != first[:forced] or n_tokens < 1 or (word == safe and n_tokens != 1):
            raise ProtocolError(
                f"the tokenizer writes {word!r} after {answer_prefix!r} as {n_tokens} tokens; one is needed",
                hint="This guard family needs a protocol of its own.",
            )
    tail = second[forced:]
    if not tail or any(answer[forced : forced + len(tail)] != tail for answer in answers):
        raise ProtocolError(
            f"the tokenizer writes {unsafe!r} differently when a hazard code follows it",
            hint="This guard family needs a protocol of its own.",
        )
    beginnings = [tail[0], *(ids[forced] for ids in singles)]
    if len(set(beginnings)) != len(beginnings):
        raise ProtocolError(
            f"the verdicts {', '.join(words)} begin with the same token in this tokenizer",
            hint="This guard family needs a protocol of its own.",
        )
    spoken = [Path(((0, 0, ids[forced]),)) for ids in singles]
    spoken.insert(1, Path(tuple((0, i, token) for i, token in enumerate(tail))))
    nodes, paths = build_trie([answer[forced:] for answer in answers], every_step=every_step)
    wanted = [step for path in (*spoken, *paths) for step in (*path.steps, *path.not_followed_by)]
    return Answers(as_continuations(nodes, wanted), tuple(spoken), paths)


def as_continuations(nodes: Sequence[Sequence[int]], wanted: Sequence[Wanted]) -> tuple[Continuation, ...]:
    """Return one continuation a node, with what is read along it; without repeats, in the order of `wanted`."""
    reads: list[dict[tuple[int, int], None]] = [{} for _ in nodes]
    for continuation, offset, token in wanted:
        reads[continuation][offset, token] = None
    return tuple(Continuation(tuple(node), tuple(read)) for node, read in zip(nodes, reads, strict=True))


def build_trie(
    answers: Sequence[Sequence[int]], *, every_step: bool
) -> tuple[tuple[tuple[int, ...], ...], tuple[Path, ...]]:
    """Find the continuations that reach every place where a token of an answer is read.

    Parameters
    ----------
    answers
        Token ids of each answer from the verdict position on.
    every_step
        Whether all tokens beyond the answers' common beginning are read, or only those where they part.

    Returns
    -------
    tuple
        The tokens of each continuation, and one `Path` an answer.
    """
    root = min(common_prefix(answers), *(len(answer) - 1 for answer in answers))
    children: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for end in range(root, len(answer)):
            children.setdefault(tuple(answer[:end]), set()).add(answer[end])
    whole = {tuple(answer) for answer in answers}
    read = [
        node
        for node, following in children.items()
        if every_step or len(following) > 1 or node in whole or len(node) == root
    ]
    ends = [node for node in read if not any(len(o) > len(node) and o[: len(node)] == node for o in read)]
    paths = tuple(_path(tuple(answer), root, children, read, ends) for answer in answers)
    return tuple(ends), paths


def _path(
    answer: tuple[int, ...],
    root: int,
    children: Mapping[tuple[int, ...], set[int]],
    read: Sequence[tuple[int, ...]],
    ends: Sequence[tuple[int, ...]],
) -> Path:
    def continuation(node: tuple[int, ...]) -> int:
        return next(i for i, end in enumerate(ends) if end[: len(node)] == node)

    nodes = [answer[:end] for end in range(root, len(answer)) if answer[:end] in read]
    steps = tuple((continuation(node), len(node), answer[len(node)]) for node in nodes)
    after = tuple((continuation(answer), len(answer), token) for token in sorted(children.get(answer, ())))
    return Path(steps, after)


def read_path(path: Path, logs: Mapping[Wanted, float]) -> float:
    """Return the log-probability of an answer: the product along its path, and nothing longer after it."""
    return math.fsum(logs[step] for step in path.steps) + _log_rest([logs[step] for step in path.not_followed_by])


def _log_rest(logs: Sequence[float]) -> float:
    """Log of 1 - sum(exp(logs)); -inf where nothing is left."""
    rest = 1.0 - math.fsum(math.exp(x) for x in logs)
    return math.log(rest) if rest > 0 else -math.inf
