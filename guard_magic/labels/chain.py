"""Each row of a label file hashed with the one before it, so that a file that was damaged is never read as another.

The chain begins with the file's facts (whose it is, for what, since when) and goes on through each step and the
decisions in it, in order; the last hash is kept once more, so that a lost end is noticed too. It shows damage and what
other programs changed. It is no signature: who can write the file can make the chain anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

__all__ = ["chained", "first_hash"]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def first_hash(facts: Mapping[str, str]) -> str:
    """Return what the chain of a file with these facts begins with."""
    return chained("", sorted(facts.items()))


def chained(before: str, values: Sequence[object]) -> str:
    """Return the hash of a row's values as the file holds them, after a row with the hash `before`.

    Raises
    ------
    TypeError, ValueError
        For values that a label file does not hold, bytes for instance.
    """
    exact = [value + 0.0 if isinstance(value, float) else value for value in values]  # SQLite keeps -0.0 as 0.0
    text = _ENCODER.encode([before, *exact])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
