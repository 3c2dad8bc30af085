"""A frame as a file of one row each: JSON Lines, CSV, Parquet, Hugging Face datasets."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pandas as pd

from guard_magic.conversations.conversation import Conversation
from guard_magic.exports.plain import plain, spreadsheet_text, to_json

__all__ = ["TABLES"]


def _write_jsonl(frame: pd.DataFrame, to: Path) -> None:
    with to.open("w", encoding="ascii", newline="\n") as out:
        for values in frame.to_dict("records"):
            out.write(to_json(plain(values)))
            out.write("\n")


def _write_csv(frame: pd.DataFrame, to: Path) -> None:
    with to.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([spreadsheet_text(str(name)) for name in frame.columns])
        for row in frame.itertuples(index=False, name=None):
            writer.writerow([_cell(plain(value)) for value in row])


def _write_parquet(frame: pd.DataFrame, to: Path) -> None:
    _flat(frame).to_parquet(to, engine="pyarrow", index=False)


def _write_datasets(frame: pd.DataFrame, to: Path) -> None:
    datasets: Any = importlib.import_module("datasets")
    flat = _flat(frame)
    levels = {name: "string" for name in flat.columns if isinstance(flat[name].dtype, pd.CategoricalDtype)}
    datasets.Dataset.from_pandas(flat.astype(levels), preserve_index=False).save_to_disk(to)


TABLES = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet, "datasets": _write_datasets}
"""Form -> what writes a frame to a path; ``datasets`` makes a directory."""


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with conversations as lists of messages, column names as text, and no attributes."""
    columns = {str(name): frame[name] for name in frame.columns}
    return pd.DataFrame(
        {
            name: column.map(_listed, na_action="ignore") if column.dtype == object else column
            for name, column in columns.items()
        }
    )


def _listed(value: object) -> object:
    return value.to_list() if isinstance(value, Conversation) else value


def _cell(value: object) -> object:
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, list | dict):
        return to_json(value, ascii_only=False)
    return "" if value is None else value
