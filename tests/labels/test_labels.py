"""Label files: what is kept, what is refused, and that nothing is lost or overwritten."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import LabelError
from guard_magic.labels import Decision, LabelFile, annotator_name, conversation_key, read_labels
from guard_magic.labels.decisions import MAX_NOTE
from guard_magic.labels.views import LABEL_COLUMNS


def key(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def decided(n: int, label: str | None = "safe", **other: Any) -> Decision:
    return Decision(key(n), label, **{"score_shown": True, **other})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels of ann #1?.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[LabelFile]:
    with LabelFile(path, annotator="ann") as made:
        yield made


def labels_of(file: LabelFile) -> dict[str, str | None]:
    return {name: kept.label for name, kept in file.current().items()}


# What is kept


def test_all_of_a_decision_is_kept(file: LabelFile, path: Path) -> None:
    before = datetime.now(UTC)
    said = Decision(
        key(1),
        "unsafe",
        "S9",
        "  ab\u202eא <script>\n ",
        True,
        score_shown=False,
        unsafe_score=0.25,
        model_category="safe",
        guard="g@1",
        threshold=0.5,
        order="random",
        seconds=3.5,
    )
    assert file.record([said], "label") == 1
    (row,) = read_labels(path).to_dict("records")
    assert before <= row.pop("labelled_at") <= datetime.now(UTC)
    assert row == {
        "key": key(1),
        "label": "unsafe",
        "label_category": "S9",
        "note": "ab\u202eא <script>",
        "flag": True,
        "annotator": "ann",
        "order": "random",
        "score_shown": False,
        "unsafe_score": 0.25,
        "category": "safe",
        "guard": "g@1",
        "threshold": 0.5,
        "seconds": 3.5,
        "role": "label",
    }


def test_columns_are_the_same_with_and_without_labels(file: LabelFile) -> None:
    empty = file.to_frame()
    file.record([decided(1, None, note="why"), decided(2), decided(3, None), decided(4, None, flag=True)], "label")
    frame = file.to_frame()
    assert tuple(empty.columns) == tuple(frame.columns) == LABEL_COLUMNS
    assert empty.dtypes.equals(frame.dtypes)
    assert list(frame["key"]) == [key(1), key(2), key(4)]  # 3 says nothing
    assert list(frame["label"].cat.categories) == ["safe", "unsafe", "unsure", "skip"]
    assert frame["label"].isna().tolist() == [True, False, True]
    assert str(frame["labelled_at"].dtype) == "datetime64[us, UTC]"
    assert file.n_labelled == 1


def test_a_key_is_of_roles_and_contents_alone() -> None:
    says = parse_conversation([{"role": "user", "content": 'a"b'}, {"role": "assistant", "content": "é\n"}])
    text = '[["user","a\\"b"],["assistant","é\\n"]]'
    assert conversation_key(says) == hashlib.sha256(text.encode()).hexdigest()
    others = ["a", [{"role": "assistant", "content": "a"}], [{"role": "user", "content": c} for c in ("a", "b")], "a "]
    assert len({conversation_key(parse_conversation(other)) for other in others}) == len(others)


def test_the_place_is_kept_with_the_label_and_is_no_step(file: LabelFile, path: Path) -> None:
    assert file.place() is None
    file.record([decided(1)], "label", place=key(2))
    assert file.place(key(3)) == key(3)
    assert file.last_step == 1
    file.undo()
    file.close()
    with LabelFile(path, annotator="ann") as again:
        assert again.place() == key(3)


def test_the_rate_is_of_the_present_streak(file: LabelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.rate() is None
    now = datetime.now(UTC)
    for ago in (3600, 3599, 3598, 24, 18, 12, 6, 0):  # 3 labels an hour ago, then 5, six seconds apart
        monkeypatch.setattr("guard_magic.labels.file._now", lambda ago=ago: (now - timedelta(seconds=ago)).isoformat())
        file.record([decided(ago)], "label")
    assert file.rate() == pytest.approx(10.0)


# Undo, redo, history


def test_undo_and_redo_of_any_run_are_those_of_a_stack_of_states(file: LabelFile, path: Path) -> None:
    choose = random.Random(5)
    states: list[dict[str, str | None]] = [{}]
    undone: list[dict[str, str | None]] = []
    n_steps = 0
    for turn in range(400):
        what = choose.choice(["record", "record", "undo", "redo"])
        before = states[-1]
        if what == "record":
            chosen = choose.sample(range(12), choose.randint(1, 5))
            label = choose.choice(["safe", "unsafe", "unsure", "skip", None])
            file.record([decided(n, label) for n in chosen], "label")
            states.append({**before, **{key(n): label for n in chosen}})
            undone.clear()
            n_steps += 1
        else:
            touched = file.undo() if what == "undo" else file.redo()
            if what == "undo" and len(states) > 1:
                undone.append(states.pop())
            elif what == "redo" and undone:
                states.append(undone.pop())
            else:
                assert touched is None
                continue
            n_steps += 1
            assert touched is not None
            after = states[-1]
            assert {k for k in {*before, *after} if before.get(k, 0) != after.get(k, 0)} <= set(touched)
        assert labels_of(file) == states[-1]
        assert (file.can_undo, file.can_redo) == (len(states) > 1, bool(undone))
        assert file.n_labelled == sum(label is not None for label in states[-1].values())
        assert file.last_step == n_steps
        if turn % 40 == 0:
            with LabelFile(path, annotator="ann") as again, closing(sqlite3.connect(path)) as raw:
                assert again.current() == file.current()
                assert (again.can_undo, again.can_redo) == (file.can_undo, file.can_redo)
                assert dict(raw.execute("SELECT key, label FROM current_labels")) == states[-1]


def test_the_history_holds_every_step(file: LabelFile) -> None:
    assert file.history().empty
    file.record([decided(1, "safe"), decided(2, "safe")], "all in filter")
    file.undo()
    file.record([decided(1, "unsafe", category="S2")], "label")
    seen = file.history()
    assert list(seen["step"]) == [1, 1, 2, 3]
    assert list(seen["kind"]) == ["record", "record", "undo", "record"]
    assert list(seen["action"]) == ["all in filter", "all in filter", "undo", "label"]
    assert list(seen["target"].fillna(0)) == [0, 0, 1, 0]
    assert list(seen["label"].fillna("")) == ["safe", "safe", "", "unsafe"]
    assert seen["at"].is_monotonic_increasing


@pytest.mark.parametrize("table", ["steps", "decisions"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET id = id + 100"])
def test_the_file_itself_refuses_to_change_its_history(file: LabelFile, path: Path, table: str, change: str) -> None:
    file.record([decided(1)], "label")
    with closing(sqlite3.connect(path)) as raw, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        raw.execute(change.format(table))


def test_rows_of_equal_content_share_one_label(file: LabelFile) -> None:
    file.record([decided(1), decided(1, unsafe_score=0.1), decided(2)], "all in filter")
    assert file.n_labelled == 2
    with pytest.raises(LabelError, match="two decisions about one conversation"):
        file.record([decided(1, "safe"), decided(1, "unsafe")], "label")
    with pytest.raises(LabelError, match="no decisions"):
        file.record([], "label")
    assert file.last_step == 1


# Several writers


def test_two_files_on_one_path_see_each_other(file: LabelFile, path: Path) -> None:
    with LabelFile(path, annotator="ann") as other:
        file.record([decided(1)], "label")
        assert other.get(key(1)) == file.get(key(1)) is not None
        other.record([decided(1, "unsafe")], "label")
        assert labels_of(file) == {key(1): "unsafe"}
        assert file.undo() == [key(1)]  # the latest step of the file, whoever made it
        assert labels_of(other) == {key(1): "safe"}
        assert other.redo() == [key(1)]
        assert labels_of(file) == {key(1): "unsafe"}


def test_threads_share_a_file(file: LabelFile) -> None:
    failed: list[BaseException] = []

    def label(first: int) -> None:
        try:
            for n in range(first, first + 25):
                file.record([decided(n)], "label", place=key(n))
                assert file.get(key(n)) is not None
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=label, args=(100 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert file.last_step == file.n_labelled == 200


def test_a_locked_file_keeps_nothing_and_says_so(file: LabelFile, path: Path) -> None:
    with LabelFile(path, annotator="ann", wait=0.05) as hasty, closing(sqlite3.connect(path)) as raw:
        raw.execute("BEGIN EXCLUSIVE")
        for act in (lambda: hasty.record([decided(1)], "label"), hasty.undo, hasty.current, hasty.place):
            with pytest.raises(LabelError, match="is locked by another program") as caught:
                act()
            assert "another kernel" in caught.value.hint
        raw.rollback()
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM steps").fetchall()  # a reader that stays stops the commit
        with pytest.raises(LabelError, match="locked"):
            hasty.record([decided(1)], "label")
        raw.rollback()
        assert hasty.current() == {}
        assert hasty.record([decided(1)], "label") == 1
        assert file.n_labelled == 1


def test_a_full_disk_keeps_nothing_and_says_so(file: LabelFile) -> None:
    file.record([decided(0)], "label")
    (pages,) = file._connection.execute("PRAGMA page_count").fetchone()
    file._connection.execute(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(LabelError, match="no room left"):
        file.record([decided(n, note="n" * 1000) for n in range(1, 100)], "all in filter")
    assert labels_of(file) == {key(0): "safe"}
    file._connection.execute("PRAGMA max_page_count=100000")
    assert file.record([decided(1)], "label") == 2


def test_an_interrupted_reading_is_made_up_for(file: LabelFile, path: Path) -> None:
    with LabelFile(path, annotator="ann") as other:
        file.record([decided(n) for n in range(50)], "all in filter")
        other._connection.set_progress_handler(lambda: 1, 1)  # SQLite's own interrupt
        with pytest.raises(LabelError, match="interrupted"):
            other.current()
        other._connection.set_progress_handler(None, 0)
        assert other.current() == file.current()


# Files


def test_file_and_journal_are_for_their_owner_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        with LabelFile(path, annotator="ann"), closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("INSERT INTO place VALUES (1, 'k', '')")
            journal = path.with_name(path.name + "-journal")
            modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, journal)]
            raw.execute("ROLLBACK")
    finally:
        os.umask(old)
    assert modes == [0o600, 0o600]
    assert not journal.exists()  # and no -wal
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_step_is_on_the_disk_before_it_is_answered(file: LabelFile) -> None:
    assert file._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_file_that_was_killed_while_it_was_made_is_made_again_and_for_its_owner_alone(path: Path) -> None:
    path.touch(0o644)
    with LabelFile(path, annotator="ann") as file:
        assert file.record([decided(1)], "label") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_journal_of_a_killed_writer_is_rolled_back_by_a_reader(file: LabelFile, path: Path, tmp_path: Path) -> None:
    file.record([decided(n) for n in range(2000)], "all in filter")
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA cache_size=10")  # changed pages go to the file before the transaction ends
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("DROP TRIGGER decisions_no_update")
        raw.execute("UPDATE decisions SET label = 'unsure', note = 'half'")
        for end in ("", "-journal"):
            shutil.copy(f"{path}{end}", f"{copy}{end}")
        raw.execute("ROLLBACK")
    with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as raw:  # reads past the journal
        assert raw.execute("SELECT count(*) FROM decisions WHERE note = 'half'").fetchone()[0] > 0
    labels = read_labels(copy)
    assert len(labels) == 2000
    assert set(labels["label"]) == {"safe"}


def test_reading_changes_nothing(file: LabelFile, path: Path) -> None:
    file.record([decided(1)], "label")
    before = path.read_bytes()
    file.close()
    path.chmod(0o400)
    read_labels([path, str(path)])
    assert len(read_labels([path, str(path)])) == 1
    assert path.read_bytes() == before


def broken(path: Path, how: str) -> None:
    if how == "text":
        path.write_text("key,label\n" * 1000)
        return
    if how == "another program's":
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("CREATE TABLE steps (id)")
        return
    with LabelFile(path, annotator="ann") as file:
        for n in range(20):
            file.record([decided(20 * n + i, note="n" * 200) for i in range(20)], "label")
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    elif how == "overwritten":
        with path.open("r+b") as f:
            f.seek(8 * 4096)
            f.write(b"\xff" * 20 * 4096)
    else:
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(how)


BROKEN = {
    "text": "is not a label file",
    "another program's": "another SQLite database",
    "cut": "is damaged",
    "overwritten": "is damaged",
    "PRAGMA user_version = 3": "version 3",
    "PRAGMA user_version = 1": "is damaged",
    "INSERT INTO steps (at, kind, action, hash) VALUES ('2026-01-01T00:00:00+00:00', 'record', 'x', 'h')": "at step 21",
    "INSERT INTO steps (at, kind, action, target, hash) VALUES ('', 'undo', 'undo', 3, 'h')": "at step 21",
}


@pytest.mark.parametrize(("how", "says"), BROKEN.items())
def test_what_is_no_whole_label_file_is_refused_and_left_alone(path: Path, how: str, says: str) -> None:
    broken(path, how)
    before = path.read_bytes()
    for opened in (lambda: LabelFile(path, annotator="ann"), lambda: read_labels(path)):
        with pytest.raises(LabelError, match=says) as caught:
            opened()
        assert caught.value.hint
    assert path.read_bytes() == before


def test_another_person_s_file_and_another_role_s_are_refused(file: LabelFile, path: Path) -> None:
    with pytest.raises(LabelError, match="holds the labels of 'ann', not of 'bob'") as caught:
        LabelFile(path, annotator="bob")
    assert "another one" in caught.value.hint
    with pytest.raises(LabelError, match="role='label', not 'adjudicate'"):
        LabelFile(path, annotator="ann", role="adjudicate")
    with pytest.raises(LabelError, match="no role 'boss'"):
        LabelFile(path, annotator="ann", role="boss")  # type: ignore[arg-type]


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="is a directory"):
        LabelFile(tmp_path, annotator="ann")
    with pytest.raises(LabelError, match="no directory"):
        LabelFile(tmp_path / "no" / "x.sqlite", annotator="ann")
    with pytest.raises(LabelError, match="is not a path"):
        LabelFile("", annotator="ann")
    with pytest.raises(LabelError, match="there is no label file"):
        read_labels(tmp_path / "no.sqlite")
    with pytest.raises(LabelError, match="no label files"):
        read_labels([])
    assert list(tmp_path.iterdir()) == []


def test_a_closed_file_says_so(file: LabelFile) -> None:
    file.close()
    file.close()
    assert "closed" in repr(file)
    for act in (file.current, file.undo, file.rate, lambda: file.record([decided(1)], "label")):
        with pytest.raises(LabelError, match="is closed"):
            act()


# Who labels


@pytest.mark.parametrize("login", ["jovyan", "root", " Root", "ec2-user", "user"])
def test_a_login_that_says_nothing_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, login: str) -> None:
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.setenv("LOGNAME", login)
    with pytest.raises(LabelError, match="does not say who labels") as caught:
        LabelFile(tmp_path / "x.sqlite")
    assert "annotator=" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
    with LabelFile(tmp_path / "x.sqlite", annotator=login) as file:  # said, so it is meant
        assert file.annotator == login.strip()


def test_a_login_that_names_somebody_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.setenv("LOGNAME", "zoë")
    assert annotator_name() == "zoë"
    monkeypatch.setenv("JUPYTERHUB_USER", "hub-ann")
    assert annotator_name() == "hub-ann"
    assert annotator_name("zoe\u0308 ") == "zoë"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1bb", "a" * 201, "\ud800", "a\0", 7])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(LabelError, match="annotator"):
        annotator_name(name)


# Decisions


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"key": "abc"}, "no key"),
    ({"key": key(1).upper()}, "no key"),
    ({"label": "Safe"}, "no label 'Safe'"),
    ({"label": "safe", "category": "S1"}, "a hazard"),
    ({"label": None, "category": "S1"}, "a hazard"),
    ({"note": "n" * (MAX_NOTE + 1)}, "10,001 characters"),
    ({"note": "a\ud800"}, "a character that is none"),
    ({"note": "a\0"}, "a character that is none"),
    ({"note": 7}, "not text"),
    ({"guard": "g" * 201}, "201 characters"),
    ({"unsafe_score": 1.01}, "unsafe_score"),
    ({"unsafe_score": "high"}, "unsafe_score"),
    ({"seconds": -1}, "seconds"),
    ({"threshold": float("inf")}, "threshold"),
]


@pytest.mark.parametrize(("values", "says"), WRONG)
def test_decisions_that_cannot_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelError, match=says):
        Decision(**{"key": key(1), "label": "unsafe", "score_shown": True, **values})


def test_what_a_frame_holds_for_nothing_is_none() -> None:
    missing = Decision(
        key(1),
        "unsafe",
        pd.NA,  # type: ignore[arg-type]
        " ",
        score_shown=True,
        unsafe_score=float("nan"),
        model_category=float("nan"),  # type: ignore[arg-type]
        guard=pd.NA,  # type: ignore[arg-type]
    )
    assert missing == Decision(key(1), "unsafe", score_shown=True)


def test_whether_the_score_was_shown_must_be_said() -> None:
    with pytest.raises(TypeError, match="score_shown"):
        Decision(key(1), "safe")  # type: ignore[call-arg]
