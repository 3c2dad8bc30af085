"""The file that labels are kept in: its tables, how it is opened, and what its errors mean.

SQLite with a rollback journal, which works on network homes where shared memory does not, and
``synchronous=FULL``: when a transaction has ended, it is on the disk. Steps and decisions are only ever added;
triggers in the file refuse anything else.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guard_magic.errors import LabelError, shorten

__all__ = ["VERSION", "check", "connect", "create", "explain", "explained", "label_path", "transaction"]

VERSION = 1
"""Version of the tables below; kept as ``user_version``."""

_APPLICATION = 0x474D4C42  # "GMLB": says to other programs whose file this is
_LABELS = "'safe', 'unsafe', 'unsure', 'skip'"
_SCHEMA = (
    "CREATE TABLE file (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE place (id INTEGER PRIMARY KEY CHECK (id = 1), key TEXT NOT NULL, at TEXT NOT NULL)",
    """CREATE TABLE steps (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('record', 'undo', 'redo')),
        action TEXT NOT NULL,
        target INTEGER REFERENCES steps (id),
        CHECK ((kind = 'record') = (target IS NULL)))""",
    f"""CREATE TABLE decisions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        step INTEGER NOT NULL REFERENCES steps (id),
        key TEXT NOT NULL,
        label TEXT CHECK (label IN ({_LABELS})),
        category TEXT CHECK (category IS NULL OR label = 'unsafe'),
        note TEXT,
        flag INTEGER NOT NULL,
        unsafe_score REAL,
        model_category TEXT,
        guard TEXT,
        threshold REAL,
        sorted_by TEXT,
        score_shown INTEGER NOT NULL,
        seconds REAL)""",
    "CREATE INDEX decisions_of_step ON decisions (step)",
    """CREATE VIEW current_labels AS
        SELECT decisions.*, steps.at AS labelled_at FROM decisions JOIN steps ON steps.id = decisions.step
        WHERE decisions.id IN (
            SELECT max(id) FROM decisions
            WHERE step NOT IN (
                SELECT target FROM steps WHERE target IS NOT NULL
                GROUP BY target HAVING sum(kind = 'undo') > sum(kind = 'redo'))
            GROUP BY key)""",
    *(
        f"""CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table}
        BEGIN SELECT RAISE(ABORT, 'the history of a label file is never changed'); END"""
        for table in ("steps", "decisions")
        for change in ("update", "delete")
    ),
)
_COPY_HINT = "The file is as it was. Keep a copy before you try anything with it."


def label_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a label file, made absolute; a directory or an empty path is a `LabelError`."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise LabelError(f"{shorten(path)} is no path of a label file", hint='For instance "labels_ann.sqlite".')
    place = Path(os.path.abspath(Path(path).expanduser()))
    if place.is_dir():
        raise LabelError(f"{place} is a directory", hint="Name a file in it.")
    return place


def connect(path: Path, wait: float, *, make: bool) -> sqlite3.Connection:
    """Open `path`; where it is not there, make it empty with mode 0600 or raise `LabelError`.

    The file is never opened by anything but SQLite: closing a second descriptor of it would drop the locks that
    this process holds.
    """
    writable = make or os.access(path, os.W_OK)
    with explained(path):
        if make:
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        elif not path.exists():
            raise LabelError(f"there is no label file {path}")
        # A killed writer's journal is rolled back by whoever opens next, and that takes write permission.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={'rw' if writable else 'ro'}",
            uri=True,
            timeout=wait,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        with explained(path):
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA synchronous=FULL")
            if writable:
                connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection, path: Path, facts: dict[str, str]) -> None:
    """Write the tables and `facts` (annotator, role, time) into an empty file; leave any other as it is."""
    with explained(path):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        with transaction(connection):
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return  # another process was first
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.executemany("INSERT INTO file VALUES (?, ?)", facts.items())
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")


def check(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """Return the facts of a label file: ``annotator``, ``role`` and ``created_at``.

    Raises
    ------
    LabelError
        For a file of another program, of a later version, or one that is damaged.
    """
    with explained(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION:
            raise LabelError(
                f"{path} is no label file but another SQLite database", hint="Name another file; it was not changed."
            )
        if version != VERSION:
            raise LabelError(
                f"{path} has version {version}; this guard_magic reads version {VERSION}", hint="Upgrade guard_magic."
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise LabelError(f"{path} is damaged: {shorten(found)}", hint=_COPY_HINT)
        return dict(connection.execute("SELECT name, value FROM file"))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; all of it is kept at the end, or nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a `LabelError` that says what to do."""
    try:
        yield
    except LabelError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path) from error


def explain(error: Exception, path: Path) -> LabelError:
    """Return the `LabelError` for what SQLite or the system said about `path`."""
    name = str(getattr(error, "sqlite_errorname", "") or "")
    for start, what, hint in _MEANINGS:
        if name.startswith(start):
            return LabelError(f"{path} {what} ({error})", hint=hint)
    if isinstance(error, FileNotFoundError):
        return LabelError(f"there is no directory {path.parent}", hint="Make it first.")
    if isinstance(error, PermissionError):
        return LabelError(f"{path} may not be written by you ({error.strerror})", hint="Name a file of your own.")
    return LabelError(f"{path} cannot be used ({error})")


_MEANINGS = (
    ("SQLITE_NOTADB", "is no label file", "Name another file; it was not changed."),
    ("SQLITE_CORRUPT", "is damaged", _COPY_HINT),
    (
        "SQLITE_BUSY",
        "is locked by another program",
        "Nothing was kept. Close what is writing it, another kernel perhaps, and label again.",
    ),
    ("SQLITE_READONLY", "may not be written by you", "Nothing was kept. Name a file of your own."),
    ("SQLITE_CANTOPEN", "cannot be opened", "Does its directory exist, and may you write there?"),
    ("SQLITE_FULL", "has no room left on its disk", "Nothing was kept. Make room and label again."),
    (
        "SQLITE_IOERR",
        "could not be read or written",
        "Nothing was kept. A network home that cannot lock files? Name a file on a local disk.",
    ),
    ("SQLITE_PROTOCOL", "cannot be locked", "Name a file on a local disk."),
)
