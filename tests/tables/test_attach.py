"""Columns go in by position, an earlier call's are known again by what they hold, and nobody else's is lost."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard_magic.errors import ColumnError
from guard_magic.families.base import Questionnaire
from guard_magic.families.registry import PROTOCOLS
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.scoring.written import Written
from guard_magic.tables.attach import attach_verdicts, check_free, doubtful_columns, rows_with
from guard_magic.tables.restoring import has_verdicts, restored_verdicts
from guard_magic.verdict import ANSWERS, COLUMNS, EXTRAS, Reading, Verdict, Verdicts, column_names, judge, unscored

THREE = list(COLUMNS)


def verdict(i: int) -> Verdict:
    """The verdict of row `i`: scores differ by row, and some are safe."""
    log_unsafe = -0.1 - i / 3
    reading = Reading(log_unsafe, -3.0 + i / 7, tuple(-float((i + k) % 14) for k in range(14)), 7 + i)
    return judge(
        reading,
        LLAMA_GUARD_3,
        threshold=0.5,
        guard="g@1",
        assessed_role="user",
        min_verdict_mass=0,
        generated_text="unsafe\nS1" if i % 2 else None,
    )


def verdicts(n: int) -> Verdicts:
    """As many rows, the last of them not scored."""
    made = [verdict(i) for i in range(n - 1)]
    return Verdicts(made + [unscored("why", threshold=0.5, guard="g@1")] * bool(n), LLAMA_GUARD_3)


@pytest.fixture
def written() -> Written:
    return Written()


def texts(n: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text {i}" for i in range(n)]})


@pytest.mark.parametrize(
    "index",
    [
        [5, 5, 5],
        ["b", "a", "b"],
        pd.MultiIndex.from_tuples([(1, "x"), (1, "x"), (2, "y")], names=["i", "j"]),
        pd.DatetimeIndex(["2026-01-01", None, "2026-01-01"]),
    ],
)
def test_values_go_in_by_position(index: object) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"]}, index=index)  # type: ignore[arg-type]
    before = frame.copy(deep=True)
    result = attach_verdicts(frame, verdicts(3), extras=["category_scores"])
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_index_equal(result.index, frame.index)
    assert result["unsafe_score"].notna().tolist() == [True, True, False]
    assert result["unsafe_score"].dtype == pd.Float64Dtype()
    assert result["category"].cat.categories.tolist() == ["safe", *LLAMA_GUARD_3.codes]
    assert not result["category"].cat.ordered
    assert result.attrs == {}


def test_empty_frame_gets_the_columns() -> None:
    result = attach_verdicts(pd.DataFrame({"text": []}), verdicts(0), extras=["n_tokens"])
    assert list(result) == ["text", "unsafe_score", "category", "guard_error", "n_tokens"]
    assert result["category"].cat.categories.size == 15


def test_own_columns_are_replaced_and_others_are_not(written: Written) -> None:
    frame = pd.DataFrame({"n_tokens": [1, 2], "text": ["a", "b"]})
    once = attach_verdicts(frame, verdicts(2), extras=["log_odds", "category_scores"], written=written)
    again = attach_verdicts(once, verdicts(2), written=written)
    assert list(again) == ["n_tokens", "text", *THREE], "stale extras go"
    with pytest.raises(ColumnError, match="'n_tokens'"):
        attach_verdicts(once, verdicts(2), extras=["n_tokens"], written=written)
    check_free(once, ["unsafe_score"], prefix="", overwrite=False)
    foreign = frame.assign(unsafe_score=[0.1, 0.2])
    with pytest.raises(ColumnError, match="unsafe_score") as caught:
        attach_verdicts(foreign, verdicts(2))
    assert "prefix=" in caught.value.hint
    assert "overwrite=True" in caught.value.hint
    assert attach_verdicts(foreign, verdicts(2), overwrite=True)["unsafe_score"].dtype == "Float64"
    prefixed = attach_verdicts(foreign, verdicts(2), prefix="lg3_")
    assert list(prefixed)[-3:] == ["lg3_unsafe_score", "lg3_category", "lg3_guard_error"]
    both = attach_verdicts(attach_verdicts(prefixed, verdicts(2), prefix="b_"), verdicts(2), prefix="lg3_")
    assert sorted(both) == sorted([*prefixed, "b_unsafe_score", "b_category", "b_guard_error"])


MINE: dict[str, Any] = {
    "guard": pd.array(["Ann", "Bob", "Ann"], dtype="string"),
    "n_tokens": pd.array([1, 2, 3], dtype="Int64"),
    "n_neutralised": pd.array([0, 0, None], dtype="Int64"),
    "log_odds": pd.array([0.1, 0.2, None], dtype="Float64"),
    "verdict_mass": pd.array([1.0, 1.0, None], dtype="Float64"),
    "answer_refusal": pd.array([0.0, 1.0, None], dtype="Float64"),
    "generated_text": pd.array(["unsafe\nS1", "safe", None], dtype="string"),
    "assessed_role": pd.array(["user", "user", None], dtype="string"),
    "guard_cut": pd.array([None, None, "cut"], dtype="string"),
    "score_S1": pd.array([0.5, 0.25, None], dtype="Float64"),
    "score_human": pd.array([0.5, 1.0, None], dtype="Float64"),
    "guard_note": pd.array(["x", "y", None], dtype="string"),
}
"""Columns of the user's, each of the very type that ours of that name has."""


@pytest.mark.parametrize("where", ["before", "behind", "apart"])
@pytest.mark.parametrize("name", list(MINE))
def test_a_users_column_of_our_form_is_never_lost(name: str, where: str, written: Written) -> None:
    frame = texts(3)
    if where == "before":
        frame[name] = MINE[name]
    once = attach_verdicts(frame, verdicts(3), written=written)
    if where == "apart":
        once["between"] = 1
    if where != "before":
        once[name] = MINE[name]
    assert not doubtful_columns(once, written=written), "this session knows what it wrote: the rest is the user's"
    for known in (written, Written()):
        again = attach_verdicts(once, verdicts(3), written=known)
        pd.testing.assert_series_equal(again[name], frame.assign(**{name: MINE[name]})[name])
        extra = {"guard_cut": "cut", "score_S1": "category_scores", "answer_refusal": "answers"}.get(name, name)
        if extra in EXTRAS:
            answering = Verdicts([replace(v, answers={"refusal": 0.5}) for v in verdicts(3)], LLAMA_GUARD_3)
            with pytest.raises(ColumnError, match=f"'{name}'") as caught:
                attach_verdicts(once, answering, extras=[extra], written=known)
            assert "overwrite=True" in caught.value.hint


def every_extra(n: int, frame: pd.DataFrame, written: Written) -> pd.DataFrame:
    answering = Verdicts([replace(v, answers=dict.fromkeys(ANSWERS, 0.5)) for v in verdicts(n)], LLAMA_GUARD_3, ANSWERS)
    return attach_verdicts(frame, answering, extras=EXTRAS, written=written)


def test_every_extra_is_known_again(written: Written) -> None:
    once = every_extra(4, texts(4), written)
    assert [name for name in once if name.startswith("answer_")] == [f"answer_{name}" for name in ANSWERS]
    assert once["answer_refusal"].dtype == "Float64"
    assert list(once)[1:] == column_names(EXTRAS, LLAMA_GUARD_3, ANSWERS)
    check_free(once, column_names(EXTRAS, LLAMA_GUARD_3, ANSWERS), prefix="", overwrite=False, written=written)
    assert list(attach_verdicts(once, verdicts(4), written=written)) == ["text", *THREE]


def test_columns_are_known_in_whatever_is_made_of_a_table(written: Written) -> None:
    once = every_extra(6, texts(6), written)
    made = {
        "sorted": once.sort_values("unsafe_score"),
        "filtered": once[once["category"] == "safe"],
        "sampled": once.sample(9, replace=True, random_state=0),
        "joined": pd.concat([once.iloc[3:], once.iloc[:2]], ignore_index=True),
        "moved": once[list(reversed(once.columns))],
        "copied": pd.DataFrame(once.to_dict("list")).astype(once.dtypes),
    }
    for how, frame in made.items():
        again = attach_verdicts(frame, verdicts(len(frame)), written=written)
        assert list(again) == ["text", *THREE], how
    changed = once.assign(n_tokens=once["n_tokens"] + 1)
    assert "n_tokens" in attach_verdicts(changed, verdicts(6), written=written)


def test_what_another_session_wrote_is_kept_and_named() -> None:
    once = every_extra(4, texts(4), Written())
    doubtful = doubtful_columns(once, written=Written())
    assert "n_tokens" in doubtful
    assert "guard" in doubtful
    again = attach_verdicts(once, verdicts(4), written=Written())
    assert set(again) == {"text", *THREE, *doubtful}, "the scores of all hazards sum to the score: these are known"


def test_scores_of_all_hazards_that_do_not_make_up_the_score_are_the_user_s() -> None:
    once = attach_verdicts(texts(4), verdicts(4), extras=["category_scores"])
    names = [name for name in once if name.startswith("score_")]
    assert list(attach_verdicts(once, verdicts(4))) == ["text", *THREE]
    mine = once.copy()
    mine[names] = mine[names] / 2
    assert list(attach_verdicts(mine, verdicts(4)))[: len(names) + 1] == ["text", *names]
    with pytest.raises(ColumnError, match="'score_S1'"):
        attach_verdicts(mine, verdicts(4), extras=["category_scores"])


def test_values_are_ours_beside_their_own_scores_only(written: Written) -> None:
    """The same numbers in another order are somebody's count of something else."""
    once = attach_verdicts(texts(4), verdicts(4), extras=["n_tokens"], written=written)
    mine = once.assign(n_tokens=once["n_tokens"].iloc[::-1].array)
    assert mine["n_tokens"].dtype == once["n_tokens"].dtype
    again = attach_verdicts(mine, verdicts(4), written=written)
    assert again["n_tokens"].equals(mine["n_tokens"])


def test_the_oldest_calls_are_forgotten() -> None:
    small = Written(capacity=150)
    first = attach_verdicts(texts(21), verdicts(21), extras=["n_tokens"], written=small)
    assert "n_tokens" not in attach_verdicts(first, verdicts(21), written=small)
    second = attach_verdicts(texts(21), verdicts(21), extras=["log_odds", "n_neutralised"], written=small)
    assert "n_tokens" in attach_verdicts(first, verdicts(21), written=small)
    assert "n_neutralised" not in attach_verdicts(second, verdicts(21), written=small), "whole, though above capacity"


def test_the_answers_of_all_families_are_known() -> None:
    def below(kind: type) -> list[type]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    assert PROTOCOLS
    found = {name for kind in below(Questionnaire) for name in kind.answer_names}  # type: ignore[attr-defined]
    assert found
    assert found <= set(ANSWERS), "a column of a name that is not known would not be replaced by the next call"


def test_repeated_names_are_refused_clearly() -> None:
    names = ["unsafe_score", "category", "guard_error", "category"]
    with pytest.raises(ColumnError, match="'unsafe_score', 'category', 'guard_error'"):
        attach_verdicts(pd.DataFrame([[1.0, "x", "y", "z"]], columns=names), verdicts(1))
    once = attach_verdicts(pd.DataFrame({"text": ["a"]}), verdicts(1))
    doubled = pd.concat([once, once[["category"]]], axis=1)
    with pytest.raises(ColumnError, match="'category'"):
        attach_verdicts(doubled, verdicts(1))
    assert list(attach_verdicts(doubled, verdicts(1), overwrite=True)) == ["text", *THREE]


@pytest.mark.parametrize(
    "columns",
    [
        pd.Index([pd.NA, 3, None], dtype=object),
        pd.CategoricalIndex(["text", "b", "c"]),
        pd.RangeIndex(3),
        pd.DatetimeIndex(["2026-01-01", "2026-01-02", None]),
        pd.Index(["text", float("nan"), ("a", "b")], dtype=object, tupleize_cols=False),
    ],
)
def test_column_names_of_every_kind(columns: pd.Index) -> None:
    frame = pd.DataFrame([["a", 1, 2], ["b", 3, 4]], columns=columns)
    once = attach_verdicts(frame, verdicts(2))
    assert list(once)[3:] == THREE
    assert list(attach_verdicts(once, verdicts(2)))[3:] == THREE


# Tables that went through a file


def through_csv(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)), **options)


def test_a_round_trip_through_parquet_keeps_the_columns_ours(tmp_path: Path) -> None:
    path = tmp_path / "scored.parquet"
    once = attach_verdicts(texts(4), verdicts(4))
    once.to_parquet(path)
    for options in ({}, {"dtype_backend": "pyarrow"}, {"dtype_backend": "numpy_nullable"}):
        back = pd.read_parquet(path, **options)  # type: ignore[call-overload]
        assert list(attach_verdicts(back, verdicts(4))) == ["text", *THREE], options
        restored = restored_verdicts(back)
        assert restored is not None
        pd.testing.assert_frame_equal(restored[THREE], once[THREE])


@pytest.mark.parametrize("prefix", ["", "lg3_"])
@pytest.mark.parametrize("options", [{}, {"dtype": str}, {"dtype_backend": "pyarrow"}, {"dtype": object}])
def test_a_round_trip_through_csv(prefix: str, options: Any) -> None:
    """With ``dtype=str`` scores are text: no column of an earlier call, and refused."""
    once = attach_verdicts(texts(5), verdicts(5), extras=["category_scores", "n_tokens", "guard"], prefix=prefix)
    back = through_csv(once, **options)
    restored = restored_verdicts(back, prefix)
    if "dtype" in options:
        assert restored is None
        with pytest.raises(ColumnError, match="unsafe_score"):
            attach_verdicts(back, verdicts(5), prefix=prefix)
        return
    assert restored is not None
    assert has_verdicts(restored, prefix)
    assert not has_verdicts(back, prefix)
    ours = [name for name in once if name != "text"]
    pd.testing.assert_frame_equal(restored[ours], once[ours])
    again = attach_verdicts(back, verdicts(5), prefix=prefix)
    assert set(again) == {"text", *(prefix + name for name in [*THREE, "n_tokens", "guard"])}
    pd.testing.assert_frame_equal(again[[prefix + name for name in THREE]], once[[prefix + name for name in THREE]])


@pytest.mark.parametrize("kept", ["all", "none", "no rows"])
def test_csv_without_scores_or_without_errors(kept: str) -> None:
    made = {"all": verdicts(4)[:3], "none": verdicts(4)[3:], "no rows": verdicts(0)}[kept]
    once = attach_verdicts(texts(len(made)), made)
    restored = restored_verdicts(through_csv(once))
    assert restored is not None
    pd.testing.assert_frame_equal(restored[THREE], once[THREE])


def test_levels_of_the_policy_in_use() -> None:
    own = LLAMA_GUARD_3.only(["S1", "S2"])
    back = pd.DataFrame({"unsafe_score": [0.1, 0.9], "category": ["safe", "S2"], "guard_error": [None, None]})
    restored = restored_verdicts(back, policies=[own])
    assert restored is not None
    assert restored["category"].cat.categories.tolist() == ["safe", *own.codes]
    other = back.assign(category=["safe", "mine_9"])
    with pytest.raises(ColumnError, match="not codes of one policy in use: 'mine_9'"):
        restored_verdicts(other, policies=[own])
    known = restored_verdicts(other, policies=[Policy("mine", (Category("mine_9", "Nine"),))])
    assert known is not None
    assert known["category"].cat.categories.tolist() == ["safe", "mine_9"]


GOOD: dict[str, list[Any]] = {
    "unsafe_score": [0.1, 0.9, None],
    "category": ["safe", "S1", None],
    "guard_error": [None, None, "why"],
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"unsafe_score": [0.1, 9.0, None]},
        {"unsafe_score": [0.1, -0.5, None]},
        {"unsafe_score": [0.1, np.inf, None]},
        {"unsafe_score": ["0.1", "0.9", None]},
        {"unsafe_score": [True, False, False]},
        {"unsafe_score": [0.1, None, None]},
        {"category": ["safe", "S1", "safe"]},
        {"category": ["safe", None, None]},
        {"guard_error": [None, None, 5]},
        {"guard_error": ["why", None, None]},
    ],
)
def test_columns_that_no_call_wrote_are_the_user_s(wrong: dict[str, list[Any]]) -> None:
    assert restored_verdicts(pd.DataFrame(GOOD)) is not None
    frame = pd.DataFrame({**GOOD, **wrong})
    assert restored_verdicts(frame) is None
    with pytest.raises(ColumnError, match="not known to be from an earlier call"):
        attach_verdicts(frame, verdicts(3))


# What somebody wrote over the columns of an earlier call

OWN_WORDS: list[dict[str, Any]] = [{"safe": "ok", "S1": "bad"}, {"S1": "unsafe"}, {"safe": "not harmful"}, {"S1": 1}]


@pytest.mark.parametrize("way", ["text", "levels"])
@pytest.mark.parametrize("words", OWN_WORDS, ids=str)
def test_words_that_are_no_codes(words: dict[str, Any], way: str) -> None:
    frame = pd.DataFrame(GOOD)
    if way == "levels":
        frame = restored_verdicts(frame)  # type: ignore[assignment]
        frame["category"] = frame["category"].cat.rename_categories(words)
    else:
        frame["category"] = frame["category"].map(lambda word: words.get(word, word), na_action="ignore")
    for ask in (
        restored_verdicts,
        lambda table: rows_with(table, "flagged"),
        lambda table: rows_with(table, "unscored"),
    ):
        with pytest.raises(ColumnError, match="column 'category' holds words that are not 'safe' and not") as caught:
            ask(frame)
        assert "rename(columns={'category': 'my_label'})" in caught.value.hint
    with pytest.raises(ColumnError, match="not known to be from an earlier call: column 'category' holds words"):
        attach_verdicts(frame, verdicts(3))
    assert attach_verdicts(frame, verdicts(3), overwrite=True)["category"].cat.categories[0] == "safe"


@pytest.mark.parametrize("extras", [[], ["category_scores"]])
@pytest.mark.parametrize("way", ["memory", "csv", "another session"])
@given(data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_somebody_changed_is_never_replaced_unasked(extras: list[str], way: str, data: st.DataObject) -> None:
    written = Written()
    n = data.draw(st.integers(3, 9))
    once = attach_verdicts(texts(n), verdicts(n), extras=extras, written=written)
    row = data.draw(st.integers(0, n - 1))
    column = data.draw(st.sampled_from(["category", "unsafe_score"]))
    if column == "category":
        others = [level for level in once["category"].cat.categories if level != once["category"].iloc[row]]
        value: Any = data.draw(st.sampled_from([*others, *([] if row == n - 1 else [pd.NA])]))
    else:
        value = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    mine = once.copy()
    mine.loc[row, column] = value
    frame = through_csv(mine) if way != "memory" else mine
    known = Written() if way == "another session" else written
    contradicts = row == n - 1 or (column == "category" and value is pd.NA) or _contradicts(mine, row, bool(extras))
    if (way == "another session" and not contradicts) or (
        way == "csv" and column == "unsafe_score" and not contradicts
    ):
        return  # a file that any call could have written
    with pytest.raises(ColumnError, match="not known to be from an earlier call"):
        attach_verdicts(frame, verdicts(n), written=known)
    with pytest.raises(ColumnError, match=r"overwrite=True|not known"):
        check_free(frame, THREE, prefix="", overwrite=False, written=known)
    asked = attach_verdicts(frame, verdicts(n), written=known, overwrite=True)
    pd.testing.assert_frame_equal(asked[THREE], once[THREE])


def _contradicts(frame: pd.DataFrame, row: int, has_hazards: bool) -> bool:
    """Whether the row's category cannot be that of its score, by the other rows or by its hazards' scores."""
    scored = frame[frame["unsafe_score"].notna()]
    safe, flagged = (scored[(scored["category"] == "safe") == is_safe]["unsafe_score"] for is_safe in (True, False))
    if len(safe) and len(flagged) and safe.max() >= flagged.min() + 1e-5:
        return True
    names = [name for name in frame if name.startswith("score_")]
    said = frame["category"].iloc[row]
    return has_hazards and said != "safe" and frame[f"score_{said}"].iloc[row] < frame[names].iloc[row].max() - 1e-5


def test_the_reason_of_a_row_is_somebodys_too(written: Written) -> None:
    once = attach_verdicts(texts(3), verdicts(3), written=written)
    once.loc[2, "guard_error"] = "Ann: this one is fine"
    with pytest.raises(ColumnError, match="the reason 'Ann: this one is fine'"):
        attach_verdicts(once, verdicts(3), written=written)


def test_new_rows_behind_scored_ones_are_scored(written: Written) -> None:
    once = attach_verdicts(texts(3), verdicts(3), written=written)
    more = pd.concat([once, texts(2)], ignore_index=True)
    for known in (written, Written()):
        again = attach_verdicts(more, verdicts(5), written=known)
        assert list(again) == ["text", *THREE]


def test_scores_that_somebody_rounded(written: Written) -> None:
    once = attach_verdicts(texts(4), verdicts(4), written=written)
    mine = once.assign(unsafe_score=once["unsafe_score"].round(2))
    for known in (written, Written()):
        with pytest.raises(ColumnError, match="its scores are rounded"):
            attach_verdicts(mine, verdicts(4), written=known)
    short = through_csv(once, float_precision=None).pipe(lambda table: through_csv(table.round({"unsafe_score": 4})))
    assert list(attach_verdicts(short, verdicts(4), written=written)) == ["text", *THREE], "a file made short"


def test_levels_that_a_call_of_this_session_wrote_are_known(written: Written) -> None:
    """A policy of one call, with a built-in code and one of its own: the session is not told of it otherwise."""
    policy = Policy("mixed", (Category("S1", "One"), Category("X9", "Nine")))
    frame = pd.DataFrame(GOOD).assign(category=pd.Categorical(["safe", "X9", None], ["safe", "S1", "X9"]))
    typed = restored_verdicts(frame, policies=[policy])
    assert typed is not None
    with pytest.raises(ColumnError, match="'X9'"):
        restored_verdicts(typed)
    written.add(typed[THREE])
    assert restored_verdicts(typed, written=written) is typed


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_nothing_of_the_user_s_is_ever_lost(data: st.DataObject) -> None:
    """Whatever stands beside our columns, in whatever order, comes back with the values it had."""
    written = Written()
    n = data.draw(st.integers(1, 4))
    extras = data.draw(st.lists(st.sampled_from(EXTRAS), unique=True))
    frame = attach_verdicts(texts(n), verdicts(n), extras=extras, written=written)
    free = [name for name in MINE if name not in frame]
    mine = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
    for name in mine:
        frame[name] = MINE[name].take([i % 3 for i in range(n)])
    frame = frame[data.draw(st.permutations(list(frame)))]
    before = frame.copy()
    again = attach_verdicts(frame, verdicts(n), written=data.draw(st.sampled_from([written, Written()])))
    for name in ["text", *mine]:
        pd.testing.assert_series_equal(again[name], before[name])
    pd.testing.assert_frame_equal(frame, before)
