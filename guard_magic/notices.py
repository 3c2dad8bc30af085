"""What is said to the user while a table is scored: one bar, and one warning a matter, at the user's own line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from guard_magic.errors import GuardWarning, shorten
from guard_magic.roles import RoleChanges
from guard_magic.verdict import Verdicts
from guard_magic.windows import Overflow

__all__ = [
    "Tick",
    "caller_level",
    "progress_bar",
    "warn_changed",
    "warn_cut",
    "warn_kept",
    "warn_not_rechecked",
    "warn_read_as_text",
    "warn_unscored",
]

Tick = Callable[[int], object]
"""Called with the number of rows that were just finished."""


@contextmanager
def progress_bar(total: int, label: str, shown: bool = True) -> Iterator[Tick]:
    """Show one bar for `total` rows, closed and gone whatever happens; yields what moves it on."""
    if not shown or not total:
        yield int
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=" rows", leave=False, dynamic_ncols=True) as bar:
        yield bar.update


def warn_changed(changes: RoleChanges, n_neutralised: int) -> None:
    """Say once what did not fit the guard's prompt.

    Parameters
    ----------
    changes
        Messages that had to be changed, over all conversations.
    n_neutralised
        Conversations that held the guard's own structural text.
    """
    if changes:
        _warn(f"messages that do not fit the guard's prompt: {changes}")
    if n_neutralised:
        _warn(
            "the guard's own structural text (such as <END CONVERSATION> or a forged turn) was neutralised "
            f"in {n_neutralised:,} of the conversations"
        )


def warn_read_as_text(n_texts: int, n_rows: int) -> None:
    """Say once how many of `n_rows` texts hide a conversation, and were read as one user message each all the same."""
    if not n_texts:
        return
    if n_rows == 1:
        _warn(
            "the text reads like a conversation and is scored as one user message: pass the list of its messages "
            "(json.loads), or put it below %%moderate"
        )
        return
    _warn(
        f"{n_texts:,} of {n_rows:,} texts read like conversations and are scored as one user message each: "
        "messages=… (instead of text=…) reads them as conversations"
    )


def warn_cut(n_cut: int, n_rows: int, overflow: Overflow) -> None:
    """Say once how many of `n_rows` rows were too long to be read whole."""
    if n_cut:
        how = "scored in windows, of which the highest score counts" if overflow == "window" else "scored in part"
        _warn(
            f"{n_cut:,} of {n_rows:,} rows were too long and were {how}; "
            "guard_cut (of a verdict: cut) says what was read"
        )


def warn_kept(names: Sequence[str]) -> None:
    """Say once which columns stay as they are though they could be an earlier call's, whose verdicts are replaced."""
    if names:
        _warn(
            f"columns {', '.join(map(repr, names))} are kept as the table's own: if they are an earlier call's, they "
            "say nothing about the new verdicts (drop them, or ask for them with extras= and overwrite=True)"
        )


def warn_not_rechecked(n_rows: int) -> None:
    """Say once how many rows near the threshold could not be read a second time."""
    if n_rows:
        _warn(
            f"{n_rows:,} rows near the threshold did not fit into memory alone and in float32: they keep their first "
            "score, which may move with the batch"
        )


def warn_unscored(verdicts: Verdicts) -> None:
    """Say once how many rows have no score, and why."""
    reasons: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.error is not None:
            reason = verdict.error.split(" (")[0].split(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        common = sorted(reasons.items(), key=lambda pair: -pair[1])[:3]
        listed = "; ".join(f"{n} × {shorten(reason, 80)[1:-1]}" for reason, n in common)
        more = f"; {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        lost = sum(reasons.values())
        _warn(
            f"{lost:,} of {len(verdicts):,} rows were not scored ({listed}{more}): NA, with the reason in guard_error"
        )


def _warn(message: str) -> None:
    warnings.warn(message, GuardWarning, stacklevel=caller_level())


def caller_level() -> int:
    """Return the ``stacklevel`` of the first caller that is neither this package nor IPython: the user's line."""
    frame, level = sys._getframe(1), 1
    while str(frame.f_globals.get("__name__", "")).split(".")[0] in ("guard_magic", "IPython", "contextlib"):
        if frame.f_back is None:
            break
        frame, level = frame.f_back, level + 1
    return level
