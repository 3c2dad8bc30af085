"""What is asked of which guard, and rows encoded for it: whole or, where that is too long and wanted, in windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from guard_magic.aside import do_together
from guard_magic.conversations.conversation import Conversation
from guard_magic.conversations.roles import Assess, RoleChanges, RoleRules, adapt_roles, assessed_part
from guard_magic.conversations.rows import Row
from guard_magic.conversations.windows import Overflow, plan_windows
from guard_magic.errors import ConversationError
from guard_magic.guards.encoded import Encoded
from guard_magic.policy import Policy

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["EncodedRow", "Request", "encode_row", "encode_rows"]


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


class _How(TypedDict):
    policy: Policy | None
    roles: RoleRules


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


def encode_row(conversation: Conversation, request: Request) -> EncodedRow:
    """Encode one conversation.

    Raises
    ------
    ConversationError
        Where nothing of the role to assess was said, its roles do not fit, its text cannot be asked about
        safely, or it is too long and is not to be cut, or cannot be.
    """
    (found,) = encode_rows([conversation], request)
    if isinstance(found, ConversationError):
        raise found
    return found


def encode_rows(rows: Sequence[Row | EncodedRow], request: Request) -> Iterator[EncodedRow | ConversationError]:
    """Encode rows, in order; windows are made when their row is taken, for they may be many."""
    parts = [_try_part(row, request) if isinstance(row, Conversation) else row for row in rows]
    encode = partial(request.guard.encode_all, policy=request.other_policy, roles=request.roles)
    for part, found in zip(parts, do_together(Conversation, parts, encode), strict=True):
        yield _try_whole(part, found, request) if isinstance(part, Conversation) else found


def _try_part(row: Conversation, request: Request) -> Row:
    try:
        return assessed_part(row, request.assess)
    except ConversationError as error:
        return error


def _try_whole(
    part: Conversation, found: Encoded | ConversationError, request: Request
) -> EncodedRow | ConversationError:
    if not isinstance(found, ConversationError):
        return EncodedRow((found,), (None,), found.changes)
    return found if request.overflow == "error" else _try_windows(part, request)


def _try_windows(conversation: Conversation, request: Request) -> EncodedRow | ConversationError:
    """Cut a conversation that the guard refuses; where that is not for its length, the guard's error comes again."""
    guard, how = request.guard, _How(policy=request.other_policy, roles=request.roles)
    try:
        adapted, changes = adapt_roles(conversation, request.roles, guard.family.roles)
        windows = plan_windows(adapted, partial(guard.fits, **how), request.overflow)
        encoded = tuple(guard.encode(window.conversation, **how) for window in windows)
    except ConversationError as error:
        return error
    verb = " left out" if request.overflow == "truncate" else ""
    cuts = tuple(f"{window.left_out}{verb}" if window.left_out else None for window in windows)
    return EncodedRow(encoded, cuts, sum((one.changes for one in encoded), changes))
