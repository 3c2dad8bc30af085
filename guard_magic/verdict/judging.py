"""What a reading means at a threshold: a verdict, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.errors import GuardError
from guard_magic.policy import Policy
from guard_magic.verdict.columns import SAFE
from guard_magic.verdict.reading import Reading

__all__ = ["Verdict", "bare_reason", "judge", "reason_of", "unscored"]

_HINT = ". Hint: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A guard's verdict on one conversation, at one threshold.

    Attributes
    ----------
    unsafe_score
        By the guard family's published definition, in [0, 1]; None where not scored. Llama Guards: P(unsafe) at the
        verdict position, over the whole vocabulary. Guards asked hazard by hazard (ShieldGemma, Granite Guardian):
        the highest of `category_scores`.
    category
        ``"safe"`` below the threshold, else the most probable hazard's code; None where not scored.
    flagged
        ``unsafe_score >= threshold``; None where not scored.
    category_scores
        Code -> score, in the policy's order. Guards that name hazards: `unsafe_score` x P(the first code written is
        c | unsafe); they sum to `unsafe_score`; it is the first hazard, not multi-label. Guards asked hazard by
        hazard: P(yes) / (P(yes) + P(no)) each. Empty where not scored.
    log_odds
        log P(unsafe) - log P(safe), in nats; None where not scored.
    unsafe_probability
        What a calibration makes of `log_odds`, in [0, 1]; None where not scored, or without one.
    verdict_mass
        P(safe) + P(unsafe), or the lowest P(yes) + P(no); None where the guard was not asked.
    answers
        Other answers that the guard gave in the same pass, name -> probability: ``controversial`` (Qwen3Guard),
        ``refusal`` (WildGuard) …; empty for guards that give none.
    generated_text
        What the guard writes; None unless asked for.
    assessed_role
        Role of the message that was assessed; None where the conversation could not be read.
    n_tokens
        Prompt length up to the verdict position, in tokens; None where there was no prompt.
    n_neutralised
        Pieces of the guard's own structural text that the conversation held and that were rewritten before it
        was asked about; None where this was not counted.
    cut
        Which part of a conversation that is too long this verdict is about, or what was left out; None where
        it was read whole.
    guard
        ``name@revision`` of the guard that answered.
    error
        Why the row was not scored and, where that is known, what to do about it; None where it was.
    conversation, policy
        What was read and what was asked, for display; not part of equality, None in large tables.
    """

    unsafe_score: float | None
    category: str | None
    flagged: bool | None
    threshold: float
    category_scores: Mapping[str, float] = field(default_factory=dict)
    log_odds: float | None = None
    verdict_mass: float | None = None
    answers: Mapping[str, float] = field(default_factory=dict)
    generated_text: str | None = None
    assessed_role: Role | None = None
    n_tokens: int | None = None
    n_neutralised: int | None = None
    cut: str | None = None
    guard: str
    error: str | None = None
    unsafe_probability: float | None = None
    conversation: Conversation | None = field(default=None, repr=False, compare=False)
    policy: Policy | None = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        raise TypeError("a Verdict is neither true nor false: use v.flagged (None where the row was not scored)")


def judge(
    reading: Reading,
    policy: Policy,
    *,
    threshold: float,
    guard: str,
    assessed_role: Role,
    min_verdict_mass: float,
    generated_text: str | None = None,
    n_neutralised: int | None = None,
    conversation: Conversation | None = None,
) -> Verdict:
    """Turn a reading into a verdict at `threshold`.

    A reading that is not a number, or whose `verdict_mass` is below `min_verdict_mass`, is not scored: the
    model answered neither ``safe`` nor ``unsafe``, and that never counts as safe. Nor does a score below the
    threshold where ``safe`` had no probability at all.
    """
    is_neither = reading.log_safe == -math.inf and reading.unsafe_score < threshold
    if is_neither or not reading.is_readable(min_verdict_mass):
        return unscored(
            _unreadable(reading, min_verdict_mass),
            threshold=threshold,
            guard=guard,
            assessed_role=assessed_role,
            n_tokens=reading.n_tokens,
            verdict_mass=None if math.isnan(reading.verdict_mass) else reading.verdict_mass,
            n_neutralised=n_neutralised,
            conversation=conversation,
            policy=policy,
        )
    score = reading.unsafe_score
    flagged = not score < threshold <= 1.0  # a threshold that no score reaches, or that is no number, flags all
    scores = dict(zip(policy.codes, reading.category_scores, strict=True))
    return Verdict(
        unsafe_score=score,
        category=max(scores, key=lambda code: scores[code]) if flagged else SAFE,
        flagged=flagged,
        threshold=threshold,
        category_scores=scores,
        log_odds=reading.log_odds,
        verdict_mass=reading.verdict_mass,
        answers=dict(reading.answers),
        generated_text=generated_text,
        assessed_role=assessed_role,
        n_tokens=reading.n_tokens,
        n_neutralised=n_neutralised,
        guard=guard,
        conversation=conversation,
        policy=policy,
    )


def unscored(
    reason: GuardError | str,
    *,
    threshold: float,
    guard: str,
    assessed_role: Role | None = None,
    n_tokens: int | None = None,
    verdict_mass: float | None = None,
    n_neutralised: int | None = None,
    conversation: Conversation | None = None,
    policy: Policy | None = None,
) -> Verdict:
    """Return the verdict of a row that could not be scored, with the reason and what to do about this row."""
    return Verdict(
        unsafe_score=None,
        category=None,
        flagged=None,
        threshold=threshold,
        verdict_mass=verdict_mass,
        assessed_role=assessed_role,
        n_tokens=n_tokens,
        n_neutralised=n_neutralised,
        guard=guard,
        error=reason_of(reason),
        conversation=conversation,
        policy=policy,
    )


def reason_of(reason: GuardError | str) -> str:
    """Return why a row was not scored, with the hint of an error: rows differ in what to do about them."""
    hint = getattr(reason, "hint", "")
    return f"{reason}{_HINT}{hint}" if hint else str(reason)


def bare_reason(error: str) -> str:
    """Return the reason in a verdict's `error` without its hint."""
    return error.partition(_HINT)[0]


def _unreadable(reading: Reading, min_verdict_mass: float) -> str:
    if not reading.is_number:
        return "the guard's answer is not a number"
    if 0.0 < reading.verdict_mass >= min_verdict_mass:
        return (
            f"the guard gave safe no probability, and unsafe {reading.unsafe_score:.2g}, which is below the threshold"
        )
    needed = f", at least {min_verdict_mass:g} is needed" if min_verdict_mass > 0 else ""
    return f"the guard answered neither safe nor unsafe (verdict mass {reading.verdict_mass:.2g}{needed})"
