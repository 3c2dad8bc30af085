"""Probabilities beside scores: what a calibration must be able to do, and verdicts that carry what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from guard_magic.callers import warn_caller
from guard_magic.errors import ScoreError, shorten
from guard_magic.policy import Policy
from guard_magic.verdict import Verdicts

if TYPE_CHECKING:
    from guard_magic.guards.request import Request

__all__ = ["PROBABILITY", "Calibrating", "checked_calibration", "with_probabilities"]

PROBABILITY = "unsafe_probability"
"""The column that a calibration adds, and the extra that it is."""


@runtime_checkable
class Calibrating(Protocol):
    """A calibration: `guard_magic.Calibration`."""

    @property
    def roles(self) -> Sequence[str]:
        """Whose messages were assessed in what it was fitted to; empty where that is not known."""

    def check(self, guard: str, family: str, policy: Policy) -> None:
        """Raise unless it belongs to this guard (``name@revision``), family and policy."""

    def apply(self, log_odds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return probabilities of log-odds."""


def checked_calibration(value: object, request: Request) -> Calibrating | None:
    """Return a calibration, None for none; raise unless it belongs to what is asked of which guard.

    A path is not read here: `guard_magic.api` does that.
    """
    if value is None:
        return None
    if not isinstance(value, Calibrating):
        raise ScoreError(f"calibration={shorten(value)} is not a Calibration", hint="df.guard.calibrate(…) fits one.")
    value.check(request.guard.label, request.guard.protocol, request.policy)
    return value


def with_probabilities(verdicts: Verdicts, calibration: Calibrating) -> Verdicts:
    """Return the verdicts with the probability of each that was scored; say where it was fitted to another role."""
    scored = [i for i, verdict in enumerate(verdicts) if verdict.log_odds is not None]
    said = calibration.apply(np.array([verdicts[i].log_odds for i in scored], dtype=np.float64)).tolist()
    found = dict(zip(scored, said, strict=True))
    others = [i for i in scored if calibration.roles and verdicts[i].assessed_role not in calibration.roles]
    if others:
        roles = sorted({str(verdicts[i].assessed_role) for i in others})
        warn_caller(
            f"in {len(others):,} rows a message of the {' or '.join(roles)} is assessed, and the calibration was "
            f"fitted to messages of the {' and '.join(calibration.roles)}: {PROBABILITY} may be off there"
        )
    calibrated = (replace(verdict, unsafe_probability=found.get(i)) for i, verdict in enumerate(verdicts))
    return Verdicts(calibrated, verdicts.policy, verdicts.answer_names)
