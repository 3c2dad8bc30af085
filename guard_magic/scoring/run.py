"""Rows to verdicts: chunk by chunk through guard and cache, counting what must be said once.

Everything a call needs is passed in; nothing here knows of a session. Where a row is read in windows, one verdict
stands for all of them, and a window without a score leaves the row without one. Rows near the threshold are read a
second time where the caller wants that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError, ScoreError
from guard_magic.scoring.cache import CallCache, ScoreCache
from guard_magic.scoring.interrupts import Interrupts, interrupts_held
from guard_magic.scoring.notices import warn_changed, warn_cut, warn_not_rechecked
from guard_magic.scoring.preparing import Chunk, Counts, EncodedRow, Request, chunks_ahead, encode_row
from guard_magic.scoring.progress import NOTHING, Cost, Watch, cost_of
from guard_magic.verdict import Reading, Verdict, Verdicts, unscored

if TYPE_CHECKING:
    from guard_magic.guards.guard import Encoded

__all__ = ["EncodedRow", "Request", "encode_row", "score_rows"]

_ALONE = b"alone"
"""Behind a cache key: the reading of the same row alone and in float32."""


def score_rows(
    rows: Sequence[Row | EncodedRow],
    request: Request,
    cache: ScoreCache,
    *,
    groups: Sequence[Hashable] | None = None,
    keep: bool = False,
    watch: Watch = Watch(),  # noqa: B008 - it holds nothing
) -> Verdicts:
    """Score rows, in order; a row that cannot be scored is a verdict with its error.

    Parameters
    ----------
    rows
        Conversations (encoded or not), or why there is none.
    request
        What is asked of which guard.
    cache
        Where readings are looked up and kept, batch by batch, so that an interrupt loses none, however many they are.
    groups
        For each row its group: rows of one group stand side by side and are beginnings of one conversation, shortest
        first. What their prompts share is computed once, and what was changed is counted once. None where each
        row is a conversation of its own.
    keep
        Whether verdicts remember their conversation.
    watch
        Hears what there is to do and what is done.

    Raises
    ------
    KeyboardInterrupt
        After the batch under way.
    """
    found: list[Verdict] = []
    counts = Counts()
    of_row = range(len(rows)) if groups is None else groups
    with (
        cache.call() as held,
        interrupts_held(len(rows)) as call,
        chunks_ahead(rows, of_row, request, call.check) as chunks,
    ):
        for chunk in chunks:
            counts.add(chunk.counts)
            part = _Part.of(chunk, groups is not None, request, held, watch, call)
            found += _judge(chunk, part, request, keep, counts)
    warn_changed(counts.changes, counts.n_neutralised)
    warn_not_rechecked(counts.n_not_rechecked)
    warn_cut(counts.n_cut, len(rows), request.overflow)
    return Verdicts(found, request.policy, request.guard.answer_names)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is asked for the rows of one chunk, and where it is looked up, kept and counted.

    Attributes
    ----------
    asked, keys, costs
        All prompts of the chunk's rows in order, the cache key of each and what it costs to read it.
    owners
        For each of them the position of its row in the chunk.
    groups
        For each of them whose beginning it is; None where that is of no use.
    """

    encoded: list[Encoded]
    keys: list[bytes]
    costs: list[Cost]
    owners: list[int]
    groups: list[Hashable] | None
    cache: CallCache
    watch: Watch
    call: Interrupts

    @classmethod
    def of(cls, chunk: Chunk, share: bool, request: Request, cache: CallCache, watch: Watch, call: Interrupts) -> _Part:
        """Take a chunk apart."""
        owners = [i for i, row in enumerate(chunk.rows) if isinstance(row, EncodedRow) for _ in row.windows]
        encoded = [one for row in chunk.rows if isinstance(row, EncodedRow) for one in row.windows]
        groups = [chunk.groups[i] for i in owners] if share else None
        costs = _costs(encoded, chunk.keys, groups, cache, request) if watch.listens else [NOTHING] * len(encoded)
        return cls(encoded, chunk.keys, costs, owners, groups, cache, watch, call)

    def expect(self, rows: Sequence[EncodedRow | ConversationError], found: Iterable[int]) -> None:
        """Say what the rows cost, and that the work of the prompts `found` is done."""
        if self.watch.listens:
            costs = [None if isinstance(row, ConversationError) else NOTHING for row in rows]
            for owner, cost in zip(self.owners, self.costs, strict=True):
                costs[owner] = (costs[owner] or NOTHING) + cost
            self.watch.expect(costs, sum((self.costs[i] for i in found), NOTHING))

    def finish(self, n_rows: int, read: Iterable[int] = ()) -> None:
        """Say that rows are done, and which prompts were read for them; an interrupt that came meanwhile is raised."""
        self.watch.finish(n_rows, sum((self.costs[i] for i in read), NOTHING))
        self.call.finish(n_rows)


def _costs(
    encoded: Sequence[Encoded],
    keys: Sequence[bytes],
    groups: Sequence[Hashable] | None,
    cache: CallCache,
    request: Request,
) -> list[Cost]:
    """Return what each prompt costs; equal ones cost something once in a call."""
    seen: set[bytes] = set()
    last: dict[Hashable, int] = {}
    costs = []
    for i, (one, key) in enumerate(zip(encoded, keys, strict=True)):
        begun = None if groups is None else (groups[i], one.conversation.assessed.role)
        is_new = key not in seen and key not in cache.keys
        costs.append(cost_of(one, last.get(begun, 0), request.guard.n_even) if is_new else NOTHING)
        seen.add(key)
        if begun is not None:
            last[begun] = len(one.prompt.ids)
    return costs


def _judge(chunk: Chunk, part: _Part, request: Request, keep: bool, counts: Counts) -> list[Verdict]:
    """Return a verdict for each row of a chunk, in order."""
    cuts = [cut for row in chunk.rows if isinstance(row, EncodedRow) for cut in row.cuts]
    results = _read(chunk, part, request)
    if request.recheck is not None:
        counts.n_not_rechecked += _recheck(part, results, request.recheck, request)
    verdicts = [_verdict(*parts, request, keep) for parts in zip(part.encoded, results, cuts, strict=True)]
    telling = {owner: _telling(members, verdicts) for owner, members in _by_owner(part.owners).items()}
    if request.generate:
        chosen = [i for i in telling.values() if verdicts[i].error is None]
        for i, text in zip(chosen, _write(part, chosen, results, request), strict=True):
            verdicts[i] = replace(verdicts[i], generated_text=text)
    part.watch.finish(sum(isinstance(row, ConversationError) for row in chunk.rows))
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


def _verdict(encoded: Encoded, result: Reading | ScoreError, cut: str | None, request: Request, keep: bool) -> Verdict:
    verdict = request.guard.verdict(encoded, result, request.policy, request.threshold)
    if cut is None and not keep:
        return verdict
    return replace(
        verdict,
        error=verdict.error if verdict.error is None or cut is None else f"{verdict.error} ({cut})",
        cut=cut,
        conversation=encoded.conversation if keep else None,
    )


def _read(chunk: Chunk, part: _Part, request: Request) -> list[Reading | ScoreError]:
    """Read prompts through the cache; a batch is kept before it is counted, which may raise an interrupt."""
    results: dict[int, Reading | ScoreError] = {}
    left = Counter(part.owners)

    def n_finished(positions: Sequence[int]) -> int:
        left.subtract(part.owners[i] for i in positions)
        return sum(left[owner] == 0 for owner in {part.owners[i] for i in positions})

    for i, key in enumerate(part.keys):
        cached = part.cache.get(key)
        if cached is not None:
            results[i] = cached
    part.expect(chunk.rows, results)
    part.finish(n_finished(list(results)))
    missing = [i for i in range(len(part.encoded)) if i not in results]
    groups = None if part.groups is None else [part.groups[i] for i in missing]
    for batch in request.guard.read([part.encoded[i] for i in missing], policy=request.other_policy, groups=groups):
        read = [missing[position] for position, _ in batch]
        for i, (_, result) in zip(read, batch, strict=True):
            results[i] = result
            if isinstance(result, Reading):
                part.cache.put(part.keys[i], result)
        part.finish(n_finished(read), read)
    return [results[i] for i in range(len(part.encoded))]


def _recheck(part: _Part, results: list[Reading | ScoreError], distance: float, request: Request) -> int:
    """Read again, alone and in float32, what is near the threshold, in place; returns for how many rows that failed.

    Their prompts keep the reading that they have.
    """
    near = [
        i
        for i, result in enumerate(results)
        if isinstance(result, Reading) and abs(result.unsafe_score - request.threshold) <= distance
    ]
    found: dict[int, Reading | ScoreError] = {}
    for i in near:
        cached = part.cache.get(part.keys[i] + _ALONE)
        if cached is not None:
            found[i] = cached
    missing = [i for i in near if i not in found]
    for batch in request.guard.read([part.encoded[i] for i in missing], policy=request.other_policy, alone=True):
        for position, result in batch:
            i = missing[position]
            found[i] = result
            if isinstance(result, Reading):
                part.cache.put(part.keys[i] + _ALONE, result)
        part.finish(0)
    for i, result in found.items():
        if isinstance(result, Reading):
            results[i] = result
    return len({part.owners[i] for i, result in found.items() if isinstance(result, ScoreError)})


def _write(
    part: _Part, chosen: Sequence[int], results: Sequence[Reading | ScoreError], request: Request
) -> list[str | None]:
    """Return what the guard writes for the chosen prompts, in order."""
    texts = {i: part.cache.get_text(part.keys[i]) for i in chosen}
    wanted = [
        (i, result) for i in chosen for result in [results[i]] if isinstance(result, Reading) and texts[i] is None
    ]
    written = request.guard.write(
        [part.encoded[i] for i, _ in wanted], [reading for _, reading in wanted], policy=request.other_policy
    )
    for (i, _), text in zip(wanted, written, strict=True):
        texts[i] = text
        if text is not None:
            part.cache.put_text(part.keys[i], text)
    return [texts[i] for i in chosen]
