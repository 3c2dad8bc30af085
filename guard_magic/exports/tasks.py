"""Conversations with the model's verdict and what each person said, read from a labelled frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from guard_magic.callers import warn_caller
from guard_magic.conversations.conversation import Conversation, is_missing
from guard_magic.conversations.rows import Row
from guard_magic.errors import ColumnError, ConversationError, LabelError, shorten
from guard_magic.exports.plain import plain
from guard_magic.labels import LABELS, conversation_key
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.column_plan import plan_columns

__all__ = ["Said", "Task", "check_labels", "read_tasks"]


@dataclass(frozen=True, slots=True)
class Said:
    """One person's label."""

    annotator: str
    label: str
    category: str | None
    note: str | None
    labelled_at: object
    seconds: float | None
    final: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One conversation, the model's verdict on it (None for none) and what people said."""

    key: str
    conversation: Conversation
    unsafe_score: float | None
    category: str | None
    guard: str | None
    facts: Mapping[str, object]
    said: tuple[Said, ...]


def read_tasks(frame: pd.DataFrame, columns: Mapping[str, str | None]) -> list[Task]:
    """Return one task for each conversation of a frame, in order; unreadable rows are left out with a warning.

    Parameters
    ----------
    frame
        As for `export_labels`.
    columns
        Arguments of `plan_columns`: which columns hold the conversations.
    """
    rows = list(read_frame(frame, plan_columns(frame, **columns)))
    people = _people(frame)
    _refuse_contradictions(frame, rows, people)
    tasks: dict[str, Task] = {}
    n_lost = 0
    for row, values in zip(rows, frame.to_dict("records"), strict=True):
        if isinstance(row, ConversationError):
            n_lost += 1
            continue
        key = conversation_key(row)
        said = tuple(one for suffix, name in people for one in _said(values, suffix, name))
        if key not in tasks or (said and not tasks[key].said):
            tasks[key] = _task(key, row, values, said)
        else:
            tasks[key] = _with_more(tasks[key], said)
    if n_lost:
        warn_caller(f"{n_lost} of {len(frame)} rows hold no readable conversation and were left out")
    return list(tasks.values())


def _with_more(task: Task, said: tuple[Said, ...]) -> Task:
    """Return the task with what other people said in another row of the same conversation."""
    known = {one.annotator for one in task.said}
    more = tuple(one for one in said if one.annotator not in known)
    return replace(task, said=(*task.said, *more)) if more else task


def check_labels(frame: pd.DataFrame, columns: Mapping[str, str | None]) -> None:
    """Raise `LabelError` where one conversation of a frame has two labels of one person.

    A table whose conversations are not found by themselves, and are not named, cannot be looked at: that is said.
    """
    people = _people(frame)
    is_named = any(name is not None for name in columns.values())
    if not people and not is_named:
        return
    try:
        plan = plan_columns(frame, **columns)
    except ColumnError as error:
        if is_named:
            raise
        warn_caller(
            f"it was not checked that no conversation has two labels of one person, for it is not clear which columns "
            f"hold the conversations ({error.message}): text=…, prompt=… or messages=… says so"
        )
        return
    _refuse_contradictions(frame, read_frame(frame, plan), people)


def _refuse_contradictions(frame: pd.DataFrame, rows: Sequence[Row], people: Sequence[tuple[str, str | None]]) -> None:
    keys = [None if isinstance(row, ConversationError) else conversation_key(row) for row in rows]
    for suffix, _ in people:
        who = [str(x) for x in frame["annotator"]] if not suffix and "annotator" in frame.columns else [""] * len(keys)
        for name in (f"label{suffix}", f"label_category{suffix}"):
            first: dict[tuple[str, str], tuple[int, str]] = {}
            values = frame[name].tolist() if name in frame.columns else []
            for at, value in enumerate(values):
                key = keys[at]
                if key is None or is_missing(value):
                    continue
                before, said = first.setdefault((who[at], key), (at, str(value)))
                if said != str(value):
                    raise LabelError(
                        f"rows {before} and {at} are one conversation with two labels in the column {name!r}: "
                        f"{shorten(said)} and {shorten(str(value))}",
                        hint="A join by a repeating index moves labels to other rows: df.guard.labels(reviewer) joins "
                        "them by content. Two people's labels belong into two columns.",
                    )


def _task(key: str, conversation: Conversation, values: Mapping[Any, Any], said: tuple[Said, ...]) -> Task:
    facts = {name: plain(values[name]) for name in ("unsafe_score", "order", "score_shown", "flag") if name in values}
    score = plain(values.get("unsafe_score"))
    return Task(
        key=key,
        conversation=conversation,
        unsafe_score=score if isinstance(score, float) else None,
        category=_text(values.get("category")),
        guard=_text(values.get("guard")),
        facts={name: value for name, value in facts.items() if value is not None},
        said=said,
    )


def _people(frame: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Return (suffix of the columns, name) of each annotator; the name is None where the frame says it."""
    each: list[tuple[str, str | None]] = []
    for name in frame.columns:
        levels = getattr(frame[name].dtype, "categories", None)
        if str(name).startswith("label_") and levels is not None and list(levels) == list(LABELS):
            each.append((str(name).removeprefix("label"), str(name).removeprefix("label_")))
    if not each:
        return [("", None)] if "label" in frame.columns else []
    return [*each, ("", "adjudicated")] if "adjudicated" in frame.columns else each


def _said(values: Mapping[Any, Any], suffix: str, name: str | None) -> Iterator[Said]:
    label = _text(values.get(f"label{suffix}"))
    final = name == "adjudicated" and not suffix
    if label is None or (final and plain(values.get("adjudicated")) is not True):
        return
    if label not in LABELS:
        raise LabelError(f"no label {shorten(label)} in the column {'label' + suffix!r}", hint=f"Labels: {LABELS}.")
    seconds = None if final else plain(values.get(f"seconds{suffix}"))
    yield Said(
        annotator=name or _text(values.get("annotator")) or "",
        label=label,
        category=_text(values.get(f"label_category{suffix}")),
        note=_text(values.get(f"note{suffix}")),
        labelled_at=plain(values.get(f"labelled_at{suffix}")),
        seconds=seconds if isinstance(seconds, float) else None,
        final=final,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
