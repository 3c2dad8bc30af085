"""A calibration fitted to the labelled rows of a table, or to what a guard says of prompts without content."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict, TypeGuard, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.callers import warn_caller
from guard_magic.checks import checked_flag
from guard_magic.conversations.conversation import Conversation, Message, Role
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.rows import Row
from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation import calibrators
from guard_magic.evaluation.calibration import METHODS, Calibration, policy_digest
from guard_magic.evaluation.labelled import read_labels
from guard_magic.labels import conversation_key
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.session import Session
from guard_magic.tables.by_conversation import read_frame
from guard_magic.tables.column_plan import MissingResponse, plan_columns
from guard_magic.verdict import Verdicts

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard
    from guard_magic.guards.request import Request

__all__ = ["CONTENT_FREE", "CalibrateOptions", "calibrate_frame"]

CONTENT_FREE = ("N/A", "[MASK]", "...")
"""Prompts that say nothing: the first two are the paper's; an empty one, its third, is not a conversation here."""


class _Columns(TypedDict, total=False):
    text: str | None
    prompt: str | None
    response: str | None
    messages: str | None
    missing_response: MissingResponse


class CalibrateOptions(_Columns, total=False):
    """How a calibration is fitted; see `guard_magic.api.calibrate`."""

    label: str | None
    method: str
    folds: int
    guard: Guard | str | None
    policy: object
    exclude: Iterable[str] | None
    roles: RoleRules
    assess: Assess
    seed: int
    progress: bool


class _Asked(TypedDict, total=False):
    guard: Guard | str | None
    policy: object
    exclude: Iterable[str] | None
    roles: RoleRules
    assess: Assess


@interruptible
def calibrate_frame(
    session: Session,
    frame: pd.DataFrame,
    names: _Columns | None = None,
    *,
    label: str | None = None,
    method: str = "auto",
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
    **asked: Unpack[_Asked],
) -> Calibration:
    """Fit a calibration to a table; see `guard_magic.api.calibrate`."""
    methods = _checked_methods(method, label)
    _check_counts(folds, seed)
    shows = checked_flag("progress", progress, EvaluationError)
    plan = plan_columns(frame, **(names or {}))
    labels = None if label is None else read_labels(frame, label)
    request = session.request(**asked)
    rows = list(read_frame(frame, plan))
    if labels is None:
        return _content_free(session, rows, request)
    _check_draw(frame)
    kept = np.flatnonzero(~np.isnan(labels))
    verdicts = session.score_rows([rows[i] for i in kept], request, label=str(plan), progress=shows)
    sample = _sample(verdicts, [rows[i] for i in kept], labels[kept])
    return _fitted(sample, methods, request, folds, seed)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Labelled rows with a score: log-odds, published scores, labels, which are equal, and whose message is assessed.

    All of shape (n,), but for the roles.
    """

    log_odds: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    unsafe: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64]
    roles: tuple[str, ...]


def _sample(verdicts: Verdicts, rows: Sequence[Row], labels: npt.NDArray[np.float64]) -> _Sample:
    scored = [i for i, verdict in enumerate(verdicts) if verdict.log_odds is not None]
    known: dict[str, int] = {}
    keys = [conversation_key(row) for i in scored if isinstance(row := rows[i], Conversation)]
    groups = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
    _say_contradictions(groups, labels[scored])
    return _Sample(
        np.array([verdicts[i].log_odds for i in scored], dtype=np.float64),
        np.array([verdicts[i].unsafe_score for i in scored], dtype=np.float64),
        labels[scored],
        groups,
        tuple(sorted({str(verdicts[i].assessed_role) for i in scored})),
    )


def _say_contradictions(groups: npt.NDArray[np.int64], labels: npt.NDArray[np.float64]) -> None:
    n = len(np.intersect1d(groups[labels > 0], groups[labels == 0]))
    if n:
        warn_caller(f"{n:,} conversations are labelled safe in one row and unsafe in another: all of these count")


def _fitted(sample: _Sample, methods: Sequence[str], request: Request, folds: int, seed: int) -> Calibration:
    x, y = calibrators.checked_pairs(sample.log_odds, sample.unsafe, sample.groups)
    how = {"n_folds": folds, "seed": seed}
    chosen, losses = calibrators.choose(methods, x, y, sample.groups, **how)
    after = calibrators.held_out(methods, x, y, sample.groups, **how)
    return Calibration(
        **_whose(request),  # type: ignore[arg-type]
        method=chosen,
        parameters=calibrators.fit(chosen, x, y),
        roles=sample.roles,
        n=len(y),
        n_unsafe=int(y.sum()),
        metrics={
            "before": calibrators.judge_probabilities(sample.scores, y),
            "after": calibrators.judge_probabilities(after, y),
        },
        losses=losses,
        n_folds=int(folds),
    )


def _content_free(session: Session, rows: Sequence[Row], request: Request) -> Calibration:
    """Ask the guard about prompts without content, in the shape of the table's conversations, and take the mean."""
    roles = {_assessed_role(row, request) for row in rows if isinstance(row, Conversation)} - {None}
    if len(roles) != 1:
        raise EvaluationError(
            f"{len(roles) or 'no'} roles are assessed in this table ({', '.join(sorted(map(str, roles))) or 'none'}), "
            "and content-free prompts stand for one",
            hint='Say which with assess="user" or assess="assistant".',
        )
    (role,) = roles
    said: list[Row] = []
    for text in CONTENT_FREE:
        asked, answered = Message("user", text), Message("assistant", text)
        said.append(Conversation((asked,) if role == "user" else (asked, answered)))
    verdicts = session.score_rows(said, request, label="content-free prompts", progress=False)
    verdicts.raise_errors()
    mean = float(np.mean([verdict.log_odds for verdict in verdicts]))
    return Calibration(
        **_whose(request),  # type: ignore[arg-type]
        method="contextual",
        parameters={"content_free_log_odds": mean},
        roles=(str(role),),
    )


def _assessed_role(conversation: Conversation, request: Request) -> Role | None:
    if request.assess == "last":
        return conversation.assessed.role
    return request.assess if any(message.role == request.assess for message in conversation.messages) else None


def _whose(request: Request) -> dict[str, object]:
    return {
        "guard": request.guard.label,
        "family": request.guard.protocol,
        "policy": request.policy.codes,
        "policy_digest": policy_digest(request.policy),
        "made_on": datetime.now(UTC).date().isoformat(),
    }


def _checked_methods(method: object, label: object) -> Sequence[str]:
    if not isinstance(method, str) or method not in ("auto", *METHODS):
        raise EvaluationError(f"method={shorten(method)} is not known", hint=f"Methods: auto, {', '.join(METHODS)}.")
    if (label is None) != (method == "contextual"):
        what = "needs labels" if label is None else "takes no labels"
        raise EvaluationError(
            f"method={method!r} {what}",
            hint='Name their column: label="label". Without labels: method="contextual".'
            if label is None
            else "Leave label= out, or fit to the labels with another method: they say more.",
        )
    return calibrators.FITTED if method == "auto" else (method,)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_counts(folds: object, seed: object) -> None:
    if not _is_count(folds) or not 2 <= folds <= calibrators.MIN_ROWS:
        raise EvaluationError(
            f"folds={shorten(folds)} is not a number from 2 to {calibrators.MIN_ROWS}", hint="5 is the default."
        )
    if not _is_count(seed) or seed < 0:
        raise EvaluationError(f"seed={shorten(seed)} is not a number from 0 up", hint="0 is the default.")


def _check_draw(frame: pd.DataFrame) -> None:
    """Warn where the table says that labels were given by score: held-out figures are then those of these rows."""
    from guard_magic.evaluation.sampling import biased_orders

    found = biased_orders(frame)
    if found:
        warn_caller(
            f"labels were given in the order {', '.join(map(repr, found))}: the calibration holds where such rows are, "
            "and its held-out figures are those of the labelled rows, not of the table"
        )
