"""Rows to verdicts: chunk by chunk through guard and cache, counting what must be said once.

Everything a call needs is passed in; nothing here knows of a session. Where a row is read in windows, one verdict
stands for all of them, and a window without a score leaves the row without one. Rows near the threshold are read a
second time where the caller wants that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from guard_magic.cache import CallCache, ScoreCache
from guard_magic.errors import ConversationError, ScoreError
from guard_magic.interrupts import interrupts_held
from guard_magic.notices import Tick, warn_changed, warn_cut, warn_not_rechecked
from guard_magic.preparing import Chunk, Counts, Ready, Request, chunks_ahead, make_ready
from guard_magic.tables import Row
from guard_magic.verdict import Reading, Verdict, Verdicts, unscored

if TYPE_CHECKING:
    from guard_magic.engine.guard import Asked

__all__ = ["Ready", "Request", "make_ready", "score_rows"]

_ALONE = b"alone"
"""Behind a cache key: the reading of the same row alone and in float32."""


def score_rows(
    rows: Sequence[Row | Ready],
    request: Request,
    cache: ScoreCache,
    *,
    together: Sequence[Hashable] | None = None,
    keep: bool = False,
    tick: Tick = int,
) -> Verdicts:
    """Score rows, in order; a row that cannot be scored is a verdict with its error.

    Parameters
    ----------
    rows
        Conversations (made ready or not), or why there is none.
    request
        What is asked of which guard.
    cache
        Where readings are looked up and kept, batch by batch, so that an interrupt loses none, however many they are.
    together
        For each row a mark: rows of one mark stand side by side and are beginnings of one conversation, shortest
        first. What their prompts share is computed once, and what was changed is counted once. None where each
        row is a conversation of its own.
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
    counts = Counts()
    marks = range(len(rows)) if together is None else together
    with cache.call() as held, interrupts_held() as check, chunks_ahead(rows, marks, request, check) as chunks:
        for chunk in chunks:
            counts.add(chunk.counts)
            tick(sum(isinstance(row, ConversationError) for row in chunk.rows))
            found += _judge(chunk, together is not None, request, held, keep, lambda n: (tick(n), check()), counts)
    warn_changed(counts.changes, counts.n_neutralised)
    warn_not_rechecked(counts.n_not_rechecked)
    warn_cut(counts.n_cut, len(rows), request.overflow)
    return Verdicts(found, request.policy, request.guard.answer_names)


def _judge(
    chunk: Chunk, share: bool, request: Request, cache: CallCache, keep: bool, tick: Tick, counts: Counts
) -> list[Verdict]:
    """Return a verdict for each row of a chunk, in order."""
    owners = [i for i, row in enumerate(chunk.rows) if isinstance(row, Ready) for _ in row.asked]
    asked = [one for row in chunk.rows if isinstance(row, Ready) for one in row.asked]
    cuts = [cut for row in chunk.rows if isinstance(row, Ready) for cut in row.cuts]
    marks = [chunk.marks[i] for i in owners] if share else None
    results = _read(asked, chunk.keys, owners, marks, request, cache, tick)
    if request.recheck is not None:
        counts.n_not_rechecked += _recheck(asked, chunk.keys, results, request.recheck, request, cache, tick)
    verdicts = [_verdict(*parts, request, keep) for parts in zip(asked, results, cuts, strict=True)]
    telling = {owner: _telling(members, verdicts) for owner, members in _by_owner(owners).items()}
    if request.generate:
        chosen = [i for i in telling.values() if verdicts[i].error is None]
        texts = _write(
            [asked[i] for i in chosen], [chunk.keys[i] for i in chosen], [results[i] for i in chosen], request, cache
        )
        for i, text in zip(chosen, texts, strict=True):
            verdicts[i] = replace(verdicts[i], generated_text=text)
    return [
        _lost(row, request) if isinstance(row, ConversationError) else verdicts[telling[i]]
        for i, row in enumerate(chunk.rows)
    ]


def _by_owner(owners: Sequence[int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for i, owner in enumerate(owners):
        groups.setdefault(owner, []).append(i)
    return groups


def _telling(members: Sequence[int], verdicts: Sequence[Verdict]) -> int:
    """Return which verdict stands for all windows: one without a score, else the highest."""

    def rank(i: int) -> float:
        score = verdicts[i].unsafe_score
        return math.inf if score is None else score

    return members[0] if len(members) == 1 else max(members, key=rank)


def _lost(error: ConversationError, request: Request) -> Verdict:
    return unscored(error, threshold=request.threshold, guard=request.guard.label, policy=request.policy)


def _verdict(asked: Asked, result: Reading | ScoreError, cut: str | None, request: Request, keep: bool) -> Verdict:
    verdict = request.guard.verdict(asked, result, request.policy, request.threshold)
    if cut is None and not keep:
        return verdict
    return replace(
        verdict,
        error=verdict.error if verdict.error is None or cut is None else f"{verdict.error} ({cut})",
        cut=cut,
        conversation=asked.conversation if keep else None,
    )


def _read(
    asked: Sequence[Asked],
    keys: Sequence[bytes],
    owners: Sequence[int],
    marks: Sequence[Hashable] | None,
    request: Request,
    cache: CallCache,
    tick: Tick,
) -> list[Reading | ScoreError]:
    """Read prompts through the cache; a batch is kept before `tick`, which may raise an interrupt."""
    results: dict[int, Reading | ScoreError] = {}
    left = Counter(owners)

    def finish(positions: Sequence[int]) -> None:
        left.subtract(owners[i] for i in positions)
        tick(sum(left[owner] == 0 for owner in {owners[i] for i in positions}))

    for i, key in enumerate(keys):
        cached = cache.get(key)
        if cached is not None:
            results[i] = cached
    finish(list(results))
    missing = [i for i in range(len(asked)) if i not in results]
    together = None if marks is None else [marks[i] for i in missing]
    for batch in request.guard.read([asked[i] for i in missing], policy=request.asking, together=together):
        for position, result in batch:
            results[missing[position]] = result
            if isinstance(result, Reading):
                cache.put(keys[missing[position]], result)
        finish([missing[position] for position, _ in batch])
    return [results[i] for i in range(len(asked))]


def _recheck(
    asked: Sequence[Asked],
    keys: Sequence[bytes],
    results: list[Reading | ScoreError],
    distance: float,
    request: Request,
    cache: CallCache,
    tick: Tick,
) -> int:
    """Read again, alone and in float32, what is near the threshold, in place; returns for how many that failed.

    These keep the reading that they have.
    """
    near = [
        i
        for i, result in enumerate(results)
        if isinstance(result, Reading) and abs(result.unsafe_score - request.threshold) <= distance
    ]
    found: dict[int, Reading | ScoreError] = {}
    for i in near:
        cached = cache.get(keys[i] + _ALONE)
        if cached is not None:
            found[i] = cached
    missing = [i for i in near if i not in found]
    for batch in request.guard.read([asked[i] for i in missing], policy=request.asking, alone=True):
        for position, result in batch:
            i = missing[position]
            found[i] = result
            if isinstance(result, Reading):
                cache.put(keys[i] + _ALONE, result)
        tick(0)
    for i, result in found.items():
        if isinstance(result, Reading):
            results[i] = result
    return sum(isinstance(result, ScoreError) for result in found.values())


def _write(
    asked: Sequence[Asked],
    keys: Sequence[bytes],
    results: Sequence[Reading | ScoreError],
    request: Request,
    cache: CallCache,
) -> list[str | None]:
    texts = [cache.get_text(key) for key in keys]
    wanted = [(i, r) for i, r in enumerate(results) if isinstance(r, Reading) and texts[i] is None]
    written = request.guard.write(
        [asked[i] for i, _ in wanted], [reading for _, reading in wanted], policy=request.asking
    )
    for (i, _), text in zip(wanted, written, strict=True):
        texts[i] = text
        if text is not None:
            cache.put_text(keys[i], text)
    return texts
