"""Rows near the threshold are read again, alone and in float32: no verdict depends on the batch."""

from __future__ import annotations

import copy
import random
from typing import Any

import pandas as pd
import pytest
import torch
from quiet import quiet
from small_models import CHATS, batches_seen

import guard_magic
from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import GuardWarning, ScoreError
from guard_magic.guards.guard import Guard
from guard_magic.guards.request import Request
from guard_magic.scoring.cache import ScoreCache
from guard_magic.scoring.progress import Cost, Watch
from guard_magic.scoring.run import score_rows
from guard_magic.verdict import Verdicts

ROWS = [parse_conversation(f"{word} number {i}") for i, word in enumerate(["apple", "knife", "song", "gun", "tea"] * 8)]


@pytest.fixture(scope="module")
def low(tiny: Guard) -> Guard:
    """The tiny guard in bfloat16, whose scores move with the batch."""
    model = copy.deepcopy(tiny.model).to(torch.bfloat16)
    return Guard(model, tiny.tokenizer, name="low", min_verdict_mass=0.0)


@pytest.fixture
def whole(low: Guard) -> Guard:
    """The same weights in float32."""
    return Guard(copy.deepcopy(low.model).float(), low.tokenizer, name="whole", min_verdict_mass=0.0)


def score(guard: Guard, rows: list[Any], threshold: float, recheck: float | None, cache: Any = None) -> Verdicts:
    request = Request(guard, guard.policy, threshold, recheck=recheck)
    return score_rows(rows, request, ScoreCache() if cache is None else cache)


def scores(verdicts: Verdicts) -> list[float]:
    return [v.unsafe_score for v in verdicts if v.unsafe_score is not None]


def test_near_the_threshold_scores_are_those_of_float32_alone(low: Guard, whole: Guard) -> None:
    threshold = sorted(scores(score(low, ROWS, 0.5, None)))[len(ROWS) // 2]
    first = scores(score(low, ROWS, threshold, None))
    wanted = [score(whole, [row], threshold, None)[0].unsafe_score for row in ROWS]
    near = [i for i, x in enumerate(first) if abs(x - threshold) <= 0.05]
    assert 3 < len(near) < len(ROWS) - 3
    assert max(abs(first[i] - float(wanted[i] or 0)) for i in near) > 1e-3, "bfloat16 moves them"
    got = scores(score(low, ROWS, threshold, 0.05))
    for i in range(len(ROWS)):
        assert got[i] == (pytest.approx(wanted[i], abs=1e-5) if i in near else first[i])


def test_no_verdict_depends_on_the_batch(low: Guard) -> None:
    """Rows together, in another order and each by itself get the same flags.

    Thresholds stand on the scores of rows that bfloat16 moves: without a second look their flags differ.
    """
    rows = [*ROWS, *map(parse_conversation, CHATS)]
    order = random.Random(5).sample(range(len(rows)), len(rows))
    together, alone = scores(score(low, rows, 0.5, None)), [scores(score(low, [row], 0.5, None))[0] for row in rows]
    moved = sorted(range(len(rows)), key=lambda i: alone[i] - together[i])[:3]
    for threshold in (together[i] for i in moved):
        for recheck in (None, 0.2):
            first = score(low, rows, threshold, recheck)
            shuffled = score(low, [rows[i] for i in order], threshold, recheck)
            found = [score(low, [row], threshold, recheck)[0] for row in rows]
            again = dict(zip(order, shuffled, strict=True))
            flips = sum(not v.flagged == again[i].flagged == found[i].flagged for i, v in enumerate(first))
            assert flips == 0 if recheck else flips > 0


def test_nothing_is_read_twice_in_vain(low: Guard) -> None:
    cache = ScoreCache()
    score(low, ROWS, 0.5, None, cache)
    n_forwards = low.engine.n_forwards
    assert score(low, ROWS, 0.5, 0.0, cache) == score(low, ROWS, 0.5, None, cache)
    assert low.engine.n_forwards == n_forwards, "no row stands on the threshold"
    with batches_seen(low.model) as seen:
        first = score(low, ROWS, 0.5, 1.0, cache)
    assert [n for n, _ in seen] == [1] * len(ROWS), "each alone"
    with batches_seen(low.model) as seen:
        assert score(low, ROWS, 0.5, 1.0, cache) == first
        score(low, ROWS * 2, 0.5, 1.0, cache)
    assert not seen, "a second look is kept too"
    assert scores(first) != scores(score(low, ROWS, 0.5, None, cache)), "and the first one beside it"


def test_a_row_without_room_keeps_its_first_score_and_is_counted(low: Guard) -> None:
    plain = score(low, ROWS[:6], 0.5, None)

    def full(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if (kwargs.get("past_key_values") or kwargs.get("cache")) is None and kwargs.get("position_ids") is None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    cache = ScoreCache()
    score(low, ROWS[:6], 0.5, None, cache)
    hook = low.model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        with pytest.warns(GuardWarning, match="6 rows near the threshold did not fit into memory"):
            found = score(low, ROWS[:6], 0.5, 1.0, cache)
    finally:
        hook.remove()
    assert found == plain


def test_a_row_in_windows_is_counted_once(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if (kwargs.get("past_key_values") or kwargs.get("cache")) is None and kwargs.get("position_ids") is None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", tiny.encode("hi").n_tokens + 150)
    rows = [parse_conversation("one two three four " * 60), parse_conversation("short")]
    request = Request(tiny, tiny.policy, 0.5, recheck=1.0, overflow="window")
    cache = ScoreCache()
    with pytest.warns(GuardWarning, match="1 of 2 rows were too long"):
        score_rows(rows, Request(tiny, tiny.policy, 0.5, overflow="window"), cache)
    hook = tiny.model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        with pytest.warns(GuardWarning) as caught:
            found = score_rows(rows, request, cache)
    finally:
        hook.remove()
    assert "window" in str(found[0].cut)
    assert any(str(warning.message).startswith("2 rows near the threshold") for warning in caught)


def test_rows_that_are_not_scored_stay_so(low: Guard) -> None:
    hook = low.model.model.norm.register_forward_hook(lambda module, args, out: out * torch.nan)
    try:
        found = score(low, ROWS[:3], 0.5, 1.0)
    finally:
        hook.remove()
    assert [v.category for v in found] == [None] * 3


def test_an_interrupt_between_two_rows_keeps_what_was_read(low: Guard) -> None:
    cache = ScoreCache()
    score(low, ROWS[:8], 0.5, None, cache)

    class Stop(Watch):
        n_seen = 0

        def finish_more(self, kind: str, cost: Cost) -> None:
            self.n_seen += 1
            if self.n_seen == 4:
                raise KeyboardInterrupt

    request = Request(low, low.policy, 0.5, recheck=1.0)
    with pytest.raises(KeyboardInterrupt):
        score_rows(ROWS[:8], request, cache, watch=Stop())
    with batches_seen(low.model) as seen:
        score(low, ROWS[:8], 0.5, 1.0, cache)
    assert 0 < len(seen) < 8


def test_from_a_table(low: Guard) -> None:
    table = pd.DataFrame({"text": [row.assessed.content for row in ROWS[:10]]})
    with quiet():
        plain = table.guard.score(guard=low, progress=False)
        again = table.guard.score(guard=low, recheck=1, progress=False)
        turns = table.guard.score_turns(guard=low, recheck=1.0, progress=False)
        series = table["text"].guard.score(guard=low, recheck=1.0, progress=False)
        twin = guard_magic.score(table, guard=low, recheck=1.0, progress=False)
    assert (plain.unsafe_score != again.unsafe_score).all()
    assert (plain.unsafe_score - again.unsafe_score).abs().max() < 0.1
    for other in (turns, series, twin):
        assert other.unsafe_score.tolist() == again.unsafe_score.tolist()


@pytest.mark.parametrize("value", [-0.1, 1.5, "near", float("nan"), object()])
def test_a_distance_that_is_none(low: Guard, value: Any) -> None:
    with pytest.raises(ScoreError, match=r"recheck .* is not a number in \[0, 1\]"):
        pd.DataFrame({"text": ["x"]}).guard.score(guard=low, recheck=value)
