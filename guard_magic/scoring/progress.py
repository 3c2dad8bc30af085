"""How far a table is: in work, not in rows, so that the time left is told from what is left.

Rows differ in cost by a factor of a thousand, the longest are read first, and some cost nothing: those without a
score, those found in the cache, those equal to another. What a row costs is known once it is encoded; of the rows
behind it only their characters are known, and what a character costs is learned from the rows before. Work is counted
in tokens; one of a long prompt is more work, as attention looks at all that stand before it.

Which rows are read again or written for is known once a chunk of rows is read. How much that is beside the reading,
and how fast it goes, is learned from the chunks before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.rows import Rows, text_size
from guard_magic.conversations.windows import Overflow

if TYPE_CHECKING:
    from guard_magic.guards.guard import Encoded

__all__ = ["NOTHING", "Cost", "Progress", "Watch", "cost_of", "cost_of_more", "measure_rows"]

_WRITTEN = 50
"""Tokens that a guard may write for a row: as many are generated, unless all rows of a batch end earlier."""
_MOST_MEASURED = 50_000
"""Rows whose characters are counted: of larger tables every n-th one."""
_FIXED = 100
"""Characters that stand for what the template writes around a row's text."""
_FEW, _MANY = 4, 6
"""Characters of a token: a usual number, and so many that a text that long surely has more tokens."""

Sizes = np.ndarray
"""Characters, one pair a row: what is new in it, and all that it holds."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row asks for: tokens that are computed for it, and the work that this is."""

    tokens: int = 0
    work: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.work + other.work)


NOTHING = Cost()


def cost_of(encoded: Encoded, n_shared: int, scale: float) -> Cost:
    """Return what it costs to read a conversation.

    Parameters
    ----------
    asked
        The conversation, encoded.
    n_shared
        Leading tokens that it has in common with the one before, whose work is done already; 0 for none.
    scale
        Length of a prompt, in tokens, at which attention is as much work as all else.
    """
    tokens, work = 0, 0.0
    for prompt, question in zip(encoded.prompts, encoded.questions, strict=True):
        n_new = max(len(prompt.ids) - max(prompt.n_prefix, n_shared), 1) + len(question.continuation.tokens)
        tokens += n_new
        work += n_new * (1 + len(prompt.ids) / scale)
    return Cost(tokens, work)


def cost_of_more(kind: str, encoded: Encoded, scale: float) -> Cost:
    """Return what it costs to read a conversation alone (``"again"``), or to write for it (``"written"``)."""
    if kind == "again":
        asked = zip(encoded.prompts, encoded.questions, strict=True)
        alone = [len(prompt.ids) + len(question.continuation.tokens) for prompt, question in asked]
    else:
        alone = [len(encoded.prompt.ids) + _WRITTEN]
    return Cost(sum(alone), sum(n * (1 + n / scale) for n in alone))


class Watch:
    """What hears how scoring gets on; this one does not listen."""

    listens = False
    """Whether costs are worth counting."""

    def expect(self, costs: Sequence[Cost | None], spared: Cost) -> None:
        """Hear of the next rows of the table, in order, before any of them is read.

        Parameters
        ----------
        costs
            What each of them costs: nothing for one equal to an earlier one, None where there is nothing to score.
        spared
            How much of this an earlier call has paid.
        """

    def finish(self, n_rows: int, cost: Cost = NOTHING) -> None:
        """Hear that rows are done, and what was read."""

    def expect_more(self, kind: str, cost: Cost) -> None:
        """Hear what else is to be done for rows that were read: ``"again"`` (read once more) or ``"written"``."""

    def finish_more(self, kind: str, cost: Cost) -> None:
        """Hear that some of this was done."""


@dataclass(slots=True)
class _More:
    """Work of one kind behind the reading, as far as it is known: that of the first rows, and what reading them was.

    What is ahead is expected to be as much a row, or as much beside its reading: the mean of both.
    """

    waiting: float = 0.0
    done: float = 0.0
    seconds: float = 0.0
    n_rows: int = 0
    reading: float = 0.0

    def seconds_left(self, n_rows: int, reading: float) -> float | None:
        """Return the seconds that it will take for `n_rows` in all whose reading is so much; None if unknown."""
        if not self.n_rows or (not self.done and self.waiting > 0):
            return None
        if not self.done:
            return 0.0
        grown = n_rows / self.n_rows + reading / max(self.reading, 1e-9)
        ahead = (self.done + self.waiting) * max(grown / 2 - 1, 0.0)
        return (max(self.waiting, 0.0) + ahead) * self.seconds / self.done


class Progress(Watch):
    """How far a table is.

    Parameters
    ----------
    sizes
        What `measure_rows` gives, one pair a row.
    scale
        Length of a prompt, in tokens, at which attention is as much work as all else.
    n_shared
        Tokens ahead of every conversation, which are read once.
    kinds
        What else is asked for the rows: ``"again"``, ``"written"``.
    show
        Called with this object whenever something has changed.
    clock
        Seconds, from any beginning.

    Attributes
    ----------
    n_rows, n_done
        Rows of the table, and rows that are done.
    n_tokens
        Tokens that were read for them.
    """

    listens = True

    def __init__(
        self,
        sizes: Sizes,
        scale: float,
        n_shared: int = 0,
        *,
        kinds: Sequence[str] = (),
        show: Callable[[Progress], object] = id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n_rows, self.n_done, self.n_tokens = len(sizes), 0, 0
        self._sizes = np.column_stack((sizes[:, 0], sizes[:, 0] * sizes[:, 1]))
        self._ahead, self._n_ahead = self._sizes.sum(axis=0), len(sizes)
        self._seen = np.zeros(2)
        self._scale, self._n_shared, self._show, self._clock = scale, n_shared, show, clock
        self._read, self._spared, self._waiting, self._done = Cost(), 0.0, 0.0, 0.0
        self._began = clock()
        self._reading_since: float | None = None
        self._more = {kind: _More() for kind in kinds}
        self._last = self._began

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take; None before any work of each kind was done."""
        if self._is_over():
            return 0.0
        rate, more = self._seconds_of_work(), self._seconds_of_more()
        return None if rate is None or more is None else self._left() * rate + more

    @property
    def share(self) -> float:
        """The part of the work that is done, from 0 to 1; what was spared is done."""
        if self._is_over():
            return 1.0
        rate = self._seconds_of_work() or 1.0
        done = (self._done + self._spared) * rate + sum(more.seconds for more in self._more.values())
        return done / (done + self._left() * rate + (self._seconds_of_more() or 0.0)) if done else 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens read in a second; None before any were."""
        if self._reading_since is None or not self.n_tokens:
            return None
        return self.n_tokens / max(self._clock() - self._reading_since, 1e-9)

    def expect(self, costs: Sequence[Cost | None], spared: Cost) -> None:
        """Put what these rows cost in the place of what was expected."""
        start = self.n_rows - self._n_ahead
        sizes = self._sizes[start : start + len(costs)]
        self._n_ahead -= len(costs)
        self._ahead -= sizes.sum(axis=0)
        self._seen += sizes[[cost is not None for cost in costs]].sum(axis=0)
        cost = sum((cost for cost in costs if cost is not None), Cost())
        self._read += cost
        self._spared += spared.work
        self._waiting += cost.work - spared.work
        if self._waiting > 0 and self._reading_since is None:
            self._reading_since = self._clock()
        self._show(self)

    def finish(self, n_rows: int, cost: Cost = NOTHING) -> None:
        """Count rows that are done, and what was read."""
        self._last = self._clock()
        self.n_done += n_rows
        self.n_tokens += cost.tokens
        self._done += cost.work
        self._waiting -= cost.work
        self._show(self)

    def expect_more(self, kind: str, cost: Cost) -> None:
        """Take in what else is to be done for the rows that were read so far."""
        more = self._more[kind]
        more.waiting += cost.work
        more.n_rows, more.reading = self.n_rows - self._n_ahead, self._read.work
        self._last = self._clock()
        self._show(self)

    def finish_more(self, kind: str, cost: Cost) -> None:
        """Count what was done of it, and the time since anything was heard."""
        more, now = self._more[kind], self._clock()
        more.waiting -= cost.work
        more.done += cost.work
        more.seconds, self._last = more.seconds + now - self._last, now
        self._show(self)

    def _is_over(self) -> bool:
        """Say whether all rows are read, and nothing else is to be done for them."""
        known = all(more.n_rows == self.n_rows and more.waiting < 1e-6 for more in self._more.values())
        return self.n_done == self.n_rows and known

    def _seconds_of_work(self) -> float | None:
        """Return how long a unit of reading takes; None before any was read."""
        if self._reading_since is None or not self._done:
            return None
        others = sum(more.seconds for more in self._more.values())
        return (self._clock() - self._reading_since - others) / self._done

    def _seconds_of_more(self) -> float | None:
        """Return the seconds that all behind the reading will take; None where that was not learned yet."""
        reading = self._read.work + self._ahead_work()
        found = [more.seconds_left(self.n_rows, reading) for more in self._more.values()]
        return None if None in found else sum(seconds or 0.0 for seconds in found)

    def _left(self) -> float:
        """Return the work that is left: of rows that wait, and of those ahead if they are like the rows before."""
        return max(self._waiting, 0.0) + self._ahead_work()

    def _ahead_work(self) -> float:
        return self._guess(self._ahead) * self._read.work / max(self._guess(self._seen), 1e-9)

    def _guess(self, sizes: np.ndarray) -> float:
        """Return the work of rows by their characters."""
        tokens = self._read.tokens / max(self._seen[0], 1e-9)
        return float(tokens * sizes[0] * (1 + self._n_shared / self._scale) + tokens**2 * sizes[1] / self._scale)


def measure_rows(rows: Sequence[object], groups: Sequence[Hashable] | None, n_room: int, overflow: Overflow) -> Sizes:
    """Return how much there is to read, in characters: for each row what is new in it, and all that it holds.

    Of large tables only every n-th row is looked at. Rows that will surely be refused for their length (a prompt has
    room for `n_room` tokens) count nothing.
    """
    step = 1 if groups is not None else max(1, len(rows) // _MOST_MEASURED)
    if groups is not None:
        found = [len(row.assessed.content) if isinstance(row, Conversation) else 0 for row in rows]
    else:
        found = rows.sizes(step) if isinstance(rows, Rows) else [text_size(row) for row in rows[::step]]
    new = np.repeat(np.array([size and size + _FIXED for size in found], dtype=float), step)[: len(rows)]
    total = new if groups is None else _sums(new, groups)
    if overflow == "error":
        new = np.where(total > _MANY * n_room, 0.0, new)
    if overflow == "truncate":
        new = new.clip(max=_FEW * n_room)
    return np.column_stack((new, total.clip(max=_FEW * n_room)))


def _sums(new: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Return, for each row, the sum over those of its group up to here; rows of one group stand side by side."""
    totals = np.zeros(len(new))
    for i, size in enumerate(new):
        totals[i] = size + (totals[i - 1] if i and groups[i] == groups[i - 1] else 0)
    return totals
