"""Rows to verdicts: chunk by chunk through guard and cache, counting what must be said once.

Everything a call needs is passed in; nothing here knows of a session. What becomes of a chunk is the guard's to say
(`guard_magic.guards.judging`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError
from guard_magic.scoring.cache import CallCache, ScoreCache
from guard_magic.scoring.interrupts import Interrupts, interrupts_held
from guard_magic.scoring.notices import warn_changed, warn_cut, warn_not_rechecked
from guard_magic.scoring.preparing import Counts, chunks_ahead
from guard_magic.scoring.progress import NOTHING, Cost, Watch, cost_of, cost_of_more
from guard_magic.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from guard_magic.guards.judging import More, Prompts
    from guard_magic.guards.request import EncodedRow, Request

__all__ = ["score_rows"]


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
    ScoreError
        Where the model changed meanwhile: verdicts of one call are all of the same weights.
    """
    from guard_magic.guards.judging import judge_rows

    found: list[Verdict] = []
    counts = Counts()
    of_row = range(len(rows)) if groups is None else groups
    seen = request.guard.look()  # keys are made a chunk ahead, and a change between chunks is in no batch
    with (
        cache.call() as known,
        interrupts_held(len(rows)) as call,
        chunks_ahead(rows, of_row, request, call.check) as chunks,
    ):
        for chunk in chunks:
            counts.add(chunk.counts)
            listener = _Heard(request, known, watch, call)
            shared = None if groups is None else chunk.groups
            verdicts, n_failed = judge_rows(
                chunk.rows, request, chunk.keys, known, groups=shared, keep=keep, listener=listener
            )
            request.guard.check(seen)
            found += verdicts
            counts.n_not_rechecked += n_failed
    warn_changed(counts.changes, counts.n_neutralised)
    warn_not_rechecked(counts.n_not_rechecked)
    warn_cut(counts.n_cut, len(rows), request.overflow)
    return Verdicts(found, request.policy, request.guard.answer_names)


@dataclass(slots=True)
class _Heard:
    """Passes on what is heard of a chunk: to the bar what it costs, to the call that an interrupt may come up now."""

    request: Request
    known: CallCache
    watch: Watch
    call: Interrupts
    costs: Sequence[Cost] = ()
    prompts: Prompts | None = None

    def begin(self, prompts: Prompts) -> None:
        """Reckon what each prompt costs, before what is known of them is looked up."""
        self.prompts = prompts
        self.costs = _costs(prompts, self.known, self.request.guard.n_even) if self.watch.listens else ()

    def expect(self, rows: Sequence[EncodedRow | ConversationError], prompts: Prompts, found: Iterable[int]) -> None:
        """Say what the rows cost, and that the work of the prompts `found` is done."""
        if not self.watch.listens:
            return
        of_row = [None if isinstance(row, ConversationError) else NOTHING for row in rows]
        for owner, cost in zip(prompts.owners, self.costs, strict=True):
            of_row[owner] = (of_row[owner] or NOTHING) + cost
        self.watch.expect(of_row, sum((self.costs[i] for i in found), NOTHING))

    def finish(self, n_rows: int, read: Sequence[int] = ()) -> None:
        """Say that rows are done, and which prompts were read for them; an interrupt that came meanwhile is raised."""
        self.watch.finish(n_rows, sum((self.costs[i] for i in read), NOTHING) if self.watch.listens else NOTHING)
        self.call.finish(n_rows)

    def expect_more(self, kind: More, prompts: Sequence[int]) -> None:
        """Say what it costs to read prompts again, or to write for them."""
        if self.watch.listens:
            self.watch.expect_more(kind, self._more(kind, prompts))

    def finish_more(self, kind: More, prompts: Sequence[int]) -> None:
        """Say that this was done; an interrupt that came meanwhile is raised."""
        self.watch.finish_more(kind, self._more(kind, prompts) if self.watch.listens else NOTHING)
        self.call.finish(0)

    def _more(self, kind: More, prompts: Sequence[int]) -> Cost:
        encoded = {self.prompts.keys[i]: self.prompts.encoded[i] for i in prompts} if self.prompts else {}
        return sum((cost_of_more(kind, one, self.request.guard.n_even) for one in encoded.values()), NOTHING)


def _costs(prompts: Prompts, known: CallCache, scale: float) -> list[Cost]:
    """Return what each prompt costs; equal ones cost something once in a call."""
    seen: set[bytes] = set()
    last: dict[Hashable, int] = {}
    costs = []
    for i, (one, key) in enumerate(zip(prompts.encoded, prompts.keys, strict=True)):
        begun = None if prompts.groups is None else (prompts.groups[i], one.conversation.assessed.role)
        is_new = key not in seen and key not in known.keys
        costs.append(cost_of(one, last.get(begun, 0), scale) if is_new else NOTHING)
        seen.add(key)
        if begun is not None:
            last[begun] = len(one.prompt.ids)
    return costs
