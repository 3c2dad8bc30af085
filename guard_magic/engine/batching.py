"""Plans of batches: pure integers, no tensors.

Rows are ordered by length, and a batch is filled until it holds `budget` tokens. Where rows stand side by side in a
rectangle, padding counts; where they are packed end to end there is none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

__all__ = ["group_positions", "halve", "nested_prefixes", "plan_batches", "plan_packs"]

_TIGHT = 0.9
_FILLED = 0.25
"""From a quarter of the budget on, rows of at least 0.9 of the longest: of four rules the one that padded least, 3.2%
where filling to the budget pads 8.5% (benchmarks/LOG.md, "Batches that pad little": 96 rows, CPU)."""
_LOOSE = 0.5
"""Below that, rows of at least half of the longest. A row of 58 tokens padded to 216 in a batch of two cost 0.18 passes
of a conversation (benchmarks/LOG.md, "Twenty turns at once"); the half itself is a guess between the two."""
_WORTH = 1 / 3
"""What sharing more must save of the tokens. A guess, never varied: each prefix of its own makes batches of its own,
and smaller batches are slower ("Batches that pad little"), by how much for prefixes was not measured."""

Key = TypeVar("Key", bound=Hashable)


def group_positions(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Return, for each distinct key in order of first sight, the positions where it stands."""
    groups: dict[Key, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return groups


def plan_batches(lengths: Sequence[int], budget: int, n_most: int | None = None) -> list[list[int]]:
    """Pack rows into batches of at most `budget` padded tokens, longest rows first.

    Longest first, so that the batch most likely to run out of memory is the first to try. A batch that is a
    quarter full takes no row that would be padded by more than a tenth, and no batch a row that would be padded to
    more than twice its length: smaller batches cost less than padding (measured in benchmarks/LOG.md).

    Parameters
    ----------
    lengths
        Tokens of each row.
    budget
        Tokens of a batch, padding included; a row longer than this is a batch of its own.
    n_most
        Rows of a batch at the most; None for any number.

    Returns
    -------
    list of list of int
        Positions in `lengths`; each position once. Rows of equal length keep their order.
    """
    batches: list[list[int]] = []
    for i in _longest_first(lengths):
        last = batches[-1] if batches else []
        if last and len(last) != n_most and _takes(len(last), lengths[last[0]], lengths[i], budget):
            last.append(i)
        else:
            batches.append([i])
    return batches


def plan_packs(lengths: Sequence[int], budget: int, n_most: int | None = None) -> list[list[int]]:
    """Pack rows end to end into batches of at most `budget` tokens and of about equal size, longest rows first.

    Parameters
    ----------
    lengths
        Tokens of each row.
    budget
        Tokens of a batch; a row longer than this is a batch of its own.
    n_most
        Rows of a batch at the most; None for any number.

    Returns
    -------
    list of list of int
        As `plan_batches`: nothing is padded, so that rows of any length stand side by side.
    """
    total = sum(lengths)
    even = math.ceil(total / math.ceil(total / budget)) if total else budget
    batches: list[list[int]] = []
    n_tokens = 0
    for i in _longest_first(lengths):
        if not batches or len(batches[-1]) == n_most or n_tokens >= even or n_tokens + lengths[i] > budget:
            batches.append([])
            n_tokens = 0
        batches[-1].append(i)
        n_tokens += lengths[i]
    return batches


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def nested_prefixes(rows: Sequence[tuple[int, ...]], shared: Sequence[int]) -> list[int]:
    """Choose how many leading ids each row takes from a prefix that is computed once.

    For rows that belong together, such as the cuts of one conversation: each is compared with its neighbours in
    sorted order, which are those that share most with it.

    Parameters
    ----------
    rows
        Token ids; may repeat.
    shared
        How many leading ids each row shares with rows of other conversations already.

    Returns
    -------
    list of int
        One a row: `shared` where sharing more would save less than a third of the tokens of these rows.
    """
    if len(rows) == 1:
        return list(shared)
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    chosen = list(shared)
    for left, right in pairwise(order):
        common = _common(rows[left], rows[right])
        for i in (left, right):
            chosen[i] = max(chosen[i], min(common, len(rows[i]) - 1))
    plain = sum(len(row) - n for row, n in zip(rows, shared, strict=True))
    own = sum(len(row) - n for row, n in zip(rows, chosen, strict=True))
    branches = {rows[i][:n] for i, n in enumerate(chosen)}
    longest = [p for p in branches if not any(len(o) > len(p) and o[: len(p)] == p for o in branches)]
    once = sum(len(prefix) - min(shared) for prefix in longest)
    return chosen if plain - own - once >= _WORTH * plain else list(shared)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _takes(n_rows: int, width: int, length: int, budget: int) -> bool:
    fits = (n_rows + 1) * width <= budget
    return fits and length >= (_LOOSE if n_rows * width < _FILLED * budget else _TIGHT) * width


def halve(batch: Sequence[int]) -> tuple[list[int], list[int]]:
    """Split a batch of at least two rows into two, in order."""
    middle = len(batch) // 2
    return list(batch[:middle]), list(batch[middle:])
