"""What one conversation gave, in logarithms and without a threshold: this is what is cached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Reading"]

_ROUNDING = 1e-3
"""How far above 0 the logarithm of a probability may be: sums of probabilities are rounded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one conversation gave, before any threshold.

    Attributes
    ----------
    log_unsafe, log_safe
        Natural log of the full-vocabulary softmax at the verdict position, for the two verdicts. Where a guard
        is asked hazard by hazard: of yes and no, for the hazard with the highest score.
    log_codes
        In the policy's order. Where a guard names hazards (``each`` false): natural log of P(the first code
        written is c | unsafe), not normalised: the rest is what the guard would write that is no code. Where it is
        asked hazard by hazard: log of P(yes) / (P(yes) + P(no)) for each.
    n_tokens
        Length of the prompt up to the verdict position, in tokens; the sum over all prompts asked.
    each
        Whether the guard is asked about each hazard by itself.
    least_mass
        The lowest P(yes) + P(no) over all hazards, where `each`; None otherwise.
    answers
        Other answers in the same pass, name -> probability: ``controversial``, ``refusal`` ….
    """

    log_unsafe: float
    log_safe: float
    log_codes: tuple[float, ...]
    n_tokens: int
    each: bool = False
    least_mass: float | None = None
    answers: tuple[tuple[str, float], ...] = ()

    @property
    def unsafe_score(self) -> float:
        """P(unsafe), in [0, 1]; where `each`, the highest of the hazards' scores."""
        return math.exp(max(self.log_codes) if self.each else self.log_unsafe)

    @property
    def category_scores(self) -> tuple[float, ...]:
        """One score a hazard, in the policy's order: they sum to `unsafe_score`, or where `each` stand alone."""
        if self.each:
            return tuple(math.exp(x) for x in self.log_codes)
        score = self.unsafe_score
        return tuple(score * share for share in _shares(self.log_codes))

    @property
    def verdict_mass(self) -> float:
        """P(safe) + P(unsafe), in [0, 1]; where `each`, the lowest P(yes) + P(no)."""
        if self.least_mass is not None:
            return self.least_mass
        return math.exp(self.log_unsafe) + math.exp(self.log_safe)

    @property
    def log_odds(self) -> float:
        """Log P(unsafe) - log P(safe), in nats; it does not saturate."""
        return self.log_unsafe - self.log_safe

    def is_readable(self, min_verdict_mass: float) -> bool:
        """Say whether the guard answered at all: all numbers there, and enough mass on the verdicts."""
        return self.is_number and 0.0 < self.verdict_mass >= min_verdict_mass

    @property
    def is_number(self) -> bool:
        """Whether all that was read are probabilities, and some hazard has one."""
        logs = (self.log_unsafe, self.log_safe, *self.log_codes)
        if not all(log <= _ROUNDING for log in logs) or max(self.log_codes) == -math.inf:  # NaN is not below either
            return False
        return not any(math.isnan(share) for share in (self.verdict_mass, *(share for _, share in self.answers)))


def _shares(logs: Sequence[float]) -> list[float]:
    """Normalise log-probabilities to probabilities that sum to 1."""
    top = max(logs)
    weights = [math.exp(x - top) for x in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
