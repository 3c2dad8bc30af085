"""Promises: exact tests in a fixed order, and that they are broken no more often than delta."""

from __future__ import annotations

from dataclasses import replace

import labelled
import numpy as np
import pytest
from scipy import stats

from guard_magic.errors import EvaluationError
from guard_magic.evaluation.choosing import choose, equal_chances
from guard_magic.evaluation.learn_then_test import GRID, STARTS, Errors, count_errors, n_needed, passing
from guard_magic.evaluation.samples import Sample
from guard_magic.evaluation.thresholds import checked_goal

TRUTH = labelled.sample(400_000, seed=77, digits=8)


def error(goal: str, threshold: float) -> float:
    """The true share of errors at a threshold."""
    flagged, unsafe = threshold <= TRUTH.scores, TRUTH.unsafe > 0
    among = {"precision": flagged, "recall": unsafe, "fpr": ~unsafe}[goal]
    wrong = {"precision": ~unsafe, "recall": ~flagged, "fpr": flagged}[goal]
    return float(wrong[among].mean())


def test_the_grid_is_fixed_and_says_each_threshold_in_a_few_digits() -> None:
    assert len(GRID) == 1130
    assert (np.diff(GRID) > 0).all()
    assert 0 < GRID[0] < 1e-6
    assert 1 - 1e-6 < GRID[-1] < 1
    assert set(STARTS) <= set(GRID.tolist())
    assert all(float(f"{x:.10g}") == x for x in GRID)


def test_errors_are_counted() -> None:
    unsafe, scores = np.array([1, 1, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.1, 0.5, 0.2, 0.0])
    at = int(np.searchsorted(GRID, 0.5))
    for goal, wrong, among in (("precision", 1, 3), ("recall", 1, 3), ("fpr", 1, 3)):
        found = count_errors(goal, 0.9, unsafe, scores)
        assert (found.wrong[at], found.among[at]) == (wrong, among), goal
        for j in (3, 400, 700, 1100):
            flagged = scores >= GRID[j]
            rows = {"precision": flagged, "recall": unsafe == 1, "fpr": unsafe == 0}[goal]
            bad = {"precision": unsafe == 0, "recall": ~flagged, "fpr": flagged}[goal]
            assert (found.wrong[j], found.among[j]) == ((rows & bad).sum(), rows.sum())


@pytest.mark.parametrize(("n", "is_possible"), [(58, False), (59, True)])
def test_59_rows_without_an_error_are_enough_for_a_twentieth(n: int, is_possible: bool) -> None:
    """0.95^59 = 0.0485 is the first below 0.05."""
    assert (stats.binom.cdf(0, n, 0.05) <= 0.05) == is_possible
    safe = labelled.of([0.0] * n + [1.0] * 10, [0.1] * n + [0.9] * 10)
    if is_possible:
        assert choose(safe, checked_goal(fpr=0.05)).threshold == pytest.approx(GRID[GRID > 0.1][0])
        return
    with pytest.raises(EvaluationError, match=r"68 labels: you need about \d more") as caught:
        choose(safe, checked_goal(fpr=0.05))
    assert caught.value.hint


def test_recall_and_precision_need_as_many() -> None:
    one = labelled.of([1.0] * 59 + [0.0] * 5, [0.9] * 59 + [0.2] * 5)
    assert choose(one, checked_goal(recall=0.95)).threshold == pytest.approx(GRID[GRID <= 0.9][-1])
    with pytest.raises(EvaluationError, match="you need about 50 more"):
        choose(one, checked_goal(precision=0.95))
    assert 0.95**104 < 0.05 / 10 < 0.95**103
    more = labelled.of([1.0] * 104 + [0.0] * 5, [0.9] * 104 + [0.2] * 5)
    assert 0.2 < float(choose(more, checked_goal(precision=0.95))) < 0.21


def test_tests_stop_at_the_first_that_fails_and_begin_anew_at_starts() -> None:
    n = len(GRID)
    wrong, among = np.zeros(n, dtype=int), np.full(n, 200)
    gap = int(np.searchsorted(GRID, 0.96))
    wrong[gap] = 200
    found = passing("fpr", Errors(wrong, among, 0.05), 0.05)
    assert found[gap + 1 :].all()
    assert not found[: gap + 1].any()
    again = passing("precision", Errors(wrong, among, 0.05), 0.05)
    start = int(np.searchsorted(GRID, 0.95))
    assert again[: start + 1].all()
    assert not again[start + 1 : gap + 1].any()
    assert again[gap + 1 : int(np.searchsorted(GRID, 0.999)) + 1].all()
    up = passing("recall", Errors(wrong, among, 0.05), 0.05)
    assert up[:gap].all()
    assert not up[gap:].any()


@pytest.mark.parametrize(("goal", "level"), [("fpr", 0.1), ("recall", 0.8), ("precision", 0.75)])
def test_promises_are_broken_no_more_often_than_said(goal: str, level: float) -> None:
    """Of 300 samples; delta 0.2, so that breaking it 78 times or more would be a chance of 1 in 100."""
    allowed = level if goal == "fpr" else 1 - level
    broken = n_chosen = 0
    for seed in range(300):
        try:
            one = choose(labelled.sample(150, seed=seed, digits=8), checked_goal(**{goal: level}, delta=0.2))
        except EvaluationError:
            continue
        n_chosen += 1
        broken += error(goal, float(one)) > allowed
    assert n_chosen > 200
    assert broken < 78
    assert stats.binom.sf(77, 300, 0.2) < 0.01


def test_more_labels_come_nearer_to_the_level() -> None:
    few, many = (float(choose(labelled.sample(n, digits=8), checked_goal(fpr=0.1))) for n in (150, 20_000))
    assert error("fpr", few) < error("fpr", many) <= 0.1
    assert error("fpr", many) > 0.09


def test_how_many_more_is_about_right() -> None:
    errors = count_errors("fpr", 0.02, *_pair(labelled.sample(60)))
    n = n_needed("fpr", errors, 0.05, 60)
    assert n is not None
    assert not passing("fpr", errors, 0.05).any()
    enough = [
        passing("fpr", count_errors("fpr", 0.02, *_pair(labelled.sample(n, seed=s, digits=8))), 0.05).any()
        for s in range(20)
    ]
    assert sum(enough) >= 8
    hopeless = labelled.of([0.0, 1.0] * 100, [0.5] * 200)
    assert n_needed("precision", count_errors("precision", 0.9, *_pair(hopeless)), 0.05, 200) is None


def _pair(one: Sample) -> tuple[np.ndarray, np.ndarray]:
    return one.unsafe, one.scores


def test_equal_conversations_count_once_and_contradictions_not_at_all() -> None:
    """59 copies of one safe conversation are not 59 rows."""
    copies = labelled.of([0.0] * 59 + [1.0], [0.1] * 59 + [0.9], contents=[7] * 59 + [8])
    with pytest.raises(EvaluationError, match="these 2 labels"):
        choose(copies, checked_goal(fpr=0.05))
    both = labelled.of([0.0, 1.0, 0.0, 1.0], [0.1, 0.1, 0.2, 0.9], contents=[1, 1, 2, 3])
    counted, remarks = equal_chances(both)
    assert counted.rows.tolist() == [2, 3]
    assert "2 rows whose conversation is labelled both ways" in remarks[0]


def test_rows_of_unequal_weight_are_thinned_to_equal_chances() -> None:
    n = 4000
    one = labelled.sample(n, digits=8)
    weights = np.where(one.scores > 0.5, 1.0, 4.0)  # drawn so that high scores are four times as likely
    counted, remarks = equal_chances(replace(one, weights=weights), seed=5)
    high, low = (one.scores > 0.5).sum(), (one.scores <= 0.5).sum()
    assert (counted.scores <= 0.5).sum() == low
    assert (counted.scores > 0.5).sum() == pytest.approx(high / 4, rel=0.15)
    assert "unequal chances" in remarks[-1]


def test_rows_without_a_score_promise_nothing() -> None:
    safe = labelled.of([0.0] * 70 + [1.0], [0.1] * 50 + [float("nan")] * 20 + [0.9])
    with pytest.raises(EvaluationError, match="51 labels"):
        choose(safe, checked_goal(fpr=0.05))
    remarks = choose(safe, checked_goal(fpr=0.2)).remarks
    assert "20 labelled rows were not scored" in remarks[0]
