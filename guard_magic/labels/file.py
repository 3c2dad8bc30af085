"""One person's label file, open for writing."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal, Self

import pandas as pd

from guard_magic.errors import LabelError, shorten
from guard_magic.labels.chain import chained
from guard_magic.labels.decisions import Decision, Labelled, annotator_name, checked_text
from guard_magic.labels.history import COLUMNS, STEP_COLUMNS, History
from guard_magic.labels.paths import label_path
from guard_magic.labels.schema import VERSION, check, connect, create, explained, transaction
from guard_magic.labels.views import history_frame, label_frame

__all__ = ["ROLES", "LabelFile", "Role"]

Role = Literal["label", "adjudicate"]
ROLES = ("label", "adjudicate")
"""What a file holds: one person's labels, or what was decided where people differ."""

_LONGEST_WAIT = 86_400.0


class LabelFile:
    """The labels of one person, kept at once and for good.

    Each action is one transaction that is on the disk when the call returns; a killed kernel loses nothing that
    was answered. Undo and redo are actions too: nothing is ever removed from the file. Methods may be called
    from any thread, and two processes may hold one file: each sees what the other kept.

    Parameters
    ----------
    path
        The file; made with mode 0600 where it is not there. Its directory must exist.
    annotator
        Who labels. By default the login name (``JUPYTERHUB_USER`` first), where it says something.
    role
        ``"label"``, or ``"adjudicate"`` for decisions about what others disagree on.
    wait
        Seconds to wait for another process that is writing.

    Raises
    ------
    LabelError
        For a file of another program, person or role, one that is damaged, locked or not writable, and where
        nothing says who labels.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        annotator: str | None = None,
        role: Role = "label",
        wait: float = 5.0,
    ) -> None:
        self.path = label_path(path)
        self.annotator = annotator_name(annotator)
        if not isinstance(role, str) or role not in ROLES:
            raise LabelError(f"no role {shorten(role)}", hint=f"Roles: {', '.join(ROLES)}.")
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < _LONGEST_WAIT:
            raise LabelError(f"wait={shorten(wait)} is not a time in seconds", hint="For instance wait=5.")
        self.role = role
        self._lock = threading.RLock()
        self._history = History(self.path)
        self._closed = False
        self._connection = connect(self.path, wait, make=True)
        self._finalizer = weakref.finalize(self, self._connection.close)
        try:
            facts = {"annotator": self.annotator, "role": role, "created_at": _now()}
            create(self._connection, self.path, facts)
            kept = check(self._connection, self.path)
            with self._reading():
                self._check_owner(kept)
        except BaseException:
            self.close()
            raise

    def record(self, decisions: Sequence[Decision], action: str, *, place: str | None = None) -> int:
        """Keep decisions as one step, all or none.

        Parameters
        ----------
        decisions
            At least one. Rows of equal content share a key: equal decisions about one key are kept once.
        action
            What was done, for the history: ``"label"``, ``"all in filter"`` …
        place
            The key where the person is now, kept in the same transaction; None leaves the place as it is.

        Returns
        -------
        int
            The step, once it is on the disk.

        Raises
        ------
        LabelError
            For no decisions, two different ones about one key, or a file that cannot be written: then nothing
            was kept.
        """
        chosen = _once_each(decisions)
        action = checked_text(action, "action")
        with self._writing():
            step = self._add_step("record", action, None, chosen)
            if place is not None:
                self._set_place(place)
        return step

    def undo(self) -> list[str] | None:
        """Take back the latest step in effect; return its keys, or None where there is none."""
        return self._move("undo")

    def redo(self) -> list[str] | None:
        """Bring back the step that was undone last; return its keys, or None where there is none."""
        return self._move("redo")

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        with self._reading() as history:
            return history.to_undo is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone step to bring back; a new step ends that."""
        with self._reading() as history:
            return history.to_redo is not None

    @property
    def last_step(self) -> int:
        """The latest step in the file, 0 where there is none; it grows with every change by any process."""
        with self._reading() as history:
            return history.last

    @property
    def n_labelled(self) -> int:
        """Conversations that have a label, ``skip`` among them."""
        with self._reading() as history:
            return history.n_labelled

    def get(self, key: str) -> Labelled | None:
        """Return the decision in effect about one conversation; None where nothing was decided."""
        with self._reading() as history:
            return history.current.get(key)

    def current(self) -> Mapping[str, Labelled]:
        """Return key -> decision in effect, as a copy; a label that was taken away is there with the label None."""
        with self._reading() as history:
            return dict(history.current)

    def rate(self) -> float | None:
        """Return labels a minute in the present streak; None after a pause of two minutes.

        A step counts once, however many rows it labelled.
        """
        with self._reading() as history:
            return history.rate(datetime.now(UTC))

    def place(self, key: str | None = None) -> str | None:
        """Return the key where the person stopped, None where they never began; with a key, keep it first."""
        if key is not None:
            with self._writing():
                self._set_place(key)
        with self._reading():
            found = self._connection.execute("SELECT key FROM place").fetchone()
        return None if found is None else str(found[0])

    def history(self) -> pd.DataFrame:
        """Return every step ever made, oldest first, a row for each decision in it.

        ``step``, ``at`` (UTC), ``kind`` (``record``, ``undo``, ``redo``), ``action``, ``target`` (the step that
        was undone or redone), then the decision; undo and redo have a row without one.
        """
        with self._reading():
            return history_frame(self._connection)

    def to_frame(self) -> pd.DataFrame:
        """Return the labels, notes and flags in effect, a row for each conversation, oldest step first.

        Columns: ``key``, ``label`` (categorical: safe, unsafe, unsure, skip; NA where there is only a note or a
        flag), ``label_category``, ``note``, ``flag``, ``annotator``, ``labelled_at`` (UTC), ``order``,
        ``score_shown``, ``unsafe_score``, ``category``, ``guard``, ``threshold``, ``seconds``.
        """
        return label_frame(self.current().values(), self.annotator)

    def close(self) -> None:
        """Close the file; every method raises `LabelError` from then on."""
        with self._lock:
            self._closed = True
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __fspath__(self) -> str:
        """Return its path: whatever reads label files by path reads this one."""
        return str(self.path)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._history.n_labelled} labelled"
        return f"<LabelFile {str(self.path)!r} of {self.annotator!r}: {state}>"

    def _check_owner(self, facts: Mapping[str, str]) -> None:
        owner, role = facts.get("annotator", ""), facts.get("role", "")
        if owner != self.annotator:
            raise LabelError(
                f"{self.path} holds the labels of {owner!r}, not of {self.annotator!r}",
                hint="Each annotator has a file: name another one. read_labels([…]) reads those of others.",
            )
        if role != self.role:
            raise LabelError(
                f"{self.path} was made with role={role!r}, not {self.role!r}",
                hint="Labels and adjudications are kept apart: name another file.",
            )

    @contextmanager
    def _reading(self) -> Iterator[History]:
        """Hold the lock, with the history as it is in the file."""
        with self._lock:
            self._check_open()
            with explained(self.path):
                self._catch_up()
                yield self._history

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock and the write lock of the file, with the history as it is; keep all at the end or nothing."""
        with self._lock:
            self._check_open()
            with explained(self.path):
                with transaction(self._connection):
                    self._catch_up()
                    if self._history.version < VERSION:
                        self._history.give_chain(self._connection)
                    yield
                with suppress(sqlite3.Error):  # it is kept: a file that cannot be read now is read at the next call
                    self._catch_up()

    def _catch_up(self) -> None:
        try:
            self._history.read_on(self._connection)
        except BaseException:
            self._history = History(self.path)  # half read: the next call reads all of it
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise LabelError(f"{self.path} is closed", hint="Open it again: LabelFile(path).")

    def _move(self, kind: Literal["undo", "redo"]) -> list[str] | None:
        with self._writing():
            target = self._history.to_undo if kind == "undo" else self._history.to_redo
            if target is None:
                return None
            keys = self._history.keys(target)
            self._add_step(kind, kind, target)
        return keys

    def _add_step(self, kind: str, action: str, target: int | None, decisions: Sequence[Decision] = ()) -> int:
        """Add a step and its decisions to the chain; the history reads them when they are kept."""
        step = self._history.last + 1
        row = (step, _now(), kind, action, target)
        end = chained(self._history.end, row)
        self._connection.execute(_INSERT_STEP, (*row, end))
        rows: list[tuple[object, ...]] = []
        for decision in decisions:
            values = _row(decision)
            end = chained(end, values)
            rows.append((step, *values, end))
        self._connection.executemany(_INSERT, rows)
        self._connection.execute("UPDATE chain SET hash = ?", (end,))
        return step

    def _set_place(self, key: str) -> None:
        row = (checked_text(key, "key"), _now())
        self._connection.execute("INSERT OR REPLACE INTO place (id, key, at) VALUES (1, ?, ?)", row)


_INSERT_STEP = f"INSERT INTO steps ({', '.join(STEP_COLUMNS)}, hash) VALUES (?{', ?' * len(STEP_COLUMNS)})"
_INSERT = f"INSERT INTO decisions (step, {', '.join(COLUMNS)}, hash) VALUES (?, ?{', ?' * len(COLUMNS)})"


def _row(decision: Decision) -> tuple[object, ...]:
    """Return a decision as the columns `COLUMNS` hold it."""
    return (
        decision.key,
        decision.label,
        decision.category,
        decision.note,
        int(decision.flag),
        decision.unsafe_score,
        decision.model_category,
        decision.guard,
        decision.threshold,
        decision.order,
        int(decision.score_shown),
        decision.seconds,
    )


def _once_each(decisions: Sequence[Decision]) -> list[Decision]:
    """Return one decision a key; two that say different things about one key are a `LabelError`."""
    chosen: dict[str, Decision] = {}
    for decision in decisions:
        first = chosen.setdefault(decision.key, decision)
        if _said(first) != _said(decision):
            raise LabelError(
                f"two decisions about one conversation in one step: {first.label!r} and {decision.label!r}",
                hint="Rows of equal content share their label.",
            )
    if not chosen:
        raise LabelError("no decisions to keep", hint="Record at least one.")
    return list(chosen.values())


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.label, decision.category, decision.note, decision.flag


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
