from __future__ import annotations

import random
from itertools import pairwise

import pytest

from guard_magic.engine.batching import group_positions, halve, plan_batches

CASES = [([], 10), ([5], 1), ([1, 1, 1], 1), ([7] * 20, 14), (list(range(1, 60)), 100), ([1000, 1, 1, 1], 10)]
CASES += [([random.Random(seed).randint(1, 300) for _ in range(seed * 7)], 64 * seed + 1) for seed in range(1, 30)]


@pytest.mark.parametrize(("lengths", "budget"), CASES)
def test_plan_batches(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda i: (-lengths[i], i))  # longest first, ties in the rows' order
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert batch
        assert padded <= budget or len(batch) == 1
    for batch, after in pairwise(batches):
        width = lengths[batch[0]]
        is_full = (len(batch) + 1) * width > budget
        would_pad = len(batch) * width >= budget / 4 and lengths[after[0]] < 0.9 * width
        would_pad_much = lengths[after[0]] < 0.5 * width
        assert is_full or would_pad or would_pad_much
        assert lengths[batch[-1]] >= lengths[after[0]]


def test_little_is_padding() -> None:
    lengths = [random.Random(1).randint(40, 300) for _ in range(500)]
    batches = plan_batches(lengths, 1024)
    padded = sum(len(batch) * lengths[batch[0]] for batch in batches)
    assert padded / sum(lengths) < 1.03
    assert len(batches) < sum(lengths) / 512


def test_group_positions() -> None:
    assert group_positions([]) == {}
    groups = group_positions(["b", "a", "b", "c", "a"])
    assert groups == {"b": [0, 2], "a": [1, 4], "c": [3]}
    assert list(groups) == ["b", "a", "c"]


@pytest.mark.parametrize("n", range(2, 12))
def test_halve(n: int) -> None:
    left, right = halve(range(n))
    assert left + right == list(range(n))
    assert 0 <= len(right) - len(left) <= 1
    assert left
