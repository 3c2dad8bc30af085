"""``df.guard.evaluate``: what is read, refused and said beside the numbers, and thresholds chosen by it."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import guard_magic
from guard_magic.errors import ColumnError, EvaluationError, ScoreError
from guard_magic.evaluation.report import Report
from guard_magic.evaluation.thresholds import Choice
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3, Policy
from guard_magic.scoring.session import Session

CODES = LLAMA_GUARD_3.codes


@pytest.fixture
def asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", session)
    return session


def table(n: int = 200, *, seed: int = 0, n_unscored: int = 0) -> pd.DataFrame:
    """A table as ``score(extras=["category_scores"])`` leaves it, with labels."""
    rng = np.random.default_rng(seed)
    unsafe = rng.random(n) < 0.3
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 3 * (unsafe - 0.5))))
    hazard = rng.integers(0, 3, n)
    missing = np.arange(n) < n_unscored
    words = np.where(scores >= 0.5, np.array(CODES)[hazard], "safe").astype(object)
    words[missing] = None
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(n)]})
    frame["unsafe_score"] = pd.arrays.FloatingArray(scores, missing)
    frame["category"] = pd.Categorical(words, categories=["safe", *CODES])
    frame["guard_error"] = pd.array(["too long" if gone else None for gone in missing], dtype="string")
    for k, code in enumerate(CODES):
        frame[f"score_{code}"] = pd.arrays.FloatingArray(np.where(hazard == k, scores, 0.0), missing)
    frame["guard"] = pd.array(["tiny@1"] * n, dtype="string")
    frame["label"] = np.where(unsafe, "unsafe", "safe")
    frame["label_category"] = pd.array([CODES[k] if one else None for k, one in zip(hazard, unsafe, strict=True)])
    return frame


def evaluate(frame: pd.DataFrame, **options: Any) -> Report:
    return frame.guard.evaluate(**{"n_bootstrap": 200, **options})


def test_numbers_are_scikit_learn_s(asked: Session) -> None:
    frame = table()
    found = evaluate(frame).to_frame()
    y, scores = frame["label"] == "unsafe", frame["unsafe_score"].astype(float)
    assert found.loc["auroc", "value"] == pytest.approx(metrics.roc_auc_score(y, scores))
    assert found.loc["recall", "value"] == pytest.approx(metrics.recall_score(y, scores >= 0.5))
    assert found.loc["brier", "value"] == pytest.approx(metrics.brier_score_loss(y, scores))
    assert ((found["low"] <= found["value"]) & (found["value"] <= found["high"])).all()
    assert found.loc["recall", "n"] == y.sum()
    assert (found["worst"] == found["value"]).all()


@pytest.mark.parametrize("way", ["words", "truth", "numbers", "nullable", "series", "array"])
def test_labels_in_every_form(way: str, asked: Session) -> None:
    frame = table()
    unsafe = frame["label"] == "unsafe"
    forms: dict[str, Any] = {
        "words": frame["label"].str.upper(),
        "truth": unsafe,
        "numbers": unsafe.astype(int),
        "nullable": unsafe.astype("boolean"),
        "series": unsafe,
        "array": unsafe.to_numpy(),
    }
    given = forms[way] if way in ("series", "array") else "mine"
    found = evaluate(frame.assign(mine=forms[way]), label=given).to_frame()
    pd.testing.assert_frame_equal(found, evaluate(frame).to_frame())


def test_undecided_rows_are_left_out_and_counted(asked: Session) -> None:
    frame = table()
    frame.loc[frame.index[:60], "label"] = [None, "unsure", "skip"] * 20
    found = evaluate(frame)
    assert (found.n_rows, found.n_labelled) == (200, 140)
    assert "140 of 200 rows labelled" in found.head
    assert any("not known: taken as at random" in note for note in found.notes())
    pd.testing.assert_frame_equal(found.to_frame(), evaluate(frame.iloc[60:]).to_frame())


def test_rows_without_a_score_are_never_safe(asked: Session) -> None:
    frame = table(n_unscored=30)
    found = evaluate(frame)
    assert found.n_unscored == 30
    recall, fpr = found["recall"], found["fpr"]
    assert recall.worst < recall.value < recall.best
    assert fpr.best < fpr.value < fpr.worst
    assert recall.value == evaluate(frame.iloc[30:])["recall"].value
    assert "30 labelled rows were not scored" in " ".join(found.notes())
    assert "worst" in " ".join(found.notes())
    assert "30 of them not scored" in found.head
    assert any("not scored were wrong" in name for name in found.table()[0])
    assert "not scored" in found.confusion.columns
    assert found.confusion["not scored"].sum() == 30
    assert found.confusion.to_numpy().sum() == 200


def test_the_confusion_of_hazards_is_counted_by_hand(asked: Session) -> None:
    frame = table(40)
    found = evaluate(frame).confusion
    for i, row in frame.iterrows():
        frame.loc[i, "said"] = row["category"]
    wanted = pd.crosstab(frame["label_category"].fillna("safe"), frame["said"])
    for labelled in wanted.index:
        for said in wanted.columns:
            assert found.loc[labelled, said] == wanted.loc[labelled, said]
    assert found.index[-1] == "safe"
    assert evaluate(frame.drop(columns="label_category")).confusion is None


def test_the_worst_mistakes_are_rows_of_the_table(asked: Session) -> None:
    frame = table(300)
    found = evaluate(frame, threshold=0.4)
    false, missed = found.false_positives, found.false_negatives
    assert (false["label"] == "safe").all()
    assert (false["unsafe_score"] >= 0.4).all()
    assert false["unsafe_score"].is_monotonic_decreasing
    assert (missed["label"] == "unsafe").all()
    assert (missed["unsafe_score"] < 0.4).all()
    assert missed["unsafe_score"].is_monotonic_increasing
    assert false["text"].iloc[0] == frame.loc[false.index[0], "text"]


def test_groups(asked: Session) -> None:
    frame = table(400).assign(language=lambda f: ["en", "de"] * 200, rare=lambda f: [None] * 5 + ["x"] * 395)
    found = evaluate(frame, by=["language", "rare", "hazard"], threshold=0.3).groups.set_index(["by", "group"])
    english = evaluate(frame.iloc[::2], threshold=0.3)
    assert found.loc[("language", "en"), "recall"] == english["recall"].value
    assert found.loc[("language", "en"), "n"] == 200
    assert math.isnan(found.loc[("rare", "missing"), "recall"])
    hazards = [group for by, group in found.index if by == "hazard"]
    assert hazards == list(CODES[:3])
    of_hazard = frame[(frame["label"] == "safe") | (frame["label_category"] == CODES[0])]
    assert found.loc[("hazard", CODES[0]), "auroc"] == evaluate(of_hazard, threshold=0.3)["auroc"].value
    assert math.isnan(found.loc[("hazard", CODES[0]), "precision"])


@pytest.mark.parametrize(
    ("change", "options", "kind", "words"),
    [
        ("label", {"label": "no"}, ColumnError, "no column 'no'"),
        ("maybe", {}, EvaluationError, "'maybe' in column 'label' is not a label"),
        ("none", {"by": "nowhere"}, ColumnError, "'nowhere' to group by"),
        ("none", {"by": "role"}, ColumnError, "'role' to group by"),
        ("none", {"by": "text"}, EvaluationError, "200 groups"),
        ("none", {"hazard": "nowhere"}, ColumnError, "no column 'nowhere'"),
        ("none", {"score": "nowhere"}, ColumnError, "no column 'nowhere'"),
        ("none", {"score": "text"}, EvaluationError, "are not numbers"),
        ("none", {"score": "log"}, EvaluationError, "not in \\[0, 1\\]"),
        ("none", {"label": np.zeros(3)}, EvaluationError, "3 labels do not belong to 200 rows"),
        ("none", {"label": pd.Series([0] * 200, index=range(1, 201))}, EvaluationError, "another index"),
        ("none", {"label": 7}, ColumnError, "label=7 is not the name of a column"),
        ("few", {}, EvaluationError, "9 rows are labelled safe or unsafe; a report needs at least 10"),
        ("none", {"n_bootstrap": 7}, EvaluationError, "n_bootstrap=7"),
        ("none", {"n_bootstrap": True}, EvaluationError, "n_bootstrap=True"),
        ("none", {"confidence": 95}, EvaluationError, "confidence=95"),
        ("none", {"seed": -1}, EvaluationError, "seed=-1"),
        ("none", {"threshold": 2}, ScoreError, "threshold 2"),
        ("none", {"prefix": 3}, ColumnError, "prefix=3"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated(change: str, options: Any, kind: Any, words: str, asked: Session) -> None:
    frame = table().assign(log=lambda f: f["unsafe_score"] * 9 - 4)
    if change == "maybe":
        frame.loc[3, "label"] = "maybe"
    if change == "few":
        frame.loc[frame.index[9:], "label"] = None
    with pytest.raises(kind, match=words) as caught:
        evaluate(frame, **options)
    assert caught.value.hint


def test_labels_of_one_class_are_a_stated_limit(asked: Session) -> None:
    frame = table()
    found = evaluate(frame[frame["label"] == "safe"])
    assert math.isnan(found["auroc"].value)
    assert not math.isnan(found["fpr"].value)
    assert any("labelled safe" in note for note in found.notes())
    with pytest.raises(EvaluationError, match=r"none of these .* is unsafe"):
        found.threshold(recall=0.9)
    with pytest.raises(EvaluationError, match="all labels are alike"):
        found.threshold(best="f1")
    found.plot()


def test_contradicting_labels_of_one_conversation_are_said(asked: Session) -> None:
    frame = table()
    frame.loc[[3, 4], "text"] = "the same"
    frame.loc[[3, 4], "label"] = ["safe", "unsafe"]
    frame.loc[[7, 8], "text"] = "once more"
    frame.loc[[7, 8], "label"] = "safe"
    notes = " ".join(evaluate(frame).notes())
    assert "2 rows hold conversations that are labelled both safe and unsafe (rows 3, 4, from 0)" in notes
    assert "2 rows repeat a conversation" in notes
    lists = frame.assign(messages=[[{"role": "user", "content": text}] for text in frame["text"]]).drop(columns="text")
    assert "(rows 3, 4, from 0)" in " ".join(evaluate(lists).notes())


def test_labels_by_uncertainty_give_no_numbers(asked: Session) -> None:
    frame = table()
    frame.loc[frame.index[100:], "label"] = None
    frame["order"] = np.where(frame["label"].notna(), "uncertainty", None)
    found = evaluate(frame, by="label_category", threshold=0.8)
    assert found.metrics == ()
    assert found.groups is None
    assert "uncertainty" in str(found)
    assert "AUROC" not in str(found)
    with pytest.raises(EvaluationError, match="no threshold can be chosen"):
        found.threshold(fpr=0.05)
    with pytest.raises(EvaluationError, match="order uncertainty"):
        found["recall"]
    assert len(found.false_negatives) > 0


def test_stratified_labels_count_by_what_they_stand_for(asked: Session) -> None:
    frame = table(4000)
    whole = evaluate(frame, n_bootstrap=0)
    strata = np.clip((frame["unsafe_score"].astype(float) * 10).astype(int), 0, 9)
    drawn = frame.groupby(strata, group_keys=False).sample(60, random_state=1).index
    part = frame.assign(label=frame["label"].where(frame.index.isin(drawn)), order="stratified")
    found = evaluate(part, n_bootstrap=0)
    assert found["prevalence"].value == pytest.approx(whole["prevalence"].value, abs=0.05)
    plain = evaluate(frame.loc[drawn], n_bootstrap=0)
    assert abs(plain["prevalence"].value - whole["prevalence"].value) > 0.1
    assert "unequal chances" in " ".join(found.threshold(fpr=0.2).remarks)


def test_a_column_of_another_tool_s_scores(asked: Session) -> None:
    frame = table().assign(perspective=lambda f: f["unsafe_score"].astype(float) ** 2)
    bare = frame[["perspective", "label"]]
    found = evaluate(bare, score="perspective", threshold=0.2)
    assert found["auroc"].value == evaluate(frame)["auroc"].value
    assert found.scored_by is None
    choice = found.threshold(fpr=0.2)
    assert choice.column == "perspective"
    with pytest.raises(EvaluationError, match="'perspective'") as caught:
        guard_magic.set_threshold(choice)
    assert "choice.flagged" in caught.value.hint
    flagged = choice.flagged(bare)
    assert flagged.sum() == (bare["perspective"] >= float(choice)).sum()


def test_a_table_without_scores_is_scored(asked: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(12)], "label": [True, False] * 6})
    found = frame.guard.evaluate(n_bootstrap=0, progress=False)
    assert found.scored_by is not None
    assert found.scored_by.guard == tiny.label
    scored = frame.guard.score(progress=False)
    again = scored.guard.evaluate(n_bootstrap=0)
    assert again.scored_by == found.scored_by
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())
    assert list(frame.columns) == ["text", "label"]


def test_a_choice_is_for_the_scores_that_it_was_chosen_on(asked: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(80)]})
    scored = frame.guard.score(progress=False)
    labels = (scored["unsafe_score"] > scored["unsafe_score"].median()).astype(int)
    choice = scored.assign(label=labels).guard.evaluate(n_bootstrap=0).threshold(fpr=0.3)
    guard_magic.set_threshold(choice)
    assert asked.threshold == choice.threshold
    verdict = guard_magic.moderate("text 1")
    assert verdict.threshold == choice.threshold
    assert verdict.flagged == choice.flagged(scored)[1]
    with pytest.raises(ScoreError, match=r"policy .*, not .*without S1") as caught:
        guard_magic.moderate("text 1", exclude=["S1"])
    assert "threshold=…" in caught.value.hint
    assert guard_magic.moderate("text 1", exclude=["S1"], threshold=0.4).threshold == 0.4
    other = Guard(tiny.model, tiny.tokenizer, name="other", min_verdict_mass=0)
    with pytest.raises(ScoreError, match=r"guard tiny@.*, not other@"):
        frame.guard.score(guard=other, progress=False)
    reworded = Policy(LLAMA_GUARD_3.name, tuple(c if c.code != "S2" else type(c)("S2", "Else") for c in LLAMA_GUARD_3))
    with pytest.raises(ScoreError, match="other words or codes"):
        guard_magic.moderate("text 1", policy=reworded)
    guard_magic.set_threshold(0.5)
    assert frame.guard.score(guard=other, progress=False)["unsafe_score"].notna().all()


def test_a_choice_on_scores_of_a_file(asked: Session, tiny: Guard) -> None:
    """The column ``guard`` says whose they are; without it nothing does."""
    frame = table().drop(columns="guard")
    unknown = evaluate(frame).threshold(fpr=0.2)
    with pytest.raises(EvaluationError, match="not known"):
        guard_magic.set_threshold(unknown)
    known = evaluate(frame.assign(guard=tiny.label)).threshold(fpr=0.2)
    assert known.scored_by is not None
    assert known.scored_by.family == tiny.protocol
    guard_magic.set_threshold(known)
    assert guard_magic.moderate("Hi").threshold == known.threshold
    two = frame.assign(guard=[tiny.label, "b@1"] * 100)
    assert evaluate(two, threshold=0.5).scored_by is None


def test_a_threshold_for_each_hazard(asked: Session) -> None:
    frame = table(3000)
    choice = evaluate(frame).threshold(fpr=0.1, by="category")
    assert choice.threshold is None
    assert list(choice.by) == list(CODES[:3])
    flagged = choice.flagged(frame)
    for code in CODES[:3]:
        of_code = frame[f"score_{code}"] > 0
        assert (flagged[of_code] == (frame["unsafe_score"] >= choice.by[code])[of_code]).all()
        safe = of_code & (frame["label"] == "safe")
        assert flagged[safe].mean() < 0.1
    with pytest.raises(EvaluationError, match="one a hazard"):
        guard_magic.set_threshold(choice)
    with pytest.raises(EvaluationError, match="one threshold a hazard"):
        float(choice)
    few = frame.iloc[:400].assign(
        **{f"score_{CODES[1]}": 0.0, f"score_{CODES[2]}": frame[f"score_{CODES[1]}"] + frame[f"score_{CODES[2]}"]}
    )
    few.loc[few.index[:3], [f"score_{CODES[0]}", f"score_{CODES[2]}"]] = 0.0
    partly = evaluate(few).threshold(fpr=0.1, by="category")
    assert set(partly.by) >= {CODES[0], CODES[2]}
    left_out = frame.drop(columns=[f"score_{code}" for code in CODES])
    with pytest.raises(ColumnError, match="most probable"):
        choice.flagged(left_out)


@pytest.mark.parametrize(
    "goal",
    [{}, {"fpr": 0.05, "recall": 0.9}, {"fpr": 0}, {"fpr": 2}, {"recall": "high"}, {"best": "auc"}, {"cost_fp": 1},
     {"cost_fp": 0, "cost_fn": 1}, {"fpr": 0.1, "delta": 0}, {"fpr": 0.1, "by": "language"},
     {"best": "f1", "by": "category"}],
    ids=str,
)  # fmt: skip
def test_goals_that_cannot_be(goal: Any, asked: Session) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(table()).threshold(**goal)
    assert caught.value.hint


def test_costs_and_f1_are_the_best_of_the_labels(asked: Session) -> None:
    frame = table(500)
    y, scores = (frame["label"] == "unsafe").to_numpy(), frame["unsafe_score"].to_numpy(dtype=float)
    report = evaluate(frame)

    def cost(threshold: float) -> float:
        flagged = scores >= threshold
        return float((flagged & ~y).sum() + 20 * (~flagged & y).sum())

    chosen = report.threshold(cost_fp=1, cost_fn=20)
    assert cost(float(chosen)) <= min(map(cost, np.linspace(0.001, 0.999, 500)))
    assert "promises nothing" in chosen.promise
    best = report.threshold(best="f1")
    found = metrics.f1_score(y, scores >= float(best))
    assert found >= max(metrics.f1_score(y, scores >= t) for t in np.linspace(0.01, 0.99, 99))


def test_markdown_and_html_hold_no_foreign_markup(asked: Session) -> None:
    from guard_magic.display import choice_html, report_html, report_text

    frame = table().assign(group=["<script>alert(1)</script>|*", "[a](javascript:b)"] * 100)
    frame["guard"] = "<img src=x>@1"
    report = evaluate(frame, by="group", threshold=0.5)
    shown, markdown = report_html(report), report.to_markdown()
    assert "<script>" not in shown + markdown
    assert "<img" not in shown + markdown
    assert "<img" not in choice_html(report.threshold(fpr=0.2))
    assert "\\[a\\](javascript:b)" in markdown
    widths = {line.count(" | ") for line in markdown.split("\n\n")[1].splitlines()}
    assert len(widths) == 1
    assert all(len(line) <= 80 for line in report_text(report).splitlines())
    assert "AUROC" in report_text(report)


def test_plots_are_pictures_in_light_and_dark(asked: Session) -> None:
    report = evaluate(table(n_unscored=10))
    light, dark = (report.plot(dark=is_dark)._repr_png_() for is_dark in (False, True))
    assert light[:4] == dark[:4] == b"\x89PNG"
    assert light != dark
    assert len(light) < 100_000


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_less_than_ten_seconds(asked: Session) -> None:
    frame = pd.concat([table(20_000, seed=k) for k in range(5)], ignore_index=True)
    frame["text"] = [f"text {i}" for i in range(len(frame))]
    began = time.process_time()
    report = frame.guard.evaluate(by="hazard")
    assert time.process_time() - began < 15
    assert any("Bootstrap intervals draw from 2,500 of the 100,000 rows" in note for note in report.notes())
    low, high = report["auroc"].low, report["auroc"].high
    assert low < report["auroc"].value < high < low + 0.01


def test_a_choice_says_what_it_rests_on(asked: Session) -> None:
    choice = evaluate(table()).threshold(fpr=0.1)
    assert isinstance(choice, Choice)
    said = str(choice)
    assert "false positive rate ≤ 0.1 with probability ≥ 0.95" in said
    assert "of 140 safe ones are flagged" in said or "safe ones are flagged" in said
    assert "guard tiny@1, policy llama-guard-3" in said
    assert re.search(r"; it flags \d+ of \d+ unsafe ones", said)
    assert repr(choice) == f"<Choice {choice.threshold:.10g}: false positive rate ≤ 0.1>"


def test_labels_that_are_turned_round_are_said(asked: Session) -> None:
    frame = table()
    turned = frame.assign(label=frame["label"].map({"safe": "unsafe", "unsafe": "safe"}))
    assert any("right way round" in note for note in evaluate(turned).notes())
    assert not any("right way round" in note for note in evaluate(frame).notes())
