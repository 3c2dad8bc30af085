"""Whatever is passed to what reads, writes and shows labels: it works, or it is a GuardError with a hint."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import guard_magic
from guard_magic.errors import GuardError, GuardWarning
from guard_magic.labels import Decision, LabelFile, conversation_key
from guard_magic.review.frames import review_frame
from guard_magic.scoring.session import Session

PACKAGE = Path(guard_magic.__file__).parent


class Odd:
    """A path that is none."""

    def __fspath__(self) -> Any:
        return 7


WRONG: list[Any] = [
    None,
    3,
    -0.5,
    float("nan"),
    True,
    b"bytes",
    "",
    " ",
    "no such thing",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "~nobody-of-that-name/x.sqlite",
    "/proc/no/x.sqlite",
    pd.NA,
    pd.NaT,
    np.arange(3),
    np.float32(2),
    [],
    [1],
    [None],
    [[]],
    [b"x"],
    {},
    {"a": 1},
    {1},
    object(),
    Odd(),
    lambda: None,
    pd.Series([1, 2]),
    pd.DataFrame({"x": [1]}),
    Path("no/such/file"),
]
TABLE = pd.DataFrame({"text": ["a", "b"], "unsafe_score": [0.1, 0.9], "category": ["safe", "S1"], "guard_error": None})
KEY = conversation_key(guard_magic.Conversation((guard_magic.Message("user", "a"),)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ann", "bob"):
        with LabelFile(f"{name}.sqlite", annotator=name) as file:
            file.record([Decision(KEY, "safe" if name == "ann" else "unsafe", score_shown=True)], "label")
    return tmp_path


def review(**wrong: Any) -> object:
    names = {name: wrong.pop(name) for name in list(wrong) if name in NAMES}
    return review_frame(Session(), TABLE, names, **{"labels": "ann.sqlite", "annotator": "ann", **wrong})  # type: ignore[arg-type]


def join(**wrong: Any) -> object:
    return TABLE.guard.labels(**{"files": "ann.sqlite", **wrong})


def decide(**wrong: Any) -> object:
    return Decision(**{"key": KEY, "label": "unsafe", "score_shown": True, **wrong})


NAMES = ("text", "prompt", "response", "messages", "conversation_id", "role", "content", "parent", "missing_response")
CALLS: list[tuple[str, Callable[..., object], tuple[str, ...]]] = [
    ("review", review, (*NAMES, "labels", "annotator", "show_scores", "order", "disagreements", "threshold", "blur")),
    ("review", review, ("keys", "seed", "progress")),
    (
        "labels",
        lambda **wrong: TABLE.guard.labels(**{"files": "ann.sqlite", **wrong}),
        ("files", "prefix", "overwrite"),
    ),
    ("labels", lambda **wrong: TABLE.guard.labels(**{"files": "ann.sqlite", **wrong}), NAMES),
    ("read_labels", guard_magic.read_labels, ("paths",)),
    ("adjudication", guard_magic.adjudication, ("paths",)),
    (
        "export_labels",
        lambda **wrong: guard_magic.export_labels(**{"frame": TABLE, "path": "x.csv", "overwrite": True, **wrong}),
        ("frame", "path", "form", "text", "prompt", "response", "messages", "users", "overwrite"),
    ),
    (
        "LabelFile",
        lambda **wrong: LabelFile(**{"path": "ann.sqlite", "annotator": "ann", **wrong}).close(),
        ("path", "annotator", "role", "wait"),
    ),
    ("Decision", decide, ("key", "label", "category", "note", "flag", "unsafe_score", "guard", "threshold", "seconds")),
]
CASES = [(f"{name}({argument}=)", call, argument) for name, call, arguments in CALLS for argument in arguments]


def refusal(call: Callable[..., object], argument: str, value: object) -> GuardError | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuardWarning)
            call(**{argument: value})
    except GuardError as error:
        return error
    return None


@pytest.mark.parametrize(("call", "argument"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_wrong_types_are_errors_of_ours_with_a_hint(folder: Path, call: Callable[..., object], argument: str) -> None:
    n_refused = 0
    for value in WRONG:
        error = refusal(call, argument, value)
        if error is not None:
            n_refused += 1
            assert error.hint, f"{argument}={value!r}: {error} has no hint"
            assert len(str(error)) < 1000, f"{argument}: the message is too long to read"
    assert n_refused > len(WRONG) // 3, f"{argument}: hardly anything is refused"


@pytest.mark.parametrize(
    "path", ["x" * 300 + ".csv", "a\0.csv", "\ud800.csv", "~nobody-of-that-name/x.csv", "", b"x.csv", None, 3]
)
def test_paths_that_cannot_be(folder: Path, path: Any) -> None:
    for act in (
        lambda: guard_magic.export_labels(TABLE, path, "csv"),
        lambda: guard_magic.read_labels(path),
        lambda: LabelFile(path, annotator="ann"),
    ):
        with pytest.raises(GuardError) as caught:
            act()
        assert caught.value.hint
    assert sorted(os.listdir(folder)) == ["ann.sqlite", "bob.sqlite"]


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_error_about_labels_says_what_to_do(file: Path) -> None:
    made = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    errors = [node for node in made if isinstance(node.func, ast.Name) and node.func.id == "LabelError"]
    assert [node.lineno for node in errors if "hint" not in {keyword.arg for keyword in node.keywords}] == []
