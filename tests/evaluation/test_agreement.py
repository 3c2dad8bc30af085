"""Agreement: tables of textbooks, scikit-learn, and tables of people's labels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from guard_magic.errors import ColumnError, EvaluationError
from guard_magic.evaluation.agreement import _alpha, _kappa, _units, cohen_kappa, fleiss_kappa, krippendorff_alpha

NAN = math.nan


def test_cohen_s_kappa_of_two_readers() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreed 0.7, by chance 0.5, so kappa is 0.4."""
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa([*a, NAN, 1], [*b, 1, NAN]) == pytest.approx(0.4)
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(cohen_kappa([NAN], [1]))


def test_fleiss_kappa_of_ten_rows_and_fourteen_people() -> None:
    """Fleiss' own kind of table, five judgements; P = 0.378, P_e = 0.213, kappa = 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    assert math.isnan(fleiss_kappa([[2, 0], [2, 0]]))
    assert math.isnan(fleiss_kappa([[1, 0], [0, 1]]))
    with pytest.raises(EvaluationError, match="equally many people"):
        fleiss_kappa([[2, 0], [1, 2]])


def test_krippendorff_s_alpha_of_three_people_with_gaps() -> None:
    """Fifteen rows, of which eleven have two judgements or more; nominal alpha is 0.691."""
    people = [
        [NAN, NAN, NAN, NAN, NAN, 3, 4, 1, 2, 1, 1, 3, 3, NAN, 3],
        [1, NAN, 2, 1, 3, 3, 4, 3, NAN, NAN, NAN, NAN, NAN, NAN, NAN],
        [NAN, NAN, 2, 1, 3, 4, 4, NAN, 2, 1, 1, 3, 3, NAN, 4],
    ]
    assert krippendorff_alpha(np.array(people, dtype=float).T) == pytest.approx(0.691, abs=5e-4)


def test_alpha_of_a_table_counted_by_hand() -> None:
    """Ten rows of two: 8 agree (4 and 4), 2 do not. D_o = 4, n = 20, values 10 and 10: 1 - 19 * 4 / 200."""
    a = [0, 0, 0, 0, 1, 1, 1, 1, 0, 1]
    b = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    assert krippendorff_alpha(np.array([a, b], dtype=float).T) == pytest.approx(1 - 19 * 4 / 200)
    assert krippendorff_alpha(np.array([a, a], dtype=float).T) == 1
    assert math.isnan(krippendorff_alpha(np.zeros((5, 2))))


def test_resamples_have_the_numbers_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 3, (40, 3)).astype(float)
    drawn = rng.integers(0, 40, (5, 40))
    found = _alpha(*_units(ratings), drawn)
    assert found == pytest.approx([krippendorff_alpha(ratings[rows]) for rows in drawn])
    x, y = ratings[:, 0], ratings[:, 1]
    fast = _kappa(x[:, None] == np.arange(3.0), y[:, None] == np.arange(3.0), drawn)
    assert fast == pytest.approx([cohen_kappa_score(x[rows].astype(int), y[rows].astype(int)) for rows in drawn])


def people(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(n)]})
    for name, noise in (("ann", 0.05), ("ben", 0.2), ("cy", 0.3)):
        said = truth ^ (rng.random(n) < noise)
        frame[f"label_{name}"] = np.where(said, "unsafe", "safe")
    frame["label_category_ann"] = pd.array([None] * n, dtype="string")
    frame["score"] = np.where(truth, 0.8, 0.2)
    return frame


def test_a_table_of_three_people_and_a_guard() -> None:
    frame = people()
    frame.loc[:9, "label_cy"] = None
    frame.loc[10, "label_ben"] = "unsure"
    found = frame.guard.agreement(score="score", threshold=0.5, n_bootstrap=200)
    pairs = found.to_frame().set_index(["a", "b"])
    assert list(pairs.index) == [
        ("ann", "ben"), ("ann", "cy"), ("ben", "cy"), ("ann", "guard"), ("ben", "guard"), ("cy", "guard"),
    ]  # fmt: skip
    assert pairs.loc[("ann", "cy"), "n"] == 50
    assert pairs.loc[("ben", "guard"), "n"] == 59
    assert pairs.loc[("ann", "ben"), "agree"] == (frame["label_ann"] == frame["label_ben"]).mean()
    assert (pairs["low"] < pairs["kappa"]).all()
    assert (pairs["kappa"] < pairs["high"]).all()
    assert pairs.loc[("ann", "guard"), "kappa"] > pairs.loc[("cy", "guard"), "kappa"]
    low, high = found.alpha_interval
    assert low < found.alpha < high
    assert (found.n_rows, found.n_complete) == (60, 50)
    columns = ["label_ann", "label_ben", "label_cy"]
    wanted = frame[[len({word for word in row if isinstance(word, str)}) > 1 for row in frame[columns].values.tolist()]]
    assert found.disputed.index.tolist() == wanted.index.tolist()
    assert 10 in found.disputed.index
    against = found.against_guard
    assert against is not None
    assert not set(against.index) & set(found.disputed.index)
    assert ((against["label_ann"] == "unsafe") != (against["score"] > 0.5)).all()
    assert "Krippendorff" in found.head()


def test_without_scores_people_alone_are_compared() -> None:
    found = people().guard.agreement(n_bootstrap=0)
    assert found.against_guard is None
    assert set(found.pairs["b"]) == {"ben", "cy"}
    assert found.pairs["low"].isna().all()


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ColumnError, match="two people"):
        people().guard.agreement(labels=["label_ann"])
    with pytest.raises(ColumnError, match="no column 'label_dee'"):
        people().guard.agreement(labels=["label_ann", "label_dee"])
    with pytest.raises(EvaluationError, match="9 rows have the labels of two"):
        people(9).guard.agreement()
    with pytest.raises(EvaluationError, match="not a label"):
        people().assign(label_ben="perhaps").guard.agreement()
