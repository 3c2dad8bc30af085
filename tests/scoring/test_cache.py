"""The session's readings: what a call used stays until it has succeeded, and nothing outlives its reading."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.guards.guard import Guard
from guard_magic.scoring.cache import ScoreCache
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame
from guard_magic.verdict import Reading

FOUND = Reading(0.0, -1.0, (), 1)


def key(i: int) -> bytes:
    return i.to_bytes(16, "big")


def rows(n: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"kept row number {i}" for i in range(n)]})


def interrupted(cache: ScoreCache, used: Iterable[int]) -> None:
    with suppress(KeyboardInterrupt), cache.call() as call:
        for i in used:
            call.put(key(i), FOUND)
            call.put_text(key(i), f"text {i}")
        raise KeyboardInterrupt


def test_a_text_goes_with_its_reading() -> None:
    cache = ScoreCache(capacity=3)
    for i in range(10):
        cache.put(key(i), FOUND)
        cache.put_text(key(i), f"text {i}")
        cache.put_text(key(max(i - 5, 0)), "of a reading that is gone")
    texts = {i: cache.get_text(key(i)) for i in range(10) if cache.get_text(key(i)) is not None}
    assert texts == {7: "text 7", 8: "text 8", 9: "text 9"}


def test_a_call_keeps_all_that_it_used_and_the_next_one_finds_it() -> None:
    cache = ScoreCache(capacity=3)
    with cache.call() as call:
        for i in range(10):
            call.put(key(i), FOUND)
    assert all(cache.get(key(i)) for i in range(10)), "the latest call may be repeated"
    with cache.call() as call:
        call.put(key(99), FOUND)
    assert len(cache) == 3, "another call came, and this one had succeeded"
    assert cache.get(key(99))


def test_what_failed_waits_for_the_call_that_succeeds() -> None:
    cache = ScoreCache(capacity=3)
    interrupted(cache, range(10))
    for i in range(20, 30):
        with cache.call() as call:
            call.put(key(i), FOUND)
    assert len(cache) == 13
    with cache.call() as call:
        assert all(call.get(key(i)) for i in range(10))
        assert [call.get_text(key(i)) for i in range(10)] == [f"text {i}" for i in range(10)]
    with cache.call() as call:
        call.put(key(99), FOUND)
    assert len(cache) == 3


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 30), max_size=12)), max_size=12), st.integers(1, 6))
def test_no_call_loses_anything_before_it_has_succeeded(calls: list[tuple[bool, list[int]]], capacity: int) -> None:
    cache = ScoreCache(capacity)
    waiting: set[int] = set()
    for fails, used in calls:
        try:
            with cache.call() as call:
                for i in used:
                    assert call.get(key(i)) or i not in waiting
                    call.put(key(i), FOUND)
                    call.put_text(key(i), "written")
                assert all(cache.get(key(i)) for i in used)
                if fails:
                    raise ValueError
        except ValueError:
            waiting |= set(used)
        else:
            waiting -= set(used)
        assert all(cache.get(key(i)) for i in waiting | set(used))
        assert len(cache) <= len(waiting) + max(capacity, len(set(used)))
        assert set(cache._texts) <= set(cache._readings)


def test_threads_share_it() -> None:
    cache, errors = ScoreCache(capacity=5), []

    def use(seed: int) -> None:
        try:
            for i in range(400):
                with cache.call() as call:
                    for j in range(4):
                        call.put(key((seed + i * j) % 50), FOUND)
                        call.put_text(key((seed + i * j) % 50), "written")
                        assert call.get(key((seed + i * j) % 50)) or seed == 0
                if seed == 0:
                    cache.clear()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(n,)) for n in (0, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(cache) <= 5


def test_a_table_larger_than_the_cache_is_asked_once(session: Session, tiny: Guard) -> None:
    """Interrupted, other work in between, resumed, repeated: scaled down from 20,000 rows and 500,000 readings."""
    session.cache = ScoreCache(capacity=8)
    frame, tiny.engine.budget = rows(60), 256
    n_before, asked = tiny.engine.n_forwards, []

    def interrupt(*_: Any) -> None:
        asked.append(1)
        if len(asked) == 12:
            raise KeyboardInterrupt

    hook = tiny.model.register_forward_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            score_frame(session, frame, progress=False)
        n_kept = len(session.cache)
        assert n_kept > 8
        session.moderate("Hello", session.request())
        score_frame(session, pd.DataFrame({"text": [f"other {i}" for i in range(12)]}), progress=False)
        n_hits = session.cache.n_hits
        score_frame(session, frame, progress=False)
        assert session.cache.n_hits - n_hits == n_kept
        n_forwards = tiny.engine.n_forwards
        score_frame(session, frame, progress=False)
        assert tiny.engine.n_forwards == n_forwards > n_before
    finally:
        hook.remove()
        tiny.engine.budget = None
