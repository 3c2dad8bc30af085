"""What prompts have in common is computed once: nested prefixes, views of longer ones, and what goes on from them."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from small_models import as_logs, batches_seen, chat, max_error

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.conversations.roles import turns
from guard_magic.engine.batching import nested_prefixes
from guard_magic.engine.prefix_cache import PrefixCache
from guard_magic.guards.guard import Guard

LONG = chat(*(f"Turn {i}: " + "we talk about bread and knives and songs, " * 6 for i in range(12)))


def cuts(conversation: list[dict[str, str]]) -> list[Any]:
    return turns(parse_conversation(conversation))


def read(guard: Guard, conversations: list[Any], groups: list[int] | None) -> list[dict[str, float]]:
    encoded = [guard.encode(one) for one in conversations]
    found = {}
    for batch in guard.read(encoded, groups=groups):
        for position, result in batch:
            assert position not in found
            found[position] = as_logs(result, guard.policy)
    return [found[i] for i in range(len(encoded))]


@pytest.mark.parametrize("name", ["tiny", "tiny_digits", "tiny_parts", "embedded"])
def test_cuts_of_one_conversation_score_as_they_do_alone(request: pytest.FixtureRequest, name: str) -> None:
    guard: Guard = request.getfixturevalue(name)
    other = chat("How do I bake bread?", "With flour.", "And a knife?")
    rows = [*cuts(LONG), *cuts(other)]
    shared = read(guard, rows, [0] * len(cuts(LONG)) + [1] * len(cuts(other)))
    assert max_error(shared, read(guard, rows, None)) <= 1e-4


def test_cuts_cost_little_more_than_two_conversations(tiny: Guard) -> None:
    def n_tokens(rows: list[Any], groups: list[int] | None) -> int:
        tiny.engine.prefixes.clear()
        with batches_seen(tiny.model) as seen:
            read(tiny, rows, groups)
        return sum(n * width for n, width in seen)

    once = n_tokens(cuts(LONG)[-1:], None)
    apart = n_tokens(cuts(LONG), None)
    shared = n_tokens(cuts(LONG), [0] * len(LONG))
    assert shared < 3 * once
    assert apart > 5 * once


def test_equal_rows_in_different_conversations_are_asked_once(tiny: Guard) -> None:
    rows = [parse_conversation("kill"), parse_conversation("kill"), parse_conversation("river")]
    assert len({str(logs) for logs in read(tiny, rows, [0, 1, 2])[:2]}) == 1


# Choosing prefixes


def test_rows_that_share_nothing_more_keep_their_prefix() -> None:
    rows = [(1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 7)]
    assert nested_prefixes(rows, [2, 2, 2]) == [2, 2, 2]
    assert nested_prefixes([(1, 2, 3)], [1]) == [1]


def test_nested_rows_share_all_but_their_ends() -> None:
    body = tuple(range(100, 400))
    rows = [(1, 2, *body[:n], 7, 8, 9) for n in (100, 200, 300)]
    assert nested_prefixes(rows, [2, 2, 2]) == [102, 202, 202]
    assert nested_prefixes(rows[::-1], [2, 2, 2]) == [202, 202, 102]


def test_equal_rows_keep_a_token_of_their_own() -> None:
    row = tuple(range(50))
    assert nested_prefixes([row, row, row], [0, 0, 0]) == [49, 49, 49]


def test_chosen_prefixes_are_shared_and_shorter_than_their_rows() -> None:
    rng = random.Random(3)
    for _ in range(200):
        rows = [tuple(rng.choices(range(3), k=rng.randint(2, 12))) for _ in range(rng.randint(1, 6))]
        chosen = nested_prefixes(rows, [1] * len(rows))
        for row, n in zip(rows, chosen, strict=True):
            assert 1 <= n < len(row) or len(row) == 1
            assert n == 1 or sum(other[:n] == row[:n] for other in rows) >= 2


# The cache


@pytest.fixture
def prefixes(tiny: Guard) -> PrefixCache:
    return PrefixCache(tiny.model)


def states(cache: Any) -> list[torch.Tensor]:
    return [layer.keys for layer in cache.layers]


@torch.inference_mode()
def test_a_beginning_of_a_known_prefix_is_a_view_of_it(tiny: Guard, prefixes: PrefixCache) -> None:
    ids = tuple(tiny.tokens("a river and a song"))
    whole, part = prefixes.get(ids), prefixes.get(ids[:90])
    assert prefixes.n_computed == len(ids)
    assert len(prefixes) == 1
    fresh = PrefixCache(tiny.model).get(ids[:90])
    for long, short, alone in zip(states(whole), states(part), states(fresh), strict=True):
        assert short.untyped_storage().data_ptr() == long.untyped_storage().data_ptr()
        assert short.shape == alone.shape
        torch.testing.assert_close(short, alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_prefix_goes_on_from_a_known_one(tiny: Guard, prefixes: PrefixCache) -> None:
    ids = tuple(tiny.tokens("a river and a song"))
    prefixes.get(ids[:90])
    longer = prefixes.get(ids)
    assert prefixes.n_computed == len(ids)
    fresh = PrefixCache(tiny.model).get(ids)
    for ours, alone in zip(states(longer), states(fresh), strict=True):
        torch.testing.assert_close(ours, alone, atol=1e-5, rtol=0)
