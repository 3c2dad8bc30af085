from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from guard_magic.engine.batching import group_positions, halve, plan_batches, plan_packs

CASES = [([], 10), ([5], 1), ([1, 1, 1], 1), ([7] * 20, 14), (list(range(1, 60)), 100), ([1000, 1, 1, 1], 10)]
CASES += [(random.Random(seed).choices(range(1, 300), k=seed * 7), 64 * seed + 1) for seed in range(1, 30)]


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


@pytest.mark.parametrize(("lengths", "budget"), CASES)
def test_plan_packs(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, budget)
    order = [i for pack in packs for i in pack]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda i: (-lengths[i], i))  # longest first, ties in the rows' order
    sizes = [sum(lengths[i] for i in pack) for pack in packs]
    assert all(size <= budget or len(pack) == 1 for size, pack in zip(sizes, packs, strict=True))
    assert all(left + right > budget or left >= sum(lengths) / len(packs) - 1 for left, right in pairwise(sizes))
    assert len(packs) <= 2 * math.ceil(sum(lengths) / budget) + 1


def test_a_little_more_than_a_budget_makes_two_halves() -> None:
    lengths = random.Random(2).choices(range(40, 80), k=70)
    sizes = [sum(lengths[i] for i in pack) for pack in plan_packs(lengths, sum(lengths) - 1)]
    assert len(sizes) == 2
    assert abs(sizes[0] - sizes[1]) < 2 * max(lengths)


@pytest.mark.parametrize("plan", [plan_batches, plan_packs])
@pytest.mark.parametrize("n_most", [1, 3])
def test_no_more_rows_than_the_head_has_room_for(plan: Callable[..., list[list[int]]], n_most: int) -> None:
    lengths = random.Random(3).choices(range(40, 60), k=50)
    batches = plan(lengths, 10_000, n_most)
    assert max(map(len, batches)) == n_most
    assert sorted(i for batch in batches for i in batch) == list(range(50))


def test_little_is_padding() -> None:
    lengths = random.Random(1).choices(range(40, 300), k=500)
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
