"""What a guard can be asked about: said before it is asked, and of the embedded one before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from guard_magic.callers import warn_caller
from guard_magic.errors import GuardError, PolicyError
from guard_magic.policy import LLAMA_GUARD_3, Policy

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["EMBEDDED_NAME", "EMBEDDED_POLICY", "check_embedded", "warn_of_policy"]

EMBEDDED_NAME = "embedded"
EMBEDDED_POLICY = LLAMA_GUARD_3
"""What the embedded guard was trained to tell apart; it can be asked about nothing else."""


def check_embedded(policy: Policy | None, exclude: Iterable[str]) -> None:
    """Refuse what the embedded guard cannot be asked, before it is loaded: its prompt carries no policy."""
    if (policy or EMBEDDED_POLICY).without(exclude) != EMBEDDED_POLICY:
        what = "leave hazards out" if policy is None else f"be asked about policy {policy.name!r}"
        raise PolicyError(
            f"the embedded guard cannot {what}: its prompt carries no policy",
            hint="Load a guard that takes one (%guard load meta-llama/Llama-Guard-3-8B), or leave out policy and "
            "exclude.",
        )


def warn_of_policy(guard: Guard | None, policy: Policy | None) -> None:
    """Say at once where the current guard cannot be asked about the session's policy: all it scores would fail."""
    if guard is None or policy is None:
        return
    try:
        guard.resolve_policy(policy)
    except GuardError as error:
        warn_caller(
            f"guard {guard.name!r} is current and cannot be asked about the session's policy "
            f"{policy.name!r}: {error.message}. {error.hint} Each guard's own policy: %guard policy reset"
        )
