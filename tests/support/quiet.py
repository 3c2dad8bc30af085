"""Scoring without the warnings that a test is not about."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from guard_magic.errors import GuardWarning


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        yield
