"""Roles in the index of a table or Series: refused or said like those in a column."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pytest

from guard_magic.errors import ColumnError, GuardWarning
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame, score_series

EXCHANGES = pd.DataFrame({"prompt": ["hi", "how do I kill a process?"], "response": ["yo", "use kill"]})
INDEXED: dict[str, pd.Series] = {
    "stacked": EXCHANGES.stack(),
    "a level called role": pd.Series(
        ["hi", "yo"], index=pd.MultiIndex.from_tuples([(1, "user"), (1, "assistant")], names=["cid", "role"])
    ),
    "an index of roles": pd.Series(["hi", "yo", "ok"], index=["user", "assistant", "user"]),
}


@pytest.mark.parametrize("name", INDEXED)
def test_roles_in_the_index_are_never_passed_over(name: str, session: Session) -> None:
    texts = INDEXED[name].rename("text")
    with pytest.raises(ColumnError, match=r"two readings: .* or the index") as caught:
        score_frame(session, texts.to_frame(), progress=False)
    assert "df.reset_index()" in caught.value.hint
    with pytest.warns(GuardWarning, match="rows are not the user's by the index"):
        score_frame(session, texts.to_frame(), {"text": "text"}, progress=False)
    with pytest.warns(GuardWarning, match="rows are not the user's by the index"):
        score_series(session, texts, progress=False)


@pytest.mark.parametrize("index", [["a", "b"], [7, 9], ["2024-01-01", "2024-01-02"], [("x", 1), ("y", 2)]])
def test_an_index_of_names_says_nothing(index: list[Any], session: Session) -> None:
    frame = pd.DataFrame({"text": ["hi", "yo"]}, index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_frame(session, frame, progress=False)
