"""Arguments have names; one that is passed by position is an error that shows how to write it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import guard_magic
from guard_magic.calls import by_name
from guard_magic.errors import ColumnError

FRAME = pd.DataFrame({"question": ["a"]})
CALLS: list[Callable[[], object]] = [
    lambda: guard_magic.score(FRAME, "question"),  # type: ignore[call-arg]
    lambda: guard_magic.score_turns(FRAME, "question"),  # type: ignore[call-arg]
    lambda: FRAME.guard.score("question"),
    lambda: FRAME.guard.score_turns("question"),
    lambda: FRAME.guard.review("question"),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_column_passed_by_position(call: Callable[[], object]) -> None:
    with pytest.raises(ColumnError, match="takes its arguments by name, not 'question' by position") as caught:
        call()
    assert "(text='question') reads that column" in caught.value.hint
    assert "messages='question'" in caught.value.hint


def test_every_public_function_and_method_says_so() -> None:
    """All that take named arguments: one more by position is our error, not Python's."""
    owners: list[Any] = [guard_magic, pd.DataFrame.guard, pd.Series.guard]
    seen = []
    for owner in owners:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            parameters = inspect.signature(function).parameters.values()
            if name.startswith("_") or not any(p.kind is p.KEYWORD_ONLY for p in parameters):
                continue
            if owner is guard_magic and name not in ("moderate", "score", "score_turns", "load", "wrap"):
                continue
            n_places = sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
            with pytest.raises(ColumnError, match=f"{name}\\(\\) takes its arguments by name, not 9"):
                function(*range(9 - n_places, 10), *[0] * 0)
            seen.append(name)
    assert {"score", "score_turns", "review", "labels", "flagged", "unscored", "moderate", "load", "wrap"} <= {*seen}


def test_what_is_called_stays_what_it_was() -> None:
    def add(one: int, *, other: int = 2) -> int:
        """Add."""
        return one + other

    named = by_name(add)
    assert (named(1), named(1, other=3), named.__doc__) == (3, 4, "Add.")
    assert inspect.signature(named) == inspect.signature(add)
    with pytest.raises(TypeError, match="unexpected"):
        named(1, more=2)  # type: ignore[call-arg]
    with pytest.raises(ColumnError) as caught:
        named(1, 2)  # type: ignore[call-arg]
    assert "other=" in caught.value.hint
