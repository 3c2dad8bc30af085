"""Readings and verdicts: what a guard answered, and what that means at a threshold.

A `Reading` is what one prompt gave, in logarithms and without a threshold: this is what is cached. A
`Verdict` judges a reading at a threshold. Both are frozen values; nothing here knows models or tables of
the user's, only how verdicts become columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import pandas as pd

from guard_magic.characters import spell_hidden
from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.errors import ColumnError, GuardError, ScoreError, shorten
from guard_magic.policy import Policy

__all__ = [
    "ANSWERS",
    "COLUMNS",
    "EXTRAS",
    "SAFE",
    "Reading",
    "Verdict",
    "Verdicts",
    "bare_reason",
    "checked_extras",
    "column_names",
    "judge",
    "reason_of",
    "unscored",
]

SAFE = "safe"
COLUMNS = ("unsafe_score", "category", "guard_error")
EXTRAS = (
    "unsafe_probability",
    "cut",
    "log_odds",
    "category_scores",
    "answers",
    "generated_text",
    "verdict_mass",
    "n_tokens",
    "n_neutralised",
    "assessed_role",
    "guard",
)
ANSWERS = ("controversial", "refusal", "request_harmful")
"""Names of the other answers that guards of the known families give."""
_RENAMED = {"cut": "guard_cut"}
_HINT = ". Hint: "
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
    model answered neither ``safe`` nor ``unsafe``, and that never counts as safe.
    """
    if not reading.is_readable(min_verdict_mass):
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


class Verdicts(Sequence[Verdict]):
    """Verdicts in the order of what was scored; the only plural.

    Parameters
    ----------
    verdicts
        The verdicts, in order.
    policy
        The policy they were asked under: it fixes the levels of the `category` column.
    answer_names
        Names of the other answers that the guard gives; None for those that the verdicts carry.
    """

    def __init__(self, verdicts: Iterable[Verdict], policy: Policy, answer_names: Iterable[str] | None = None) -> None:
        self._verdicts = tuple(verdicts)
        self.policy = policy
        carried = (name for verdict in self._verdicts for name in verdict.answers)
        self.answer_names = tuple(dict.fromkeys(carried if answer_names is None else answer_names))

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> Verdicts: ...
    def __getitem__(self, index: int | slice) -> Verdict | Verdicts:
        if isinstance(index, slice):
            return Verdicts(self._verdicts[index], self.policy, self.answer_names)
        return self._verdicts[index]

    def __len__(self) -> int:
        return len(self._verdicts)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._verdicts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdicts) and self._verdicts == other._verdicts

    def __repr__(self) -> str:
        flagged = sum(1 for v in self if v.flagged)
        lost = sum(1 for v in self if v.error is not None)
        guard = spell_hidden(self[0].guard) if self else "no guard"
        return f"<Verdicts: {len(self)} by {guard}, {flagged} flagged, {lost} not scored>"

    def raise_errors(self, skip: Collection[int] = ()) -> None:
        """Raise `ScoreError` if any row but those of `skip` was not scored, naming the first and counting the rest."""
        lost = [(i, v.error) for i, v in enumerate(self) if v.error is not None and i not in skip]
        if lost:
            position, reason = lost[0]
            raise ScoreError(
                f"{len(lost)} of {len(self)} rows could not be scored; the first is row {position}: {reason}",
                hint='errors="coerce" keeps going and puts the reason in guard_error.',
            )

    def to_frame(self, extras: Iterable[str] = (), *, prefix: str = "", index: pd.Index | None = None) -> pd.DataFrame:
        """Return the verdicts as columns.

        Parameters
        ----------
        extras
            Any of ``"unsafe_probability"`` (of verdicts that a calibration went over), ``"cut"`` (the column
            ``guard_cut``), ``"log_odds"``, ``"category_scores"`` (one Float64 column a code: ``score_S1`` …),
            ``"answers"`` (one Float64 column each: ``answer_refusal`` …; none for guards that give none),
            ``"generated_text"``, ``"verdict_mass"``, ``"n_tokens"``, ``"n_neutralised"``, ``"assessed_role"``,
            ``"guard"``.
        prefix
            Put before every column name.
        index
            The frame's index, as long as the verdicts; by default 0, 1, 2 …

        Returns
        -------
        DataFrame
            One row a verdict, in order. ``unsafe_score`` (Float64), ``category`` (unordered categorical:
            ``safe`` and the policy's codes), ``guard_error`` (string), then the extras. Not scored is NA.
        """
        columns: dict[str, object] = {
            "unsafe_score": _floats([v.unsafe_score for v in self]),
            "category": pd.Categorical([v.category for v in self], categories=[SAFE, *self.policy.codes]),
            "guard_error": _strings([v.error for v in self]),
        }
        for extra in checked_extras(extras):
            columns.update(self._extra(extra))
        return pd.DataFrame({prefix + name: values for name, values in columns.items()}, index=index)

    def _extra(self, extra: str) -> dict[str, object]:
        names = _extra_names(extra, self.policy, self.answer_names)
        if extra == "category_scores":
            scores = (_floats([v.category_scores.get(code) for v in self]) for code in self.policy.codes)
            return dict(zip(names, scores, strict=True))
        if extra == "answers":
            answers = (_floats([v.answers.get(answer) for v in self]) for answer in self.answer_names)
            return dict(zip(names, answers, strict=True))
        values = [getattr(v, extra) for v in self]
        if extra in ("log_odds", "verdict_mass", "unsafe_probability"):
            return {extra: _floats(values)}
        if extra in ("n_tokens", "n_neutralised"):
            return {extra: pd.array(values, dtype="Int64")}
        return {names[0]: _strings(values)}


def checked_extras(extras: Iterable[str] | None) -> list[str]:
    """Return the extras without repeats, in order; None for none, and an unknown one is a `ColumnError`."""
    hint = f"Extras: {', '.join(EXTRAS)}."
    try:
        names = [extras] if isinstance(extras, str) else list(extras or ())
    except (TypeError, ValueError):
        raise ColumnError(f"extras={shorten(extras)} are not names of columns", hint=hint) from None
    unknown = [name for name in names if not isinstance(name, str) or name not in EXTRAS]
    if unknown:
        raise ColumnError(f"no extra column {shorten(unknown[0])}", hint=hint)
    return list(dict.fromkeys(names))


def column_names(extras: Iterable[str], policy: Policy, answer_names: Iterable[str] = ()) -> list[str]:
    """Return the names of the columns that `Verdicts.to_frame` makes, in order, without prefix."""
    names = list(COLUMNS)
    for extra in checked_extras(extras):
        names += _extra_names(extra, policy, answer_names)
    return names


def _extra_names(extra: str, policy: Policy, answer_names: Iterable[str]) -> list[str]:
    if extra == "category_scores":
        return [f"score_{code}" for code in policy.codes]
    if extra == "answers":
        return [f"answer_{name}" for name in answer_names]
    return [_RENAMED.get(extra, extra)]


def _floats(values: Sequence[float | None]) -> pd.api.extensions.ExtensionArray:
    mask = np.array([value is None for value in values], dtype=bool)
    numbers = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    return pd.arrays.FloatingArray(numbers, mask)


def _strings(values: Sequence[str | None]) -> pd.api.extensions.ExtensionArray:
    return pd.array([pd.NA if value is None else value for value in values], dtype="string")


def _shares(logs: Sequence[float]) -> list[float]:
    """Normalise log-probabilities to probabilities that sum to 1."""
    top = max(logs)
    weights = [math.exp(x - top) for x in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _unreadable(reading: Reading, min_verdict_mass: float) -> str:
    if not reading.is_number:
        return "the guard's answer is not a number"
    needed = f", at least {min_verdict_mass:g} is needed" if min_verdict_mass > 0 else ""
    return f"the guard answered neither safe nor unsafe (verdict mass {reading.verdict_mass:.2g}{needed})"
