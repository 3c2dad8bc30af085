from __future__ import annotations

import copy
import pickle
import time
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic import errors
from guard_magic.errors import GuardError, shorten

BUILTIN = {
    "ConversationError": ValueError,
    "ColumnError": KeyError,
    "PolicyError": ValueError,
    "ProtocolError": ValueError,
    "LoadError": OSError,
    "UnknownGuardError": LookupError,
    "ScoreError": RuntimeError,
    "LabelError": OSError,
    "CallError": TypeError,
    "EvaluationError": ValueError,
}
CLASSES = [getattr(errors, name) for name in BUILTIN]


def test_every_error_is_listed_here() -> None:
    assert set(CLASSES) == set(GuardError.__subclasses__())


@pytest.mark.parametrize("kind", CLASSES)
def test_error_is_also_the_builtin_people_expect(kind: type[GuardError]) -> None:
    with pytest.raises(BUILTIN[kind.__name__], match=r"what \(7\)") as caught:
        raise kind("what (7)", hint="do this")
    assert str(caught.value) == "what (7)"
    assert "Hint: do this" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", [GuardError, *CLASSES])
def test_pickle_and_copy_keep_message_and_hint(kind: type[GuardError]) -> None:
    error = kind("what", hint="do this")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.message, again.hint, str(again)) == ("what", "do this", "what")
        assert again.__notes__ == ["Hint: do this"]


def test_no_hint_no_note() -> None:
    error = GuardError("what")
    assert error.hint == ""
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("value", ["x" * 10_000_000, "é\n" * 500, list(range(10_000)), {"a": "b" * 1000}, b"\0" * 999])
def test_shorten_is_short(value: object) -> None:
    assert len(shorten(value)) <= 60
    assert "…" in shorten(value)


def test_shorten_keeps_short_values() -> None:
    assert shorten("a'b") == '"a\'b"'
    assert shorten(None) == "None"
    assert shorten("\ud800") == "'\\ud800'"


def test_shorten_of_what_cannot_be_shown() -> None:
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    assert len(shorten(deep)) <= 60


def test_shorten_formats_no_more_than_it_shows() -> None:
    bomb: object = ["x"] * 9
    for _ in range(30):
        bomb = [bomb] * 9
    began = time.process_time()
    assert len(shorten(bomb)) <= 60
    assert len(shorten({"a": [bomb, bomb], "b": (bomb,)})) <= 60
    assert len(shorten(["x" * 10**7] * 10_000)) <= 60
    assert time.process_time() - began < 0.5
    loop: list[object] = []
    loop.append(loop)
    assert "too deeply" in shorten(loop)


class Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [Unshowable(), [Unshowable()], {"a": Unshowable()}, [10**5000]])
def test_shorten_never_raises(value: object) -> None:
    assert "cannot be shown" in shorten(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_shorten_is_the_repr_where_that_is_short(value: object) -> None:
    assert shorten(value, 400) == repr(value)
