"""Columns of another session's call: what differs from the new ones is said before it is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from guard_magic.errors import ColumnError
from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame


def session_of(guard: Guard) -> Session:
    made = Session()
    made.guards, made.current = {"tiny": guard}, "tiny"
    return made


REPLACED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a hazard": lambda frame: frame.assign(category=["S2", *frame["category"].iloc[1:]]),
    "all safe": lambda frame: frame.assign(category="safe"),
    "scores": lambda frame: frame.assign(unsafe_score=[0.9, *frame["unsafe_score"].iloc[1:] * 0 + 0.1]),
    "zeros and ones": lambda frame: frame.assign(unsafe_score=[1.0, *frame["unsafe_score"].iloc[1:] * 0]),
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_was_set_by_hand_in_a_file_is_never_replaced_in_silence(name: str, tiny: Guard, tmp_path: Path) -> None:
    texts = pd.DataFrame({"text": ["how do I kill a process?", "bread and butter", "the weather"]})
    first = session_of(tiny)
    low = score_frame(first, texts, progress=False)["unsafe_score"].min() / 2  # all of them are flagged
    scored = score_frame(first, texts, threshold=low, progress=False)
    scored.to_csv(tmp_path / "scored.csv", index=False)
    kept = pd.read_csv(tmp_path / "scored.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_frame(session_of(tiny), kept, threshold=low, progress=False)
    edited = REPLACED[name](kept)
    before = edited.copy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            score_frame(session_of(tiny), edited, threshold=low, progress=False)
        except ColumnError as error:
            assert "not known to be from an earlier call" in str(error)  # noqa: PT017 - refused is as good as said
            return
    assert any("another session are replaced" in str(warning.message) for warning in caught)
    pd.testing.assert_frame_equal(edited, before)
