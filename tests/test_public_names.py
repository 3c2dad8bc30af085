"""The public names, locked."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd
import pytest

import guard_magic

NAMES = """
LLAMA_GUARD_3 Calibration Category ColumnError Conversation ConversationError EmbeddedGuardWarning EvaluationError
GuardError GuardWarning LabelError LoadError Message Policy PolicyError ProtocolError ScoreError UnknownGuardError
Verdict Verdicts adjudication agreement calibrate compare evaluate export_labels load
load_ipython_extension moderate read_labels score score_turns set_policy set_threshold status unload
unload_ipython_extension use wrap
"""


def test_names() -> None:
    assert sorted(guard_magic.__all__) == sorted(NAMES.split())
    for name in guard_magic.__all__:
        assert inspect.getdoc(getattr(guard_magic, name)), name


@pytest.mark.parametrize("name", ["score", "score_turns"])
def test_the_accessor_is_the_function_s_twin(name: str) -> None:
    function = inspect.signature(getattr(guard_magic, name)).parameters
    accessor = inspect.signature(getattr(pd.DataFrame.guard, name)).parameters
    assert list(function)[1:] == list(accessor)[1:]
    assert [p.default for p in function.values()][1:] == [p.default for p in accessor.values()][1:]
    of_series = inspect.signature(getattr(pd.Series.guard, name)).parameters
    assert set(of_series) < set(accessor)
    assert all(p.default == accessor[key].default for key, p in of_series.items())


def test_every_message_is_scored_by_the_options_of_score() -> None:
    score, turns = (inspect.signature(f).parameters for f in (guard_magic.score, guard_magic.score_turns))
    assert set(score) - set(turns) == {"assess"}
    assert set(turns) < set(score)


@pytest.mark.parametrize("function", [guard_magic.moderate, guard_magic.score, guard_magic.score_turns])
def test_every_option_is_documented(function: Any) -> None:
    described = inspect.getdoc(function).partition("Parameters")[2].partition("Returns")[0]
    named = {name for line in described.split("\n") if line[:1].strip() for name in line.split(", ")}
    assert named >= set(inspect.signature(function).parameters)
