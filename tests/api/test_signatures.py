"""One signature each: what the accessors show, and what a type checker knows, is what `guard_magic.api` says."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pandas as pd
import pytest

import guard_magic
from guard_magic import accessor, api
from guard_magic.accessor import FrameGuard, SeriesGuard
from guard_magic.api import calibrating, evaluating, labelling, scoring
from guard_magic.evaluation.agreeing import AgreementOptions
from guard_magic.evaluation.agreement import Agreement
from guard_magic.evaluation.calibrating import CalibrateOptions
from guard_magic.evaluation.calibration import Calibration
from guard_magic.evaluation.comparing import CompareOptions, Comparison
from guard_magic.evaluation.evaluating import EvaluateOptions
from guard_magic.evaluation.report import Report
from guard_magic.guards.guard import Guard
from guard_magic.labels import LabelFile
from guard_magic.review import Reviewer
from guard_magic.review.frames import LabelOptions, ReviewOptions
from guard_magic.tables.score import ColumnNames, ScoreOptions, SeriesOptions, SeriesTurnOptions, TurnOptions

KNOWN = {
    "Guard": Guard,
    "LabelFile": LabelFile,
    "Reviewer": Reviewer,
    "Calibration": Calibration,
    "Report": Report,
    "Comparison": Comparison,
    "Agreement": Agreement,
}
OF_FRAMES = {*ColumnNames.__annotations__, "overwrite"}
SURFACES: list[tuple[Any, Any, Any, set[str]]] = [
    (FrameGuard.score, api.score, ScoreOptions, set()),
    (FrameGuard.score_turns, api.score_turns, TurnOptions, set()),
    (FrameGuard.review, api.review, ReviewOptions, set()),
    (FrameGuard.labels, api.labels, LabelOptions, set()),
    (FrameGuard.calibrate, api.calibrate, CalibrateOptions, set()),
    (FrameGuard.evaluate, api.evaluate, EvaluateOptions, set()),
    (FrameGuard.compare, api.compare, CompareOptions, set()),
    (FrameGuard.agreement, api.agreement, AgreementOptions, set()),
    (SeriesGuard.score, api.score, SeriesOptions, OF_FRAMES),
    (SeriesGuard.score_turns, api.score_turns, SeriesTurnOptions, OF_FRAMES),
]
MODULES = {module.__name__: module for module in (calibrating, evaluating, labelling, scoring)}
NAMES = [method.__qualname__ for method, *_ in SURFACES]


def options(function: Any, without: set[str]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(function).parameters
    return {
        name: parameter
        for name, parameter in found.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in without
    }


@pytest.mark.parametrize(("method", "function", "known", "without"), SURFACES, ids=NAMES)
def test_signatures_are_carried(method: Any, function: Any, known: Any, without: set[str]) -> None:
    shown = inspect.signature(method)
    assert next(iter(shown.parameters)) == "self"
    assert {name: p for name, p in shown.parameters.items() if name != "self"} == {
        name: p
        for i, (name, p) in enumerate(inspect.signature(function).parameters.items())
        if i and name not in without
    }
    assert list(known.__annotations__.keys() if without else options(method, set())) != []
    assert {**typing.get_type_hints(known, localns=KNOWN)}.keys() == options(function, without).keys()


@pytest.mark.parametrize(("method", "function", "known", "without"), SURFACES, ids=NAMES)
def test_a_type_checker_knows_the_same_types(method: Any, function: Any, known: Any, without: set[str]) -> None:
    module = MODULES[function.__module__]
    inner = inspect.unwrap(function)
    wanted = typing.get_type_hints(inner, {**vars(module), **KNOWN})
    found = typing.get_type_hints(known, localns=KNOWN)
    assert found == {name: wanted[name] for name in options(function, without)}


@pytest.mark.parametrize(("method", "function", "known", "without"), SURFACES, ids=NAMES)
def test_words_are_carried(method: Any, function: Any, known: Any, without: set[str]) -> None:
    said, source = str(inspect.getdoc(method)), str(inspect.getdoc(function))
    body = said.split("\nParameters\n")[1].split("\n\n")[0]
    listed = [name for line in body.splitlines()[1:] if line[:1].strip() for name in line.split(", ")]
    taken = [name for name in inspect.signature(method).parameters if name != "self"]
    assert sorted(listed) == sorted(taken), "every parameter is described, and no other"
    assert source.split("\nReturns\n")[1] == said.split("\nReturns\n")[1]
    assert "table" not in listed


def test_series_have_words_of_their_own() -> None:
    assert str(inspect.getdoc(SeriesGuard.score)).startswith("Score the conversations of a Series")


def test_the_functions_are_those_of_the_package() -> None:
    for name in set(api.__all__) - {"review", "labels"}:
        assert getattr(guard_magic, name) is getattr(api, name)
    assert isinstance(pd.DataFrame({"text": []}).guard, accessor.FrameGuard)
