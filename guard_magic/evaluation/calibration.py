"""A calibration: what turns a guard's log-odds into probabilities, with everything that it depends on.

A frozen value that goes to a small JSON file and back. It says what it was fitted on and how it did on rows that it
was not fitted on, and refuses to be used with another guard, revision, family or policy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard_magic.callers import warn_caller
from guard_magic.characters import spell_hidden
from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.calibrators import FITTED, apply
from guard_magic.policy import Policy

__all__ = ["METHODS", "Calibration", "as_calibration", "policy_digest"]

METHODS = (*FITTED, "contextual")
_FORMAT = "guard_magic calibration 1"
_MAX_BYTES = 50_000_000
_NUMBERS = {
    "temperature": ("temperature",),
    "platt": ("slope", "offset"),
    "contextual": ("content_free_log_odds",),
    "isotonic": (),
}
_NAMELESS = ("wrapped", "unknown")
"""Revisions of weights that do not say which they are."""
_POSITIVE = ("temperature", "slope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How one guard's log-odds, under one policy, become probabilities.

    Attributes
    ----------
    guard
        ``name@revision`` of the guard it was fitted to.
    family
        How this guard is asked: ``"llama-guard-3"`` ….
    policy
        The codes that it was asked about, in order.
    policy_digest
        SHA-256 of the policy's codes, names and descriptions, in hex: a prompt that says something else gives other
        scores.
    method
        ``"temperature"``, ``"platt"``, ``"isotonic"`` or ``"contextual"`` (content-free prompts; Zhao et al. 2021,
        "Calibrate Before Use", arXiv:2102.09690).
    parameters
        ``temperature``; ``slope`` and ``offset``; ``log_odds`` and ``probability`` (the steps' corners); or
        ``content_free_log_odds``.
    roles
        Whose messages were assessed in what it was fitted to.
    n, n_unsafe
        Labelled rows that it was fitted to, and how many of them were unsafe; 0 where it needed none.
    made_on
        The date, ``"2026-11-28"``.
    metrics
        ``"before"`` and ``"after"`` -> ``ece`` (equal-mass bins), ``brier`` and ``log_loss`` (nats), both on held-out
        folds: each row is judged by a calibration that never saw it. Empty where there were no labels.
    losses
        Method -> log loss on held-out folds, of all that were tried.
    n_folds
        How many folds that were; 0 where there were none.

    Raises
    ------
    EvaluationError
        For a method that does not exist, or parameters that it cannot have.
    """

    guard: str
    family: str
    policy: tuple[str, ...]
    policy_digest: str
    method: str
    parameters: Mapping[str, Any]
    roles: tuple[str, ...] = ()
    n: int = 0
    n_unsafe: int = 0
    made_on: str = ""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    n_folds: int = 0

    def __post_init__(self) -> None:
        texts = (self.guard, self.family, self.policy_digest, self.made_on, *self.policy, *self.roles)
        if not all(isinstance(text, str) for text in texts) or not self.guard or not self.policy:
            raise EvaluationError("the calibration does not say which guard and policy it belongs to", hint=_HINT)
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise EvaluationError(
                f"{shorten(self.method)} is not a way to calibrate", hint=f"Ways: {', '.join(METHODS)}."
            )
        _check_parameters(self.method, self.parameters)

    def __hash__(self) -> int:
        return hash((self.guard, self.policy_digest, self.method, self.n, self.made_on))

    def __repr__(self) -> str:
        said = f"{self.method}, {self.n:,} rows" if self.n else self.method
        if self.metrics:
            before, after = (self.metrics[when]["ece"] for when in ("before", "after"))
            said += f", held-out ECE {before:.3f} -> {after:.3f}"
        return f"<Calibration of {self.guard} ({said})>"

    def apply(self, log_odds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probability of ``unsafe`` for log-odds (log P(unsafe) - log P(safe), nats), of the same shape.

        NaN stays NaN; infinite log-odds are those of the limit, 100.
        """
        try:
            return apply(self.method, self.parameters, log_odds)
        except (TypeError, ValueError):
            raise EvaluationError(f"{shorten(log_odds)} are not log-odds", hint="Pass numbers.") from None

    def check(self, guard: str, family: str, policy: Policy) -> None:
        """Raise `EvaluationError` unless this is the guard, revision, family and policy that it was fitted to."""
        pairs = (("guard", self.guard, guard), ("family", self.family, family), ("policy", self.policy, policy.codes))
        for what, wanted, seen in pairs:
            if wanted != seen:
                raise EvaluationError(
                    f"the calibration is for the {what} {_shown(wanted)}, not {_shown(seen)}", hint=_OTHER
                )
        if self.policy_digest != policy_digest(policy):
            raise EvaluationError(
                f"the calibration is for other names or descriptions of the hazards than policy {policy.name!r} has",
                hint=_OTHER,
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a JSON file and return the path; a file that is there is replaced whole or not at all.

        A guard whose weights do not say which they are is warned of: the file fits whatever has its name.
        """
        place = _place(path)
        if self.guard.partition("@")[2].startswith(_NAMELESS):
            warn_caller(
                f"the weights of {spell_hidden(self.guard)} do not say which they are: the calibration will be taken "
                "for any guard of that name"
            )
        written = place.with_name(f"{place.name}.{os.getpid()}.part")
        try:
            text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, allow_nan=False)
            written.write_text(f"{text}\n", "utf-8")
            written.replace(place)
        except OSError as error:
            raise EvaluationError(
                f"the calibration could not be written to {shorten(str(place))}: {error.strerror or error}",
                hint="Name a file in a folder that exists and can be written to.",
            ) from None
        return place

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read what `save` wrote.

        Raises
        ------
        EvaluationError
            For a file that cannot be read or is not a calibration.
        """
        place = _place(path)
        try:
            if place.stat().st_size > _MAX_BYTES:
                raise ValueError("too large")
            found = json.loads(place.read_text("utf-8"))
            if not isinstance(found, dict) or found.pop("format", None) != _FORMAT:
                raise ValueError("not written by save()")
            lists = {name: tuple(found[name]) for name in ("policy", "roles")}
            return cls(**{**found, **lists})
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, EvaluationError) else "it is not a calibration"
        raise EvaluationError(f"no calibration in {shorten(str(place))}: {reason}", hint=_HINT)


_HINT = "df.guard.calibrate(label=…).save(path) writes one."
_OTHER = (
    "Scores of another guard, revision or policy mean something else: fit a calibration to them with "
    "df.guard.calibrate(label=…)."
)


def as_calibration(value: object) -> Calibration | None:
    """Return a calibration, read where `value` is a path; None for None."""
    if value is None or isinstance(value, Calibration):
        return value
    if isinstance(value, str | os.PathLike):
        return Calibration.load(value)
    raise EvaluationError(f"calibration={shorten(value)} is neither a Calibration nor a path", hint=_HINT)


def _place(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise EvaluationError(f"{shorten(path)} is not a path", hint="Name a file, such as calibration.json.")
    return Path(path)


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of what a policy asks about, in hex."""
    said = [[category.code, category.name, category.description] for category in policy]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _check_parameters(method: str, parameters: object) -> None:
    names = _NUMBERS[method] or ("log_odds", "probability")
    if not isinstance(parameters, Mapping) or sorted(parameters) != sorted(names):
        raise EvaluationError(f"{method} has the parameters {', '.join(names)}, not {shorten(parameters)}", hint=_HINT)
    if _NUMBERS[method]:
        for name, value in parameters.items():
            if not _is_number(value) or (name in _POSITIVE and not value > 0):
                raise EvaluationError(f"{name} of a calibration cannot be {shorten(value)}", hint=_HINT)
        return
    x, p = (parameters[name] for name in names)
    if not all(isinstance(values, list | tuple) and all(map(_is_number, values)) for values in (x, p)):
        raise EvaluationError("the steps of the calibration are not numbers", hint=_HINT)
    grows = bool(x) and len(x) == len(p) and all(np.diff(x) > 0) and all(np.diff(p) >= 0)
    if not grows or not 0 <= p[0] <= p[-1] <= 1:
        raise EvaluationError("the steps of the calibration do not rise from 0 to 1", hint=_HINT)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
