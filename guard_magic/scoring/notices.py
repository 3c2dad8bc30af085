"""What is said to the user while a table is scored: one bar, and one warning a matter, at the user's own line."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from guard_magic.callers import warn_caller
from guard_magic.conversations.roles import RoleChanges
from guard_magic.conversations.rows import Row
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import shorten
from guard_magic.scoring.interrupts import current_shell
from guard_magic.scoring.progress import Progress, Watch, measure_rows
from guard_magic.verdict import Verdicts, bare_reason

if TYPE_CHECKING:
    from guard_magic.guards.request import Request

__all__ = [
    "progress_bar",
    "progress_words",
    "say_loading",
    "warn_changed",
    "warn_cut",
    "warn_kept",
    "warn_not_rechecked",
    "warn_read",
    "warn_read_as_text",
    "warn_replaced",
    "warn_unscored",
]


@contextmanager
def progress_bar(
    rows: Sequence[Row], request: Request, label: str, groups: Sequence[Hashable] | None
) -> Iterator[Watch]:
    """Show one bar for these rows, closed and gone whatever happens; yields what moves it on."""
    from tqdm.auto import tqdm

    guard, n_room = request.guard, request.guard.room(request.other_policy)
    sizes = measure_rows(rows, groups, n_room, request.overflow)
    kinds = [*(["again"] if request.recheck is not None else []), *(["written"] if request.generate else [])]
    with tqdm(
        total=1.0,
        desc=label,
        leave=False,
        dynamic_ncols=True,
        miniters=0,
        bar_format=_bar(f"0/{len(rows):,} rows [00:00<?]"),
    ) as bar:

        def show(progress: Progress) -> None:
            bar.bar_format = _bar(progress_words(progress))
            bar.update(progress.share - bar.n)

        yield Progress(sizes, guard.n_even, guard.n_context - n_room, kinds=kinds, show=show)


def _bar(words: str) -> str:
    return f"{{desc}}: {{percentage:3.0f}}%|{{bar}}| {words}"


def progress_words(progress: Progress) -> str:
    """Say how many rows are done, the time so far and left, and how fast it goes: ``9/20 rows [00:31<01:02, …]``."""
    speed = progress.tokens_per_second
    parts = [_time(progress.seconds) + "<" + _time(progress.seconds_left)]
    parts += [] if speed is None else [f"{speed:,.0f} tokens/s"]
    return f"{progress.n_done:,}/{progress.n_rows:,} rows [{', '.join(parts)}]"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes:02}:{left:02}"


def say_loading(name: str) -> None:
    """Say in a cell, on stderr, that a guard is being loaded: that takes seconds, in which nothing else is seen."""
    if current_shell() is not None:
        sys.stderr.write(f"loading guard {name} …\n")
        sys.stderr.flush()


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
        warn_caller(f"messages that do not fit the guard's prompt: {changes}")
    if n_neutralised:
        warn_caller(
            "text that is written as the guard's prompt writes its own structure (<END CONVERSATION>, or a line "
            "that begins with a role name and a colon, in code and examples of chats too) is kept as words that open "
            f"no turn: neutralised in {n_neutralised:,} of the conversations"
        )


def warn_read_as_text(n_texts: int, n_rows: int, where: str = "") -> None:
    """Say once how many of `n_rows` texts hide a conversation, and are read as one message each all the same."""
    if not n_texts:
        return
    if n_rows == 1 and not where:
        warn_caller(
            "the text reads like a conversation and is scored as one user message: pass the list of its messages "
            "(json.loads), or put it below %%moderate"
        )
        return
    how = "messages=… (instead of text=…)" if where != "the Series" else "series.rename('messages').guard.score()"
    warn_caller(
        f"{n_texts:,} of {n_rows:,} texts{where and f' in {where}'} read like conversations and are scored as one "
        f"message each: {how} reads them as conversations"
    )


def warn_cut(n_cut: int, n_rows: int, overflow: Overflow) -> None:
    """Say once how many of `n_rows` rows were too long to be read whole."""
    if n_cut:
        how = "scored in windows, of which the highest score counts" if overflow == "window" else "scored in part"
        warn_caller(
            f"{n_cut:,} of {n_rows:,} rows were too long and were {how}; "
            "guard_cut (of a verdict: cut) says what was read"
        )


def warn_kept(names: Sequence[str]) -> None:
    """Say once which columns stay as they are though they could be an earlier call's, whose verdicts are replaced."""
    if names:
        warn_caller(
            f"columns {', '.join(map(repr, names))} are kept as the table's own: if they are an earlier call's, they "
            "say nothing about the new verdicts (drop them, or ask for them with extras= and overwrite=True)"
        )


def warn_replaced(what: str) -> None:
    """Say once which values of another session are replaced by other ones: the table passed in still has them."""
    if what:
        warn_caller(
            f"{what} of another session are replaced in the new table: if somebody set them by hand, keep them under "
            "another name first (df.rename(columns=…)), or pass prefix=; the table that was passed still has them"
        )


def warn_read(remarks: Sequence[str]) -> None:
    """Say once each what there is to say of how a table was read."""
    for remark in remarks:
        warn_caller(remark)


def warn_not_rechecked(n_rows: int) -> None:
    """Say once how many rows near the threshold could not be read a second time."""
    if n_rows:
        warn_caller(
            f"{n_rows:,} rows near the threshold did not fit into memory alone and in float32: they keep their first "
            "score, which may move with the batch"
        )


def warn_unscored(verdicts: Verdicts) -> None:
    """Say once how many rows have no score, and why."""
    reasons: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.error is not None:
            reason = bare_reason(verdict.error).split(" (")[0].split(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        common = sorted(reasons.items(), key=lambda pair: -pair[1])[:3]
        listed = "; ".join(f"{n} × {shorten(reason, 80)[1:-1]}" for reason, n in common)
        more = f"; {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        lost = sum(reasons.values())
        warn_caller(
            f"{lost:,} of {len(verdicts):,} rows were not scored ({listed}{more}): NA, with the reason in guard_error"
        )
