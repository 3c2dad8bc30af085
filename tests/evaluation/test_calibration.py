"""A calibration as a value: to a file and back, and refused where it does not belong."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import guard_magic
from guard_magic import LLAMA_GUARD_3
from guard_magic.errors import ColumnError, EvaluationError, GuardWarning
from guard_magic.evaluation.calibrating import calibrate_frame
from guard_magic.evaluation.calibration import METHODS, Calibration, as_calibration, policy_digest
from guard_magic.evaluation.calibrators import sigmoid
from guard_magic.guards.guard import Guard
from guard_magic.policy import Category, Policy
from guard_magic.scoring.session import Session

PARAMETERS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 1.7},
    "platt": {"slope": 0.4, "offset": -1.25},
    "isotonic": {"log_odds": [-3.0, 0.1 + 0.2, 4.0], "probability": [0.01, 0.25, 0.99]},
    "contextual": {"content_free_log_odds": -2.5},
}


def made(method: str = "platt", **changes: Any) -> Calibration:
    known: dict[str, Any] = {
        "guard": "lg3@a1b2c3d4",
        "family": "llama-guard-3",
        "policy": LLAMA_GUARD_3.codes,
        "policy_digest": policy_digest(LLAMA_GUARD_3),
        "method": method,
        "parameters": PARAMETERS[method],
        "roles": ("user",),
        "n": 200,
        "n_unsafe": 80,
        "made_on": "2026-11-28",
        "metrics": {when: {"ece": 0.1, "brier": 0.2, "log_loss": 0.3} for when in ("before", "after")},
        "losses": {method: 0.3},
        "n_folds": 5,
    }
    return Calibration(**{**known, **changes})


@pytest.mark.parametrize("method", METHODS)
def test_files_keep_everything(method: str, tmp_path: Path) -> None:
    calibration = made(method)
    path = calibration.save(tmp_path / "é.json")
    assert Calibration.load(path) == calibration
    assert as_calibration(str(path)) == as_calibration(calibration) == calibration
    assert as_calibration(None) is None
    x = np.array([-np.inf, -2.0, 0.0, np.nan, 3.0, np.inf])
    p = calibration.apply(x)
    assert np.array_equal(p, Calibration.load(path).apply(x), equal_nan=True)
    assert (np.diff(p[~np.isnan(p)]) >= 0).all()
    assert np.isnan(p).tolist() == np.isnan(x).tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_formulas() -> None:
    assert made("temperature").apply([2.0]) == pytest.approx([1 / (1 + math.exp(-2 / 1.7))])
    assert made("platt").apply([2.0]) == pytest.approx([1 / (1 + math.exp(-(0.8 - 1.25)))])
    assert made("contextual").apply([-2.5]) == pytest.approx([0.5])
    assert made("isotonic").apply([-9, 0.3, 2.15, 9]) == pytest.approx([0.01, 0.25, 0.62, 0.99])


OTHERS = {
    "guard": ("other@a1b2c3d4", "llama-guard-3", LLAMA_GUARD_3),
    "revision": ("lg3@ffffffff", "llama-guard-3", LLAMA_GUARD_3),
    "family": ("lg3@a1b2c3d4", "shieldgemma", LLAMA_GUARD_3),
    "fewer": ("lg3@a1b2c3d4", "llama-guard-3", LLAMA_GUARD_3.without(["S6"])),
    "order": ("lg3@a1b2c3d4", "llama-guard-3", Policy("turned", tuple(reversed(LLAMA_GUARD_3.categories)))),
    "words": (
        "lg3@a1b2c3d4",
        "llama-guard-3",
        Policy("said anew", (Category("S1", "Other words"), *LLAMA_GUARD_3.categories[1:])),
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_it_refuses_what_it_was_not_fitted_to(what: str) -> None:
    made().check("lg3@a1b2c3d4", "llama-guard-3", LLAMA_GUARD_3)
    with pytest.raises(EvaluationError, match="the calibration is for"):
        made().check(*OTHERS[what])


BAD_PARAMETERS: dict[str, tuple[str, Any]] = {
    "no method": ("beta", {}),
    "missing": ("platt", {"slope": 1.0}),
    "more": ("temperature", {"temperature": 1.0, "slope": 2.0}),
    "nan": ("temperature", {"temperature": math.nan}),
    "zero": ("temperature", {"temperature": 0}),
    "turned": ("platt", {"slope": -1.0, "offset": 0.0}),
    "text": ("contextual", {"content_free_log_odds": "0"}),
    "true": ("contextual", {"content_free_log_odds": True}),
    "falling": ("isotonic", {"log_odds": [0.0, 1.0], "probability": [0.5, 0.4]}),
    "unsorted": ("isotonic", {"log_odds": [1.0, 0.0], "probability": [0.4, 0.5]}),
    "above": ("isotonic", {"log_odds": [0.0, 1.0], "probability": [0.5, 1.4]}),
    "lengths": ("isotonic", {"log_odds": [0.0, 1.0], "probability": [0.5]}),
    "empty": ("isotonic", {"log_odds": [], "probability": []}),
    "none": ("platt", None),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_parameters_that_cannot_be_are_refused_in_values_and_files(case: str, tmp_path: Path) -> None:
    method, parameters = BAD_PARAMETERS[case]
    with pytest.raises(EvaluationError):
        replace(made(), method=method, parameters=parameters)
    path = made().save(tmp_path / "c.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "method": method, "parameters": parameters}))
    with pytest.raises(EvaluationError, match="no calibration in"):
        Calibration.load(path)


OTHER_FILES = ["", "[]", "{}", "null", '{"format": 1}', "\0", '{"format": "guard_magic calibration 1"}']


@pytest.mark.parametrize("text", OTHER_FILES, ids=range(7))
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match="no calibration in"):
        Calibration.load(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        Calibration.load(tmp_path / "none.json")
    with pytest.raises(EvaluationError, match="could not be written"):
        made().save(tmp_path / "none" / "c.json")
    with pytest.raises(EvaluationError, match="neither a Calibration nor a path"):
        as_calibration(3)
    for place in (None, 3):
        with pytest.raises(EvaluationError, match="is not a path"):
            made().save(place)  # type: ignore[arg-type]
        with pytest.raises(EvaluationError, match="is not a path"):
            Calibration.load(place)  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="are not log-odds"):
        made().apply("high")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_half_a_file_is_refused(cut: float, tmp_path: Path) -> None:
    path = made("isotonic").save(tmp_path / "c.json")
    whole = path.read_text()
    path.write_text(whole[: int(len(whole) * cut)])
    with pytest.raises(EvaluationError, match="no calibration in"):
        Calibration.load(path)


WORDS = ["bread", "kill", "paint", "steal", "dance", "poison"]


@pytest.fixture(scope="module")
def table(tiny: Guard) -> pd.DataFrame:
    """60 prompts; those of which the tiny guard says more than of the middle one are more often labelled unsafe."""
    texts = [f"how do I {WORDS[i % 6]} number {i}" for i in range(60)]
    scores = np.array([verdict.log_odds for verdict in tiny.score(texts)])
    rng = np.random.default_rng(0)
    unsafe = rng.random(60) < sigmoid(1.5 * (scores - np.median(scores)))
    return pd.DataFrame({"text": texts, "label": np.where(unsafe, "unsafe", "safe")})


def test_a_table_is_fitted(session: Session, table: pd.DataFrame, tiny: Guard) -> None:
    found = calibrate_frame(session, table, label="label", progress=False)
    assert (found.guard, found.family, found.policy) == (tiny.label, tiny.protocol, tiny.policy.codes)
    assert (found.n, found.n_unsafe) == (60, int((table.label == "unsafe").sum()))
    assert found.roles == ("user",)
    assert set(found.losses) == {"temperature", "platt", "isotonic"}
    assert found.metrics["after"]["log_loss"] < found.metrics["before"]["log_loss"] + 0.1
    found.check(tiny.label, tiny.protocol, tiny.policy)
    again = calibrate_frame(session, table.assign(label=table.label == "unsafe"), label="label", progress=False)
    assert again == found
    assert f"<Calibration of {tiny.label} (" in repr(found)


def test_the_index_and_undecided_rows_do_not_matter(session: Session, table: pd.DataFrame) -> None:
    more = pd.DataFrame({"text": ["a", "b", "c"], "label": ["unsure", "skip", None]})
    mixed = pd.concat([table, more], ignore_index=True)
    mixed.index = pd.Index([7] * len(mixed))
    one, other = (
        calibrate_frame(session, frame, label="label", method="platt", progress=False) for frame in (table, mixed)
    )
    assert one == other


def test_unscored_rows_are_left_out_and_counted(session: Session, table: pd.DataFrame) -> None:
    more = pd.concat([table, pd.DataFrame({"text": ["", None], "label": ["unsafe", "safe"]})])
    with pytest.warns(GuardWarning, match="2 "):
        found = calibrate_frame(session, more, label="label", method="platt", progress=False)
    assert found == calibrate_frame(session, table, label="label", method="platt", progress=False)


def test_contradictions_are_counted(session: Session, table: pd.DataFrame) -> None:
    turned = table.head(7).assign(label=np.where(table.label.head(7) == "safe", "unsafe", "safe"))
    with pytest.warns(GuardWarning, match="7 conversations are labelled safe in one row and unsafe in another"):
        found = calibrate_frame(session, pd.concat([table, turned]), label="label", method="platt", progress=False)
    assert found.n == 67


def test_numpy_s_numbers_are_numbers(session: Session, table: pd.DataFrame, tmp_path: Path) -> None:
    found = calibrate_frame(session, table, label="label", folds=np.int64(4), seed=np.int64(0), progress=False)
    with pytest.warns(GuardWarning, match="the weights of tiny@wrapped do not say which they are"):
        path = found.save(tmp_path / "c.json")
    assert Calibration.load(path) == found
    assert hash(found) == hash(Calibration.load(path))
    assert found.n_folds == 4


def test_a_column_that_stands_twice_is_refused(session: Session, table: pd.DataFrame) -> None:
    with pytest.raises(ColumnError, match="2 columns 'label'"):
        calibrate_frame(session, pd.concat([table, table[["label"]]], axis=1), label="label", progress=False)
    with pytest.raises(ColumnError, match="expected a DataFrame, got Series"):
        guard_magic.calibrate(table["label"], label="label")


def test_copies_do_not_stand_on_both_sides(session: Session, table: pd.DataFrame) -> None:
    """Each row ten times, with labels of no meaning: a memory of the copies would look like skill."""
    rng = np.random.default_rng(1)
    few = table.head(40).assign(label=rng.permuted(np.arange(40) % 2))
    copies = pd.concat([few] * 10)
    found = calibrate_frame(session, copies, label="label", method="isotonic", progress=False)
    assert found.metrics["after"]["log_loss"] > math.log(2)


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_content_free_prompts_get_a_half(role: str, session: Session, tiny: Guard) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    frame = pd.DataFrame({"messages": [chat if role == "assistant" else chat[:1]] * 2})
    found = calibrate_frame(session, frame, method="contextual", progress=False)
    free = [[{"role": "user", "content": t}, {"role": "assistant", "content": t}] for t in ("N/A", "[MASK]", "...")]
    asked = tiny.score([one if role == "assistant" else one[:1] for one in free])
    mean = np.mean([verdict.log_odds for verdict in asked])
    assert found.parameters["content_free_log_odds"] == pytest.approx(mean)
    assert found.apply([mean]) == pytest.approx([0.5])
    assert (found.roles, found.n, found.metrics) == ((role,), 0, {})


def test_content_free_prompts_stand_for_one_role(session: Session) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    frame = pd.DataFrame({"messages": [chat, chat[:1]]})
    with pytest.raises(EvaluationError, match="2 roles are assessed"):
        calibrate_frame(session, frame, method="contextual", progress=False)
    found = calibrate_frame(session, frame, method="contextual", assess="user", progress=False)
    assert found.roles == ("user",)
    with pytest.raises(EvaluationError, match="no roles are assessed"):
        calibrate_frame(session, frame.assign(messages=[None, None]), method="contextual", progress=False)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "method": ({"method": "beta"}, EvaluationError, "'beta' is not known"),
    "no label": ({"label": None}, EvaluationError, "needs labels"),
    "label too": ({"method": "contextual"}, EvaluationError, "takes no labels"),
    "column": ({"label": "truth"}, ColumnError, "no column 'truth'"),
    "list": ({"label": ["label"]}, ColumnError, "no column"),
    "folds": ({"folds": 1}, EvaluationError, "folds=1 is not"),
    "truth": ({"folds": True}, EvaluationError, "folds=True is not"),
    "progress": ({"progress": "no"}, EvaluationError, "progress='no' is neither"),
    "seed": ({"seed": -1}, EvaluationError, "seed=-1 is not"),
}


@pytest.mark.parametrize("case", BAD)
def test_options_that_cannot_be(case: str, session: Session, table: pd.DataFrame) -> None:
    options, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        calibrate_frame(session, table, **{"label": "label", "progress": False, **options})


@pytest.mark.parametrize("value", ["harmful", "", 2, -1, 0.5, "1", b"safe", ["safe"], {"a": 1}], ids=repr)
def test_a_label_that_is_none_is_refused(value: object, session: Session, table: pd.DataFrame) -> None:
    frame = table.assign(label=[value, *table.label[1:]])
    with pytest.raises(EvaluationError, match="in column 'label' is not a label"):
        calibrate_frame(session, frame, label="label", progress=False)


def test_labels_by_score_are_said(session: Session, table: pd.DataFrame) -> None:
    with pytest.warns(GuardWarning, match="in the order 'uncertainty'"):
        calibrate_frame(session, table.assign(order="uncertainty"), label="label", method="platt", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuardWarning)
        calibrate_frame(session, table.assign(order="random"), label="label", method="platt", progress=False)
