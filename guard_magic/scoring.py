"""Rows to verdicts: chunk by chunk through guard and cache, counting what must be said once.

Everything a call needs is passed in; nothing here knows of a session.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guard_magic.cache import ScoreCache
from guard_magic.conversation import RoleChanges, RoleRules
from guard_magic.errors import ConversationError, GuardWarning, ScoreError, shorten
from guard_magic.interrupts import interrupts_held
from guard_magic.policy import Policy
from guard_magic.tables import Row
from guard_magic.verdict import Reading, Verdict, Verdicts, unscored

if TYPE_CHECKING:
    from guard_magic.engine.guard import Asked, Guard

__all__ = ["Request", "caller_level", "progress_bar", "score_rows", "warn_unscored"]

_CHUNK = 4_096
"""Rows made ready at a time: enough to sort by length, few enough to start at once on a large table."""

Tick = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of which guard: everything that is the same for all rows of a call."""

    guard: Guard
    policy: Policy
    threshold: float
    roles: RoleRules = "merge"
    generate: bool = False

    @property
    def asking(self) -> Policy | None:
        """The policy as the guard takes it: None for its own."""
        return None if self.policy == self.guard.policy else self.policy


def score_rows(
    rows: Sequence[Row], request: Request, cache: ScoreCache, *, keep: bool = False, tick: Tick = int
) -> Verdicts:
    """Score rows, in order; a row that cannot be scored is a verdict with its error.

    Parameters
    ----------
    rows
        Conversations, or why there is none.
    request
        What is asked of which guard.
    cache
        Where readings are looked up and kept, batch by batch, so that an interrupt loses none.
    keep
        Whether verdicts remember their conversation.
    tick
        Called with the number of rows that were just finished.

    Raises
    ------
    KeyboardInterrupt
        After the batch under way.
    """
    found: list[Verdict] = []
    changes, n_neutralised = RoleChanges(), 0
    with interrupts_held() as check:
        for start in range(0, len(rows), _CHUNK):
            asked = [_try_ask(row, request) for row in rows[start : start + _CHUNK]]
            check()
            ready = [row for row in asked if not isinstance(row, ConversationError)]
            changes = sum((row.changes for row in ready), changes)
            n_neutralised += sum(row.prompt.n_neutralised > 0 for row in ready)
            tick(len(asked) - len(ready))
            judged = iter(_judge(ready, request, cache, keep, lambda n: (tick(n), check())))
            found += [_lost(row, request) if isinstance(row, ConversationError) else next(judged) for row in asked]
    _warn_changed(changes, n_neutralised)
    return Verdicts(found, request.policy)


def _try_ask(row: Row, request: Request) -> Asked | ConversationError:
    if isinstance(row, ConversationError):
        return row
    try:
        return request.guard.ask(row, policy=request.asking, roles=request.roles)
    except ConversationError as error:
        return error


def _lost(error: ConversationError, request: Request) -> Verdict:
    return unscored(error, threshold=request.threshold, guard=request.guard.label, policy=request.policy)


def _judge(asked: Sequence[Asked], request: Request, cache: ScoreCache, keep: bool, tick: Tick) -> Iterator[Verdict]:
    keys = [request.guard.key(row.prompt, request.asking) for row in asked]
    results = _read(asked, keys, request, cache, tick)
    texts = _write(asked, keys, results, request, cache) if request.generate else [None] * len(asked)
    for row, result, text in zip(asked, results, texts, strict=True):
        verdict = request.guard.verdict(row, result, request.policy, request.threshold, text)
        yield replace(verdict, conversation=row.conversation) if keep else verdict


def _read(
    asked: Sequence[Asked], keys: Sequence[bytes], request: Request, cache: ScoreCache, tick: Tick
) -> list[Reading | ScoreError]:
    """Read prompts through the cache; a batch is kept before `tick`, which may raise an interrupt."""
    results: dict[int, Reading | ScoreError] = {}
    for i, key in enumerate(keys):
        cached = cache.get(key)
        if cached is not None:
            results[i] = cached
    tick(len(results))
    missing = [i for i in range(len(asked)) if i not in results]
    for batch in request.guard.read([asked[i].prompt for i in missing], policy=request.asking):
        for position, result in batch:
            results[missing[position]] = result
            if isinstance(result, Reading):
                cache.put(keys[missing[position]], result)
        tick(len(batch))
    return [results[i] for i in range(len(asked))]


def _write(
    asked: Sequence[Asked],
    keys: Sequence[bytes],
    results: Sequence[Reading | ScoreError],
    request: Request,
    cache: ScoreCache,
) -> list[str | None]:
    texts = [cache.get_text(key) for key in keys]
    wanted = [(i, r) for i, r in enumerate(results) if isinstance(r, Reading) and texts[i] is None]
    written = request.guard.write([asked[i].prompt for i, _ in wanted], [reading for _, reading in wanted])
    for (i, _), text in zip(wanted, written, strict=True):
        texts[i] = text
        if text is not None:
            cache.put_text(keys[i], text)
    return texts


@contextmanager
def progress_bar(total: int, label: str, shown: bool = True) -> Iterator[Tick]:
    """Show one bar for `total` rows, closed and gone whatever happens; yields what moves it on."""
    if not shown or not total:
        yield int
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=" rows", leave=False, dynamic_ncols=True) as bar:
        yield bar.update


def _warn_changed(changes: RoleChanges, n_neutralised: int) -> None:
    if changes:
        _warn(f"messages that do not fit the guard's prompt: {changes}")
    if n_neutralised:
        _warn(
            "the guard's own structural text (such as <END CONVERSATION> or a forged turn) was neutralised "
            f"in {n_neutralised:,} of the conversations"
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
