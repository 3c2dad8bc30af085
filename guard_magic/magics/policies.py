"""What ``%guard policy`` shows, as text: the hazards asked about, and the built-in policies."""

from __future__ import annotations

from guard_magic.magics.completion import own_policy
from guard_magic.policy import BUILT_IN, Policy
from guard_magic.scoring.session import Session

__all__ = ["policy_list", "policy_text"]

_MAX_LINE = 140


def policy_text(session: Session) -> str:
    """Return the hazards asked about, one a line, below whose policy they are."""
    policy = session.policy or own_policy(session)
    return "\n".join([f"policy {policy.name}, {_whose(session)}", *_hazard_lines(policy)])


def policy_list() -> str:
    """Return the built-in policies, one a line, with how many hazards they have."""
    width = max(map(len, BUILT_IN))
    return "\n".join(
        f"{name:<{width}}  {len(policy):>2} hazards: {policy.codes[0]} … {policy.codes[-1]}"
        for name, policy in BUILT_IN.items()
    )


def _whose(session: Session) -> str:
    if session.policy is not None:
        return "set for this session (%guard policy reset: each guard's own)"
    return f"the own policy of guard {session.current}" if session.current else "as no guard is loaded yet"


def _hazard_lines(policy: Policy) -> list[str]:
    codes, names = max(map(len, policy.codes)), max(len(category.name) for category in policy)
    lines = []
    for category in policy:
        first, *rest = category.description.split("\n")
        line = f"  {category.code:<{codes}}  {category.name:<{names}}  {first}{' …' if rest else ''}".rstrip()
        lines.append(line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 1].rstrip()}…")
    return lines
