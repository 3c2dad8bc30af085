"""``%guard threshold``: a number, or a threshold chosen on labels and held in a variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError

from guard_magic.characters import spell_hidden
from guard_magic.errors import shorten
from guard_magic.evaluation.report import Report
from guard_magic.evaluation.thresholds import Choice
from guard_magic.scoring.session import Session

__all__ = ["chosen_threshold", "threshold_text"]


def chosen_threshold(value: object, name: str, goal: Mapping[str, Any]) -> Choice:
    """Return the choice that a variable holds, or that a report in it makes for a goal.

    Raises
    ------
    UsageError
        For anything else, a report without a goal, or a choice with one.
    EvaluationError
        Where the report cannot promise it.
    """
    if isinstance(value, Choice) and not goal:
        return value
    if isinstance(value, Report) and goal:
        return value.threshold(**goal)
    if isinstance(value, Report):
        raise UsageError(
            f"%guard threshold: {name} is a report, from which a threshold is to be chosen: --from {name} --fpr 0.05, "
            f"--recall 0.95 or --precision 0.9; or choice = {name}.threshold(fpr=0.05), then --from choice"
        )
    if isinstance(value, Choice):
        raise UsageError(f"%guard threshold: {name} is a choice already; leave --{next(iter(goal))} out")
    raise UsageError(
        f"%guard threshold: {name} holds {shorten(value)}, and neither a Choice nor a Report "
        "(df.guard.evaluate(label=…).threshold(fpr=0.05) makes a Choice)"
    )


def threshold_text(session: Session) -> str:
    """Say from which score rows are flagged, and of which scores that was chosen."""
    said = f"threshold {session.threshold:g}: flagged from this unsafe_score on"
    return f"{said}\nchosen for scores of {spell_hidden(str(session.threshold_for))}" if session.threshold_for else said
