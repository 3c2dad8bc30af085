"""Conversations with the model's verdict and what each person said, read from a labelled frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from guard_magic.column_plan import plan_columns
from guard_magic.conversation import Conversation
from guard_magic.errors import ConversationError, GuardWarning, LabelError, shorten
from guard_magic.exports.plain import plain
from guard_magic.labels import LABELS, conversation_key
from guard_magic.tables import read_frame

__all__ = ["Said", "Task", "read_tasks"]


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
    rows = read_frame(frame, plan_columns(frame, **columns))
    people = _people(frame)
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
    if n_lost:
        warnings.warn(
            GuardWarning(f"{n_lost} of {len(frame)} rows hold no readable conversation and were left out"), stacklevel=3
        )
    return list(tasks.values())


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
