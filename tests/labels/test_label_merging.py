"""Labels of several people: joined to rows, compared, adjudicated."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard_magic.errors import GuardWarning, LabelError
from guard_magic.labels import Decision, LabelFile, adjudication, merge_labels, read_labels


def key(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def labelled(path: Path, annotator: str, said: dict[int, str | None], role: str = "label") -> Path:
    """Write a label file; "unsafe S1" is a label with its hazard."""
    with LabelFile(path, annotator=annotator, role=role) as file:  # type: ignore[arg-type]
        for n, what in said.items():
            label, _, hazard = (what or "").partition(" ")
            file.record([Decision(key(n), label or None, hazard or None, score_shown=n % 2 == 0)], "label")
    return path


@pytest.fixture
def ann(tmp_path: Path) -> Path:
    said = {1: "safe", 2: "unsafe S1", 3: "unsafe S1", 4: "safe", 5: "skip", 6: "unsure", 7: "safe", 9: None}
    return labelled(tmp_path / "ann.sqlite", "ann", said)


@pytest.fixture
def bob(tmp_path: Path) -> Path:
    said = {1: "safe", 2: "unsafe S1", 3: "unsafe S2", 4: "unsafe S1", 5: "safe", 6: "safe", 8: "unsafe"}
    return labelled(tmp_path / "bob.sqlite", "bob", said)


def test_files_are_read_one_below_the_other(ann: Path, bob: Path) -> None:
    labels = read_labels([ann, bob, ann])
    assert list(labels["annotator"]) == ["ann"] * 7 + ["bob"] * 7
    assert set(labels["role"]) == {"label"}
    assert list(labels["label"].cat.categories) == ["safe", "unsafe", "unsure", "skip"]
    assert list(read_labels(str(ann))["key"]) == [key(n) for n in (1, 2, 3, 4, 5, 6, 7)]


def test_labels_follow_a_frame_that_is_sorted_anew_and_grows(ann: Path) -> None:
    keys = pd.Series([key(7), key(100), None, key(2), key(7), pd.NA, key(5)], index=list("gfedcba"))
    joined = merge_labels(keys, ann)
    assert list(joined.index) == list("gfedcba")
    assert list(joined["label"].astype(object).fillna("")) == ["safe", "", "", "unsafe", "safe", "", "skip"]
    assert list(joined["label_category"].fillna("")) == ["", "", "", "S1", "", "", ""]
    assert list(joined["annotator"].fillna("")) == ["ann", "", "", "ann", "ann", "", "ann"]
    assert list(joined["score_shown"].fillna(True)) == [False, True, True, True, False, True, False]
    assert list(joined["n_labels"]) == [1, 0, 0, 1, 1, 0, 0]
    assert joined["agree"].isna().all()
    assert list(joined.columns) == [
        *("label", "label_category", "note", "flag", "annotator", "labelled_at", "order", "score_shown"),
        *("agree", "n_labels"),
    ]


def test_two_people_stand_side_by_side(ann: Path, bob: Path) -> None:
    joined = merge_labels([key(n) for n in range(1, 10)], [ann, bob])
    assert list(joined["label_ann"].astype(object).fillna("")) == [
        *("safe", "unsafe", "unsafe", "safe", "skip", "unsure", "safe", "", "")
    ]
    assert list(joined["label_category_bob"].fillna("")) == ["", "S1", "S2", "S1", "", "", "", "", ""]
    assert list(joined["label"].astype(object).fillna("")) == [
        *("safe", "unsafe", "unsafe", "", "safe", "", "safe", "unsafe", "")
    ]
    assert list(joined["label_category"].fillna("")) == ["", "S1", "", "", "", "", "", "", ""]
    assert list(joined["agree"].astype(object).fillna("")) == [True, True, True, False, "", False, "", "", ""]
    assert list(joined["n_labels"]) == [2, 2, 2, 2, 1, 2, 1, 1, 0]
    assert not joined["adjudicated"].any()


def test_what_differs_is_adjudicated_in_a_third_file(ann: Path, bob: Path, tmp_path: Path) -> None:
    todo = adjudication([ann, bob])
    assert dict(zip(todo["key"], todo["differ"], strict=True)) == {key(3): "category", key(4): "label", key(6): "label"}
    assert list(todo.columns) == ["key", "differ"] + [
        f"{what}_{who}" for who in ("ann", "bob") for what in ("label", "label_category", "note")
    ]
    # Who adjudicates may have labelled too; what is skipped is not decided.
    third = labelled(tmp_path / "third.sqlite", "ann", {3: "unsafe S2", 4: "unsafe S9", 6: "skip"}, "adjudicate")
    assert list(adjudication([ann, third, bob])["key"]) == [key(6)]
    joined = merge_labels([key(n) for n in (1, 3, 4, 6)], [ann, bob, third])
    assert list(joined["label"].astype(object).fillna("")) == ["safe", "unsafe", "unsafe", ""]
    assert list(joined["label_category"].fillna("")) == ["", "S2", "S9", ""]
    assert list(joined["adjudicated"]) == [False, True, True, False]
    assert list(joined["agree"]) == [True, True, False, False]  # what people said stays what they said
    assert list(joined["label_ann"].astype(object)) == ["safe", "unsafe", "safe", "unsure"]


def test_of_two_files_of_one_person_the_later_decision_counts(ann: Path, tmp_path: Path) -> None:
    later = labelled(tmp_path / "later.sqlite", "ann", {1: "unsafe", 20: "safe"})
    for paths in ([ann, later], [later, ann]):
        with pytest.warns(GuardWarning, match="1 conversations are labelled in two ways by 'ann'"):
            joined = merge_labels([key(1), key(2), key(20)], paths)
        assert list(joined["label"]) == ["unsafe", "unsafe", "safe"]
        assert list(joined["n_labels"]) == [1, 1, 1]
    with pytest.warns(GuardWarning), pytest.raises(LabelError, match="only 'ann' labelled"):
        adjudication([ann, later])


def test_a_person_called_category_takes_no_column(ann: Path, tmp_path: Path) -> None:
    other = labelled(tmp_path / "c.sqlite", "category", {2: "safe"})
    joined = merge_labels([key(2)], [ann, other])
    assert joined.columns.is_unique
    assert list(joined["label_category"].fillna("")) == [""]
    assert list(joined["label_category_"]) == ["safe"]


def test_no_labels_and_no_rows(tmp_path: Path, ann: Path) -> None:
    empty = labelled(tmp_path / "e.sqlite", "eve", {})
    assert merge_labels([], [ann, empty]).empty
    assert merge_labels([key(1)], empty)["label"].isna().all()
    assert read_labels(empty).dtypes.equals(read_labels(ann).dtypes)
    assert adjudication([ann, empty]).empty


@given(data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_that_match_no_row_are_said(ann: Path, data: st.DataObject) -> None:
    """Files of which at most half belong to a table at most half labelled; parts of a labelled table are ordinary."""
    rows = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=20, unique=True))
    matched, labels = len({1, 2, 3, 4, 5, 6, 7} & {*rows}), 7
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        joined = merge_labels([key(n) for n in rows], ann)
    assert joined["label"].notna().sum() == matched
    assert len(caught) == (2 * matched <= min(labels, len(rows)))
    for warning in caught:
        assert f"{matched} of the 7 labels in ann.sqlite belong to conversations of this table" in str(warning.message)
        assert "word for word" in str(warning.message)


def test_contradictions_of_one_person_are_said_wherever_files_are_read(ann: Path, bob: Path, tmp_path: Path) -> None:
    again = labelled(tmp_path / "again.sqlite", "ann", {2: "unsafe S2", 3: "unsafe S1", 7: None})
    for read in (lambda: merge_labels([key(2), key(3), key(7)], [ann, again]), lambda: adjudication([ann, again, bob])):
        with pytest.warns(GuardWarning, match=r"2 conversations .* by 'ann' \(ann.sqlite, again.sqlite\)"):
            read()
    same = labelled(tmp_path / "same.sqlite", "ann", {3: "unsafe S1"})
    merge_labels([key(3), key(1), key(2)], [ann, same, bob])
