"""Rows encoded: in chunks, the next one while the one before is scored.

Nothing here runs a model. A row is read whole or, where it is too long and the caller wants that, in windows.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.roles import Assess, RoleChanges, RoleRules, adapt_roles, assessed_part
from guard_magic.conversations.rows import Row
from guard_magic.conversations.windows import Overflow, plan_windows
from guard_magic.errors import ConversationError
from guard_magic.policy import Policy

if TYPE_CHECKING:
    from guard_magic.guards.guard import Encoded, Guard

__all__ = ["Check", "Chunk", "Counts", "EncodedRow", "Request", "chunks_ahead", "encode_row"]

FIRST_CHUNK = 512
"""Prompts of the first chunk: few, so that the first verdict of a large table is there at once."""
CHUNK = 4_096
"""Most prompts of a chunk (but for the windows of one conversation): enough to sort by length."""
_TOGETHER = 512
"""Rows whose texts are tokenized together; an interrupt is looked for between them."""

Check = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of which guard: everything that is the same for all rows of a call; see `guard_magic.score`."""

    guard: Guard
    policy: Policy
    threshold: float
    roles: RoleRules = "merge"
    generate: bool = False
    assess: Assess = "last"
    overflow: Overflow = "error"
    recheck: float | None = None

    @property
    def other_policy(self) -> Policy | None:
        """The policy as the guard takes it: None for its own."""
        return None if self.policy == self.guard.policy else self.policy


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A conversation encoded whole or in windows.

    Attributes
    ----------
    windows
        One where it is read whole, one a window where it is too long.
    cuts
        For each of them which part it is, or what was left out; None for the whole.
    changes
        What its roles had to give up.
    """

    windows: tuple[Encoded, ...]
    cuts: tuple[str | None, ...]
    changes: RoleChanges


@dataclass(slots=True)
class Counts:
    """What is said once, when all is done."""

    changes: RoleChanges = field(default_factory=RoleChanges)
    n_neutralised: int = 0
    n_cut: int = 0
    n_not_rechecked: int = 0

    def count(self, rows: Sequence[EncodedRow | ConversationError]) -> None:
        """Count the rows of one conversation; the last one that is encoded holds all of the others."""
        ready = [row for row in rows if isinstance(row, EncodedRow)]
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


def encode_row(conversation: Conversation, request: Request) -> EncodedRow:
    """Encode one conversation.

    Raises
    ------
    ConversationError
        Where nothing of the role to assess was said, its roles do not fit, its text cannot be asked about
        safely, or it is too long and is not to be cut, or cannot be.
    """
    (found,) = _encode_all([conversation], request)
    if isinstance(found, ConversationError):
        raise found
    return found


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
        n_encoded += sum(len(row.windows) if isinstance(row, EncodedRow) else 1 for row in ready)
        n_done += len(ready)
        if n_encoded >= size or n_done == len(rows):
            encoded = [one for row in chunk if isinstance(row, EncodedRow) for one in row.windows]
            yield Chunk(chunk, of_chunk, request.guard.keys(encoded), counts, n_done == len(rows))
            chunk, of_chunk, counts, n_encoded, size = [], [], Counts(), 0, min(2 * size, CHUNK)


def _stream(
    rows: Sequence[Row | EncodedRow], request: Request, check: Check
) -> Iterator[EncodedRow | ConversationError]:
    for start in range(0, len(rows), _TOGETHER):
        check()
        yield from _encode_all(rows[start : start + _TOGETHER], request)


def _encode_all(rows: Sequence[Row | EncodedRow], request: Request) -> Iterator[EncodedRow | ConversationError]:
    """Encode rows, in order; windows are made when their row is taken, for they may be many."""
    parts = [_try_part(row, request) if isinstance(row, Conversation) else row for row in rows]
    whole = [part for part in parts if isinstance(part, Conversation)]
    found = iter(request.guard.encode_all(whole, policy=request.other_policy, roles=request.roles))
    for part in parts:
        if not isinstance(part, Conversation):
            yield part
            continue
        encoded = next(found)
        if not isinstance(encoded, ConversationError):
            yield EncodedRow((encoded,), (None,), encoded.changes)
        else:
            yield encoded if request.overflow == "error" else _try_windows(part, request)


def _try_part(row: Conversation, request: Request) -> Row:
    try:
        return assessed_part(row, request.assess)
    except ConversationError as error:
        return error


def _try_windows(conversation: Conversation, request: Request) -> EncodedRow | ConversationError:
    """Cut a conversation that the guard refuses; where that is not for its length, the guard's error comes again."""
    guard, other_policy, roles = request.guard, request.other_policy, request.roles
    try:
        adapted, changes = adapt_roles(conversation, roles, guard.family.roles)
        windows = plan_windows(
            adapted, lambda part: guard.fits(part, policy=other_policy, roles=roles), request.overflow
        )
        encoded = tuple(guard.encode(window.conversation, policy=other_policy, roles=roles) for window in windows)
    except ConversationError as error:
        return error
    verb = " left out" if request.overflow == "truncate" else ""
    cuts = tuple(f"{window.left_out}{verb}" if window.left_out else None for window in windows)
    return EncodedRow(encoded, cuts, sum((one.changes for one in encoded), changes))
