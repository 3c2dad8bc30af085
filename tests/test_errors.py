from __future__ import annotations

import copy
import pickle
import traceback

import pytest

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
