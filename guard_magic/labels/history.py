"""The history of a label file, replayed: which decisions are in effect, and what undo and redo would do.

Nothing here writes. An undone step stays in the file; a later step takes it out of effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from guard_magic.errors import LabelError
from guard_magic.labels.decisions import Labelled

__all__ = ["COLUMNS", "History"]

COLUMNS = (
    "key",
    "label",
    "category",
    "note",
    "flag",
    "unsafe_score",
    "model_category",
    "guard",
    "threshold",
    "sorted_by",
    "score_shown",
    "seconds",
)
"""Columns of the table ``decisions`` after ``id`` and ``step``."""

_STREAK = 50
_PAUSE = 120.0


class History:
    """What the steps of a file amount to.

    Attributes
    ----------
    last
        The latest step read, 0 where there is none.
    current
        Key -> the decision in effect; a key whose label was taken away is there with the label None.
    n_labelled
        Keys whose decision in effect has a label.
    """

    def __init__(self) -> None:
        self.last = 0
        self.current: dict[str, Labelled] = {}
        self.n_labelled = 0
        self._before: dict[str, list[Labelled]] = {}
        self._steps: dict[int, Sequence[Labelled]] = {}
        self._done: list[int] = []
        self._undone: list[int] = []

    @property
    def to_undo(self) -> int | None:
        """The step that undo would take back; None for none."""
        return self._done[-1] if self._done else None

    @property
    def to_redo(self) -> int | None:
        """The step that redo would bring back; None for none."""
        return self._undone[-1] if self._undone else None

    def keys(self, step: int) -> list[str]:
        """Return the keys that a step decided about."""
        return [kept.key for kept in self._steps[step]]

    def read_on(self, connection: sqlite3.Connection) -> None:
        """Read the steps that were kept since, by whichever process."""
        if connection.execute("SELECT max(id) FROM steps").fetchone()[0] in (None, self.last):
            return
        # One statement is one snapshot of the file; a second writer cannot come between steps and decisions.
        rows = connection.execute(
            "SELECT steps.id, steps.at, steps.kind, steps.target, "
            + ", ".join(f"decisions.{name}" for name in COLUMNS)
            + " FROM steps LEFT JOIN decisions ON decisions.step = steps.id WHERE steps.id > ?"
            " ORDER BY steps.id, decisions.id",
            (self.last,),
        ).fetchall()
        try:
            self._replay(rows)
        except (LabelError, ValueError, TypeError) as error:
            raise LabelError(f"the label file holds a history that cannot be: {error}") from error

    def _replay(self, rows: Sequence[Sequence[Any]]) -> None:
        at = 0
        while at < len(rows):
            step, time, kind, target = rows[at][:4]
            end = at + 1
            while end < len(rows) and rows[end][0] == step:
                end += 1
            if kind == "record":
                when = datetime.fromisoformat(time)
                self._steps[step] = [_labelled(row[4:], step, when) for row in rows[at:end]]
            self._apply(step, kind, target)
            at = end

    def rate(self, now: datetime) -> float | None:
        """Return labels a minute in the present streak: the latest steps without a pause of two minutes.

        A step counts once, however many rows it labelled. None where there are fewer than two, or where the
        pause is on.
        """
        times = [self._steps[step][0].labelled_at for step in self._done[-_STREAK:] if self._labels(step)]
        if len(times) < 2 or (now - times[-1]).total_seconds() > _PAUSE:
            return None
        first = len(times) - 1
        while first and 0 <= (times[first] - times[first - 1]).total_seconds() <= _PAUSE:
            first -= 1
        seconds = (times[-1] - times[first]).total_seconds()
        return 60.0 * (len(times) - 1 - first) / seconds if seconds > 0 else None

    def _labels(self, step: int) -> bool:
        return self._steps[step][0].label is not None

    def _apply(self, step: int, kind: str, target: int | None) -> None:
        if kind == "record":
            self._undone.clear()
            self._do(step)
        elif kind == "undo" and target is not None and target == self.to_undo:
            self._undo(target)
        elif kind == "redo" and target is not None and target == self.to_redo:
            self._undone.pop()
            self._do(target)
        else:
            raise ValueError(f"step {step} is an {kind} of step {target}, which is not in effect")
        self.last = step

    def _do(self, step: int) -> None:
        for kept in self._steps[step]:
            self._before.setdefault(kept.key, []).append(kept)
            self._set(kept.key, kept)
        self._done.append(step)

    def _undo(self, step: int) -> None:
        for kept in self._steps[step]:
            before = self._before[kept.key]
            before.pop()
            self._set(kept.key, before[-1] if before else None)
        self._undone.append(self._done.pop())

    def _set(self, key: str, kept: Labelled | None) -> None:
        old = self.current.get(key)
        self.n_labelled -= old is not None and old.label is not None
        if kept is None:
            self.current.pop(key, None)
        else:
            self.current[key] = kept
            self.n_labelled += kept.label is not None


def _labelled(row: Sequence[Any], step: int, when: datetime) -> Labelled:
    values = dict(zip(COLUMNS, row, strict=True))
    values["order"] = values.pop("sorted_by")
    return Labelled(**values, step=step, labelled_at=when)
