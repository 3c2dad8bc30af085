"""A threshold chosen on labels: what it promises, on what it rests, and of which scores it is."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.checks import checked_share
from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.evaluation.labelled import read_numbers
from guard_magic.evaluation.learn_then_test import GOALS
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.tables.columns import column_of
from guard_magic.verdict import COLUMNS

__all__ = ["Choice", "Goal", "by_number", "checked_goal", "hazards_of"]

Floats = npt.NDArray[np.float64]

_SAID = {"precision": "precision ≥", "recall": "recall ≥", "fpr": "false positive rate ≤"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a threshold is chosen for: a promise (`level` of one of `GOALS`), or the least of a cost."""

    name: str
    level: float = 0.0
    delta: float = 0.05
    cost_fp: float = 0.0
    cost_fn: float = 0.0

    @property
    def is_promise(self) -> bool:
        """Whether it is one that holds with a probability that can be said."""
        return self.name in GOALS

    def __str__(self) -> str:
        if self.is_promise:
            return f"{_SAID[self.name]} {self.level:g}"
        return (
            "best F1"
            if self.name == "f1"
            else f"least cost (a false positive {self.cost_fp:g}, a miss {self.cost_fn:g})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A threshold with its reasons.

    Attributes
    ----------
    threshold
        Score from which a row is flagged; None where there is one a hazard.
    promise
        What it promises, in words.
    rests_on
        What it was chosen on, in words.
    by
        Threshold of each hazard, by the guard's most probable one; None where labels do not carry one. Empty where
        there is one threshold for all.
    reasons
        Why a hazard has none.
    column
        The column of scores that it is for.
    scored_by
        The guard, revision, family and policy whose scores these were; None where that is not known.
    remarks
        What is to be said beside it, a sentence each.
    """

    threshold: float | None
    promise: str
    rests_on: str
    goal: Goal
    column: str = COLUMNS[0]
    scored_by: ScoredBy | None = None
    by: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __float__(self) -> float:
        if self.threshold is None:
            raise EvaluationError("this choice has one threshold a hazard", hint="choice.by has them.")
        return self.threshold

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        at = f"{self.threshold:.10g}" if self.threshold is not None else f"of {len(self.by)} hazards"
        return f"<Choice {at}: {self.goal}>"

    def lines(self) -> list[str]:
        """Return what is to be said of it, a line each; text that comes from outside is in it as it is."""
        shown = [f"threshold {self.threshold:.10g}: {self.promise}"] if self.threshold is not None else [self.promise]
        for code, threshold in self.by.items():
            shown.append(f"  {code}: {self.reasons[code] if threshold is None else f'{threshold:.10g}'}")
        whose = f"for scores of {self.scored_by}" if self.scored_by else f"for column {shorten(self.column)}"
        return [*shown, f"rests on {self.rests_on}", whose, *self.remarks]

    def flagged(self, table: pd.DataFrame) -> pd.Series:
        """Return which rows of a scored table are flagged, as booleans; NA where a row was not scored.

        With one threshold a hazard: by that of the row's most probable one, NA where it has none.

        Raises
        ------
        ColumnError
            Where the table lacks the scores, or by hazard the columns ``score_S1`` … (``extras="category_scores"``).
        """
        scores = read_numbers(column_of(table, self._there(table)))
        limits = np.full(len(scores), self.threshold if self.threshold is not None else np.nan)
        if self.by:
            found = hazards_of(table, self.column.removesuffix(COLUMNS[0]))
            if found is None:
                raise ColumnError(
                    "the table does not say which hazard is the most probable below the threshold",
                    hint='Score with extras=["category_scores"].',
                )
            limits = np.array([np.nan if self.by.get(code) is None else self.by[code] for code in found], dtype=float)
        known = ~np.isnan(scores) & ~np.isnan(limits)
        values = pd.arrays.BooleanArray(scores >= limits, ~known)
        return pd.Series(values, index=table.index, name="flagged")

    def _there(self, table: pd.DataFrame) -> str:
        if self.column not in table.columns:
            raise ColumnError(f"the table has no column {shorten(self.column)}", hint="df.guard.score() adds it.")
        return self.column

    def for_session(self) -> tuple[float, ScoredBy]:
        """Return threshold and origin of the scores, where a session can use them.

        Raises
        ------
        EvaluationError
            Where there is one threshold a hazard, it is for scores of another kind, or their guard is not known.
        """
        what = "choice.flagged(scored) uses it; guard_magic.set_threshold(0.5) takes a plain number."
        if self.threshold is None:
            raise EvaluationError("a session has one threshold, and this choice one a hazard", hint=what)
        if not self.column.endswith(COLUMNS[0]):
            raise EvaluationError(
                f"the choice is for column {shorten(self.column)}, and a session's threshold is one of {COLUMNS[0]}",
                hint=what,
            )
        if self.scored_by is None:
            raise EvaluationError(
                f"which guard the scores were of that {self.threshold:g} was chosen on is not known",
                hint='Score in this session, or with extras=["guard"], before evaluate(); float(choice) is the number.',
            )
        return self.threshold, self.scored_by


def by_number(codes: Iterable[str]) -> list[str]:
    """Return codes in order, S2 before S10."""
    return sorted(codes, key=lambda code: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", code)])


def hazards_of(table: pd.DataFrame, prefix: str = "") -> npt.NDArray[np.object_] | None:
    """Return the code of each row's most probable hazard, (n_rows,), None where not scored.

    None where the table does not have the scores of all hazards.
    """
    start = f"{prefix}score_"
    category = table[prefix + COLUMNS[1]] if prefix + COLUMNS[1] in table.columns else None
    if category is None or not isinstance(category.dtype, pd.CategoricalDtype):
        return None
    codes = [code for code in category.cat.categories if f"{start}{code}" in table.columns]
    if not codes:
        return None
    scores = np.stack([read_numbers(table[f"{start}{code}"]) for code in codes], axis=1)
    known = ~np.isnan(scores).any(axis=1)
    found = np.full(len(table), None, dtype=object)
    found[known] = np.array(codes, dtype=object)[scores[known].argmax(axis=1)]
    return found


def checked_goal(
    *,
    precision: float | None = None,
    recall: float | None = None,
    fpr: float | None = None,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    best: str | None = None,
    delta: float = 0.05,
) -> Goal:
    """Return the one goal that is named; see `guard_magic.evaluation.report.Report.threshold`."""
    promised = {name: level for name, level in zip(GOALS, (precision, recall, fpr), strict=True) if level is not None}
    has_cost = cost_fp is not None or cost_fn is not None
    if len(promised) + has_cost + (best is not None) != 1:
        raise EvaluationError(
            "a threshold is chosen for one goal",
            hint="Name one: precision=0.9, recall=0.95, fpr=0.05, cost_fp=1 with cost_fn=20, or best='f1'.",
        )
    risk = _open_share("delta", delta)
    for name, level in promised.items():
        return Goal(name=name, level=_open_share(name, level), delta=risk)
    if best is not None:
        if best != "f1":
            raise EvaluationError(f"best={shorten(best)} is not known", hint="Use best='f1'.")
        return Goal(name="f1")
    return Goal(name="cost", cost_fp=_cost("cost_fp", cost_fp), cost_fn=_cost("cost_fn", cost_fn))


def _open_share(name: str, value: object) -> float:
    share = checked_share(name, value, EvaluationError)
    if not 0 < share < 1:
        raise EvaluationError(f"{name}={share:g} cannot be promised", hint="Use a number between 0 and 1.")
    return share


def _cost(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
        raise EvaluationError(f"{name}={shorten(value)} is not a cost", hint="Pass both: cost_fp=1, cost_fn=20.")
    return float(value)
