"""Every public parameter, fed values of wrong types, is a `GuardError` that says what to do, before any work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import guard_magic
from guard_magic.errors import GuardError
from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session

ODD: list[Any] = [3, -2.5, float("nan"), True, [], [3], {}, {"a": 1}, (), pd.NA, pd.NaT, b"x", object(), len, 10**400]
ODD += ["\0", "no such", np.array([1, 2]), np.float64(7), pd.Series([1, 2]), pd.DataFrame({"a": [1]}), {"x"}, 1j]
FITTING: dict[str, Callable[[Any], bool]] = {
    "threshold": lambda value: type(value) is bool,
    "recheck": lambda value: type(value) is bool,
    "exclude": lambda value: value in ([], {}, ()),
    "extras": lambda value: value in ([], {}, ()),
    "prefix": lambda value: isinstance(value, str),
    "overwrite": lambda value: value is True,
    "progress": lambda value: value is True,
    "generate": lambda value: value is True,
    "conversation": lambda value: value == "no such",
}
"""Which of the odd values a parameter takes."""
NOT_NONE = {"roles", "assess", "overflow", "errors", "prefix", "overwrite", "progress", "generate", "missing_response"}

FRAME = pd.DataFrame({"text": ["never asked"]})
LONG = pd.DataFrame({"c": [1], "r": ["user"], "t": ["never asked"]})


def fits(name: str, value: Any) -> bool:
    try:
        return bool(FITTING.get(name, lambda value: False)(value))
    except (TypeError, ValueError):
        return False


def calls() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Every public function and method that this file feeds, by parameter."""
    functions: list[tuple[str, Callable[..., Any]]] = [
        ("moderate", lambda **given: guard_magic.moderate(given.pop("conversation", "never asked"), **given)),
        ("score", lambda **given: guard_magic.score(given.pop("table", FRAME), **given)),
        ("score_turns", lambda **given: guard_magic.score_turns(given.pop("table", FRAME), **given)),
        ("frame.score", lambda **given: FRAME.guard.score(**given)),
        ("frame.score_turns", lambda **given: FRAME.guard.score_turns(**given)),
        ("frame.flagged", lambda **given: FRAME.guard.flagged(**given)),
        ("frame.unscored", lambda **given: FRAME.guard.unscored(**given)),
        ("series.score", lambda **given: FRAME["text"].guard.score(**given)),
        ("series.score_turns", lambda **given: FRAME["text"].guard.score_turns(**given)),
        ("set_threshold", guard_magic.set_threshold),
        ("set_policy", guard_magic.set_policy),
    ]
    for label, call in functions:
        kind, _, name = label.rpartition(".")
        owner: Any = {"": guard_magic, "frame": pd.DataFrame.guard, "series": pd.Series.guard}[kind]
        for parameter in inspect.signature(getattr(owner, name)).parameters:
            if parameter != "self":
                yield label, call, parameter


@pytest.fixture
def asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", session)
    return session


@pytest.mark.parametrize(
    ("label", "call", "name"), list(calls()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_types(label: str, call: Callable[..., Any], name: str, asked: Session, tiny: Guard) -> None:
    n_forwards = tiny.engine.n_forwards
    odd = [value for value in ODD if not fits(name, value)] + ([None] if name in NOT_NONE else [])
    for value in odd:
        with pytest.raises(GuardError) as caught:
            call(**{name: value})
        assert caught.value.hint, f"{label}({name}={value!r}) says nothing of what to do"
    assert tiny.engine.n_forwards == n_forwards


@pytest.mark.parametrize("name", ["conversation_id", "role", "content", "order", "parent"])
def test_wrong_types_of_columns_of_messages(name: str, asked: Session) -> None:
    given = {"conversation_id": "c", "role": "r", "content": "t"}
    for value in ODD:
        with pytest.raises(GuardError) as caught:
            LONG.guard.score(**{**given, name: value})
        assert caught.value.hint


@pytest.mark.parametrize("name", ["exclude", "extras"])
def test_none_is_none_of_them(name: str, asked: Session) -> None:
    options: Any = {name: None}
    assert list(FRAME.guard.score(**options, progress=False)) == ["text", "unsafe_score", "category", "guard_error"]
    if name == "exclude":
        assert guard_magic.moderate("Hi", exclude=None).error is None


@pytest.mark.parametrize("name", [pd.NA, float("nan"), 3, ("a", "b"), True])
def test_a_series_may_have_any_name(name: Any, asked: Session) -> None:
    assert len(pd.Series(["Hi"], name=name).guard.score(progress=False)) == 1
