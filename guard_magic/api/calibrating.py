"""Probabilities that mean what they say: a calibration fitted to a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.errors import ColumnError
from guard_magic.scoring.session import current_session
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import split_names

if TYPE_CHECKING:
    from guard_magic.evaluation.calibration import Calibration
    from guard_magic.guards.guard import Guard

__all__ = ["calibrate"]


@by_name
def calibrate(
    table: pd.DataFrame,
    *,
    label: str | None = None,
    method: str = "auto",
    folds: int = 5,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    roles: RoleRules = "merge",
    assess: Assess = "last",
    seed: int = 0,
    progress: bool = True,
) -> Calibration:
    """Fit a calibration: what turns this guard's scores into probabilities for conversations like these.

    The labelled rows are scored (from the cache where they were scored before), and the verdict's log-odds are fitted
    to the labels. How well that does is measured on held-out folds only: each row is judged by a calibration that
    never saw it nor a conversation equal to it, and where the method is chosen, the choice has not seen it either.
    What is returned is then fitted to all rows.

    Parameters
    ----------
    label
        Name of the column with the labels: ``"safe"`` and ``"unsafe"`` (``"unsure"``, ``"skip"`` and missing are left
        out), or truth values, or 1 and 0, where true and 1 are unsafe. None only for ``method="contextual"``.
    method
        ``"temperature"`` (one number: the slope), ``"platt"`` (slope and offset), ``"isotonic"`` (steps that never
        fall; for a thousand labels and more), or ``"auto"`` for the one with the lowest log loss on held-out folds.
        ``"contextual"`` needs no labels: the mean log-odds of prompts that say nothing become 0 (Zhao et al. 2021). It
        moves all scores alike and knows nothing of how often such conversations are unsafe; labels say more.
    folds
        How many, 2 to 10.
    text, prompt, response, messages, missing_response
        Columns to read, as for `score`; one conversation a row.
    guard, policy, exclude, roles, assess
        What is asked of which guard, as for `score`. The calibration belongs to them.
    seed
        Of the folds.
    progress
        Whether to show a bar while scoring.

    Returns
    -------
    Calibration
        ``score(calibration=…)`` adds its probabilities, ``.save(path)`` keeps it, ``.metrics`` has calibration error
        (equal-mass bins), Brier score and log loss before and after.

    Raises
    ------
    EvaluationError
        For labels that cannot be read, fewer than 10 different conversations of a class, scores that are all equal,
        or scores that do not rise with the labels.
    ColumnError, GuardError
        As for `score`.
    """
    names, options = split_names(locals())
    from guard_magic.evaluation.calibrating import calibrate_frame

    return calibrate_frame(current_session(), _checked_frame(options.pop("table")), names, **options)


def _checked_frame(table: object) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        raise ColumnError(
            f"expected a DataFrame, got {type(table).__name__}", hint="Labels stand beside what was said: use a table."
        )
    return table
