"""Labels in the formats of other tools.

Tables (JSON Lines, CSV, Parquet, Hugging Face ``datasets``) hold the frame as it is. The forms of Label Studio and
Argilla hold the conversation, the model's verdict as a prediction or suggestion, and each person's label as an
annotation or response: both verdicts, never one in place of the other. What is written appears at once or not at
all, and is readable by its owner alone: it holds the text of conversations.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.errors import ColumnError, LabelError, shorten
from guard_magic.exports.plain import spreadsheet_text, to_json
from guard_magic.exports.tables import TABLES
from guard_magic.exports.tasks import check_labels, read_tasks
from guard_magic.exports.tools import argilla_record, label_studio_config, label_studio_task
from guard_magic.labels import checked_path

__all__ = ["FORMS", "export_labels", "label_studio_config", "spreadsheet_text"]

FORMS = ("jsonl", "csv", "parquet", "datasets", "label_studio", "argilla")
"""What `export_labels` writes."""

_SUFFIXES = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_NEEDS = {"parquet": "pyarrow", "datasets": "datasets"}


@by_name
def export_labels(
    frame: pd.DataFrame,
    path: str | os.PathLike[str],
    form: str | None = None,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    users: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a labelled frame for another tool.

    Parameters
    ----------
    frame
        Conversations with scores and labels: what ``df.guard.labels(reviewer)`` or ``df.guard.labels(files)``
        returns. Its index is not written.
    path
        A new file; a new directory for ``"datasets"``.
    form
        ``"jsonl"``: one object a row, ASCII only. ``"csv"``: UTF-8 with a mark at its start, lists as JSON, and text
        that a spreadsheet could take for a formula behind an apostrophe (see `spreadsheet_text`). ``"parquet"``.
        ``"datasets"``: what ``datasets.load_from_disk`` reads. ``"label_studio"``: tasks with predictions and
        annotations, for the labels of `label_studio_config`; a label ``skip`` is a cancelled annotation.
        ``"argilla"``: records with suggestions and responses, questions ``verdict``, ``hazard`` and ``note``, a
        chat field ``conversation``; ``skip`` is no response. None: by the suffix of `path`.
    text, prompt, response, messages
        Columns that hold the conversations, as in ``df.guard.score``; for Label Studio and Argilla, and to see in any
        form that no conversation has two labels.
    users
        Annotator -> their id in the other tool: an int for Label Studio, a UUID for Argilla. Without it Label Studio
        credits whoever imports, and Argilla gets made-up ids that an Argilla server will not know. The names stand
        in the task or record too.
    overwrite
        Whether an older file may be replaced; a directory never is.

    Returns
    -------
    Path
        What was written.

    Warns
    -----
    GuardWarning
        Where Label Studio or Argilla leave out rows without a readable conversation, with their number (rows of
        equal content are one task there); and where labels could not be checked to be one a conversation and person,
        because it is not clear which columns hold the conversations.

    Raises
    ------
    LabelError
        For an unknown form, a path that is taken or cannot be written, a library that is not there, columns that
        the form cannot hold, or one conversation with labels of one person that contradict each other: labels that
        a join by a repeating index has moved.
    ColumnError
        Where it is not clear which columns hold the conversations.
    """
    _check_frame(frame)
    place = checked_path(path, "an export")
    chosen = _checked_form(form, place)
    known_users = _checked_users(users)
    _check_free(place, overwrite)
    columns = {"text": text, "prompt": prompt, "response": response, "messages": messages}
    if chosen in ("label_studio", "argilla"):
        tasks = read_tasks(frame, columns)
        build = label_studio_task if chosen == "label_studio" else argilla_record
        _write(place, lambda to: to.write_text(to_json([build(task, known_users) for task in tasks]), encoding="ascii"))
    else:
        check_labels(frame, columns)
        _write(place, lambda to: TABLES[chosen](frame, to), directory=chosen == "datasets")
    return place


def _check_frame(frame: object) -> None:
    """Refuse what is not a table, and a table with two columns that are written under one name."""
    if not isinstance(frame, pd.DataFrame):
        raise LabelError(
            f"a {type(frame).__name__} is not a DataFrame: {shorten(frame)}", hint="Pass a labelled frame."
        )
    if isinstance(frame.columns, pd.MultiIndex):
        raise ColumnError(
            f"the frame's columns have {frame.columns.nlevels} levels",
            hint='Make their names flat first: df.columns = ["_".join(map(str, names)) for names in df.columns].',
        )
    names = [str(name) for name in frame.columns]
    twice = [name for name in frame.columns if names.count(str(name)) > 1]
    if twice:
        seen = " and ".join(dict.fromkeys(map(repr, twice[:2])))
        raise LabelError(f"the frame has two columns {seen}, which are written alike", hint="Rename one.")


def _checked_users(users: object) -> Mapping[str, object]:
    if users is not None and not isinstance(users, Mapping):
        raise LabelError(f"users={shorten(users)} is not a mapping", hint='For instance users={"ann": 7}.')
    return users or {}


def _check_free(place: Path, overwrite: object) -> None:
    if not isinstance(overwrite, bool):
        raise LabelError(f"overwrite={shorten(overwrite)} is neither True nor False", hint="Pass one of these.")
    try:
        is_taken = place.exists() and (not overwrite or place.is_dir())
    except OSError as error:  # a name that is too long, for instance
        raise _unwritable(place, error) from error
    if is_taken:
        raise LabelError(f"{place} is there already", hint="Name another, or pass overwrite=True for a file.")


def _unwritable(place: Path, error: OSError) -> LabelError:
    return LabelError(
        f"{shorten(str(place), 200)} cannot be written ({error.strerror or error})",
        hint="Does its directory exist, and may you write there?",
    )


def _checked_form(form: str | None, place: Path) -> str:
    chosen = _SUFFIXES.get(place.suffix.lower()) if form is None else form
    if not isinstance(chosen, str) or chosen not in FORMS:
        seen = f"no form {shorten(form)}" if form is not None else f"the suffix {place.suffix!r} says no form"
        raise LabelError(seen, hint=f"Forms: {', '.join(FORMS)}.")
    library = _NEEDS.get(chosen)
    if library is not None and importlib.util.find_spec(library) is None:
        raise LabelError(f"the form {chosen!r} needs {library}, which is not installed", hint=f"pip install {library}")
    return chosen


def _write(place: Path, write: Callable[[Path], object], *, directory: bool = False) -> None:
    """Let `write` make a private neighbour of `place`, then put it there in one move."""
    try:
        box = Path(tempfile.mkdtemp(prefix=".guard_magic_", dir=place.parent))
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        part = box / "part"
        if directory:
            part.mkdir(mode=0o700)
        else:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _explained(place):
            write(part)
            os.replace(part, place)
    finally:
        shutil.rmtree(box, ignore_errors=True)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Turn what writers raise into a `LabelError`; pyarrow's errors are ValueErrors and TypeErrors."""
    try:
        yield
    except LabelError:
        raise
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise LabelError(
            f"{place} could not be written: {shorten(str(error), 200)}",
            hint="Nothing was left behind. A column of mixed kinds? Drop or convert it.",
        ) from error
