"""The file that labels are kept in: its tables, how it is opened, and what its errors mean.

SQLite with a rollback journal, which works on network homes where shared memory does not, and
``synchronous=FULL``: when a transaction has ended, it is on the disk. Steps and decisions are only ever added;
triggers in the file refuse anything else. Each carries the hash of its place in a chain (`guard_magic.labels.chain`);
files of version 1 have none, are read as they are, and get theirs at the next writing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from guard_magic.errors import LabelError, shorten
from guard_magic.labels.chain import first_hash

__all__ = [
    "DAMAGED_HINT",
    "VERSION",
    "check",
    "connect",
    "create",
    "explain",
    "explained",
    "give_chain",
    "snapshot",
    "transaction",
]

VERSION = 2
"""Version of the tables below; kept as ``user_version``. 1: without hashes."""

_APPLICATION = 0x474D4C42  # "GMLB": says to other programs whose file this is
_LABELS = "'safe', 'unsafe', 'unsure', 'skip'"
_NEVER_CHANGED = tuple(
    f"""CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table}
        BEGIN SELECT RAISE(ABORT, 'the history of a label file is never changed'); END"""
    for table in ("steps", "decisions")
    for change in ("update", "delete")
)
_TABLES = (
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
    *_NEVER_CHANGED,
)
_CHAIN = (
    "ALTER TABLE steps ADD COLUMN hash TEXT",
    "ALTER TABLE decisions ADD COLUMN hash TEXT",
    "CREATE TABLE chain (id INTEGER PRIMARY KEY CHECK (id = 1), hash TEXT NOT NULL)",
    *(
        f"""CREATE TRIGGER {table}_have_hashes BEFORE INSERT ON {table} WHEN NEW.hash IS NULL
        BEGIN SELECT RAISE(ABORT, 'this label file has version 2: upgrade guard_magic'); END"""
        for table in ("steps", "decisions")
    ),
)
DAMAGED_HINT = (
    "Nothing is read from it, for it could say what nobody decided. Keep it as it is, put an older copy in its place, "
    "or label into a new file."
)


def connect(path: Path, wait: float, *, make: bool) -> sqlite3.Connection:
    """Open `path`; where it is not there, make it empty with mode 0600 or raise `LabelError`.

    The file is never opened by anything but SQLite: closing a second descriptor of it would drop the locks that
    this process holds.
    """
    writable = make or os.access(path, os.W_OK)
    with explained(path):
        if make:
            _make_private(path)
        elif not path.exists():
            raise LabelError(f"there is no label file {path}", hint="Label first, or look at the path.")
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


def _make_private(path: Path) -> None:
    """Make the file with mode 0600; one that is there and empty gets that mode, and any other is left as it is."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if path.stat().st_size == 0:
        path.chmod(0o600)


def create(connection: sqlite3.Connection, path: Path, facts: dict[str, str]) -> None:
    """Write the tables and `facts` (annotator, role, time) into an empty file; leave any other as it is."""
    with explained(path):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        with transaction(connection):
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return  # another process was first
            for statement in (*_TABLES, *_CHAIN):
                connection.execute(statement)
            connection.executemany("INSERT INTO file VALUES (?, ?)", facts.items())
            connection.execute("INSERT INTO chain VALUES (1, ?)", (first_hash(facts),))
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")


def give_chain(
    connection: sqlite3.Connection, steps: Mapping[int, str], decisions: Mapping[int, str], end: str
) -> None:
    """Make a file of version 1 one of version 2, inside a transaction of the caller's.

    Parameters
    ----------
    connection
        The file.
    steps, decisions
        Id -> hash, of all that are in the file.
    end
        The last hash of the chain.
    """
    for table in ("steps", "decisions"):
        connection.execute(f"DROP TRIGGER {table}_no_update")
    for statement in _CHAIN:
        connection.execute(statement)
    for table, hashes in (("steps", steps), ("decisions", decisions)):
        rows = ((digest, row) for row, digest in hashes.items())
        connection.executemany(f"UPDATE {table} SET hash = ? WHERE id = ?", rows)
    connection.execute("INSERT INTO chain VALUES (1, ?)", (end,))
    for statement in _NEVER_CHANGED:
        if "BEFORE update" in statement:
            connection.execute(statement)
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
                f"{path} is not a label file but another SQLite database",
                hint="Name another file; it was not changed.",
            )
        if not 1 <= version <= VERSION:
            raise LabelError(
                f"{path} has version {version}; this guard_magic reads versions 1 to {VERSION}",
                hint="Upgrade guard_magic.",
            )
        _check_schema(connection, path, version)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise LabelError(f"{path} is damaged: {shorten(found)}", hint=DAMAGED_HINT)
        return dict(connection.execute("SELECT name, value FROM file"))


def _check_schema(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse a file whose tables are not those that were made: a view in their place may have no end."""
    found, expected = _schema_of(connection), _expected_schema(version)
    for name, (kind, made) in expected.items():
        if name not in found:
            raise LabelError(f"{path} is damaged: its {kind} {name!r} is missing", hint=DAMAGED_HINT)
        if found[name] != (kind, made):
            raise LabelError(
                f"{path} is damaged: its {kind} {name!r} is not as it was made but {shorten(found[name][1])}",
                hint=DAMAGED_HINT,
            )
    for name, (kind, _) in found.items():
        if kind == "trigger" and name not in expected:
            raise LabelError(
                f"{path} has a trigger {shorten(name)} that is not ours", hint=f"DROP TRIGGER it. {DAMAGED_HINT}"
            )


@cache
def _expected_schema(version: int) -> Mapping[str, tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as made:
        for statement in (*_TABLES, *_CHAIN) if version > 1 else _TABLES:
            made.execute(statement)
        return _schema_of(made)


def _schema_of(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return name -> kind and definition of all that a file holds; space counts as one however it is written."""
    rows = connection.execute("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(name): (str(kind), " ".join(str(sql).split())) for name, kind, sql in rows}


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all that is read inside be of one state of the file, whoever writes meanwhile."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        _roll_back(connection)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; all of it is kept at the end, or nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if SQLite has not done so after an error."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a `LabelError` that says what to do."""
    try:
        yield
    except LabelError:
        raise
    except (sqlite3.Error, OSError, UnicodeError) as error:  # a damaged file can be named in bytes that are no text
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
    if isinstance(error, OSError):
        reason = error.strerror or shorten(str(error), 100)
        return LabelError(f"{shorten(str(path))} cannot be used ({reason})", hint="Name another file.")
    return LabelError(f"{path} is damaged ({error})", hint=DAMAGED_HINT)


_MEANINGS = (
    ("SQLITE_NOTADB", "is not a label file", "Name another file; it was not changed."),
    ("SQLITE_CORRUPT", "is damaged", DAMAGED_HINT),
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
    ("SQLITE_INTERRUPT", "was not read to its end", "Try again."),
    ("SQLITE_PROTOCOL", "cannot be locked", "Name a file on a local disk."),
)
