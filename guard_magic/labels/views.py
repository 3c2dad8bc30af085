"""Decisions as columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from guard_magic.labels.decisions import LABELS, Labelled
from guard_magic.labels.history import COLUMNS
from guard_magic.verdict.columns import floats, strings

__all__ = ["LABEL_COLUMNS", "decision_columns", "history_frame", "label_frame", "label_values"]

LABEL_COLUMNS = (
    "key",
    "label",
    "label_category",
    "note",
    "flag",
    "annotator",
    "labelled_at",
    "order",
    "score_shown",
    "unsafe_score",
    "category",
    "guard",
    "threshold",
    "seconds",
)
"""Columns of every frame of labels, in order."""

_RENAMED = {"category": "label_category", "model_category": "category", "sorted_by": "order"}


def label_frame(decisions: Iterable[Labelled], annotator: str) -> pd.DataFrame:
    """Return decisions as a frame of `LABEL_COLUMNS`, without those that hold no label, note or flag."""
    kept = [d for d in decisions if d.label is not None or d.note is not None or d.flag]
    kept.sort(key=lambda d: d.step)
    columns = decision_columns(kept)
    columns["key"] = strings([d.key for d in kept])
    columns["annotator"] = strings([annotator] * len(kept))
    return pd.DataFrame({name: columns[name] for name in LABEL_COLUMNS})


def decision_columns(kept: Sequence[Labelled | None]) -> dict[str, object]:
    """Return decisions as columns, in order; None is NA in all. ``key`` and ``annotator`` are not among them."""

    def values(name: str) -> list[Any]:
        return [None if d is None else getattr(d, name) for d in kept]

    return {
        "label": label_values(values("label")),
        "label_category": strings(values("category")),
        "note": strings(values("note")),
        "flag": pd.array(values("flag"), dtype="boolean"),
        "labelled_at": _times(values("labelled_at")),
        "order": strings(values("order")),
        "score_shown": pd.array(values("score_shown"), dtype="boolean"),
        "unsafe_score": floats(values("unsafe_score")),
        "category": strings(values("model_category")),
        "guard": strings(values("guard")),
        "threshold": floats(values("threshold")),
        "seconds": floats(values("seconds")),
    }


def history_frame(connection: sqlite3.Connection) -> pd.DataFrame:
    """Return all steps of a file, oldest first, a row for each decision or one for a step without."""
    names = ("step", "at", "kind", "action", "target", *COLUMNS)
    rows = connection.execute(
        "SELECT steps.id, at, kind, action, target, "
        + ", ".join(COLUMNS)
        + " FROM steps LEFT JOIN decisions ON decisions.step = steps.id ORDER BY steps.id, decisions.id"
    ).fetchall()
    values = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    columns: dict[str, object] = {}
    for name in names:
        if name == "at":
            columns[name] = _times(list(values[name]))
        elif name in ("step", "target"):
            columns[name] = pd.array(list(values[name]), dtype="Int64")
        elif name in ("flag", "score_shown"):
            columns[name] = pd.array([None if v is None else bool(v) for v in values[name]], dtype="boolean")
        elif name in ("unsafe_score", "threshold", "seconds"):
            columns[name] = floats(list(values[name]))
        else:
            columns[_RENAMED.get(name, name)] = strings(list(values[name]))
    return pd.DataFrame(columns)


def label_values(labels: Iterable[str | None]) -> pd.Categorical:
    """Return labels as a categorical of the four levels."""
    return pd.Categorical(list(labels), categories=list(LABELS))


def _times(values: list[object]) -> pd.api.extensions.ExtensionArray:
    return pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601").dt.as_unit("us").array
