"""Labels of several people put together: side by side, where they agree, and what is to adjudicate."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from guard_magic.callers import warn_caller
from guard_magic.calls import by_name
from guard_magic.conversations.conversation import is_missing
from guard_magic.errors import LabelError, shorten
from guard_magic.labels.decisions import Labelled
from guard_magic.labels.history import History
from guard_magic.labels.paths import label_path
from guard_magic.labels.schema import check, connect, explained
from guard_magic.labels.views import decision_columns, label_frame, label_values

__all__ = ["adjudication", "merge_labels", "read_labels"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Kept = Mapping[str, Labelled]

_JUDGEMENTS = ("safe", "unsafe", "unsure")
_ALONE = ("label", "label_category", "note", "flag", "annotator", "labelled_at", "order", "score_shown")
_EACH = ("label", "label_category", "note", "flag", "labelled_at", "score_shown")
_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    annotator: str
    role: str
    kept: Kept


@dataclass(frozen=True, slots=True)
class _Merged:
    """What people's decisions about one conversation come to; None in `agree` where fewer than two judged."""

    label: str | None
    category: str | None
    agree: bool | None
    n_labels: int
    differ: str | None


@by_name
def read_labels(paths: Paths) -> pd.DataFrame:
    """Read label files, of whomever; they are not changed.

    Parameters
    ----------
    paths
        One file or several, each a path or a `LabelFile`. A file that is named twice is read once.

    Returns
    -------
    DataFrame
        One row a conversation and file, in the order of `paths`: the columns of `LabelFile.to_frame` and ``role``
        (``label`` or ``adjudicate``).

    Raises
    ------
    LabelError
        For no paths, or a file that is not there, is no label file or is damaged.
    """
    frames = []
    for file in _read(paths):
        frame = label_frame(file.kept.values(), file.annotator)
        frames.append(frame.assign(role=pd.array([file.role] * len(frame), dtype="string")))
    return pd.concat(frames, ignore_index=True)


def merge_labels(frame_keys: Iterable[str | None], paths: Paths) -> pd.DataFrame:
    """Join the labels of one or several files to the rows of a frame.

    Parameters
    ----------
    frame_keys
        `conversation_key` of each row, None where there is no conversation; a Series gives its index too.
    paths
        One file or several, adjudications among them. Of two files of one person the later decision counts.

    Warns
    -----
    GuardWarning
        For a file whose labels do not belong to these rows, and for one person's files that contradict each other.

    Returns
    -------
    DataFrame
        One row a row, in order; what nobody decided is NA.

        Of one person: ``label`` (categorical), ``label_category``, ``note``, ``flag``, ``annotator``,
        ``labelled_at``, ``order`` and ``score_shown``.

        Of several: ``label`` and ``label_category`` as adjudicated, else where all who judged agree, else NA;
        ``adjudicated`` (boolean); then for each annotator ``label_ann``, ``label_category_ann``, ``note_ann``,
        ``flag_ann``, ``labelled_at_ann`` and ``score_shown_ann``.

        Last ``agree`` (boolean: all have the same label; NA where fewer than two judged) and ``n_labels``
        (annotators who judged). ``skip`` is no judgement; ``unsure`` is one.

    Raises
    ------
    LabelError
        As `read_labels`.
    """
    keys = [None if is_missing(key) else key for key in frame_keys]
    files = _read(paths)
    people, settled = _by_person(files)
    _say_what_matches(files, keys)
    if len(people) + len(settled) == 1:
        columns = _alone(keys, {**people, **settled})
    else:
        columns = _merged_columns(keys, people, settled)
        columns.update(_side_by_side(keys, people, _EACH))
    merged = [_merge(people.values(), key) for key in keys]
    columns["agree"] = pd.array([m.agree for m in merged], dtype="boolean")
    columns["n_labels"] = pd.array([m.n_labels for m in merged], dtype="Int64")
    return pd.DataFrame(columns, index=frame_keys.index if isinstance(frame_keys, pd.Series) else None)


@by_name
def adjudication(paths: Paths) -> pd.DataFrame:
    """Return what annotators disagree on, to be decided in a third file (``role="adjudicate"``).

    Parameters
    ----------
    paths
        Files of at least two annotators; what an adjudication among them decided is left out.

    Returns
    -------
    DataFrame
        One row a conversation: ``key``; ``differ`` (``label``, or ``category`` where all say unsafe and name
        different hazards); and for each annotator ``label_ann``, ``label_category_ann`` and ``note_ann``.

    Raises
    ------
    LabelError
        For files of fewer than two annotators, and as `read_labels`.
    """
    people, settled = _by_person(_read(paths))
    if len(people) < 2:
        raise LabelError(
            f"only {', '.join(map(repr, people)) or 'nobody'} labelled in these files",
            hint="Pass the files of two annotators or more.",
        )
    every = dict.fromkeys(key for kept in people.values() for key in kept)
    differ = {key: _merge(people.values(), key).differ for key in every if _decided(settled, key) is None}
    keys = [key for key, what in differ.items() if what is not None]
    columns: dict[str, object] = {
        "key": pd.array(keys, dtype="string"),
        "differ": pd.array([differ[key] for key in keys], dtype="string"),
    }
    return pd.DataFrame({**columns, **_side_by_side(keys, people, ("label", "label_category", "note"))})


def _read(paths: Paths) -> list[_File]:
    try:
        listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    except TypeError:
        raise LabelError(
            f"{shorten(paths)} is neither a label file nor a list of them", hint="Pass paths, in a list."
        ) from None
    if not listed:
        raise LabelError("no label files", hint="Name at least one.")
    return [_read_file(path) for path in dict.fromkeys(label_path(path) for path in listed)]


def _read_file(path: Path) -> _File:
    history = History(path)
    with closing(connect(path, _WAIT, make=False)) as connection:
        facts = check(connection, path)
        with explained(path):
            history.read_on(connection)
    return _File(path, facts.get("annotator", ""), facts.get("role", ""), history.current)


def _say_what_matches(files: Sequence[_File], keys: Sequence[str | None]) -> None:
    """Warn of files of which at most half of the labels belong to rows, where at most half of the rows have one."""
    rows = {key for key in keys if key is not None}
    for file in files:
        labels = {key for key, decision in file.kept.items() if decision.label is not None}
        n_matched = len(labels & rows)
        if labels and rows and 2 * n_matched <= min(len(labels), len(rows)):
            warn_caller(
                f"{n_matched:,} of the {len(labels):,} labels in {file.path.name} belong to conversations of this "
                f"table ({len(rows):,} conversations in {len(keys):,} rows): labels go by what was said, word for "
                "word; changed texts, other columns read (prompt= without response=) and other tables match none"
            )


def _by_person(files: Sequence[_File]) -> tuple[dict[str, Kept], dict[str, Kept]]:
    """Return annotator -> decisions, of those who labelled and of those who adjudicated; later decisions count."""
    people: dict[str, dict[str, Labelled]] = {}
    settled: dict[str, dict[str, Labelled]] = {}
    differing: dict[tuple[str, str], set[str]] = {}
    for file in files:
        kept = (settled if file.role == "adjudicate" else people).setdefault(file.annotator, {})
        for key, decision in file.kept.items():
            before = kept.setdefault(key, decision)
            if (before.label, before.category) != (decision.label, decision.category):
                differing.setdefault((file.annotator, file.role), set()).add(key)
            if before.labelled_at <= decision.labelled_at:
                kept[key] = decision
    for (annotator, role), differ in differing.items():
        names = ", ".join(file.path.name for file in files if (file.annotator, file.role) == (annotator, role))
        warn_caller(
            f"{len(differ):,} conversations are labelled in two ways by {annotator!r} ({names}): the later decision "
            "counts. Two people of one name? Give one of the files another annotator"
        )
    return dict(people), dict(settled)


def _merge(people: Iterable[Kept], key: str | None) -> _Merged:
    judged = [] if key is None else _judgements(people, key)
    labels = {decision.label for decision in judged}
    hazards = {decision.category for decision in judged if decision.category is not None}
    same = len(labels) == 1
    differ = "label" if len(labels) > 1 else "category" if len(hazards) > 1 else None
    return _Merged(
        label=labels.pop() if same else None,
        category=hazards.pop() if same and len(hazards) == 1 else None,
        agree=same if len(judged) > 1 else None,
        n_labels=len(judged),
        differ=differ,
    )


def _judgements(people: Iterable[Kept], key: str) -> list[Labelled]:
    found = (kept.get(key) for kept in people)
    return [decision for decision in found if decision is not None and decision.label in _JUDGEMENTS]


def _decided(settled: Mapping[str, Kept], key: str | None) -> Labelled | None:
    """Return the latest adjudication of `key`, None for none."""
    found = [] if key is None else _judgements(settled.values(), key)
    return max(found, key=lambda decision: decision.labelled_at, default=None)


def _alone(keys: Sequence[str | None], people: Mapping[str, Kept]) -> dict[str, object]:
    ((name, kept),) = people.items()
    decisions = [None if key is None else kept.get(key) for key in keys]
    columns = decision_columns(decisions)
    columns["annotator"] = pd.array([None if d is None else name for d in decisions], dtype="string")
    return {name: columns[name] for name in _ALONE}


def _merged_columns(
    keys: Sequence[str | None], people: Mapping[str, Kept], settled: Mapping[str, Kept]
) -> dict[str, object]:
    decided = [_decided(settled, key) for key in keys]
    final = [
        _merge(people.values(), key) if decision is None else decision
        for key, decision in zip(keys, decided, strict=True)
    ]
    return {
        "label": label_values(row.label for row in final),
        "label_category": pd.array([row.category for row in final], dtype="string"),
        "adjudicated": pd.array([decision is not None for decision in decided], dtype="boolean"),
    }


def _side_by_side(keys: Sequence[str | None], people: Mapping[str, Kept], wanted: Sequence[str]) -> dict[str, object]:
    """Return each annotator's columns, their name behind each."""
    found: dict[str, object] = {}
    for name, kept in people.items():
        columns = decision_columns([None if key is None else kept.get(key) for key in keys])
        for column in wanted:
            free = f"{column}_{name}"
            while free in found or free in _ALONE:  # somebody is called "category"
                free += "_"
            found[free] = columns[column]
    return found
