"""What labels stand for: checked against sums over the whole table, with draws as a review makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.errors import ColumnError, EvaluationError
from guard_magic.evaluation.sampling import N_STRATA, biased_orders, strata_of, weights
from guard_magic.review.rows import Query, Rows

START = pd.Timestamp("2026-11-28", tz="UTC")


def drawn(rows: Rows, order: str, n: int) -> Any:
    """The first rows of an order, as the review shows them."""
    return rows.matching(Query(sort=order, threshold=0.5), np.full(len(rows), -1, dtype=np.int8))[:n]


def reviewed(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.4, 1.2, n)
    keys = [f"{int(key):064x}"[::-1] for key in rng.integers(0, 2**62, n)]
    return Rows(scores, np.full(n, -1), ["S1"], [""] * n, keys, seed=seed)


def labelled(n: int, parts: list[tuple[str | None, Any]], unsafe: Any) -> pd.DataFrame:
    """A frame of labels, given part by part, a second each."""
    labels: list[Any] = [None] * n
    orders, times = labels.copy(), labels.copy()
    for second, (order, row) in enumerate((order, row) for order, rows in parts for row in rows):
        labels[row], orders[row] = "unsafe" if unsafe[row] else "safe", order
        times[row] = START + pd.Timedelta(seconds=second)
    columns = {"label": pd.array(labels, "string"), "order": pd.array(orders, "string")}
    return pd.DataFrame({**columns, "labelled_at": pd.to_datetime(pd.Series(times), utc=True)})


@pytest.mark.parametrize("order", ["random", "stratified"])
def test_weights_make_the_table_s_prevalence(order: str) -> None:
    found, plain = [], []
    for seed in range(40):
        rows = reviewed(600, seed)
        unsafe = np.random.default_rng(seed + 99).random(600) < rows.scores
        chosen = drawn(rows, order, 120)
        sample = weights(labelled(600, [(order, chosen)], unsafe), rows.scores)
        assert sample.refused is None
        assert sample.values.sum() == pytest.approx(600)
        assert set(np.flatnonzero(sample.counts)) == set(chosen.tolist())
        found.append(np.average(unsafe, weights=sample.values) - unsafe.mean())
        plain.append(unsafe[chosen].mean() - unsafe.mean())
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40)
    if order == "stratified":
        assert np.mean(plain) > 0.1, "without weights the share of unsafe rows would be far too high"


def test_stratified_weights_by_hand() -> None:
    scores = np.array([0.05] * 8 + [0.95] * 2 + [np.nan])
    frame = pd.DataFrame({"label": [None] * 11, "order": [None] * 11}, dtype="object")
    frame.loc[[0, 1, 8], "label"] = ["safe", "safe", "unsafe"]
    frame.loc[[0, 1, 8], "order"] = "stratified"
    found = weights(frame, scores)
    assert found.values.tolist() == [4, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0]
    assert found.n_effective == pytest.approx(100 / 36)
    assert "1 rows without a score" in found.remarks[0]


def test_an_empty_tenth_is_counted_with_the_nearest() -> None:
    scores = np.array([0.05] * 4 + [0.35] * 3 + [0.95] * 3)
    frame = pd.DataFrame({"label": ["safe", *[None] * 8, "unsafe"], "order": "stratified"})
    found = weights(frame, scores)
    assert found.values.tolist() == [7, *[0] * 8, 3]
    assert "3 rows with scores in 0.3 to 0.4" in found.remarks[0]


def test_random_and_stratified_labels_together() -> None:
    rows = reviewed(500, 3)
    unsafe = rows.scores > 0.3
    one, two = drawn(rows, "random", 60), drawn(rows, "stratified", 60)
    frame = labelled(500, [("random", one), ("stratified", [row for row in two if row not in set(one)])], unsafe)
    found = weights(frame, rows.scores)
    strata = strata_of(rows.scores)
    for k in range(N_STRATA):
        assert found.values[strata == k].sum() == pytest.approx((strata == k).sum())


@pytest.mark.parametrize("order", ["uncertainty", "score", "hazard", "length", "label", "row", None])
def test_other_orders_are_refused(order: str | None) -> None:
    rows = reviewed(200, 5)
    unsafe = rows.scores > 0.3
    frame = labelled(200, [(order, drawn(rows, order or "row", 50))], unsafe)
    found = weights(frame, rows.scores)
    if order is None:
        assert found.refused is None
        assert "not known" in found.remarks[0]
    else:
        assert order in str(found.refused)
        assert 'order="random"' in str(found.refused)
    assert found.values.sum() == 50
    assert biased_orders(frame) == [] if order is None else [order]


def test_random_labels_before_others_are_the_holdout() -> None:
    rows = reviewed(400, 6)
    unsafe = rows.scores > 0.3
    one = drawn(rows, "random", 80)
    two = [row for row in drawn(rows, "uncertainty", 60) if row not in set(one)]
    found = weights(labelled(400, [("random", one), ("uncertainty", two)], unsafe), rows.scores)
    assert found.refused is None
    assert set(np.flatnonzero(found.counts)) == set(one.tolist())
    assert found.values[one] == pytest.approx(np.full(80, 5.0))
    assert f"{len(two)} are left out" in found.remarks[0]


def test_random_labels_after_others_are_of_what_was_left() -> None:
    """Rows that were hard are known all the same: left out, the table would look easier than it is."""
    found_shares, holdout = [], []
    for seed in range(40):
        rows = reviewed(400, seed)
        unsafe = np.random.default_rng(seed).random(400) < np.where(np.abs(rows.scores - 0.5) < 0.2, 0.9, 0.1)
        one = drawn(rows, "uncertainty", 60)
        two = [row for row in drawn(rows, "random", 140) if row not in set(one)][:100]
        found = weights(labelled(400, [("uncertainty", one), ("random", two)], unsafe), rows.scores)
        assert found.values[one] == pytest.approx(np.ones(60))
        assert found.values[two] == pytest.approx(np.full(100, 3.4))
        found_shares.append(np.average(unsafe, weights=found.values) - unsafe.mean())
        holdout.append(unsafe[two].mean() - unsafe.mean())
    assert abs(np.mean(found_shares)) < 3 * np.std(found_shares) / np.sqrt(40)
    assert np.mean(holdout) < -0.03


def test_the_longest_run_is_taken_and_no_times_are_refused() -> None:
    rows = reviewed(300, 7)
    unsafe = rows.scores > 0.3
    order = drawn(rows, "random", 300)
    hard = [row for row in drawn(rows, "uncertainty", 300) if row not in set(order[:90])]
    parts: list[tuple[str | None, Any]] = [("random", order[:30]), ("uncertainty", hard[:20])]
    parts += [("random", order[30:90]), ("hazard", hard[20:30])]
    frame = labelled(300, parts, unsafe)
    found = weights(frame, rows.scores)
    assert found.values[order[30:90]] == pytest.approx(np.full(60, 250 / 60))
    assert found.values[[*order[:30], *hard[:20]]] == pytest.approx(np.ones(50))
    assert found.values[hard[20:30]].sum() == 0
    assert "times are not known" in str(weights(frame.drop(columns="labelled_at"), rows.scores).refused)


@pytest.mark.parametrize("order", ["uncertainty", "random", "stratified"])
def test_a_whole_table_needs_no_weights(order: str) -> None:
    rows = reviewed(50, 8)
    found = weights(labelled(50, [(order, range(50))], rows.scores > 0.3), rows.scores)
    assert (found.refused, found.remarks, found.values.tolist()) == (None, (), [1.0] * 50)


def test_times_of_several_forms_and_columns_that_stand_twice() -> None:
    frame = pd.DataFrame({"label": ["safe", "unsafe", None, None], "order": ["random", "uncertainty", None, None]})
    frame["labelled_at"] = ["2026-01-01T00:00:00Z", "2026-01-02", None, None]
    assert weights(frame, [0.1] * 4).values.tolist() == [4, 0, 0, 0]
    assert weights(frame.assign(labelled_at="soon"), [0.1] * 4).refused is not None
    for name in ("label", "order", "labelled_at"):
        with pytest.raises(ColumnError, match=f"2 columns '{name}'"):
            weights(pd.concat([frame, frame[[name]]], axis=1), [0.1] * 4)


def test_no_labels() -> None:
    found = weights(pd.DataFrame({"label": [None] * 3}), [0.1, 0.2, 0.3])
    assert (found.values.sum(), found.n_effective, found.refused) == (0, 0, None)


def test_unsure_rows_do_not_count() -> None:
    frame = pd.DataFrame({"label": ["safe", "unsure", "unsafe", "skip", None, None], "order": "random"})
    assert weights(frame, [0.1] * 6).values.tolist() == [3, 0, 3, 0, 0, 0]


@pytest.mark.parametrize(
    "scores", [[0.1], ["a", "b", "c"], [True, False, True], None, [[0.1], [0.2], [0.3]]], ids=range(5)
)
def test_scores_that_cannot_be(scores: Any) -> None:
    with pytest.raises(EvaluationError):
        weights(pd.DataFrame({"label": ["safe", "unsafe", None]}), scores)
    with pytest.raises(ColumnError):
        weights(pd.DataFrame({"labels": ["safe"]}), [0.1])


@given(st.lists(st.one_of(st.floats(0, 1), st.none()), min_size=1, max_size=50))
@settings(deadline=None, max_examples=100)
def test_tenths_are_those_of_the_stratified_order(scores: list[float | None]) -> None:
    """Each round of the review's order takes one row of each tenth that has some left."""
    known = np.array([np.nan if score is None else score for score in scores])
    n = len(known)
    rows = Rows(known, np.full(n, -1), ["S1"], [""] * n, [f"{i:064x}"[::-1] for i in range(n)])
    strata = strata_of(known)
    left = {int(k): int((strata == k).sum()) for k in set(strata.tolist()) - {N_STRATA}}
    order = strata[drawn(rows, "stratified", n)].tolist()
    while left:
        taken, order = order[: len(left)], order[len(left) :]
        assert sorted(taken) == sorted(left)
        left = {k: count - 1 for k, count in left.items() if count > 1}
    assert set(order) <= {N_STRATA}
