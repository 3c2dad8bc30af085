"""The pandas accessors ``df.guard`` and ``series.guard``: signatures and docstrings, one call each.

They hold no state (pandas makes a new one at every access) and check nothing when made: raising there would
hide ``df.guard`` from completion.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.windows import Overflow
from guard_magic.review.frames import Paths, join_labels, review_frame
from guard_magic.scoring.session import current_session
from guard_magic.tables.attach import rows_with
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import (
    ColumnNames,
    Errors,
    score_frame,
    score_frame_turns,
    score_series,
    score_series_turns,
)

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard
    from guard_magic.labels import LabelFile
    from guard_magic.review import Reviewer

__all__ = ["FrameGuard", "SeriesGuard", "register"]


class FrameGuard:
    """Score the conversations of a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @by_name
    def score(
        self,
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
        errors: Errors = "coerce",
        prefix: str = "",
        overwrite: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return a new frame with ``unsafe_score``, ``category`` and ``guard_error``.

        See `guard_magic.score` for parameters, columns and errors.
        """
        return score_frame(
            current_session(),
            self._frame,
            {
                "text": text,
                "prompt": prompt,
                "response": response,
                "messages": messages,
                "conversation_id": conversation_id,
                "role": role,
                "content": content,
                "order": order,
                "parent": parent,
                "missing_response": missing_response,
            },
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            assess=assess,
            overflow=overflow,
            recheck=recheck,
            errors=errors,
            prefix=prefix,
            overwrite=overwrite,
            progress=progress,
        )

    @by_name
    def score_turns(
        self,
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
        errors: Errors = "coerce",
        prefix: str = "",
        overwrite: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return one row per message, each assessed in the context of what was said before it.

        See `guard_magic.score_turns` for parameters, columns and errors.
        """
        return score_frame_turns(
            current_session(),
            self._frame,
            {
                "text": text,
                "prompt": prompt,
                "response": response,
                "messages": messages,
                "conversation_id": conversation_id,
                "role": role,
                "content": content,
                "order": order,
                "parent": parent,
                "missing_response": missing_response,
            },
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            overflow=overflow,
            recheck=recheck,
            errors=errors,
            prefix=prefix,
            overwrite=overwrite,
            progress=progress,
        )

    @by_name
    def flagged(self, *, prefix: str = "") -> pd.DataFrame:
        """Return the rows of a scored frame that were flagged: with a hazard in ``category``.

        Rows that were not scored are none of them; ``scored[scored["category"] != "safe"]`` would hold them too.

        Parameters
        ----------
        prefix
            What `score` was told to put before its columns' names.

        Raises
        ------
        ColumnError
            Where the frame has no verdicts of that prefix.
        """
        return rows_with(self._frame, "flagged", prefix)

    @by_name
    def unscored(self, *, prefix: str = "") -> pd.DataFrame:
        """Return the rows of a scored frame that were not scored; ``guard_error`` says why.

        Parameters
        ----------
        prefix
            What `score` was told to put before its columns' names.

        Raises
        ------
        ColumnError
            Where the frame has no verdicts of that prefix.
        """
        return rows_with(self._frame, "unscored", prefix)

    @by_name
    def review(
        self,
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
        """Look through the conversations and label them, in the output of the cell.

        The table is scored first where it has no scores (`guard`, `threshold`, `policy` and `exclude` are for that;
        `threshold` is also where the slider begins). Scores that went through a file are known again; where columns
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
        return review_frame(
            current_session(),
            self._frame,
            {
                "text": text,
                "prompt": prompt,
                "response": response,
                "messages": messages,
                "conversation_id": conversation_id,
                "role": role,
                "content": content,
                "parent": parent,
                "missing_response": missing_response,
            },
            labels=labels,
            annotator=annotator,
            show_scores=show_scores,
            order=order,
            disagreements=disagreements,
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            blur=blur,
            keys=keys,
            seed=seed,
            progress=progress,
        )

    @by_name
    def labels(
        self,
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
        names: ColumnNames = {
            "text": text,
            "prompt": prompt,
            "response": response,
            "messages": messages,
            "conversation_id": conversation_id,
            "role": role,
            "content": content,
            "order": order,
            "parent": parent,
            "missing_response": missing_response,
        }
        return join_labels(self._frame, names, files, prefix=prefix, overwrite=overwrite)


class SeriesGuard:
    """Score the conversations of a Series."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    @by_name
    def score(
        self,
        *,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] | None = (),
        extras: Iterable[str] | None = (),
        roles: RoleRules = "merge",
        assess: Assess = "last",
        overflow: Overflow = "error",
        recheck: float | None = None,
        errors: Errors = "coerce",
        prefix: str = "",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return the verdict columns of a Series of strings or of message lists, with its index.

        A string is one user message, verbatim; in a Series called ``messages``, ``conversations`` or
        ``conversation`` it is the JSON of a message list. See `guard_magic.score` for the other parameters, columns and
        errors.
        """
        return score_series(
            current_session(),
            self._series,
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            assess=assess,
            overflow=overflow,
            recheck=recheck,
            errors=errors,
            prefix=prefix,
            progress=progress,
        )

    @by_name
    def score_turns(
        self,
        *,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] | None = (),
        extras: Iterable[str] | None = (),
        roles: RoleRules = "merge",
        overflow: Overflow = "error",
        recheck: float | None = None,
        errors: Errors = "coerce",
        prefix: str = "",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return one row per message, each assessed in the context of what was said before it.

        The Series is read as for `score`. See `guard_magic.score_turns` for parameters, columns and errors.
        """
        return score_series_turns(
            current_session(),
            self._series,
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            overflow=overflow,
            recheck=recheck,
            errors=errors,
            prefix=prefix,
            progress=progress,
        )


def register() -> None:
    """Register the accessors; doing it again (a reload) replaces them silently."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "registration of accessor", UserWarning)
        pd.api.extensions.register_dataframe_accessor("guard")(FrameGuard)
        pd.api.extensions.register_series_accessor("guard")(SeriesGuard)
