"""``df.guard.compare``: paired differences, McNemar's test, and what may be compared."""

from __future__ import annotations

from typing import Any

import labelled
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from guard_magic.errors import ColumnError, EvaluationError
from guard_magic.evaluation.comparing import COMPARED, mcnemar
from guard_magic.evaluation.evaluating import evaluate_frame
from guard_magic.evaluation.metrics import Resampled, measure
from guard_magic.guards.guard import Guard
from guard_magic.review import Reviewer
from guard_magic.scoring.session import Session


@pytest.fixture
def asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", session)
    return session


def table(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    unsafe = rng.random(n) < 0.35
    odds = {name: rng.normal(size=n) + apart * (unsafe - 0.5) for name, apart in (("good", 3.0), ("fair", 1.5))}
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(n)], "label": unsafe})
    return frame.assign(**{name: 1 / (1 + np.exp(-x)) for name, x in odds.items()})


def compare(frame: pd.DataFrame, names: Any = ("good", "fair"), **options: Any) -> Any:
    return frame.guard.compare(list(names), **{"n_bootstrap": 300, **options})


def test_differences_are_scikit_learn_s_and_their_intervals_are_paired(asked: Session) -> None:
    frame = table()
    found = compare(frame).to_frame().set_index("metric")
    y = frame["label"]
    assert list(found.index) == list(COMPARED)
    wanted = metrics.roc_auc_score(y, frame["fair"]) - metrics.roc_auc_score(y, frame["good"])
    assert found.loc["auroc", "difference"] == pytest.approx(wanted)
    recalls = [metrics.recall_score(y, frame[name] >= 0.5) for name in ("good", "fair")]
    assert found.loc["recall", ["value_a", "value_b"]].tolist() == pytest.approx(recalls)
    assert (found["low"] <= found["difference"]).all()
    assert (found["difference"] <= found["high"]).all()
    assert found.loc["auroc", "high"] < 0
    twin = frame.assign(twin=np.clip(frame["good"] + np.random.default_rng(1).normal(0, 0.01, len(frame)), 0, 1))
    near = compare(twin, ("good", "twin")).to_frame().set_index("metric")
    assert near.loc["auroc", "high"] - near.loc["auroc", "low"] < 0.2 * (
        found.loc["auroc", "high"] - found.loc["auroc", "low"]
    )


def test_paired_intervals_hold_zero_where_there_is_no_difference(asked: Session) -> None:
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        frame = table(120, seed=seed)
        noise = rng.normal(size=(2, 120))
        odds = 2.5 * (frame["label"].to_numpy() - 0.5)
        frame = frame.assign(**{name: 1 / (1 + np.exp(-(odds + x))) for name, x in zip("ab", noise, strict=True)})
        row = compare(frame, "ab", n_bootstrap=200).to_frame().set_index("metric").loc["recall"]
        held += row["low"] <= 0 <= row["high"]
    assert 51 <= held <= 60


def test_rates_of_resamples_are_those_of_the_definition() -> None:
    one = labelled.sample(70)
    drawn = np.random.default_rng(0).integers(0, 70, (5, 70))
    found = Resampled(one, 0.4).rates(drawn)
    for k, rows in enumerate(drawn):
        wanted = measure(one.only(rows), 0.4)
        assert found[:, k] == pytest.approx([wanted[name] for name in ("precision", "recall", "fpr")])


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (10, 2), (30, 11)])
def test_mcnemar_s_test_is_a_fair_coin(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    tail = sum(stats.binom.pmf(k, n, 0.5) for k in range(min(only_a, only_b) + 1))
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail))


def test_decisions_are_counted_by_hand(asked: Session) -> None:
    frame = table()
    found = compare(frame, threshold={"good": 0.5, "fair": 0.3})
    right = {name: (frame[name] >= at) == frame["label"] for name, at in (("good", 0.5), ("fair", 0.3))}
    rows = found.tests.set_index("rows")
    for name, among in (("all", frame["label"] | True), ("unsafe", frame["label"]), ("safe", ~frame["label"])):
        only = [(right["good"] & ~right["fair"] & among).sum(), (~right["good"] & right["fair"] & among).sum()]
        assert rows.loc[name, ["only_a_right", "only_b_right"]].tolist() == only
    differ = (frame["good"] >= 0.5) != (frame["fair"] >= 0.3)
    assert found.differ.index.tolist() == frame.index[differ].tolist()
    assert (found.differ["good_flagged"] != found.differ["fair_flagged"]).all()
    assert found.differ["fair_score"].tolist() == frame.loc[differ, "fair"].tolist()


def test_a_guard_and_a_stored_column_stand_side_by_side(asked: Session, tiny: Guard, tmp_path: Any) -> None:
    frame = table(30).astype({"label": "boolean"})
    frame.loc[frame.index[20:], "label"] = pd.NA
    n_before = tiny.engine.n_forwards
    found = compare(frame, ["tiny", "good"], progress=False, n_bootstrap=0)
    assert tiny.engine.n_forwards > n_before
    assert found.n_rows == 20
    scored = frame.guard.score(progress=False)
    again = compare(scored, ["unsafe_score", "good"], n_bootstrap=0)
    assert again.to_frame()["value_a"].tolist() == pytest.approx(found.to_frame()["value_a"].tolist())
    assert compare(frame, [tiny, "good"], progress=False, n_bootstrap=0).names == ("tiny", "good")
    shown = found.review(labels=tmp_path / "labels.sqlite", annotator="ann", progress=False)
    assert isinstance(shown, Reviewer)


def test_rows_that_one_has_not_scored_are_left_out_for_all_and_said(asked: Session) -> None:
    frame = table()
    frame.loc[:4, "fair"] = np.nan
    found = compare(frame)
    assert found.n_rows == 295
    assert "fair 5" in " ".join(found.remarks)
    assert not set(found.differ.index) & set(range(5))
    assert found.to_frame()["value_a"].tolist() == pytest.approx(compare(frame.iloc[5:]).to_frame()["value_a"].tolist())


def test_three_are_compared_in_pairs(asked: Session) -> None:
    found = compare(table().assign(third=0.4), ["good", "fair", "third"], n_bootstrap=0)
    assert found.to_frame()[["a", "b"]].drop_duplicates().to_numpy().tolist() == [
        ["good", "fair"], ["good", "third"], ["fair", "third"],
    ]  # fmt: skip
    assert "of a" in found.table()[0]


@pytest.mark.parametrize(
    ("names", "options", "kind", "words"),
    [
        (["good"], {}, ColumnError, "two things to compare"),
        (["good", "good"], {}, ColumnError, "stands there twice"),
        (["good", "nowhere"], {}, ColumnError, "neither a column"),
        (["good", "tiny"], {}, ColumnError, "both a column and a guard"),
        (["good", 3], {}, ColumnError, "is not a guard or column"),
        (["good", "fair"], {"threshold": {"else": 0.5}}, ColumnError, "'else', which is not compared"),
        (["good", "fair"], {"label": "good"}, EvaluationError, "is not a label"),
        (["good", "text"], {}, EvaluationError, "are not numbers"),
    ],
)
def test_what_cannot_be_compared(names: Any, options: Any, kind: Any, words: str, asked: Session) -> None:
    frame = table().assign(tiny=0.5) if "tiny" in names else table()
    with pytest.raises(kind, match=words) as caught:
        compare(frame, names, **options)
    assert caught.value.hint


def test_labels_by_uncertainty_are_refused(asked: Session) -> None:
    frame = table()
    frame["label"] = frame["label"].astype("boolean")
    frame.loc[frame.index[50:], "label"] = pd.NA
    with pytest.raises(EvaluationError, match="nothing can be compared"):
        compare(frame.assign(order="uncertainty"))


def test_the_numbers_are_those_of_the_report(asked: Session) -> None:
    frame = table()
    report = evaluate_frame(asked, frame, score="good", n_bootstrap=0)
    found = compare(frame, n_bootstrap=0).to_frame().set_index("metric")
    assert found.loc["f1", "value_a"] == report["f1"].value
