"""Rows encoded: in chunks, the next one while the one before is scored.

Nothing here runs a model.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard_magic.conversations.roles import RoleChanges
from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError

if TYPE_CHECKING:
    from guard_magic.guards.request import EncodedRow, Request

__all__ = ["Check", "Chunk", "Counts", "chunks_ahead"]

FIRST_CHUNK = 512
"""Prompts of the first chunk: few, so that the first verdict of a large table is there at once."""
CHUNK = 4_096
"""Most prompts of a chunk (but for the windows of one conversation): enough to sort by length."""
_TOGETHER = 512
"""Rows whose texts are tokenized together; an interrupt is looked for between them."""

Check = Callable[[], object]


@dataclass(slots=True)
class Counts:
    """What is said once, when all is done."""

    changes: RoleChanges = field(default_factory=RoleChanges)
    n_neutralised: int = 0
    n_cut: int = 0
    n_not_rechecked: int = 0

    def count(self, rows: Sequence[EncodedRow | ConversationError]) -> None:
        """Count the rows of one conversation; the last one that is encoded holds all of the others."""
        ready = [row for row in rows if not isinstance(row, ConversationError)]
        if ready:
            self.changes = _sum(self.changes, ready[-1].changes)
            self.n_neutralised += any(encoded.n_neutralised for row in ready for encoded in row.windows)
            self.n_cut += sum(any(row.cuts) for row in ready)

    def add(self, other: Counts) -> None:
        """Count what `other` counted."""
        self.changes = _sum(self.changes, other.changes)
        self.n_neutralised += other.n_neutralised
        self.n_cut += other.n_cut


def _sum(one: RoleChanges, other: RoleChanges) -> RoleChanges:
    return one + other if other else one


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are scored together.

    Attributes
    ----------
    rows
        Encoded, or why not, in the table's order.
    groups
        Whose rows they are; all rows of one group are in one chunk.
    keys
        Cache keys of all that is asked, in order.
    counts
        What is to be said of these rows.
    is_last
        Whether no row is left.
    """

    rows: list[EncodedRow | ConversationError]
    groups: list[Hashable]
    keys: list[bytes]
    counts: Counts
    is_last: bool


@contextmanager
def chunks_ahead(
    rows: Sequence[Row | EncodedRow], groups: Sequence[Hashable], request: Request, check: Check
) -> Iterator[Iterator[Chunk]]:
    """Encode rows in chunks: the first one here, each other one in a thread while the caller uses the one before.

    Where text is asked for, all are made here: the guard's own tokenizer decodes it, and no tokenizer may be used for
    that while another thread changes its switches, as the slow way of rendering does.

    Parameters
    ----------
    rows
        Conversations (encoded or not), or why there is none.
    groups
        Whose rows they are, one a row; rows of one group stand side by side.
    request
        What is asked of which guard.
    check
        Called between rows, in the thread too; may raise an interrupt, which then comes up where the chunk is taken.

    Yields
    ------
    Iterator of Chunk
        At most one is encoded ahead. However the block is left, no thread goes on.
    """
    left = threading.Event()

    def checked() -> None:
        check()
        if left.is_set():
            raise CancelledError

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guard_magic")
    try:
        chunks = _chunks(rows, groups, request, checked)
        yield chunks if request.generate else _ahead(chunks, pool)
    finally:
        left.set()
        pool.shutdown(cancel_futures=True)


def _ahead(chunks: Iterator[Chunk], pool: ThreadPoolExecutor) -> Iterator[Chunk]:
    chunk = next(chunks, None)
    while chunk is not None:
        coming = None if chunk.is_last else pool.submit(next, chunks, None)
        yield chunk
        chunk = None if coming is None else coming.result()


def _chunks(
    rows: Sequence[Row | EncodedRow], groups: Sequence[Hashable], request: Request, check: Check
) -> Iterator[Chunk]:
    """Encode rows, each with its group; no conversation is in two chunks. They grow, so that none is waited for."""
    chunk: list[EncodedRow | ConversationError] = []
    of_chunk: list[Hashable] = []
    counts, n_encoded, size, n_done = Counts(), 0, FIRST_CHUNK, 0
    for group, members in itertools.groupby(
        zip(groups, _stream(rows, request, check), strict=True), key=lambda p: p[0]
    ):
        ready = [row for _, row in members]
        check()
        counts.count(ready)
        chunk += ready
        of_chunk += [group] * len(ready)
        n_encoded += sum(len(row.windows) if not isinstance(row, ConversationError) else 1 for row in ready)
        n_done += len(ready)
        if n_encoded >= size or n_done == len(rows):
            encoded = [one for row in chunk if not isinstance(row, ConversationError) for one in row.windows]
            yield Chunk(chunk, of_chunk, request.guard.keys(encoded), counts, n_done == len(rows))
            chunk, of_chunk, counts, n_encoded, size = [], [], Counts(), 0, min(2 * size, CHUNK)


def _stream(
    rows: Sequence[Row | EncodedRow], request: Request, check: Check
) -> Iterator[EncodedRow | ConversationError]:
    from guard_magic.guards.request import encode_rows

    for start in range(0, len(rows), _TOGETHER):
        check()
        yield from encode_rows(rows[start : start + _TOGETHER], request)
