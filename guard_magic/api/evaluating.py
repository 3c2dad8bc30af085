"""How good a guard is on labels, and which of two is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.scoring.session import current_session
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import split_names

if TYPE_CHECKING:
    from guard_magic.evaluation.agreement import Agreement
    from guard_magic.evaluation.comparing import Comparison
    from guard_magic.evaluation.report import Report
    from guard_magic.guards.guard import Guard

__all__ = ["agreement", "compare", "evaluate"]


@by_name
def evaluate(
    table: pd.DataFrame,
    *,
    label: object = "label",
    by: str | Sequence[str] | None = None,
    score: str | None = None,
    hazard: str | None = None,
    prefix: str = "",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    missing_response: MissingResponse = "na",
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> Report:
    """Say how good a guard is on labelled rows, each number with how far it could be off.

    Scores that the table has are used; a table without is scored first. Rows without a label are left out and
    counted, rows without a score are never counted as safe: the numbers are of scored rows, and beside them stands
    what they would be were all others decided wrongly, or rightly.

    Labels count as they were drawn: in random or stratified order they speak for the whole table, by weights; in
    other orders (uncertainty, score …) they do not, and the report says so instead of giving numbers.

    Parameters
    ----------
    label
        Name of the column with the labels, ``"safe"`` and ``"unsafe"`` (``"unsure"``, ``"skip"`` and missing are left
        out), truth values, or 1 and 0, where true and 1 are unsafe; or such values, one a row.
    by
        Columns whose groups are measured by themselves; ``"hazard"``: each labelled hazard against all safe rows.
    score
        A column of scores in [0, 1] of something else (``unsafe_probability``, another tool's), in place of a guard's.
    hazard
        Column with the labelled hazards, for the confusion of hazards; by default the label's name with ``_category``.
    prefix
        What `score` was told to put before its columns' names.
    guard, policy, exclude
        Where one is given the table is scored anew, from the cache where it can be; see `score`.
    threshold
        From which score rows are flagged; None for the session's.
    text, prompt, response, messages, missing_response
        Columns to read, as for `score`: to score rows, and to know conversations that stand there twice.
    n_bootstrap
        Resamples behind the intervals of what is not a share; 0 for no such intervals.
    confidence
        Of the intervals.
    seed
        Of the resamples.
    progress
        Whether to show a bar while scoring.

    Returns
    -------
    Report
        Shown at the end of a cell. ``.threshold(fpr=0.05)`` chooses a threshold with a guarantee, ``.plot()``,
        ``.to_frame()``, ``.to_markdown()``, ``.groups``, ``.confusion``, ``.false_positives``, ``.false_negatives``.

    Raises
    ------
    EvaluationError
        For fewer than 10 labelled rows, or labels or scores that cannot be read.
    ColumnError, GuardError
        As for `score`.
    """
    names, options = split_names(locals())
    from guard_magic.evaluation.evaluating import evaluate_frame

    return evaluate_frame(current_session(), options.pop("table"), names, **options)


@by_name
def compare(
    table: pd.DataFrame,
    guards: Sequence[Guard | str],
    *,
    label: object = "label",
    threshold: float | Mapping[str, float] | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    missing_response: MissingResponse = "na",
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Put guards side by side on the same labelled rows, or a guard and stored scores of anything else.

    Parameters
    ----------
    guards
        Two or more, each a loaded guard (or its name), which is asked about the labelled rows, or the name of a column
        of scores in [0, 1]: a retired API's, another tool's, an earlier call's (``lg3_unsafe_score``).
    label
        The labels, as for `evaluate`.
    threshold
        From which score rows are flagged: one number, or a mapping of names to numbers (scores of two tools seldom
        mean the same); None for the session's.
    policy, exclude
        What the guards are asked about, as for `score`.
    text, prompt, response, messages, missing_response
        Columns to read, as for `score`.
    n_bootstrap, confidence, seed
        Of the intervals, as for `evaluate`; the same rows are drawn for all.
    progress
        Whether to show a bar while scoring.

    Returns
    -------
    Comparison
        Shown at the end of a cell. ``.to_frame()`` has the differences with their intervals, ``.tests`` McNemar's exact
        test, ``.differ`` the rows where they flag differently, ``.review()`` reviews these.

    Raises
    ------
    ColumnError
        For a name that is neither a column nor a loaded guard, or both.
    EvaluationError
        For fewer than 10 rows that all have scored, or labels that do not speak for the table.
    GuardError
        As for `score`.
    """
    names, options = split_names(locals())
    from guard_magic.evaluation.comparing import compare_frame

    return compare_frame(current_session(), options.pop("table"), options.pop("guards"), names, **options)


@by_name
def agreement(
    table: pd.DataFrame,
    *,
    labels: Sequence[str] | None = None,
    score: str | None = None,
    prefix: str = "",
    threshold: float | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Say how far people agree with each other, and the guard with each of them.

    Parameters
    ----------
    labels
        Columns with the labels of two people or more; None for the columns ``label_NAME`` that ``labels()`` makes of
        several files. ``unsure`` is a judgement, ``skip`` is none.
    score
        A column of scores in [0, 1] that stands in for the guard's.
    prefix, threshold
        As for `evaluate`. A table without scores is compared without a guard.
    n_bootstrap, confidence, seed
        Of the intervals, as for `evaluate`.

    Returns
    -------
    Agreement
        Shown at the end of a cell: Krippendorff's alpha, Fleiss' kappa, Cohen's kappa of each pair. ``.disputed`` has
        the rows on which people differ, ``.against_guard`` those on which they agree against the guard.

    Raises
    ------
    ColumnError, EvaluationError
        Where there are no labels of two people, or fewer than 10 rows that two judged.
    """
    options = dict(locals())
    from guard_magic.evaluation.agreeing import agreement_frame

    return agreement_frame(current_session(), options.pop("table"), **options)
