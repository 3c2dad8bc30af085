"""Tables reviewed and labelled: scores where they are missing, a reviewer on them, labels joined back.

What is scored is settled by the session, what is decided is kept by label files, what is seen is drawn by the
reviewer. Here the three meet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.rows import Row
from guard_magic.errors import ColumnError, LabelError, shorten
from guard_magic.labels import LabelFile, adjudication, annotator_name, conversation_key, merge_labels
from guard_magic.policy import BUILT_IN, Category, Policy
from guard_magic.review import ORDERS, Reviewer
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.notices import warn_read
from guard_magic.scoring.session import Session
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.by_message import read_long
from guard_magic.tables.column_plan import ColumnPlan, MissingResponse, plan_columns
from guard_magic.tables.restoring import restored_verdicts
from guard_magic.tables.score import ColumnNames, score_frame

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["LabelOptions", "Paths", "ReviewOptions", "join_labels", "review_frame"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Label files: paths or `LabelFile`, one or several."""


class _Columns(TypedDict, total=False):
    """Which columns to read, as `ColumnNames` has them, but for the order of messages."""

    text: str | None
    prompt: str | None
    response: str | None
    messages: str | None
    conversation_id: str | None
    role: str | None
    content: str | None
    parent: str | tuple[str, str] | None
    missing_response: MissingResponse


class _More(TypedDict, total=False):
    guard: Guard | str | None
    policy: object
    exclude: Iterable[str] | None
    show_scores: bool
    order: str
    blur: Collection[str] | None
    keys: Mapping[str, str | Sequence[str]] | None
    seed: int


class ReviewOptions(_Columns, _More, total=False):
    """How a table is reviewed; see `guard_magic.api.review`."""

    labels: str | os.PathLike[str] | LabelFile | None
    annotator: str | None
    disagreements: Paths | None
    threshold: float | None
    progress: bool


class LabelOptions(ColumnNames, total=False):
    """How labels are joined to a table; see `guard_magic.api.labels`."""

    prefix: str
    overwrite: bool


@interruptible
def review_frame(
    session: Session,
    frame: pd.DataFrame,
    names: ColumnNames | None = None,
    *,
    labels: str | os.PathLike[str] | LabelFile | None = None,
    annotator: str | None = None,
    disagreements: Paths | None = None,
    threshold: float | None = None,
    progress: bool = True,
    **options: Unpack[_More],
) -> Reviewer:
    """Review a table; see `guard_magic.api.review`."""
    shown: dict[str, Any] = {**options}
    asked = {name: shown.pop(name) for name in ("guard", "policy", "exclude") if name in shown}
    _check_order(shown.get("order"), frame)
    if not isinstance(progress, bool):
        raise LabelError(f"progress={shorten(progress)} is neither True nor False", hint="Pass one of these.")
    plan = plan_columns(frame, **(names or {}))
    scored = None if plan.kind == "long" else restored_verdicts(frame, "", _policies(session), session.written)
    if scored is None:
        scored = score_frame(
            session,
            frame,
            names,
            threshold=threshold,
            extras=("log_odds", "category_scores", "guard"),
            overwrite=True,  # in a copy that nobody sees but the reviewer, who reads no other columns
            progress=progress,
            **asked,
        )
    rows = read_long(frame, plan).rows if plan.kind == "long" else list(read_frame(frame, plan))
    if disagreements is not None:
        scored, rows = _where_they_differ(scored, rows, disagreements)
    return Reviewer(
        scored,
        [row if isinstance(row, Conversation) else None for row in rows],
        _policy_of(scored, session),
        _label_file(labels, annotator, "label" if disagreements is None else "adjudicate"),
        threshold=session.threshold if threshold is None else threshold,
        **shown,
    )


def join_labels(
    frame: pd.DataFrame,
    names: ColumnNames | None,
    files: Paths | Reviewer,
    *,
    prefix: str = "",
    overwrite: bool = False,
) -> pd.DataFrame:
    """Join the labels of files to the rows of a table; see `guard_magic.api.labels`."""
    _check_naming(prefix, overwrite)
    plan = plan_columns(frame, **(names or {}))
    paths: Paths = files.label_file if isinstance(files, Reviewer) else files
    if plan.kind == "long":
        frame, rows = _conversations(frame, plan)
    else:
        rows = list(read_frame(frame, plan))
    merged = merge_labels(_keys(rows), paths).add_prefix(prefix)
    taken = [name for name in merged if name in frame.columns]
    if taken and not overwrite:
        raise ColumnError(
            f"the table has columns {', '.join(map(repr, taken))} already",
            hint="Use prefix='human_' for other names, or overwrite=True to replace them.",
        )
    result = frame.drop(columns=taken)
    for name in merged:
        result[name] = merged[name].array
    return result


def _check_order(order: object, frame: pd.DataFrame) -> None:
    if isinstance(order, str) and order not in ORDERS and order in frame.columns:
        raise LabelError(
            f"order={order!r} is a column, and here the order in which conversations are gone through",
            hint=f"Orders: {', '.join(ORDERS)}. To put messages in order, sort the table first: "
            f"df.sort_values({order!r}).guard.review(…).",
        )


def _check_naming(prefix: object, overwrite: object) -> None:
    if not isinstance(prefix, str) or not prefix.isprintable():
        raise ColumnError(f"prefix={shorten(prefix)} is not text", hint='Use prefix="human_", or "" for none.')
    if not isinstance(overwrite, bool):
        raise ColumnError(f"overwrite={shorten(overwrite)} is neither True nor False", hint="Pass one of these.")


def _conversations(frame: pd.DataFrame, plan: ColumnPlan) -> tuple[pd.DataFrame, list[Row]]:
    """Return the conversations of a table with one message a row: a table with one of them a row, and they."""
    table = read_long(frame, plan)
    said = [row.to_list() if isinstance(row, Conversation) else None for row in table.rows]
    warn_read(table.remarks)
    columns = {
        "n_messages": np.array([len(members) for members in table.members], dtype=np.int64),
        "messages": pd.Series(said, dtype=object).array,
    }
    return pd.DataFrame(columns, index=table.index), table.rows


def _keys(rows: Sequence[Row]) -> list[str | None]:
    return [conversation_key(row) if isinstance(row, Conversation) else None for row in rows]


def _where_they_differ(scored: pd.DataFrame, rows: Sequence[Row], files: Paths) -> tuple[pd.DataFrame, list[Row]]:
    wanted = set(adjudication(files)["key"])
    keep = [key is not None and key in wanted for key in _keys(rows)]
    if not any(keep):
        raise LabelError(
            "there is nothing to adjudicate: the annotators agree on every conversation of this table",
            hint="df.guard.labels([...]) shows who said what.",
        )
    return scored[keep], [row for row, kept in zip(rows, keep, strict=True) if kept]


def _policy_of(scored: pd.DataFrame, session: Session) -> Policy:
    """Return the hazards that the category column was made with: by name where a policy has the same codes."""
    codes = tuple(scored["category"].cat.categories[1:])
    known = [*_policies(session), *BUILT_IN.values()]
    for policy in known:
        if policy.codes == codes:
            return policy
    found = {category.code: category for policy in reversed(known) for category in policy}
    return Policy("the table's", tuple(found.get(code) or Category(code, code) for code in codes))


def _policies(session: Session) -> list[Policy]:
    """Return the policies that this session asks with, the one that is set first."""
    policies = [session.policy, *(guard.policy for guard in session.guards.values())]
    return [policy for policy in policies if policy is not None]


def _label_file(labels: str | os.PathLike[str] | LabelFile | None, annotator: str | None, role: str) -> LabelFile:
    if isinstance(labels, LabelFile):
        if annotator is not None and annotator != labels.annotator:
            raise LabelError(
                f"the label file is {labels.annotator!r}'s, not {shorten(annotator)}'s", hint="Leave annotator= out."
            )
        return labels
    who = annotator_name(annotator)
    path = labels if labels is not None else Path(f"guard_labels_{re.sub(r'[^0-9A-Za-z_.-]+', '_', who)}.sqlite")
    return LabelFile(path, annotator=who, role="adjudicate" if role == "adjudicate" else "label")
