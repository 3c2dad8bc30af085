"""The public names, locked."""

from __future__ import annotations

import inspect

import pandas as pd

import guard_magic

NAMES = """
LLAMA_GUARD_3 Category ColumnError Conversation ConversationError EmbeddedGuardWarning GuardError GuardWarning
LoadError Message Policy PolicyError ProtocolError ScoreError UnknownGuardError Verdict Verdicts load
load_ipython_extension moderate score set_policy set_threshold status unload unload_ipython_extension use wrap
"""


def test_names() -> None:
    assert sorted(guard_magic.__all__) == sorted(NAMES.split())
    for name in guard_magic.__all__:
        assert inspect.getdoc(getattr(guard_magic, name)), name


def test_the_accessor_is_the_function_s_twin() -> None:
    function = inspect.signature(guard_magic.score).parameters
    accessor = inspect.signature(pd.DataFrame.guard.score).parameters
    assert list(function)[1:] == list(accessor)[1:]
    assert [p.default for p in function.values()][1:] == [p.default for p in accessor.values()][1:]
    of_series = inspect.signature(pd.Series.guard.score).parameters
    assert set(of_series) < set(accessor)
