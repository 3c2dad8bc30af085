"""Files of safety sets: which belongs to which set, and what its rows say."""

from __future__ import annotations

import fnmatch
import gzip
import json
import lzma
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from guard_magic.benchmark.sets import SafetySet
from guard_magic.conversations.conversation import is_missing
from guard_magic.errors import ColumnError, EvaluationError, GuardError, shorten

__all__ = ["Found", "find_files", "read_set"]

_KINDS = (".csv", ".jsonl", ".json", ".parquet")
_PACKED = {".gz": gzip.open, ".xz": lzma.open}


@dataclass(slots=True)
class Found:
    """The rows of a set that can be judged.

    Attributes
    ----------
    conversations
        One a row, as lists of messages.
    unsafe
        Whether each is unsafe.
    files
        Names of the files they come from, below the folder of sets.
    n_left_out
        Rows without a text or a label, or that ask something else.
    n_repeated
        Rows that were there before, with the same label; they count once.
    n_contradicting
        Rows that were there before, with the other label; they count too.
    """

    conversations: list[list[dict[str, str]]] = field(default_factory=list)
    unsafe: list[bool] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    n_left_out: int = 0
    n_repeated: int = 0
    n_contradicting: int = 0


def find_files(folder: Path, sets: Sequence[SafetySet]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the files of each set (by its name; none for sets that are not there), and files that belong to none.

    A file belongs to a set by its name; where none does, by a folder above it (below `folder`) whose name begins with
    the set's.
    Where some files of a set say ``test`` in their names, those of other parts (``train``, ``val``) are not read.

    Raises
    ------
    EvaluationError
        Where there is no such folder, or no file of a kind that is read.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{shorten(str(folder))} is not a folder", hint="Pass the folder that holds the sets.")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and _kind(path))
    if not files:
        raise EvaluationError(
            f"no files of sets in {shorten(str(folder))}",
            hint=f"Files are {', '.join(_KINDS)}, or these with .gz, .xz.",
        )
    found = {one.name: _test_parts(_files_of(one, files, folder)) for one in sets}
    used = {path for paths in found.values() for path in paths}
    return found, [path for path in files if path not in used]


def read_set(paths: Iterable[Path], one: SafetySet, folder: Path) -> Found:
    """Read the files of a set.

    Raises
    ------
    ColumnError
        Where a file does not have the set's columns; it says which it has.
    EvaluationError
        For files that cannot be read, and labels that are none.
    """
    found, known = Found(), set()
    for path in paths:
        name = str(path.relative_to(folder))
        found.files.append(name)
        for number, row in enumerate(_rows(path, one)):
            try:
                unsafe = one.unsafe(row)
                texts = one.conversation(row)
            except GuardError as error:
                raise EvaluationError(f"{name}, row {number}: {error.message}", hint=error.hint) from None
            if unsafe is None or texts is None or any(_is_empty(text) for text in texts):
                found.n_left_out += 1
                continue
            key = (texts, unsafe)
            if key in known:
                found.n_repeated += 1
                continue
            known.add(key)
            found.n_contradicting += (texts, not unsafe) in known
            said = zip(("user", "assistant"), texts, strict=False)
            found.conversations.append([{"role": role, "content": str(text)} for role, text in said])
            found.unsafe.append(unsafe)
    return found


def _is_empty(text: object) -> bool:
    return is_missing(text) or not isinstance(text, str) or not text.strip()


def _kind(path: Path) -> str:
    """Return the kind of a file by its name, "" for one that is not read."""
    name = path.name.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return next((kind for kind in _KINDS if name.endswith(kind)), "")


def _files_of(one: SafetySet, files: Sequence[Path], folder: Path) -> list[Path]:
    named = [path for path in files if any(fnmatch.fnmatchcase(path.name.lower(), name) for name in one.files)]
    return named or [path for path in files if _is_in_folder(path.relative_to(folder), one)]


def _is_in_folder(path: Path, one: SafetySet) -> bool:
    return any(re.sub("[^a-z0-9]", "", part.lower()).startswith(one.folder) for part in path.parts[:-1])


def _test_parts(paths: list[Path]) -> list[Path]:
    parts = {path: re.split("[^a-z]+", path.name.lower()) for path in paths}
    if any("test" in words for words in parts.values()):
        return [path for path, words in parts.items() if not {"train", "val", "valid", "validation"} & set(words)]
    return paths


def _rows(path: Path, one: SafetySet) -> list[dict[str, Any]]:
    try:
        rows = _read(path)
    except (OSError, EOFError, ValueError, ImportError, lzma.LZMAError) as error:
        raise EvaluationError(
            f"{shorten(path.name)} cannot be read: {shorten(str(error), 120)}", hint=f"It is read as {_kind(path)[1:]}."
        ) from None
    seen = list(dict.fromkeys(name for row in rows for name in row))
    missing = [name for name in one.columns if name not in seen]
    if missing or not rows:
        raise ColumnError(
            f"{path.name} is not {one.name}: expected the columns {', '.join(one.columns)}, saw "
            f"{', '.join(map(str, seen[:20])) or 'none'}",
            hint=f"{one.name} is had from {one.source}.",
        )
    return [{**dict.fromkeys(one.columns), **row} for row in rows]


def _read(path: Path) -> list[dict[str, Any]]:
    kind = _kind(path)
    if kind == ".parquet":
        return [dict(zip(map(str, row), row.values(), strict=True)) for row in pd.read_parquet(path).to_dict("records")]
    with _PACKED.get(path.suffix.lower(), open)(path, "rb") as file:  # type: ignore[operator]
        if kind == ".csv":  # text stays text: a prompt may read "NA" or "null"
            return list(pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records"))  # type: ignore[arg-type]
        text = file.read().decode("utf-8-sig")
    if kind == ".json" or text.lstrip().startswith("["):
        rows = json.loads(text)
        rows = rows.get("data") if isinstance(rows, dict) else rows
    else:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it does not hold rows with named columns")
    return rows
