"""Plans of batches: pure integers, no tensors.

Rows are ordered by length so that little is padded, and packed until a batch holds `budget` tokens,
padding included.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

__all__ = ["group_positions", "halve", "plan_batches"]

_TIGHT = 0.9
_FILLED = 0.25

Key = TypeVar("Key", bound=Hashable)


def group_positions(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Return, for each distinct key in order of first sight, the positions where it stands."""
    groups: dict[Key, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return groups


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Pack rows into batches of at most `budget` padded tokens, longest rows first.

    Longest first, so that the batch most likely to run out of memory is the first to try. A batch that is a
    quarter full takes no row that would be padded by more than a tenth: smaller batches cost less than padding
    (measured in benchmarks/LOG.md).

    Parameters
    ----------
    lengths
        Tokens of each row.
    budget
        Tokens of a batch, padding included; a row longer than this is a batch of its own.

    Returns
    -------
    list of list of int
        Positions in `lengths`; each position once. Rows of equal length keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for i in order:
        if batches and _takes(len(batches[-1]), lengths[batches[-1][0]], lengths[i], budget):
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _takes(n_rows: int, width: int, length: int, budget: int) -> bool:
    fits = (n_rows + 1) * width <= budget
    return fits and (length >= _TIGHT * width or n_rows * width < _FILLED * budget)


def halve(batch: Sequence[int]) -> tuple[list[int], list[int]]:
    """Split a batch of at least two rows into two, in order."""
    middle = len(batch) // 2
    return list(batch[:middle]), list(batch[middle:])
