"""Which guard, asked about which policy, scores belong to: what a threshold chosen on them holds for."""

from __future__ import annotations

from dataclasses import dataclass

from guard_magic.characters import spell_hidden
from guard_magic.errors import ScoreError
from guard_magic.policy import Policy

__all__ = ["ScoredBy", "check_threshold"]


@dataclass(frozen=True, slots=True)
class ScoredBy:
    """What scores depend on.

    Attributes
    ----------
    guard
        ``name@revision``.
    family
        How this guard is asked (``"llama-guard-3"``); None where scores came from a file and the guard is not loaded.
    policy
        The hazards that it was asked about.
    """

    guard: str
    family: str | None
    policy: Policy

    def __str__(self) -> str:
        return f"guard {spell_hidden(self.guard)}, policy {spell_hidden(self.policy.name)}"

    def difference(self, other: ScoredBy) -> str:
        """Say in what `other` differs: ``"guard a@1, not b@1"``; "" where scores of both mean the same."""
        if self.guard != other.guard:
            return f"guard {spell_hidden(self.guard)}, not {spell_hidden(other.guard)}"
        if self.family and other.family and self.family != other.family:
            return f"the family {self.family}, not {other.family}"
        if self.policy.categories != other.policy.categories:
            mine, others = (spell_hidden(one.policy.name) for one in (self, other))
            what = f"policy {mine}, not {others}"
            return what if mine != others else f"other words or codes in policy {mine}"
        return ""


def check_threshold(threshold: float, chosen_for: ScoredBy, scored_by: ScoredBy | None) -> None:
    """Raise `ScoreError` where a threshold was chosen for scores of another origin; None is one that is not known."""
    differs = chosen_for.difference(scored_by) if scored_by else f"{chosen_for}, not for scores of unknown origin"
    if differs:
        raise ScoreError(
            f"the threshold {threshold:g} was chosen for {differs}",
            hint="Pass threshold=… for this call, choose one for these scores (df.guard.evaluate(label=…)), "
            "or set a number: guard_magic.set_threshold(0.5).",
        )
