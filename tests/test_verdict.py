from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import ColumnError, GuardWarning, ScoreError
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.scoring.notices import warn_unscored
from guard_magic.verdict import COLUMNS, EXTRAS, Reading, Verdict, Verdicts, bare_reason, judge, unscored

CODES = LLAMA_GUARD_3.codes


def reading(unsafe: float = 0.7, safe: float = 0.25, shares: list[float] | None = None) -> Reading:
    shares = shares or [0.01] * 5 + [0.6] + [0.01] * 8
    return Reading(math.log(unsafe), math.log(safe), tuple(map(math.log, shares)), 123)


def verdict(unsafe: float = 0.7, safe: float = 0.25, *, threshold: float = 0.5, **more: Any) -> Verdict:
    how: dict[str, Any] = {"guard": "tiny@1", "assessed_role": "user", "min_verdict_mass": 0.9, **more}
    return judge(reading(unsafe, safe), LLAMA_GUARD_3, threshold=threshold, **how)


def some() -> Verdicts:
    lost = unscored("too long", threshold=0.5, guard="tiny@1")
    return Verdicts([verdict(), verdict(0.1, 0.85, generated_text="safe"), lost, verdict(0.9, 0.05)], LLAMA_GUARD_3)


def test_fields_of_a_scored_row() -> None:
    v = verdict(generated_text="unsafe\nS6")
    assert v.unsafe_score == pytest.approx(0.7)
    assert (v.category, v.flagged, v.threshold, v.error) == ("S6", True, 0.5, None)
    assert v.log_odds == pytest.approx(math.log(0.7 / 0.25))
    assert v.verdict_mass == pytest.approx(0.95)
    assert (v.generated_text, v.assessed_role, v.n_tokens, v.guard) == ("unsafe\nS6", "user", 123, "tiny@1")
    assert list(v.category_scores) == list(CODES)
    assert sum(v.category_scores.values()) == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize("unsafe", [1e-300, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-12])
@pytest.mark.parametrize("spread", [0.0, 1.0, 300.0, 5000.0])
def test_category_scores_sum_to_unsafe_score(unsafe: float, spread: float) -> None:
    logs = tuple(-spread * i - 50 for i in range(14))
    v = judge(
        Reading(math.log(unsafe), math.log1p(-unsafe), logs, 1),
        LLAMA_GUARD_3,
        threshold=0.5,
        guard="g",
        assessed_role="user",
        min_verdict_mass=0.9,
    )
    assert math.fsum(v.category_scores.values()) == pytest.approx(v.unsafe_score, rel=1e-12)
    assert all(0 <= score <= unsafe * (1 + 1e-12) for score in v.category_scores.values())


def test_a_score_at_the_threshold_is_flagged() -> None:
    score = verdict(0.7).unsafe_score
    assert score is not None
    assert verdict(0.7, threshold=score).flagged is True
    assert verdict(0.7, threshold=score).category == "S6"
    above = verdict(0.7, threshold=math.nextafter(score, 1))
    assert (above.flagged, above.category, above.unsafe_score) == (False, "safe", score)
    assert verdict(1e-9, 0.99, threshold=0.0).flagged is True


def test_a_threshold_that_is_no_number_is_never_safe() -> None:
    assert verdict(1e-9, 0.99, threshold=math.nan).flagged is True
    assert verdict(1e-9, 0.99, threshold=math.nan).category != "safe"


def test_a_verdict_is_neither_true_nor_false() -> None:
    for v in some():
        with pytest.raises(TypeError, match=r"use v\.flagged"):
            bool(v)


def test_a_verdict_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict().unsafe_score = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Reading(math.log(0.2), math.log(0.11), (0.0,) * 14, 9), "verdict mass 0.31, at least 0.9 is needed"),
        (Reading(-math.inf, -math.inf, (0.0,) * 14, 9), "verdict mass 0, at least 0.9"),
        (Reading(math.nan, -0.1, (0.0,) * 14, 9), "not a number"),
        (Reading(-0.1, math.nan, (0.0,) * 14, 9), "not a number"),
        (Reading(-5.0, -0.01, (*(0.0,) * 13, math.nan), 9), "not a number"),
        (Reading(-5.0, -0.01, (-math.inf,) * 14, 9), "not a number"),
    ],
)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_an_unreadable_answer_is_never_safe(bad: Reading, reason: str, threshold: float) -> None:
    how: dict[str, Any] = {"threshold": threshold, "guard": "g", "assessed_role": "user", "min_verdict_mass": 0.9}
    v = judge(bad, LLAMA_GUARD_3, generated_text="safe", **how)
    assert (v.unsafe_score, v.category, v.flagged, v.log_odds, v.generated_text) == (None,) * 5
    assert v.error is not None
    assert reason in v.error
    frame = Verdicts([v], LLAMA_GUARD_3).to_frame()
    assert frame["category"].isna().all()
    assert frame["unsafe_score"].isna().all()


_LOGS = st.one_of(
    st.floats(max_value=0, allow_nan=False), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e-9, 5.0, -745.2])
)


@settings(deadline=None, max_examples=300)
@given(
    unsafe=_LOGS,
    safe=_LOGS,
    code=_LOGS,
    threshold=st.one_of(st.floats(), st.floats(0, 1), st.just(50.0)),
    mass=st.one_of(st.just(0.0), st.floats(-1, 1)),
)
def test_only_a_readable_answer_below_a_usable_threshold_is_safe(
    unsafe: float, safe: float, code: float, threshold: float, mass: float
) -> None:
    v = judge(
        Reading(unsafe, safe, (code,) * 14, 1),
        LLAMA_GUARD_3,
        threshold=threshold,
        guard="g",
        assessed_role="user",
        min_verdict_mass=mass,
    )
    if v.category == "safe":
        assert v.unsafe_score is not None
        assert 0 <= v.unsafe_score < threshold <= 1
        assert math.isfinite(safe), "the guard gave safe a probability"
        assert v.verdict_mass is not None
        assert v.verdict_mass > 0
        assert not math.isnan(v.log_odds or 0.0)
    assert (v.category is None) == (v.error is not None)


@pytest.mark.parametrize("mass", [0.0, -1.0, 0.9])
def test_neither_verdict_is_never_safe(mass: float) -> None:
    neither = Reading(-math.inf, -math.inf, (0.0,) * 14, 9)
    v = judge(neither, LLAMA_GUARD_3, threshold=0.5, guard="g", assessed_role="user", min_verdict_mass=mass)
    assert (v.category, v.flagged, v.unsafe_score) == (None, None, None)
    assert "the guard answered neither safe nor unsafe (verdict mass 0" in str(v.error)


@pytest.mark.parametrize(("unsafe", "threshold"), [(0.6, 1.0), (1e-9, 0.5), (0.95, 0.99)])
def test_a_low_score_without_any_safe_is_never_safe(unsafe: float, threshold: float) -> None:
    reading = Reading(math.log(unsafe), -math.inf, (0.0,) * 14, 9)
    how = {"guard": "g", "assessed_role": "user", "min_verdict_mass": 0.0}
    v = judge(reading, LLAMA_GUARD_3, threshold=threshold, **how)
    assert (v.category, v.flagged) == (None, None)
    assert "gave safe no probability" in str(v.error)
    assert judge(reading, LLAMA_GUARD_3, threshold=unsafe / 2, **how).flagged


@pytest.mark.parametrize("threshold", [50.0, 1.0000001, math.inf, -math.inf, -0.1, math.nan])
def test_a_threshold_outside_0_and_1_flags_all(threshold: float) -> None:
    assert verdict(1e-9, 0.99, threshold=threshold).flagged is True


def test_mass_at_the_floor_is_read() -> None:
    exact = reading(0.7, 0.2)
    assert exact.is_readable(exact.verdict_mass)
    assert not exact.is_readable(math.nextafter(exact.verdict_mass, 1))
    assert verdict(0.01, 0.02, min_verdict_mass=0).category == "safe"


def test_unscored_takes_the_error_itself() -> None:
    v = unscored(ScoreError("out of memory"), threshold=0.5, guard="g")
    assert (v.error, v.category, dict(v.category_scores)) == ("out of memory", None, {})


def test_what_to_do_about_a_row_stands_behind_its_reason() -> None:
    v = unscored(ScoreError("too long: 9,000 tokens", hint="Cut it."), threshold=0.5, guard="g")
    assert v.error == "too long: 9,000 tokens. Hint: Cut it."
    assert Verdicts([v], LLAMA_GUARD_3).to_frame()["guard_error"][0] == v.error
    assert bare_reason(v.error) == "too long: 9,000 tokens"
    assert bare_reason("no hint here") == "no hint here"
    with pytest.warns(GuardWarning, match=r"1 of 1 rows were not scored \(1 × too long\)"):
        warn_unscored(Verdicts([v], LLAMA_GUARD_3))


def test_equality_ignores_what_is_only_shown() -> None:
    shown = verdict(conversation=parse_conversation("hi"))
    assert shown.conversation is not None
    assert shown == verdict()
    assert shown != verdict(0.71)
    assert "hi" not in repr(shown)


def test_verdict_pickles() -> None:
    for v in [*some(), verdict(conversation=parse_conversation("hi"))]:
        again = pickle.loads(pickle.dumps(v))
        assert again == v
        assert again.conversation == v.conversation
    assert pickle.loads(pickle.dumps(some())) == some()


def test_verdicts_is_a_sequence() -> None:
    verdicts = some()
    assert len(verdicts) == 4
    assert verdicts[0] == verdict()
    assert verdicts[-1].unsafe_score == pytest.approx(0.9)
    assert list(verdicts) == [verdicts[i] for i in range(4)]
    assert next(reversed(verdicts)) == verdicts[3]
    part = verdicts[1:3]
    assert isinstance(part, Verdicts)
    assert list(part) == [verdicts[1], verdicts[2]]
    assert part.policy is verdicts.policy
    assert verdicts == some()
    assert verdicts != part
    assert verdicts != list(verdicts)
    assert verdicts[0] in verdicts
    assert verdicts.index(verdicts[2]) == 2
    with pytest.raises(IndexError):
        verdicts[4]
    assert "4" in repr(verdicts)
    assert "2 flagged, 1 not scored" in repr(verdicts)
    assert "no guard" in repr(Verdicts([], LLAMA_GUARD_3))


def test_raise_errors() -> None:
    some()[:2].raise_errors()
    with pytest.raises(ScoreError, match="1 of 4 rows could not be scored; the first is row 2: too long"):
        some().raise_errors()


def test_frame() -> None:
    frame = some().to_frame()
    assert tuple(frame) == COLUMNS
    assert frame["unsafe_score"].dtype == "Float64"
    assert frame["category"].dtype == pd.CategoricalDtype(["safe", *CODES], ordered=False)
    assert not frame["category"].dtype.ordered
    assert frame["guard_error"].dtype == "string"
    assert frame["category"].tolist()[:2] == ["S6", "safe"]
    assert frame["category"].isna().tolist() == [False, False, True, False]
    assert frame["unsafe_score"].isna().tolist() == [False, False, True, False]
    assert frame["guard_error"].tolist() == [pd.NA, pd.NA, "too long", pd.NA]


def test_frame_of_no_rows_has_the_same_dtypes() -> None:
    empty = Verdicts([], LLAMA_GUARD_3).to_frame(EXTRAS)
    assert len(empty) == 0
    assert empty.dtypes.equals(some().to_frame(EXTRAS).dtypes)


def test_levels_are_fixed_by_the_policy() -> None:
    policy = LLAMA_GUARD_3.without(["S1"])
    assert Verdicts([], policy).to_frame()["category"].cat.categories.tolist() == ["safe", *policy.codes]


def test_extras() -> None:
    frame = some().to_frame(EXTRAS)
    scores = [f"score_{code}" for code in CODES]
    later = ["generated_text", "verdict_mass", "n_tokens", "n_neutralised", "assessed_role", "guard"]
    assert list(frame) == [*COLUMNS, "unsafe_probability", "guard_cut", "log_odds", *scores, *later]
    assert {str(frame[name].dtype) for name in ["log_odds", "verdict_mass", *scores]} == {"Float64"}
    assert {str(frame[name].dtype) for name in ["n_tokens", "n_neutralised"]} == {"Int64"}
    texts = ["guard_cut", "generated_text", "assessed_role", "guard"]
    assert {str(frame[name].dtype) for name in texts} == {"string"}
    assert frame.loc[2].drop(["guard_error", "guard"]).isna().all()
    sums = frame[scores].sum(axis=1, min_count=1)
    assert np.allclose(sums.dropna(), frame["unsafe_score"].dropna())


def test_extras_prefix_and_index() -> None:
    index = pd.Index(["a", "a", "b", "b"], name="who")
    frame = some().to_frame(["n_tokens", "n_tokens"], prefix="lg3_", index=index)
    assert list(frame) == ["lg3_unsafe_score", "lg3_category", "lg3_guard_error", "lg3_n_tokens"]
    assert frame.index.equals(index)
    assert list(some().to_frame("guard")) == [*COLUMNS, "guard"]


@pytest.mark.parametrize("extras", ["entropy", ["n_tokens", "entropy"], [""]])
def test_unknown_extra(extras: Any) -> None:
    with pytest.raises(ColumnError, match="no extra column") as caught:
        some().to_frame(extras)
    assert "log_odds" in caught.value.hint
