"""Messages from the browser, read and checked: whatever is wrong with one is a `LabelError`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guard_magic.errors import LabelError, shorten
from guard_magic.labels import LABELS, Decision, Labelled

__all__ = ["ACTIONS", "MAX_PAGE", "LabelRequest", "checked_keys", "read_label", "read_whole"]

MAX_PAGE = 500
"""Rows in one answer."""

ACTIONS = (
    "safe",
    "unsafe",
    "unsure",
    "skip",
    "confirm",
    "flag",
    "note",
    "next",
    "previous",
    "open",
    "undo",
    "redo",
    "next_unlabelled",
    "most_uncertain",
    "search",
)
"""What a key can be given to."""

_NOT_OURS = frozenset({"Escape", "Esc", "Tab", "Shift+Tab"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """A decision as asked for.

    Attributes
    ----------
    rows
        The rows; None for all that match.
    changes
        What is to be other than it was: any of ``label``, ``category``, ``note``, ``flag``. What is not named
        stays; a category stays only with its label.
    seconds
        From showing to deciding; None where not taken.
    version
        The head's when the person chose all that match; None where not told.
    """

    rows: Sequence[int] | None
    changes: Mapping[str, Any]
    seconds: float | None
    version: int | None = None

    @property
    def action(self) -> str:
        """What the history calls it."""
        return "label all in filter" if self.rows is None else "label"

    def settle(self, before: Decision | Labelled | None) -> dict[str, Any]:
        """Return label, category, note and flag of a conversation that was decided as `before`."""
        label = self.changes.get("label", before.label if before else None)
        stays = before is not None and label == before.label
        return {
            "label": label,
            "category": self.changes.get("category", before.category if before and stays else None),
            "note": self.changes.get("note", before.note if before else None),
            "flag": self.changes.get("flag", before.flag if before else False),
        }


def read_label(message: Mapping[str, Any], *, n_rows: int, codes: Collection[str]) -> LabelRequest:
    """Read a message of the type ``label``."""
    changes = {name: message[name] for name in ("label", "category", "note", "flag") if name in message}
    if not changes:
        raise LabelError("nothing to label with", hint="Send label, category, note or flag.")
    label, category = changes.get("label"), changes.get("category")
    if label is not None and label not in LABELS:
        raise LabelError(f"no label {shorten(label)}", hint=f"Labels: {', '.join(LABELS)}.")
    if category is not None and category not in codes:
        raise LabelError(f"no hazard {shorten(category)}", hint=f"Hazards: {', '.join(codes)}.")
    if category is not None and changes.setdefault("label", "unsafe") != "unsafe":
        raise LabelError(f"a hazard ({category}) with the label {label!r}", hint="Only what is unsafe has a hazard.")
    if not isinstance(changes.get("flag", False), bool):
        raise LabelError(f"flag={shorten(changes['flag'])} is neither true nor false", hint="Send true or false.")
    version = None if message.get("version") is None else read_whole(message, "version", 2**53)
    return LabelRequest(
        rows=_rows(message.get("rows"), n_rows), changes=changes, seconds=_seconds(message), version=version
    )


def read_whole(message: Mapping[str, Any], name: str, end: int) -> int:
    """Return a member that is a whole number in [0, end)."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
        raise LabelError(
            f"{name}={shorten(value)} is not a whole number from 0 to {end - 1}", hint="Run the cell again."
        )
    return value


def checked_keys(keys: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    """Return the keys that actions are mapped to; what is not named keeps its own.

    Raises
    ------
    LabelError
        For an action that is none, a key that is no text or not ours to take (Esc, Tab, the digits), or one key
        for two actions.
    """
    chosen: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    if keys is not None and not isinstance(keys, Mapping):
        raise LabelError(f"keys={shorten(keys)} is not a mapping", hint='For instance keys={"safe": "a"}.')
    for action, given in (keys or {}).items():
        if action not in ACTIONS:
            raise LabelError(f"no action {shorten(action)} to map a key to", hint=f"Actions: {', '.join(ACTIONS)}.")
        if not isinstance(given, str | list | tuple):
            raise LabelError(f"{shorten(given)} cannot be the key of {action!r}", hint="Pass a str, or a list of str.")
        chosen[action] = [given] if isinstance(given, str) else list(given)
        for key in chosen[action]:
            if not isinstance(key, str) or not key or key in _NOT_OURS or key.isdigit():
                raise LabelError(
                    f"{shorten(key)} cannot be the key of {action!r}",
                    hint="Esc and Tab are the notebook's, digits choose the hazard; 'a', 'Shift+a', 'ArrowLeft' can.",
                )
            if owners.setdefault(key, action) != action:
                raise LabelError(f"key {key!r} is mapped to {owners[key]!r} and {action!r}", hint="Choose another.")
    return chosen


def _rows(value: object, n_rows: int) -> list[int] | None:
    if value == "matching":
        return None
    if not isinstance(value, list) or not value:
        raise LabelError(f"rows={shorten(value)} is not a list of rows", hint='Or "matching", for all in the filter.')
    return list(dict.fromkeys(read_whole({"row": row}, "row", n_rows) for row in value))


def _seconds(message: Mapping[str, Any]) -> float | None:
    value = message.get("seconds")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and value >= 0 else None  # type: ignore[arg-type,operator]
