"""Scores by key, for the session: numbers and hashes, and what guards wrote where that was asked for.

A key is made of token ids, guard identity and number format (`Guard.key`), so a cached score can only be the
score that asking again would give. What is here is disposable: losing it costs time, nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from guard_magic.verdict import Reading

__all__ = ["CallCache", "ScoreCache"]


class ScoreCache:
    """Readings of this session, the latest `capacity` of them; threads may share it.

    What a call has asked for or looked up (`call`) is not counted against `capacity` until the call has succeeded, or
    another one that asks the same has: a call that was interrupted goes on from where it was, whatever its size. What
    the latest call used stays in any case, so that it can be repeated.

    Parameters
    ----------
    capacity
        Readings kept; one takes about 0.7 kB.
    """

    def __init__(self, capacity: int = 500_000) -> None:
        self._capacity = capacity
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()
        self._texts: dict[bytes, str] = {}
        self._unfinished: set[bytes] = set()
        self._running: list[CallCache] = []
        self._lock = threading.RLock()
        self.n_hits = 0
        self.n_misses = 0

    def __len__(self) -> int:
        return len(self._readings)

    @contextmanager
    def call(self) -> Iterator[CallCache]:
        """Let one call use this cache; nothing of what it used is forgotten within the block, or after an error."""
        running = CallCache(self)
        with self._lock:
            self._running.append(running)
        succeeded = False
        try:
            yield running
            succeeded = True
        finally:
            with self._lock:
                self._running.remove(running)
                if succeeded:
                    self._unfinished -= running.keys
                else:
                    self._unfinished |= running.keys & self._readings.keys()
                self._forget(max(self._capacity, len(running.keys)))

    def get(self, key: bytes) -> Reading | None:
        """Return the reading of `key`, or None; counts the hit or miss."""
        with self._lock:
            found = self._readings.get(key)
            if found is None:
                self.n_misses += 1
                return None
            self.n_hits += 1
            self._readings.move_to_end(key)
            return found

    def put(self, key: bytes, reading: Reading) -> None:
        """Keep a reading; outside of calls the least recently used one goes where the capacity is reached."""
        with self._lock:
            self._readings[key] = reading
            self._readings.move_to_end(key)
            if not self._running:
                self._forget(self._capacity)

    def get_text(self, key: bytes) -> str | None:
        """Return what the guard wrote for `key`, or None where it was not asked to write."""
        with self._lock:
            return self._texts.get(key)

    def put_text(self, key: bytes, text: str) -> None:
        """Keep what the guard wrote, for as long as the reading of `key` is kept."""
        with self._lock:
            if key in self._readings:
                self._texts[key] = text

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._readings.clear()
            self._texts.clear()
            self._unfinished.clear()
            self.n_hits = self.n_misses = 0

    def _forget(self, limit: int) -> None:
        """Forget the least recently used of what is free, until `limit` of that are left."""
        held = [self._unfinished, *(running.keys for running in self._running)]
        n_over = len(self._readings) - sum(map(len, held)) - limit
        if n_over > 0:
            free = (key for key in self._readings if not any(key in keys for keys in held))
            for key in list(islice(free, n_over)):
                del self._readings[key]
                self._texts.pop(key, None)


class CallCache:
    """The cache as one call sees it; what it used is remembered, so that it stays (`ScoreCache.call`).

    Attributes
    ----------
    keys
        Of the readings found or put.
    """

    def __init__(self, cache: ScoreCache) -> None:
        self._cache = cache
        self.keys: set[bytes] = set()

    def get(self, key: bytes) -> Reading | None:
        """Return the reading of `key`, or None."""
        found = self._cache.get(key)
        if found is not None:
            self.keys.add(key)
        return found

    def put(self, key: bytes, reading: Reading) -> None:
        """Keep a reading."""
        self.keys.add(key)
        self._cache.put(key, reading)

    def get_text(self, key: bytes) -> str | None:
        """Return what the guard wrote for `key`, or None where it was not asked to write."""
        return self._cache.get_text(key)

    def put_text(self, key: bytes, text: str) -> None:
        """Keep what the guard wrote."""
        self._cache.put_text(key, text)
