"""What people decide: a table reviewed, and their labels joined to it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.review.frames import Paths, join_labels, review_frame
from guard_magic.scoring.session import current_session
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import split_names

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard
    from guard_magic.labels import LabelFile
    from guard_magic.review import Reviewer

__all__ = ["labels", "review"]


@by_name
def review(
    table: pd.DataFrame,
    *,
    labels: str | os.PathLike[str] | LabelFile | None = None,
    annotator: str | None = None,
    show_scores: bool = True,
    order: str = "uncertainty",
    disagreements: Paths | None = None,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
    parent: str | tuple[str, str] | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    blur: Collection[str] | None = None,
    keys: Mapping[str, str | Sequence[str]] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Reviewer:
    """Look through the conversations of a table and label them, in the output of the cell.

    The table is scored first where it has no scores. Scores that went through a file are known again; where columns
    of their names are the user's own, the review scores for itself, and the table stays as it is.

    Every decision is on the disk before it is shown as kept: a killed kernel, a closed tab or a cell that is run
    again lose nothing, and reviewing again goes on where it stopped.

    Parameters
    ----------
    labels
        The label file (SQLite, mode 0600; it holds decisions and notes, no text of the conversations), one a
        person; by default ``guard_labels_NAME.sqlite`` in the working directory.
    annotator
        Who labels; by default the login name, where it says something (``jovyan`` and ``root`` do not).
    show_scores
        Whether the model's verdict is shown. A shown score anchors people; the file records which it was.
    order
        ``"uncertainty"`` (nearest to the threshold first), ``"score"``, ``"random"``, ``"stratified"`` (by score
        bin: for unbiased metrics), ``"hazard"``, ``"length"``, ``"label"`` or ``"row"``.
    disagreements
        Label files of several annotators: only what they disagree on is shown, and decided in `labels`, a file of
        its own for adjudication.
    text, prompt, response, messages, conversation_id, role, content, parent, missing_response
        Columns to read, as for `score`. Messages of a conversation are read in the table's order: sort it first.
    guard, threshold, policy, exclude
        How the table is scored where it has no scores; `threshold` is also where the slider begins.
    blur
        Codes of the hazards whose text is hidden until asked for; by default those that the policy calls
        distressing (`Category.distressing`): sexual content, child exploitation, self-harm and the like, in the
        words of each family. ``[]`` for none.
    keys
        Action -> key, for keys other than the usual ones.
    seed
        Of the random orders.
    progress
        Whether to show a bar while scoring.

    Returns
    -------
    Reviewer
        Shown at the end of a cell; ``.labels()`` gives the decisions, ``.static()`` a table for front ends without
        widgets.

    Raises
    ------
    LabelError
        For a label file that is not this person's or cannot be used, and where nothing says who labels.
    ColumnError, GuardError
        As for `score`.
    """
    names, options = split_names(locals())
    options["order"] = names.pop("order")  # of the conversations on the screen, not of messages in the table
    return review_frame(current_session(), options.pop("table"), names, **options)


@by_name
def labels(
    table: pd.DataFrame,
    files: Paths | Reviewer,
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
    prefix: str = "",
    overwrite: bool = False,
) -> pd.DataFrame:
    """Return a new frame with what people decided behind its own columns.

    Labels belong to the content of a conversation: they find their rows in a frame that was sorted, has grown or
    was put together of several (whose index repeats), and rows of equal content have the same.

    Parameters
    ----------
    files
        One label file or several, adjudications among them; or the reviewer that labels this table.
    text, prompt, response, messages, conversation_id, role, content, order, parent, missing_response
        Columns to read, as for `score`.
    prefix
        Put before the new columns' names.
    overwrite
        Replace columns of these names.

    Returns
    -------
    DataFrame
        Same rows, order and index. Of one annotator: ``label``, ``label_category``, ``note``, ``flag``,
        ``annotator``, ``labelled_at``, ``order``, ``score_shown``. Of several: ``label`` and ``label_category`` as
        adjudicated, else where all agree, then each annotator's (``label_ann`` …). Last ``agree`` and ``n_labels``.

        Of a table with one message a row: one row a conversation under its id, as `score` returns it, with
        ``n_messages`` and ``messages`` (its list of messages, None where it cannot be read) before the labels: a
        table that can be scored, exported and joined by the id.

    Raises
    ------
    LabelError
        For files that cannot be read.
    ColumnError
        Where columns cannot be found, or new ones would replace others.
    """
    names, options = split_names(locals())
    return join_labels(options.pop("table"), names, options.pop("files"), **options)
