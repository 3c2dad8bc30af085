"""Arguments have names; one that is passed by position is an error that shows how to write it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guard_magic
from guard_magic.calls import by_name
from guard_magic.errors import CallError, ColumnError, GuardError

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
    with pytest.raises(TypeError, match=r"add\(\) has no option more="):
        named(1, more=2)  # type: ignore[call-arg]
    with pytest.raises(CallError, match=r"add\(\): missing a required argument: 'one'"):
        named()  # type: ignore[call-arg]
    with pytest.raises(CallError, match="multiple values for argument 'one'"):
        named(1, one=1)  # type: ignore[call-arg]
    with pytest.raises(ColumnError) as caught:
        named(1, 2)  # type: ignore[call-arg]
    assert "other=" in caught.value.hint


OPTIONS = [
    *((name, pd.DataFrame.guard) for name in ("score", "score_turns", "review", "labels", "flagged", "unscored")),
    *((name, pd.Series.guard) for name in ("score", "score_turns")),
    *((name, guard_magic) for name in ("score", "score_turns", "moderate", "load", "wrap", "export_labels")),
]


@pytest.mark.parametrize(("name", "owner"), OPTIONS, ids=lambda value: getattr(value, "__name__", value))
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_an_option_that_is_not_there_names_the_nearest(name: str, owner: Any, data: st.DataObject) -> None:
    """Whatever is misspelt by one letter: a `GuardError` and a `TypeError`, with the option that is meant."""
    function = getattr(owner, name)
    parameters = inspect.signature(function).parameters
    named = [one for one, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    meant = data.draw(st.sampled_from([one for one in named if len(one) > 3]))
    at = data.draw(st.integers(1, len(meant) - 1))
    wrong = meant[:at] + data.draw(st.sampled_from(["", "x", meant[at] * 2, "_"])) + meant[at + 1 :]
    if wrong in parameters:
        return
    with pytest.raises(TypeError) as caught:
        function(**{wrong: 1})
    assert isinstance(caught.value, GuardError)
    assert f"has no option {wrong}=" in caught.value.message
    found = caught.value.hint.partition(" meant?")[0]
    assert found.startswith("Is ")
    assert (
        difflib.SequenceMatcher(None, wrong, found[3:-1]).ratio() >= difflib.SequenceMatcher(None, wrong, meant).ratio()
    )
    assert f"{meant}=" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("column", "text"), ("txt", "text"), ("tresh", "threshold"), ("model", "guard"), ("answer", "response")],
)
def test_what_other_libraries_call_our_options(wrong: str, meant: str) -> None:
    with pytest.raises(CallError) as caught:
        FRAME.guard.score(**{wrong: "question"})
    assert caught.value.hint.startswith(f"Is {meant}= meant? Its options are text=")
    assert "self" not in caught.value.hint


def test_every_public_function_refuses_what_it_does_not_know() -> None:
    owners: list[Any] = [guard_magic, pd.DataFrame.guard, pd.Series.guard]
    seen = 0
    for owner in owners:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_") and "ipython" not in name:
                with pytest.raises(CallError, match=f"{name}\\(\\) has no option no_such_option="):
                    function(no_such_option=1)
                seen += 1
    assert seen > 15
