"""Rows to verdicts: chunk by chunk through guard and cache, counting what must be said once.

Everything a call needs is passed in; nothing here knows of a session. A row is read whole or, where it is too
long and the caller wants that, in windows: then one verdict stands for all of them, and a window without a score
leaves the row without one.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guard_magic.cache import ScoreCache
from guard_magic.conversation import Conversation
from guard_magic.errors import ConversationError, ScoreError
from guard_magic.interrupts import interrupts_held
from guard_magic.notices import Tick, warn_changed, warn_cut
from guard_magic.policy import Policy
from guard_magic.roles import Assess, RoleChanges, RoleRules, adapt_roles, assessed_part
from guard_magic.tables import Row
from guard_magic.verdict import Reading, Verdict, Verdicts, unscored
from guard_magic.windows import Overflow, plan_windows

if TYPE_CHECKING:
    from guard_magic.engine.guard import Asked, Guard

__all__ = ["Ready", "Request", "make_ready", "score_rows"]

_CHUNK = 4_096
"""Prompts made ready at a time: enough to sort by length, few enough to start at once on a large table."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of which guard: everything that is the same for all rows of a call."""

    guard: Guard
    policy: Policy
    threshold: float
    roles: RoleRules = "merge"
    generate: bool = False
    assess: Assess = "last"
    overflow: Overflow = "error"

    @property
    def asking(self) -> Policy | None:
        """The policy as the guard takes it: None for its own."""
        return None if self.policy == self.guard.policy else self.policy


@dataclass(frozen=True, slots=True)
class Ready:
    """A conversation made ready to be asked about.

    Attributes
    ----------
    asked
        One where it is read whole, one a window where it is too long.
    cuts
        For each of them which part it is, or what was left out; None for the whole.
    changes
        What its roles had to give up.
    """

    asked: tuple[Asked, ...]
    cuts: tuple[str | None, ...]
    changes: RoleChanges


@dataclass(slots=True)
class _Counts:
    """What is said once, when all is done."""

    changes: RoleChanges = field(default_factory=RoleChanges)
    n_neutralised: int = 0
    n_cut: int = 0

    def add(self, rows: Sequence[Ready | ConversationError]) -> None:
        """Count the rows of one conversation; the last one that is ready holds all of the others."""
        ready = [row for row in rows if isinstance(row, Ready)]
        if ready:
            self.changes += ready[-1].changes
            self.n_neutralised += any(asked.n_neutralised for row in ready for asked in row.asked)
            self.n_cut += sum(any(row.cuts) for row in ready)


def make_ready(conversation: Conversation, request: Request) -> Ready:
    """Make one conversation ready to be asked about.

    Raises
    ------
    ConversationError
        Where nothing of the role to assess was said, its roles do not fit, its text cannot be asked about
        safely, or it is too long and is not to be cut, or cannot be.
    """
    part = assessed_part(conversation, request.assess)
    guard, asking, roles = request.guard, request.asking, request.roles
    try:
        asked = guard.ask(part, policy=asking, roles=roles)
    except ConversationError:
        if request.overflow == "error":
            raise
        asked = None
    return Ready((asked,), (None,), asked.changes) if asked else _make_windows(part, request)


def _make_windows(conversation: Conversation, request: Request) -> Ready:
    """Cut a conversation that the guard refuses; where that is not for its length, the guard's error comes again."""
    guard, asking, roles = request.guard, request.asking, request.roles
    adapted, changes = adapt_roles(conversation, roles, guard.family.place)
    windows = plan_windows(adapted, lambda part: guard.fits(part, policy=asking, roles=roles), request.overflow)
    asked = tuple(guard.ask(window.conversation, policy=asking, roles=roles) for window in windows)
    verb = " left out" if request.overflow == "truncate" else ""
    cuts = tuple(f"{window.left_out}{verb}" if window.left_out else None for window in windows)
    return Ready(asked, cuts, sum((one.changes for one in asked), changes))


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
        Where readings are looked up and kept, batch by batch, so that an interrupt loses none.
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
    counts = _Counts()
    marks = range(len(rows)) if together is None else together
    with interrupts_held() as check:
        for chunk, of_chunk in _chunks(rows, marks, request, counts, check):
            tick(sum(isinstance(row, ConversationError) for row in chunk))
            found += _judge(chunk, of_chunk if together else None, request, cache, keep, lambda n: (tick(n), check()))
    warn_changed(counts.changes, counts.n_neutralised)
    warn_cut(counts.n_cut, len(rows), request.overflow)
    return Verdicts(found, request.policy, request.guard.answer_names)


def _chunks(
    rows: Sequence[Row | Ready],
    marks: Sequence[Hashable],
    request: Request,
    counts: _Counts,
    check: Callable[[], object],
) -> Iterator[tuple[list[Ready | ConversationError], list[Hashable]]]:
    """Make rows ready, each with its mark; no conversation is in two chunks."""
    chunk: list[Ready | ConversationError] = []
    of_chunk: list[Hashable] = []
    n_asked = 0
    for mark, members in itertools.groupby(range(len(rows)), key=lambda i: marks[i]):
        ready = [_try_ready(rows[i], request) for i in members]
        check()
        counts.add(ready)
        chunk += ready
        of_chunk += [mark] * len(ready)
        n_asked += sum(len(row.asked) if isinstance(row, Ready) else 1 for row in ready)
        if n_asked >= _CHUNK:
            yield chunk, of_chunk
            chunk, of_chunk, n_asked = [], [], 0
    if chunk:
        yield chunk, of_chunk


def _try_ready(row: Row | Ready, request: Request) -> Ready | ConversationError:
    if not isinstance(row, Conversation):
        return row
    try:
        return make_ready(row, request)
    except ConversationError as error:
        return error


def _judge(
    chunk: Sequence[Ready | ConversationError],
    marks: Sequence[Hashable] | None,
    request: Request,
    cache: ScoreCache,
    keep: bool,
    tick: Tick,
) -> list[Verdict]:
    """Return a verdict for each row of a chunk, in order."""
    owners = [i for i, row in enumerate(chunk) if isinstance(row, Ready) for _ in row.asked]
    asked = [one for row in chunk if isinstance(row, Ready) for one in row.asked]
    cuts = [cut for row in chunk if isinstance(row, Ready) for cut in row.cuts]
    keys = [request.guard.key(one) for one in asked]
    results = _read(asked, keys, owners, None if marks is None else [marks[i] for i in owners], request, cache, tick)
    verdicts = [_verdict(*parts, request, keep) for parts in zip(asked, results, cuts, strict=True)]
    telling = {owner: _telling(list(members), verdicts) for owner, members in _by_owner(owners)}
    if request.generate:
        chosen = [i for i in telling.values() if verdicts[i].error is None]
        texts = _write(
            [asked[i] for i in chosen], [keys[i] for i in chosen], [results[i] for i in chosen], request, cache
        )
        for i, text in zip(chosen, texts, strict=True):
            verdicts[i] = replace(verdicts[i], generated_text=text)
    return [
        _lost(row, request) if isinstance(row, ConversationError) else verdicts[telling[i]]
        for i, row in enumerate(chunk)
    ]


def _by_owner(owners: Sequence[int]) -> Iterator[tuple[int, Iterator[int]]]:
    return itertools.groupby(range(len(owners)), key=lambda i: owners[i])


def _telling(members: Sequence[int], verdicts: Sequence[Verdict]) -> int:
    """Return which verdict stands for all windows: one without a score, else the highest."""

    def rank(i: int) -> float:
        score = verdicts[i].unsafe_score
        return math.inf if score is None else score

    return max(members, key=rank)


def _lost(error: ConversationError, request: Request) -> Verdict:
    return unscored(error, threshold=request.threshold, guard=request.guard.label, policy=request.policy)


def _verdict(asked: Asked, result: Reading | ScoreError, cut: str | None, request: Request, keep: bool) -> Verdict:
    verdict = request.guard.verdict(asked, result, request.policy, request.threshold)
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
    cache: ScoreCache,
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


def _write(
    asked: Sequence[Asked],
    keys: Sequence[bytes],
    results: Sequence[Reading | ScoreError],
    request: Request,
    cache: ScoreCache,
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
