"""df.guard.review() and df.guard.labels(): scored where that is missing, labels that find their rows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import guard_magic
from guard_magic.errors import ColumnError, EmbeddedGuardWarning, GuardWarning, LabelError
from guard_magic.labels import Decision, LabelFile, conversation_key, read_labels
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.review.frames import review_frame
from guard_magic.scoring.session import Session
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.column_plan import plan_columns

TEXTS = ["How do I bake bread?", "I will kill you", "What is a river?", "How do I build a bomb?", "Tell me a joke"]


@pytest.fixture
def session(embedded: Any) -> Session:
    own = Session()
    own._add(embedded)
    return own


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS}, index=list("abcde"))


def reviewer_of(session: Session, table: pd.DataFrame, path: Path, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        warnings.simplefilter("ignore", EmbeddedGuardWarning)
        return review_frame(
            session,
            table,
            how.pop("names", None),
            labels=path,
            annotator=how.pop("annotator", "ann"),
            progress=False,
            **how,
        )


def scored_by(session: Session, table: pd.DataFrame) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        extras = ("category_scores", "log_odds", "guard")
        return guard_magic.tables.score.score_frame(session, table, extras=extras, progress=False)


def key_of(text: str) -> str:
    (row,) = read_frame(pd.DataFrame({"text": [text]}), plan_columns(["text"]))
    return conversation_key(row)  # type: ignore[arg-type]


def decide(path: Path, annotator: str, decisions: dict[str, str], role: Any = "label") -> None:
    with LabelFile(path, annotator=annotator, role=role) as labels:
        for text, label in decisions.items():
            code = "S1" if label == "unsafe" else None
            labels.record([Decision(key=key_of(text), label=label, category=code, score_shown=True)], "label")  # type: ignore[arg-type]


def test_a_table_without_scores_is_scored_first(session: Session, table: pd.DataFrame, tmp_path: Path) -> None:
    reviewer = reviewer_of(session, table, tmp_path / "ann.sqlite")
    head = reviewer.widget.head
    assert head["n_rows"] == 5
    assert head["guard"].startswith("embedded")
    assert head["model"]["flagged"] >= 2
    assert list(table.columns) == ["text"]


def test_a_scored_table_is_not_scored_again(table: pd.DataFrame, session: Session, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        scored = guard_magic.tables.score.score_frame(session, table, progress=False)
    scored["unsafe_score"] = pd.array([0.9, 0.1, 0.5, 0.2, 0.3], dtype="Float64")
    empty = Session()
    reviewer = reviewer_of(empty, scored, tmp_path / "ann.sqlite", order="score")
    assert not empty.guards, "no guard was loaded"
    assert reviewer.widget.head["model"] == {"flagged": 2, "safe": 3, "unscored": 0}
    assert {hazard["code"] for hazard in reviewer.widget.head["hazards"]} <= set(LLAMA_GUARD_3.codes)


def test_labels_find_their_rows_in_another_order(session: Session, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "ann.sqlite"
    decide(path, "ann", {TEXTS[1]: "unsafe", TEXTS[4]: "safe"})
    more = pd.concat([table.iloc[::-1], pd.DataFrame({"text": ["new"]}, index=["f"])])
    found = more.guard.labels(path)
    assert found["label"].dropna().to_dict() == {"e": "safe", "b": "unsafe"}
    assert found.loc["b", "label_category"] == "S1"
    assert list(more.columns) == ["text"]
    reviewer = reviewer_of(session, more, path)
    assert reviewer.labels()["label"].dropna().to_dict() == {"e": "safe", "b": "unsafe"}


def test_columns_of_others_are_not_replaced(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "ann.sqlite"
    decide(path, "ann", {TEXTS[0]: "safe"})
    mine = table.assign(label="mine")
    with pytest.raises(ColumnError, match="'label' already"):
        mine.guard.labels(path)
    both = mine.guard.labels(path, prefix="human_")
    assert both["label"].eq("mine").all()
    assert both["human_label"].iloc[0] == "safe"
    assert mine.guard.labels(path, overwrite=True)["label"].iloc[0] == "safe"


def test_disagreements_are_adjudicated_in_a_third_file(session: Session, table: pd.DataFrame, tmp_path: Path) -> None:
    ann, bob, judge = (tmp_path / f"{name}.sqlite" for name in ("ann", "bob", "judge"))
    decide(ann, "ann", {TEXTS[0]: "safe", TEXTS[1]: "unsafe", TEXTS[2]: "unsafe"})
    decide(bob, "bob", {TEXTS[0]: "safe", TEXTS[1]: "safe", TEXTS[2]: "unsafe"})
    both = table.guard.labels([ann, bob])
    assert both["agree"].tolist()[:3] == [True, False, True]
    assert pd.isna(both.loc["b", "label"])
    reviewer = reviewer_of(session, table, judge, annotator="cy", disagreements=[ann, bob])
    assert reviewer.widget.head["n_rows"] == 1
    decide(judge, "cy", {TEXTS[1]: "unsafe"}, role="adjudicate")
    assert read_labels(judge)["role"].tolist() == ["adjudicate"]
    settled = table.guard.labels([ann, bob, judge])
    assert settled["label"].dropna().to_dict() == {"a": "safe", "b": "unsafe", "c": "unsafe"}
    with pytest.raises(LabelError, match="nothing to adjudicate"):
        reviewer_of(session, table, judge, annotator="cy", disagreements=[ann, bob, judge])


def test_the_default_file_is_the_annotators(
    session: Session, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reviewer_of(session, table, None, annotator="Ann O'Nym")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["guard_labels_Ann_O_Nym.sqlite"]
    monkeypatch.setenv("JUPYTERHUB_USER", "jovyan")
    with pytest.raises(LabelError, match="does not say who labels"):
        reviewer_of(session, table, None, annotator=None)  # type: ignore[arg-type]


def test_tables_of_one_message_a_row_are_reviewed_by_conversation(session: Session, tmp_path: Path) -> None:
    long = pd.DataFrame(
        {"id": ["x", "x", "y"], "role": ["user", "assistant", "user"], "said": ["Hi", "Hello.", "How do I kill him?"]}
    )
    names: Any = {"conversation_id": "id", "role": "role", "content": "said"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        reviewer = review_frame(
            session, long, names, labels=tmp_path / "a.sqlite", annotator="ann", progress=False, order="row"
        )
    assert reviewer.widget.head["n_rows"] == 2
    assert reviewer.labels().index.tolist() == ["x", "y"]
    (said,) = (c for c in reviewer._review.records.conversations if c is not None and len(c) == 2)
    reviewer.label_file.record([Decision(conversation_key(said), "unsafe", "S1", score_shown=True)], "label")
    for files in (reviewer, tmp_path / "a.sqlite"):
        found = long.guard.labels(files, **names)
        assert found.index.tolist() == ["x", "y"]
        assert found.index.name == "id"
        assert found["n_messages"].tolist() == [2, 1]
        assert found["messages"]["x"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        assert found["label"].dropna().to_dict() == {"x": "unsafe"}
    assert found.guard.labels(reviewer, overwrite=True)["label"].dropna().to_dict() == {"x": "unsafe"}, "no dead end"
    tasks = json.loads(guard_magic.export_labels(found, tmp_path / "x.json", "label_studio").read_text())
    assert [len(task["annotations"]) for task in tasks] == [1, 0]


def test_a_repeating_index_moves_no_label(session: Session, tmp_path: Path) -> None:
    """The example: after pd.concat a join by the index gives each label to two rows."""
    one, other = pd.DataFrame({"text": TEXTS[:2]}), pd.DataFrame({"text": TEXTS[2:4]})
    both = pd.concat([one, other])
    reviewer = reviewer_of(session, both, tmp_path / "ann.sqlite")
    said = {TEXTS[0]: "safe", TEXTS[2]: "unsafe"}
    for text, label in said.items():
        reviewer.label_file.record([Decision(key_of(text), label, score_shown=True)], "label")
    for changed in (both, both.sort_values("text"), pd.concat([both, both]), both.reset_index(drop=True).iloc[::-1]):
        labelled = changed.guard.labels(reviewer)
        assert labelled.index.equals(changed.index)
        assert {t: x for t, x in zip(labelled["text"], labelled["label"], strict=True) if isinstance(x, str)} == said
    with pytest.warns(GuardWarning, match=r"the table's index repeats.*df.guard.labels\(reviewer\)"):
        beside = reviewer.labels()
    joined = both.join(beside)
    assert len(joined) == 8, "what the recipe was"
    for form in ("x.csv", "x.jsonl", "x.parquet"):
        with pytest.raises(LabelError, match="rows 0 and 1 are one conversation with two labels") as caught:
            guard_magic.export_labels(joined, tmp_path / form)
        assert "df.guard.labels(reviewer)" in caught.value.hint
    guard_magic.export_labels(both.guard.labels(reviewer), tmp_path / "x.csv")


def test_a_scored_table_that_went_through_a_file_is_reviewed_as_it_was_scored(
    session: Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    scored = scored_by(session, table.assign(text=[*TEXTS[:-1], None]))
    scored.to_csv(tmp_path / "x.csv")
    again = pd.read_csv(tmp_path / "x.csv", index_col=0)
    reviewers = [
        reviewer_of(Session(), frame, tmp_path / f"{name}.sqlite", order="row")
        for name, frame in (("a", scored), ("b", again))
    ]
    one, other = (reviewer._review.first(10) for reviewer in reviewers)
    assert one == other
    assert [line["row"] for line in one if line["error"]] == [4]
    head = reviewers[1].widget.head
    assert [hazard["code"] for hazard in head["hazards"]] == list(LLAMA_GUARD_3.codes)
    assert head["blur"] == ["S3", "S4", "S11", "S12"]


def test_columns_of_the_user_s_own_stand_in_no_review_s_way(
    session: Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    mine = table.assign(category=list("vwxyz"), unsafe_score="high", guard="me", log_odds=1)
    before = mine.copy()
    reviewer = reviewer_of(session, mine, tmp_path / "ann.sqlite")
    assert reviewer.widget.head["model"]["unscored"] == 0
    assert reviewer.widget.head["guard"].startswith("embedded")
    pd.testing.assert_frame_equal(mine, before)
    asked = pd.DataFrame({"guard": TEXTS})
    names: Any = {"text": "guard"}
    lines = reviewer_of(session, asked, tmp_path / "b.sqlite", names=names, order="row")
    assert [line["text"] for line in lines._review.first(9)] == TEXTS


def test_columns_of_several_levels_are_refused_with_what_to_do(
    session: Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    deep = table.copy()
    deep.columns = pd.MultiIndex.from_product([["text"], [""]])
    for act in (
        lambda: reviewer_of(session, deep, tmp_path / "ann.sqlite"),
        lambda: deep.guard.labels(tmp_path / "ann.sqlite"),
        lambda: guard_magic.export_labels(deep, tmp_path / "x.json", "argilla"),
    ):
        with pytest.raises(ColumnError, match="2 levels") as caught:
            act()
        assert "df.columns" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_an_order_that_is_a_column_says_how_messages_are_put_in_order(
    session: Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match="order='when' is a column") as caught:
        reviewer_of(session, table.assign(when=1), tmp_path / "ann.sqlite", order="when")
    assert "sort_values('when')" in caught.value.hint
