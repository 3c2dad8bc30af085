"""Scores by key, for the session: numbers and hashes, no text of any conversation.

A key is made of token ids, guard identity and number format (`Guard.key`), so a cached score can only be the
score that asking again would give. What is here is disposable: losing it costs time, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict

from guard_magic.verdict import Reading

__all__ = ["ScoreCache"]


class ScoreCache:
    """Readings of this session, the latest `capacity` of them.

    Parameters
    ----------
    capacity
        Readings kept; one takes about 0.7 kB.
    """

    def __init__(self, capacity: int = 500_000) -> None:
        self._capacity = capacity
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()
        self._texts: dict[bytes, str] = {}
        self.n_hits = 0
        self.n_misses = 0

    def __len__(self) -> int:
        return len(self._readings)

    def get(self, key: bytes) -> Reading | None:
        """Return the reading of `key`, or None; counts the hit or miss."""
        found = self._readings.get(key)
        if found is None:
            self.n_misses += 1
            return None
        self.n_hits += 1
        self._readings.move_to_end(key)
        return found

    def put(self, key: bytes, reading: Reading) -> None:
        """Keep a reading; the least recently used one goes where the capacity is reached."""
        self._readings[key] = reading
        self._readings.move_to_end(key)
        while len(self._readings) > self._capacity:
            old, _ = self._readings.popitem(last=False)
            self._texts.pop(old, None)

    def get_text(self, key: bytes) -> str | None:
        """Return what the guard wrote for `key`, or None where it was not asked to write."""
        return self._texts.get(key)

    def put_text(self, key: bytes, text: str) -> None:
        """Keep what the guard wrote."""
        self._texts[key] = text

    def clear(self) -> None:
        """Forget everything."""
        self._readings.clear()
        self._texts.clear()
        self.n_hits = self.n_misses = 0
