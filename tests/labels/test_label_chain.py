"""The chain of hashes in a label file: damage is named, and never read as labels that nobody gave."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from guard_magic.errors import LabelError
from guard_magic.labels import Decision, LabelFile, read_labels
from guard_magic.labels.chain import chained
from guard_magic.labels.schema import _TABLES

KEYS = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(400)]
LABELS = ("safe", "unsafe", "unsure", "skip")
N_CORRUPTIONS = 300


def label_some(path: Path, n_steps: int = 30) -> Path:
    """Write a file with labels, notes, undone and redone steps."""
    choose = random.Random(3)
    with LabelFile(path, annotator="ann") as file:
        for step in range(n_steps):
            said = [
                Decision(
                    key,
                    (label := choose.choice(LABELS)),
                    "S1" if label == "unsafe" else None,
                    f"note {step}" if step % 3 else None,
                    score_shown=step % 2 == 0,
                    unsafe_score=choose.choice([-0.0, 0.25, 1.0]),
                    seconds=0.1 * step,
                )
                for key in choose.sample(KEYS, 5)
            ]
            file.record(said, "label")
            if step % 7 == 6:
                file.undo()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_some(tmp_path_factory.mktemp("whole") / "ann.sqlite")


def old_file(path: Path, n_steps: int = 12, at: str = "2026-01-01T00:00:{:02}+00:00") -> Path:
    """Write a file as version 1 was: the same tables without hashes."""
    with closing(sqlite3.connect(path)) as raw, raw:
        for statement in _TABLES:
            raw.execute(statement)
        facts = {"annotator": "ann", "role": "label", "created_at": "2026-01-01T00:00:00+00:00"}
        raw.executemany("INSERT INTO file VALUES (?, ?)", facts.items())
        raw.execute(f"PRAGMA application_id={0x474D4C42}")
        raw.execute("PRAGMA user_version=1")
        for step in range(1, n_steps + 1):
            row = (step, at.format(step), "record", "label")
            raw.execute("INSERT INTO steps (id, at, kind, action) VALUES (?, ?, ?, ?)", row)
            raw.execute(
                "INSERT INTO decisions (step, key, label, unsafe_score, flag, score_shown) VALUES (?, ?, ?, ?, 0, 1)",
                (step, KEYS[step], LABELS[step % 4], step / 100),
            )
        undone = (n_steps + 1, at.format(n_steps + 1), "undo", "undo", n_steps)
        raw.execute("INSERT INTO steps (id, at, kind, action, target) VALUES (?, ?, ?, ?, ?)", undone)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


# Damage


def _bits(content: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice([1, 1, 1, 3])):
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)


def _run(content: bytearray, choose: random.Random) -> None:
    start, size = choose.randrange(len(content)), choose.choice([2, 8, 64, 512])
    content[start : start + size] = choose.randbytes(len(content[start : start + size]))


def _letters(content: bytearray, choose: random.Random) -> None:
    """Change what is written, the way nothing but a hash notices."""
    old, new = choose.sample([b"safe", b"skip", b"note", b"undo", b"redo"], 2)
    found = [match.start() for match in re.finditer(re.escape(old), bytes(content))]
    if found:
        start = choose.choice(found)
        content[start : start + 4] = new


def _pages(content: bytearray, choose: random.Random) -> None:
    n_pages = len(content) // 4096
    one, other = choose.randrange(n_pages), choose.randrange(n_pages)
    content[4096 * one : 4096 * (one + 1)] = content[4096 * other : 4096 * (other + 1)]


def _end(content: bytearray, choose: random.Random) -> None:
    del content[choose.randrange(len(content)) :]


def labels_or_error(path: Path) -> pd.DataFrame | LabelError:
    try:
        return read_labels(path)
    except LabelError as error:
        return error


def test_300_random_corruptions_never_give_other_labels(whole: Path, tmp_path: Path) -> None:
    expected = read_labels(whole)
    harms: list[Callable[[bytearray, random.Random], None]] = [_bits, _bits, _run, _letters, _letters, _pages, _end]
    n_refused = 0
    for seed in range(N_CORRUPTIONS):
        choose = random.Random(seed)
        content = bytearray(whole.read_bytes())
        choose.choice(harms)(content, choose)
        path = tmp_path / "damaged.sqlite"
        path.write_bytes(content)
        found = labels_or_error(path)
        if isinstance(found, LabelError):
            n_refused += 1
            assert found.hint, found
        else:
            pd.testing.assert_frame_equal(found, expected, obj=f"labels after corruption {seed}")
    assert n_refused > N_CORRUPTIONS // 3, "the corruptions reach what is read"


HARMS = [
    (
        "UPDATE decisions SET label = iif(label = 'safe', 'skip', 'safe'), category = NULL WHERE id = 12",
        "broken at step 3",
    ),
    ("UPDATE decisions SET label = 'unsure', category = NULL WHERE id = 12", "broken at step 3"),
    ("UPDATE decisions SET key = (SELECT key FROM decisions WHERE id = 14) WHERE id = 12", "broken at step 3"),
    ("UPDATE decisions SET note = 'other' WHERE id = 12", "broken at step 3"),
    ("UPDATE decisions SET score_shown = 1 - score_shown WHERE id = 12", "broken at step 3"),
    ("UPDATE decisions SET step = 4 WHERE id = 15", "broken at step 4"),
    ("UPDATE steps SET at = '2020-01-01T00:00:00+00:00' WHERE id = 5", "broken at step 5, of 2020"),
    ("UPDATE steps SET target = 6 WHERE kind = 'undo' AND id = 8", "broken at step 8"),
    ("DELETE FROM decisions WHERE id = 12", "broken at step 3"),
    ("DELETE FROM steps WHERE id = 3", "broken at step 4"),
    ("DELETE FROM decisions WHERE id = (SELECT max(id) FROM decisions)", "broken at step|does not end"),
    ("DELETE FROM steps WHERE id = (SELECT max(id) FROM steps)", "does not end with step"),
    ("UPDATE file SET value = 'bob' WHERE name = 'annotator'", "broken at step 1"),
    ("UPDATE file SET value = 'adjudicate' WHERE name = 'role'", "broken at step 1"),
    ("DELETE FROM chain", "the end of its chain of hashes is lost"),
]


@pytest.mark.parametrize(("harm", "says"), HARMS)
def test_a_broken_chain_is_named(whole: Path, tmp_path: Path, harm: str, says: str) -> None:
    path = Path(shutil.copy(whole, tmp_path / "ann.sqlite"))
    with closing(sqlite3.connect(path)) as raw, raw:
        made = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in made:
            raw.execute(f"DROP TRIGGER {name}")
        assert raw.execute(harm).rowcount == 1
        for _, sql in made:
            raw.execute(sql)
    for opened in (lambda: read_labels(path), lambda: LabelFile(path, annotator="ann")):
        with pytest.raises(LabelError, match=says) as caught:
            opened()
        assert str(path) in caught.value.message
        assert "older copy" in caught.value.hint


def test_an_empty_file_of_another_person_or_an_end_that_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "ann.sqlite"
    LabelFile(path, annotator="ann").close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE file SET value = 'bob' WHERE name = 'annotator'")
    with pytest.raises(LabelError, match="does not end with step 0"):
        read_labels(path)


def test_a_step_that_another_process_wrote_is_checked_too(tmp_path: Path) -> None:
    path = label_some(tmp_path / "ann.sqlite", 3)
    with LabelFile(path, annotator="ann") as file:
        known = file.current()
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("INSERT INTO steps (at, kind, action, hash) VALUES ('2026-01-01', 'record', 'label', 'h')")
        with pytest.raises(LabelError, match="broken at step 4"):
            file.current()
        with pytest.raises(LabelError, match="broken at step 4"):
            file.record([Decision(KEYS[0], "safe", score_shown=True)], "label")
        assert known


def test_each_row_carries_the_hash_after_the_one_before(whole: Path) -> None:
    with closing(sqlite3.connect(whole)) as raw:
        (before,) = raw.execute("SELECT hash FROM steps WHERE id = 1").fetchone()
        rows = raw.execute("SELECT * FROM decisions WHERE step = 1 ORDER BY id").fetchall()
        (last,) = raw.execute("SELECT hash FROM chain").fetchone()
        (newest,) = raw.execute("SELECT hash FROM decisions ORDER BY id DESC").fetchone()
    assert len({row[-1] for row in rows}) == 5
    for _, _, *values, digest in rows:
        before = chained(before, values)
        assert digest == before
    assert last == newest


# Version 1


def test_a_file_of_version_1_is_read_as_it_is_and_upgraded_at_the_next_writing(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.sqlite")
    before, content = read_labels(path), path.read_bytes()
    assert list(before["key"]) == KEYS[1:12]  # the twelfth is undone
    with LabelFile(path, annotator="ann") as file:
        assert file.n_labelled == 11
        assert file.can_redo
        assert path.read_bytes() == content, "looking changes nothing"
        with LabelFile(path, annotator="ann") as other:
            assert other.redo() == [KEYS[12]]
            assert version_of(path) == 2
            assert file.n_labelled == 12, "a file that was open before the upgrade goes on"
            file.record([Decision(KEYS[0], "unsafe", "S2", score_shown=True)], "label")
            assert other.get(KEYS[0]) == file.get(KEYS[0])
    found = read_labels(path)
    pd.testing.assert_frame_equal(found.iloc[:11], before)
    assert list(found["key"]) == [*KEYS[1:13], KEYS[0]]
    assert len(LabelFile(path, annotator="ann").history()) == 15
    with closing(sqlite3.connect(path)) as raw, pytest.raises(sqlite3.IntegrityError, match="upgrade guard_magic"):
        raw.execute("INSERT INTO steps (at, kind, action) VALUES ('', 'record', 'what version 1 writes')")
    with closing(sqlite3.connect(path)) as raw, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        raw.execute("UPDATE decisions SET label = 'safe'")


def test_an_upgrade_is_all_or_nothing(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.sqlite")
    content = path.read_bytes()
    with LabelFile(path, annotator="ann") as file:
        with pytest.raises(RuntimeError, match="killed"), file._writing():
            raise RuntimeError("killed")
        assert path.read_bytes()[100:] == content[100:], "rolled back"
        assert version_of(path) == 1
        assert file.n_labelled == 11
        assert file.record([Decision(KEYS[0], "safe", score_shown=True)], "label") == 14
    assert version_of(path) == 2
    assert len(read_labels(path)) == 12


@pytest.mark.parametrize("at", ["2026-01-01T00:00:{:02}", "2026-99-01T00:00:{:02}+00:00", "", "noon"])
def test_times_without_a_zone_or_that_cannot_be_are_refused(tmp_path: Path, at: str) -> None:
    path = old_file(tmp_path / "old.sqlite", at=at)
    for opened in (lambda: read_labels(path), lambda: LabelFile(path, annotator="ann")):
        with pytest.raises(LabelError, match="step 1 holds what cannot be") as caught:
            opened()
        assert caught.value.hint
    assert version_of(path) == 1


# Files that are made to harm

ENDLESS = (
    "CREATE VIEW {} AS WITH RECURSIVE t(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM t) SELECT id, id AS {} FROM t"
)


@pytest.mark.parametrize(
    ("table", "column"), [("steps", "at"), ("decisions", "step"), ("file", "name"), ("chain", "hash")]
)
def test_an_endless_view_in_place_of_a_table_is_refused(whole: Path, tmp_path: Path, table: str, column: str) -> None:
    path = Path(shutil.copy(whole, tmp_path / "ann.sqlite"))
    with closing(sqlite3.connect(path)) as raw, raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type IN ('trigger')").fetchall():
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("PRAGMA legacy_alter_table=ON")
        raw.execute(f"ALTER TABLE {table} RENAME TO away")
        raw.execute(ENDLESS.format(table, column))
    for opened in (lambda: read_labels(path), lambda: LabelFile(path, annotator="ann")):
        with pytest.raises(LabelError, match=r"is not as it was made|is missing") as caught:
            opened()
        assert caught.value.hint


def test_a_missing_table_and_a_trigger_of_others_are_named(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path / "ann.sqlite"))
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TRIGGER more AFTER INSERT ON steps BEGIN SELECT 1; END")
    with pytest.raises(LabelError, match="a trigger 'more' that is not ours") as caught:
        read_labels(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DROP TRIGGER more")
        raw.execute("CREATE VIEW mine AS SELECT * FROM current_labels")
    assert len(read_labels(path)), "a view of one's own does no harm"
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DROP TABLE place")
    with pytest.raises(LabelError, match="its table 'place' is missing") as caught:
        read_labels(path)
    assert caught.value.hint
