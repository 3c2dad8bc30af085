"""What scores: one conversation, the conversations of a table, or every message of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import ColumnError
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.session import current_session
from guard_magic.tables.calibrated import Calibrating
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import Errors, score_frame, score_frame_turns, split_names
from guard_magic.verdict import Verdict

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["moderate", "score", "score_turns", "with_calibration"]


@by_name
@interruptible
def moderate(
    conversation: object,
    *,
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    generate: bool = False,
    assess: Assess = "last",
    overflow: Overflow = "error",
) -> Verdict:
    """Score one conversation.

    Parameters
    ----------
    conversation
        A string (one user message, verbatim; one that holds a whole conversation is warned of), a list of messages, a
        mapping that holds one under ``messages``, or a `Conversation`. docs/files.md has the forms that are read.
    guard
        A guard, or the name of a resident one; None for the current one (else the embedded guard).
    threshold
        Score from which it is flagged, in [0, 1]; None for the session's (0.5 unless set).
    policy, exclude
        The hazards asked about, and codes to leave out; None for the session's, else the guard's own.
    generate
        Whether to add the text the guard writes (decoded where its verdict is not safe).
    assess
        Whose last message is assessed: ``"user"`` or ``"assistant"``, in the context of what was said before it;
        what comes after is left out. ``"last"``: the last message, whoever's it is.
    overflow
        What to do with a conversation that is too long for the guard. ``"error"``: nothing; it cannot be scored.
        ``"window"``: it is read in overlapping windows that end with the message assessed (or, where that is too
        long itself, with pieces of it), and the verdict is that of the window with the highest score.
        ``"truncate"``: the oldest turns are left out, then, where it is still too long, the end of the message.
        `Verdict.cut` says which part the verdict is about.

    Returns
    -------
    Verdict
        With `error` set and no score where the guard gave no readable answer.

    Raises
    ------
    ConversationError
        Where the conversation cannot be read or asked about.
    GuardError
        For a guard, policy or threshold that cannot be used.
    """
    options = locals()
    session, what = current_session(), options.pop("conversation")
    return session.moderate(what, session.request(**options))


@by_name
def score(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
    order: str | None = None,
    parent: str | tuple[str, str] | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    extras: Iterable[str] | None = (),
    roles: RoleRules = "merge",
    assess: Assess = "last",
    overflow: Overflow = "error",
    recheck: float | None = None,
    calibration: Calibrating | str | os.PathLike[str] | None = None,
    errors: Errors = "coerce",
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Score the conversations of a table; the typed twin of ``df.guard.score()``.

    Parameters
    ----------
    table
        A DataFrame, one conversation a row, or one message a row; it is not changed.
    text, prompt, response, messages
        Names of the columns to read; all None to find them: ``messages``, ``conversations`` or ``conversation``, or
        ``prompt`` with an optional ``response``, or ``text``.
    conversation_id, role, content
        Names of the columns of a table with one message a row, all three together. Rows of one id are one
        conversation, wherever they stand, in row order or in that of `order`.
    order
        Name of the column (numbers, times, or text of either) by which the messages of each conversation are sorted.
    parent
        Name of the column with the id of the message that each one answers: every message that nobody answered ends a
        conversation of its own, which is what leads to it, and `conversation_id` may be left out. Where it is not
        clear which column holds the messages' own ids, a pair: ``("message_id", "parent_id")``.
    missing_response
        What happens where a row has no response. ``"na"``: it is not scored. ``"prompt"``: its prompt alone is
        assessed.
    guard, threshold, policy, exclude
        As for `moderate`.
    extras
        More columns: ``"log_odds"``, ``"category_scores"`` (``score_S1`` …), ``"answers"`` (``answer_refusal`` …:
        what else some guards answer in the same pass; no column for the others), ``"generated_text"``,
        ``"verdict_mass"``, ``"n_tokens"``, ``"n_neutralised"`` (pieces of the guard's own structural text found in
        the conversation), ``"assessed_role"``, ``"guard"``, ``"cut"``.
    roles
        ``"merge"`` fits roles to the guard's template and counts what it did; ``"strict"`` makes such rows
        errors.
    assess
        Whose last message is assessed: ``"last"``, ``"user"`` or ``"assistant"``; see `moderate`. A conversation
        without such a message is not scored.
    overflow
        What to do with conversations that are too long for the guard. ``"error"``: they are not scored.
        ``"window"``: each is read in overlapping windows that together cover it, all with the message assessed; a
        row reports the window with the highest score (its category, ``n_tokens`` and all else), and is not scored
        where one of its windows cannot be. ``"truncate"``: the oldest turns are left out. Both add the column
        ``guard_cut``, which says for each row that was cut which part its verdict is about; one warning counts them.
    recheck
        Rows whose `unsafe_score` is within this distance of the threshold are read again, each alone and in float32
        whatever the weights' format, and have that score: then no verdict depends on what else is in its batch, as
        long as the distance is larger than what a batch moves scores by (bfloat16: 0.05 is plenty for the guards
        measured so far). Each such row takes as long as many others do. None for no second look.
    calibration
        A `Calibration` that `calibrate` fitted to this guard, revision and policy, or the path of one that was saved:
        what it makes of each row's log-odds is the column ``unsafe_probability`` (Float64, in [0, 1]) behind the
        three. ``unsafe_score`` stays what it is, and the threshold is one of it. None for no such column.
    errors
        ``"coerce"``: rows that cannot be scored are NA with their reason. ``"raise"``: raise `ScoreError`
        after the others are scored and cached.
    prefix
        Put before the new columns' names.
    overwrite
        Replace columns of these names that are not from an earlier call.
    progress
        Whether to show a progress bar.

    Returns
    -------
    DataFrame
        A new frame: same rows, order and index; ``unsafe_score`` (Float64, in [0, 1]), ``category``
        (categorical: ``safe`` below the threshold, else the most probable hazard code) and ``guard_error``
        (string) behind the table's own columns, then ``unsafe_probability``, ``guard_cut`` (string) and the extras. NA
        in ``category`` means not scored and nothing else (``scored[scored.category != "safe"]`` holds these rows too:
        ``scored.guard.flagged()`` and ``scored.guard.unscored()`` tell them apart). Of a table with one message a row:
        one row a conversation, in order of first sight, the ids as index (by `parent`, those of the last messages),
        with ``n_messages`` ahead of these columns and none of the table's own.

    Raises
    ------
    ColumnError
        Where the columns to read are not clear, or new columns would replace others.
    GuardError
        For a guard, policy, threshold or option that cannot be used.
    KeyboardInterrupt
        After the batch under way; what was scored is cached, and calling again goes on from there.
    """
    names, options = split_names(with_calibration(locals()))
    return score_frame(current_session(), _checked_frame(options.pop("table"), "score"), names, **options)


@by_name
def score_turns(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
    order: str | None = None,
    parent: str | tuple[str, str] | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    extras: Iterable[str] | None = (),
    roles: RoleRules = "merge",
    overflow: Overflow = "error",
    recheck: float | None = None,
    calibration: Calibrating | str | os.PathLike[str] | None = None,
    errors: Errors = "coerce",
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Score every message of the conversations of a table; the typed twin of ``df.guard.score_turns()``.

    Each message is assessed in the context of what was said before it: its row is what `score` gives for the
    conversation that ends with it. What the rows of one conversation share is computed once.

    Parameters
    ----------
    table, text, prompt, response, messages, conversation_id, role, content, order, parent, missing_response
        The table and the columns to read, as for `score`.
    guard, threshold, policy, exclude, extras, roles, overflow, recheck, calibration, errors, prefix, progress
        As for `score`, for each message.
    overwrite
        As for `score`; only where the table has one message a row, as else none of its columns are in the result.

    Returns
    -------
    DataFrame
        A new frame, one row per message, in order, with an index of its own: ``conversation`` (Int64, the position
        of its table row, from 0), ``turn`` (Int64, from 0), ``role`` and ``content`` (string), then the columns
        that `score` adds. Messages that the guard does not assess (of the system, of tools) have NA and the reason
        in ``guard_error``. A conversation that cannot be read is one row without turn, role and content.

        Of a table with one message a row: the same rows, order and index, with the verdicts' columns behind the
        table's own. All rows of a conversation with an unreadable message are errors; by `parent` those of it and
        of what follows it.

    Raises
    ------
    ColumnError, GuardError, KeyboardInterrupt
        As for `score`.
    """
    names, options = split_names(with_calibration(locals()))
    return score_frame_turns(current_session(), _checked_frame(options.pop("table"), "score_turns"), names, **options)


def _checked_frame(table: object, function: str) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        raise ColumnError(
            f"expected a DataFrame, got {type(table).__name__}", hint=f"For a Series: series.guard.{function}()."
        )
    return table


def with_calibration(options: Any) -> dict[str, Any]:
    """Return options with their calibration read, where it is the path of one."""
    if options.get("calibration") is None:
        return dict(options)
    from guard_magic.evaluation.calibration import as_calibration

    return {**options, "calibration": as_calibration(options["calibration"])}
