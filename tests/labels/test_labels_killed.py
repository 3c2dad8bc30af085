"""``kill -9`` of a writer at 50 random points: what was answered is kept, the file opens, no step is half there."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from guard_magic.labels import Decision, LabelFile, read_labels

POINTS = 50
LONGEST = 10_000
KEYS = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(300)]
Said = dict[str, tuple[str | None, str | None]]


def script() -> list[tuple[str, int]]:
    """Return what a person does: ("record", rows), ("undo", 0) or ("redo", 0); each is one step."""
    choose = random.Random(1)
    acts: list[tuple[str, int]] = []
    n_done = n_undone = 0
    for _ in range(LONGEST):
        kind = choose.choice(["record"] * 6 + ["undo"] * 2 + ["redo"])
        if (kind == "undo" and not n_done) or (kind == "redo" and not n_undone):
            kind = "record"
        if kind == "record":
            acts.append((kind, choose.choice([1] * 9 + [len(KEYS)])))  # a key, or all in the filter
            n_done, n_undone = n_done + 1, 0
        else:
            acts.append((kind, 0))
            moved = -1 if kind == "undo" else 1
            n_done, n_undone = n_done + moved, n_undone - moved
    return acts


def said(step: int, rows: int) -> Said:
    """Return what the record of this step says, key -> (label, note)."""
    choose = random.Random(step)
    label = choose.choice(["safe", "unsafe", "unsure", "skip", None])
    return {key: (label, f"note {step} of {key} " * 5) for key in choose.sample(KEYS, rows)}


def outcome(n_steps: int) -> Said:
    """Return what holds after so many steps, by a stack of whole states."""
    states: list[Said] = [{}]
    undone: list[Said] = []
    for step, (kind, rows) in enumerate(ACTS[:n_steps], start=1):
        if kind == "record":
            states.append({**states[-1], **said(step, rows)})
            undone.clear()
        elif kind == "undo":
            undone.append(states.pop())
        else:
            states.append(undone.pop())
    return states[-1]


ACTS = script()


def write(path: str, answers: Connection) -> None:
    """Do the script from where the file stands, answering each step once `LabelFile` has returned."""
    with LabelFile(path, annotator="ann") as file:
        first = file.last_step
        answers.send(first)
        for step, (kind, rows) in enumerate(ACTS[first:], start=first + 1):
            if kind == "record":
                what = said(step, rows).items()
                chosen = [Decision(key, label, None, note, score_shown=True) for key, (label, note) in what]
                assert file.record(chosen, "label", place=chosen[0].key) == step
            else:
                assert (file.undo() if kind == "undo" else file.redo()) is not None
            answers.send(step)


@pytest.mark.slow
def test_no_answered_label_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    journal = tmp_path / "labels.sqlite-journal"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["guard_magic.labels"])
    wait = random.Random()
    last = n_hot = n_unanswered = 0
    for point in range(POINTS):
        ours, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(str(path), theirs), daemon=True)
        writer.start()
        theirs.close()
        assert ours.poll(60), "the writer did not start"
        assert ours.recv() == last
        time.sleep(wait.uniform(0, 0.06))
        writer.kill()
        writer.join()
        answered = last
        try:
            while True:
                answered = ours.recv()
        except EOFError:
            pass
        n_hot += journal.exists()
        if point % 2:  # every other time somebody reads the file before it is written again
            assert set(read_labels(path)["annotator"]) <= {"ann"}
        with LabelFile(path, annotator="ann") as file:
            kept = file.last_step
            # One step may have been on the disk and not yet answered: never fewer, never more, never a part of one.
            assert answered <= kept <= answered + 1, f"{answered} answered, {kept} kept, at point {point}"
            now = {key: (d.label, d.note) for key, d in file.current().items()}
            assert now == {key: (label, note.strip()) for key, (label, note) in outcome(kept).items()}
        n_unanswered += kept > answered
        last = kept
    print(f"{POINTS} kills in {last} steps: {n_hot} left a journal, {n_unanswered} hit between disk and answer")
    assert n_hot > 0, "no kill fell into a transaction"
    assert POINTS < last < LONGEST


def label_some(path: str, first: int) -> None:
    with LabelFile(path, annotator="ann", wait=60) as file:
        for key in KEYS[first : first + 40]:
            file.record([Decision(key, "safe", score_shown=True)], "label")


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "labels.sqlite")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["guard_magic.labels"])
    writers = [context.Process(target=label_some, args=(path, first)) for first in (0, 40, 80)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with LabelFile(path, annotator="ann") as file:
        assert set(file.current()) == set(KEYS[:120])
        assert file.last_step == 120
        assert list(file.history()["step"]) == list(range(1, 121))
