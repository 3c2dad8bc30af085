"""The history of a label file, replayed: which decisions are in effect, and what undo and redo would do.

Nothing here writes. An undone step stays in the file; a later step takes it out of effect. The chain of hashes is
gone over while reading: what does not follow from the rows before it is an error, and never a decision.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from guard_magic.errors import LabelError, shorten
from guard_magic.labels.chain import chained, first_hash
from guard_magic.labels.decisions import Labelled
from guard_magic.labels.schema import DAMAGED_HINT, give_chain, snapshot

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

STEP_COLUMNS = ("id", "at", "kind", "action", "target")
"""Columns of the table ``steps`` that its hash is of."""

_N_STEP = len(STEP_COLUMNS)
_STREAK = 50
_PAUSE = 120.0


class History:
    """What the steps of a file amount to.

    Parameters
    ----------
    path
        The file, for messages.

    Attributes
    ----------
    version
        Of the file as it was read last; 0 where it was not yet read.
    last
        The latest step read, 0 where there is none.
    end
        The hash of what was read last.
    current
        Key -> the decision in effect; a key whose label was taken away is there with the label None.
    n_labelled
        Keys whose decision in effect has a label.
    """

    def __init__(self, path: Path) -> None:
        self.version = 0
        self.last = 0
        self.end = ""
        self.current: dict[str, Labelled] = {}
        self.n_labelled = 0
        self._before: dict[str, list[Labelled]] = {}
        self._steps: dict[int, Sequence[Labelled]] = {}
        self._done: list[int] = []
        self._undone: list[int] = []
        self._path = path

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
        """Read the steps that were kept since, by whichever process.

        Raises
        ------
        LabelError
            For rows that do not follow from those before them, or that say what cannot be.
        """
        with snapshot(connection):  # a second writer cannot come between steps, decisions and hashes
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM steps").fetchone()
            end = self._kept_end(connection) if version > 1 else None
            if self.version and last == self.last and end in (None, self.end):
                self.version = version
                return
            if not self.version:
                self.end = first_hash(dict(connection.execute("SELECT name, value FROM file")))
            rows = connection.execute(_rows_query(version), (self.last,)).fetchall()
        try:
            self._replay(rows, version)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"step {self.last + 1} holds what cannot be: {shorten(str(error), 200)}") from error
        if end is not None and end != self.end:
            raise self._damaged(f"its chain of hashes does not end with step {self.last}")
        self.version = version

    def give_chain(self, connection: sqlite3.Connection) -> None:
        """Give a file of version 1 the hashes of version 2, inside the caller's transaction; all of it was read."""
        steps: dict[int, str] = {}
        decisions: dict[int, str] = {}
        end = first_hash(dict(connection.execute("SELECT name, value FROM file")))
        for row in connection.execute(_rows_query(1), (0,)):
            if row[0] not in steps:
                end = steps[row[0]] = chained(end, row[:_N_STEP])
            if row[_N_STEP + 1] is not None:
                end = decisions[row[_N_STEP + 1]] = chained(end, row[_N_STEP + 2 : -1])
        give_chain(connection, steps, decisions, end)
        self.version, self.end = 2, end

    def _kept_end(self, connection: sqlite3.Connection) -> object:
        found = connection.execute("SELECT hash FROM chain").fetchall()
        if len(found) != 1:
            raise self._damaged("the end of its chain of hashes is lost")
        return found[0][0]

    def _damaged(self, what: str) -> LabelError:
        return LabelError(f"{self._path} is damaged: {what}", hint=DAMAGED_HINT)

    def _replay(self, rows: Sequence[Sequence[Any]], version: int) -> None:
        at = 0
        while at < len(rows):
            step, time, kind, _, target = rows[at][:_N_STEP]
            end = at + 1
            while end < len(rows) and rows[end][0] == step:
                end += 1
            self._follow(rows[at:end], is_chained=version > 1)
            when = datetime.fromisoformat(time)
            if when.tzinfo is None:
                raise ValueError(f"the time {time!r} has no zone")
            if kind == "record":
                self._steps[step] = [_labelled(row[_N_STEP + 2 : -1], step, when) for row in rows[at:end]]
            self._apply(step, kind, target)
            at = end

    def _follow(self, rows: Sequence[Sequence[Any]], *, is_chained: bool) -> None:
        """Go over the hashes of one step and its decisions."""
        hashes = [rows[0][_N_STEP]]
        values = [rows[0][:_N_STEP]]
        for row in rows:
            if row[_N_STEP + 1] is not None:  # a step without decisions has one row, with nothing in these
                hashes.append(row[-1])
                values.append(row[_N_STEP + 2 : -1])
        for kept, row in zip(hashes, values, strict=True):
            self.end = chained(self.end, row)
            if is_chained and kept != self.end:
                raise self._damaged(f"its chain of hashes is broken at step {rows[0][0]}, of {rows[0][1]}")

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


def _rows_query(version: int) -> str:
    """Return the query for steps after one, in order, with their decisions; files of version 1 have no hashes."""
    hashes = [f"{table}.hash" if version > 1 else "NULL" for table in ("steps", "decisions")]
    named = [*(f"steps.{name}" for name in STEP_COLUMNS), hashes[0], "decisions.id"]
    named += [*(f"decisions.{name}" for name in COLUMNS), hashes[1]]
    return (
        f"SELECT {', '.join(named)} FROM steps LEFT JOIN decisions ON decisions.step = steps.id"
        " WHERE steps.id > ? ORDER BY steps.id, decisions.id"
    )


def _labelled(row: Sequence[Any], step: int, when: datetime) -> Labelled:
    values = dict(zip(COLUMNS, row, strict=True))
    values["order"] = values.pop("sorted_by")
    return Labelled(**values, step=step, labelled_at=when)
