"""What is passed for an option and cannot be meant: an error of ours that shows it and says what to do, at once.

One test feeds every parameter of the functions that open, choose and ask guards with values of every wrong kind.
"""

from __future__ import annotations

import fractions
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import guard_magic
from guard_magic.checks import MAX_NAME, checked_flag, checked_guard_name, checked_share, name_of
from guard_magic.errors import (
    ConversationError,
    GuardError,
    LoadError,
    PolicyError,
    ScoreError,
    UnknownGuardError,
    shorten,
)
from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session
from guard_magic.verdict import Verdicts


def wrong() -> dict[str, object]:
    """Return values that mean nothing in most places; anew each time, as a generator is read once."""
    return {
        "None": None,
        "empty": "",
        "blank": " \t",
        "unseen": "\u200b\u3164",
        "NUL": "\0",
        "surrogate": "\ud800",
        "long": "x" * 5000,
        "home": "~nobody/x",
        "two words": "a b",
        "option": "--name",
        "bytes": b"x",
        "3": 3,
        "-1": -1,
        "2.5": 2.5,
        "NaN": float("nan"),
        "infinite": float("inf"),
        "huge": 10**400,
        "True": True,
        "NA": pd.NA,
        "list": [3],
        "mapping": {"a": 1},
        "set": {1, 2},
        "array": np.array([1, 2]),
        "frame": pd.DataFrame({"a": [1]}),
        "object": object(),
        "class": Guard,
        "function": len,
        "generator": (number for number in range(2)),
    }


TEXTS = {"home", "two words", "option", "long", "unseen"}
"""Of these, texts that a conversation may be."""

RIGHT: dict[tuple[str, str], set[str]] = {
    ("load", "name"): {"None", "home"},
    ("wrap", "name"): {"home"},
    ("load", "device"): {"None"},
    ("load", "dtype"): {"None"},
    ("load", "revision"): {"None"},
    ("load", "quantization"): {"None"},
    ("load", "compile"): {"True"},
    ("load", "protocol"): {"None"},
    ("wrap", "compile"): {"True"},
    ("wrap", "protocol"): {"None"},
    ("unload", "name"): {"None"},
    ("resolve_policy", "policy"): {"None"},
    ("resolve_policy", "exclude"): {"None"},
    ("render", "conversation"): TEXTS,
    ("render", "policy"): {"None"},
    ("tokens", "conversation"): TEXTS,
    ("tokens", "policy"): {"None"},
    ("encode", "conversation"): TEXTS,
    ("encode", "policy"): {"None"},
    ("questionnaire", "policy"): {"None"},
    ("score", "policy"): {"None"},
    ("score", "exclude"): {"None"},
    ("score", "generate"): {"True"},
}
"""Values above that are right somewhere."""

INSIDE = {"encode_all", "fits", "keys", "read", "write", "room", "forget", "close", "check", "look"}
"""Methods of a guard that scoring calls with values of its own."""


@pytest.fixture
def session(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    made = Session()
    made.guards["tiny"] = tiny
    made.current = "tiny"
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", made)
    yield made
    assert list(made.guards) == ["tiny"], "nothing came of a wrong value"


def functions(tiny: Guard) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return what is called, and what is passed beside the wrong value."""
    wrapped = {"model": tiny.model, "tokenizer": tiny.tokenizer, "name": "wrapped", "min_verdict_mass": 0}
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "load": (guard_magic.load, {"source": "embedded"}),
        "wrap": (guard_magic.wrap, wrapped),
        "use": (guard_magic.use, {}),
        "unload": (guard_magic.unload, {}),
        "status": (guard_magic.status, {}),
        "set_threshold": (guard_magic.set_threshold, {}),
    }
    for name, method in inspect.getmembers(tiny, inspect.ismethod):
        if not name.startswith("_") and name not in INSIDE:
            beside = {"conversation": "hi"} if name in ("render", "tokens", "encode") else {}
            found[name] = (method, {"conversations": ["hi"]} if name == "score" else beside)
    return found


def outcome(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    try:
        return function(**values)
    except Exception as error:
        return error


NAMES = [
    "load",
    "wrap",
    "use",
    "unload",
    "status",
    "set_threshold",
    "resolve_policy",
    "render",
    "tokens",
    "encode",
    "questionnaire",
]


def test_every_public_function_is_fed(tiny: Guard) -> None:
    assert set(functions(tiny)) == {*NAMES, "score"}


@pytest.mark.parametrize("called", [*NAMES, "score"])
def test_wrong_values_are_refused_everywhere(session: Session, tiny: Guard, called: str) -> None:
    function, beside = functions(tiny)[called]
    n_forwards = tiny.engine.n_forwards
    for parameter in inspect.signature(function).parameters:
        for kind, value in wrong().items():
            if kind in RIGHT.get((called, parameter), ()):
                continue
            where = f"{called}({parameter}={kind})"
            found = outcome(function, beside | {parameter: value})
            if isinstance(found, Verdicts):
                assert parameter == "conversations", where
                assert [v.category for v in found] == [None] * len(found), where
                continue
            assert isinstance(found, GuardError), f"{where}: {shorten(found, 200)}"
            assert found.hint, f"{where}: {found.message}"
            assert len(found.message) < 400, where
            assert "\0" not in found.message, where
    assert tiny.engine.n_forwards == n_forwards, "refused before any work"


# Where guards are


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x" * 5000, "xxx"),
        ("~nobody/x", "'~nobody/x'"),
        ("a/\0b", r"'a/\x00b'"),
        ("\ud800/x", r"'\ud800/x'"),
        ("a b/c", "'a b/c'"),
        (3, "3"),
        (b"embedded", "b'embedded'"),
        ("\u200b", r"'\u200b'"),
        (Path("/no/such"), "'/no/such'"),
    ],
)
def test_places_that_are_none(source: Any, shown: str) -> None:
    with pytest.raises(LoadError) as caught:
        Session().load(source)
    assert shown in caught.value.message
    assert "embedded" in caught.value.hint
    assert len(caught.value.message) < 200


def test_names_that_were_not_meant(session: Session, tiny: Guard) -> None:
    with pytest.raises(UnknownGuardError, match="no guard '' is resident"):
        session.unload("")
    with pytest.raises(UnknownGuardError, match="no guard '' is resident"):
        session.request(guard="")
    assert session.guards == {"tiny": tiny}


@pytest.mark.parametrize("name", ["tiny", "lg3@main", "meta/x", "लामा", "café", "日本", "a-b_c.d:e", "x" * MAX_NAME])
def test_names_of_guards(name: str) -> None:
    assert checked_guard_name(name) == name
    assert name_of(name) == name.rsplit("/", 1)[-1]


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_a_source_always_gives_a_name(source: str) -> None:
    assert checked_guard_name(name_of(source))


def test_default_names_are_one_word() -> None:
    assert name_of("/data/my guards/lg 3 v2/") == "lg-3-v2"
    assert name_of("/") == "guard"
    assert name_of("-x") == "x"


# Numbers and truth values


@pytest.mark.parametrize("value", [0, 1, 0.25, np.float32(0.25), np.int64(1), fractions.Fraction(1, 4)])
def test_shares(value: Any) -> None:
    found = checked_share("threshold", value)
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize("value", ["0.5", True, np.True_, None, 50, -0.01, float("nan"), 10**400, 1j, np.array([0.5])])
def test_what_is_not_a_share(value: Any) -> None:
    for name in ("threshold", "recheck", "min_verdict_mass"):
        with pytest.raises(ScoreError, match=rf"{name} .* is not a number in \[0, 1\]") as caught:
            checked_share(name, value)
        assert caught.value.hint


def test_flags() -> None:
    assert checked_flag("compile", np.True_) is True
    for wrong in ("no", 1, None):
        with pytest.raises(ScoreError, match="neither True nor False"):
            checked_flag("compile", wrong)


# Many conversations


@pytest.mark.parametrize("threshold", [50, float("nan"), None, "0.5", True])
def test_a_guard_checks_its_threshold(tiny: Guard, threshold: Any) -> None:
    with pytest.raises(ScoreError, match="threshold"):
        tiny.score(["hi"], threshold=threshold)


@pytest.mark.parametrize(
    "made",
    [
        lambda texts: (text for text in texts),
        iter,
        tuple,
        np.array,
        pd.Series,
        pd.Index,
        lambda texts: pd.Series(texts, index=[9] * len(texts), dtype="string"),
        lambda texts: dict(enumerate(texts)).values(),
        lambda texts: map(str, texts),
    ],
)
def test_conversations_come_in_every_kind_of_list_and_are_read_once(tiny: Guard, made: Any) -> None:
    texts = ["Hello", "a bomb", "Hello"]
    assert tiny.score(made(texts)) == tiny.score(texts)


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ("hi", "into a list"),
        (b"hi", "into a list"),
        ({"role": "user", "content": "hi"}, "into a list"),
        ([{"role": "user", "content": "hi"}], "into a list"),
        (({"role": "user", "content": text} for text in "ab"), "into a list"),
        ({"hi", "ho"}, "no order"),
        (frozenset({"hi"}), "no order"),
        (pd.DataFrame({"text": ["hi"]}), "df.guard.score()"),
        (np.array("hi"), "one dimension"),
        (np.array([["hi", "ho"]]), "one dimension"),
        (None, "Pass a list"),
        (7, "Pass a list"),
    ],
)
def test_what_is_not_many_conversations(tiny: Guard, values: Any, hint: str) -> None:
    with pytest.raises(ConversationError, match="expected a list of conversations") as caught:
        tiny.score(values)
    assert hint in caught.value.hint


def test_policies_are_read_as_everywhere(tiny: Guard, session: Session) -> None:
    mine = {"S1": "Rude Words", "S2": "Spoilers"}
    assert tiny.score(["hi"], policy=mine) == tiny.score(["hi"], policy=session.request(policy=mine).policy)
    for nothing in ((), [], None):
        assert tiny.score(["hi"], exclude=nothing) == tiny.score(["hi"])
        assert session.request(exclude=nothing).policy == tiny.policy
    for wrong in (3, [3], [None], pd.NA):
        for ask in (lambda codes: tiny.score(["hi"], exclude=codes), lambda codes: session.request(exclude=codes)):
            with pytest.raises(PolicyError, match="is not the code of a hazard"):
                ask(wrong)
