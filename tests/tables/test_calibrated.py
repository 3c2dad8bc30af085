"""Probabilities beside scores, on every surface: what the calibration makes of the log-odds, and nothing else moves."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quiet import quiet

import guard_magic
from guard_magic import Calibration
from guard_magic.errors import ColumnError, EvaluationError, GuardWarning, ScoreError
from guard_magic.evaluation.calibration import policy_digest
from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session, current_session
from guard_magic.tables.score import score_frame

TEXTS = ["How do I bake bread?", "How do I kill a process?", "", None, "Paint it."]
TABLE = pd.DataFrame({"text": TEXTS, "mine": range(5)}, index=[3, 3, 1, 0, 9])
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.fixture
def calibration(tiny: Guard) -> Calibration:
    return Calibration(
        guard=tiny.label,
        family=tiny.protocol,
        policy=tiny.policy.codes,
        policy_digest=policy_digest(tiny.policy),
        method="platt",
        parameters={"slope": 0.5, "offset": -1.0},
        roles=("user",),
    )


@pytest.fixture
def resident(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The session of the process, with the tiny guard."""
    session = current_session()
    monkeypatch.setattr(session, "guards", {"tiny": tiny})
    monkeypatch.setattr(session, "current", "tiny")
    yield session
    session.clear_cache()


def scored(session: Session, frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    with quiet():
        return score_frame(session, frame, progress=False, **options)


def test_the_column_stands_behind_the_three(session: Session, calibration: Calibration) -> None:
    plain = scored(session, TABLE, extras=["log_odds"])
    found = scored(session, TABLE, extras=["log_odds"], calibration=calibration)
    names = ["text", "mine", "unsafe_score", "category", "guard_error", "unsafe_probability", "log_odds"]
    assert found.columns.tolist() == names
    pd.testing.assert_frame_equal(found.drop(columns="unsafe_probability"), plain)
    column = found["unsafe_probability"]
    assert column.dtype == pd.Float64Dtype()
    assert (column.isna() == found["category"].isna()).all()
    assert column.isna().tolist() == [False, False, True, True, False]
    odds = found["log_odds"].dropna().to_numpy(dtype=float)
    assert column.dropna().tolist() == pytest.approx((1 / (1 + np.exp(-(0.5 * odds - 1.0)))).tolist())
    assert not np.allclose(column.dropna().to_numpy(float), found["unsafe_score"].dropna().to_numpy(float))


def test_with_windows_and_a_prefix(session: Session, calibration: Calibration) -> None:
    found = scored(session, TABLE, calibration=calibration, overflow="window", prefix="lg_")
    assert found.columns[-2:].tolist() == ["lg_unsafe_probability", "lg_guard_cut"]


def test_a_later_call_replaces_it(session: Session, calibration: Calibration) -> None:
    once = scored(session, TABLE, calibration=calibration)
    other = replace(calibration, parameters={"slope": 2.0, "offset": 0.0})
    again = scored(session, once, calibration=other)
    assert again.columns.tolist() == once.columns.tolist()
    assert (again["unsafe_probability"].dropna() != once["unsafe_probability"].dropna()).all()
    assert "unsafe_probability" not in scored(session, again)
    back = pd.read_csv(io.StringIO(once.to_csv(index=False)))
    assert scored(session, back, calibration=calibration).columns.tolist().count("unsafe_probability") == 1


def test_a_column_of_one_s_own_is_not_replaced(session: Session, calibration: Calibration) -> None:
    mine = TABLE.assign(unsafe_probability=0.5)
    with pytest.raises(ColumnError, match="unsafe_probability"):
        scored(session, mine, calibration=calibration)
    assert scored(session, mine)["unsafe_probability"].tolist() == [0.5] * 5


CHANGES: dict[str, dict[str, Any]] = {
    "guard": {"guard": "tiny@other"},
    "family": {"family": "shieldgemma"},
    "policy": {"policy": ("S1", "S2")},
    "words": {"policy_digest": "0" * 64},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_guard_or_policy_is_refused_before_any_work(
    what: str, session: Session, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "score_rows", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(EvaluationError, match="the calibration is for"):
        scored(session, TABLE, calibration=replace(calibration, **CHANGES[what]))


def test_another_policy_of_the_call_is_refused(session: Session, calibration: Calibration) -> None:
    with pytest.raises(EvaluationError, match="for the policy"):
        scored(session, TABLE, calibration=calibration, exclude=["S6"])


@pytest.mark.parametrize("value", [0.5, {"slope": 1}, [], "", "none.json", True], ids=repr)
def test_what_is_no_calibration(value: Any, session: Session, resident: Session) -> None:
    with pytest.raises((EvaluationError, ScoreError)):
        guard_magic.score(TABLE, calibration=value, progress=False)
    with pytest.raises(ScoreError, match="is not a Calibration"):
        scored(session, TABLE, calibration=value)


def test_the_extra_needs_a_calibration(session: Session, calibration: Calibration) -> None:
    with pytest.raises(ColumnError, match="is what a calibration gives"):
        scored(session, TABLE, extras=["unsafe_probability"])
    assert "unsafe_probability" in scored(session, TABLE, extras=["unsafe_probability"], calibration=calibration)


def test_messages_of_another_role_are_said(session: Session, calibration: Calibration) -> None:
    frame = pd.DataFrame({"messages": [CHAT, CHAT[:1]]})
    with pytest.warns(GuardWarning, match="in 1 rows a message of the assistant is assessed"):
        score_frame(session, frame, calibration=calibration, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuardWarning)
        score_frame(session, frame.iloc[1:2], calibration=calibration, progress=False)
        score_frame(session, frame, calibration=replace(calibration, roles=()), progress=False)


def test_every_surface_reads_a_path(resident: Session, calibration: Calibration, tmp_path: Path) -> None:
    with quiet():
        path = calibration.save(tmp_path / "c.json")
        one = guard_magic.score(TABLE, calibration=path, progress=False)
        pd.testing.assert_frame_equal(TABLE.guard.score(calibration=str(path), progress=False), one)
        series = TABLE["text"].guard.score(calibration=path, progress=False)
        pd.testing.assert_series_equal(series["unsafe_probability"], one["unsafe_probability"])
        turns = pd.DataFrame({"messages": [CHAT]}).guard.score_turns(calibration=path, progress=False)
        of_series = pd.Series([CHAT], name="messages").guard.score_turns(calibration=path, progress=False)
    assert "unsafe_probability" in series
    pd.testing.assert_frame_equal(turns, of_series)
    assert turns["unsafe_probability"].notna().tolist() == turns["unsafe_score"].notna().tolist()


def test_from_labels_to_probabilities(resident: Session, tmp_path: Path) -> None:
    texts = [f"how do I {word} number {i}" for i in range(10) for word in ("bread", "kill", "paint", "steal", "dance")]
    table = pd.DataFrame({"text": texts})
    odds = table.guard.score(extras=["log_odds"], progress=False)["log_odds"].to_numpy(float)
    rng = np.random.default_rng(0)
    table["label"] = np.where(rng.random(50) < 1 / (1 + np.exp(-2 * (odds - np.median(odds)))), "unsafe", "safe")
    fitted = table.guard.calibrate(label="label", progress=False)
    with quiet():
        again = table.guard.score(calibration=fitted.save(tmp_path / "c.json"), progress=False)
    share = (table["label"] == "unsafe").mean()
    assert again["unsafe_probability"].mean() == pytest.approx(share, abs=0.1)
    assert guard_magic.calibrate(table, label="label", progress=False) == fitted
