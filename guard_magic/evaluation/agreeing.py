"""The agreement of a table's labels, with the guard whose scores it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import pandas as pd

from guard_magic.evaluation.agreement import Agreement, agreement_of, label_columns
from guard_magic.evaluation.evaluating import checked_counts
from guard_magic.evaluation.scored import try_scores
from guard_magic.scoring.session import Session

__all__ = ["AgreementOptions", "agreement_frame"]


class AgreementOptions(TypedDict, total=False):
    """How agreement is measured; see `guard_magic.api.agreement`."""

    labels: Sequence[str] | None
    score: str | None
    prefix: str
    threshold: float | None
    n_bootstrap: int
    confidence: float
    seed: int


def agreement_frame(
    session: Session,
    frame: pd.DataFrame,
    *,
    labels: Sequence[str] | None = None,
    score: str | None = None,
    prefix: str = "",
    threshold: float | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Compare the labels of a table; see `guard_magic.api.agreement`."""
    how = checked_counts(n_bootstrap, confidence, seed)
    columns = label_columns(frame, labels)
    table = try_scores(session, frame, score=score, prefix=prefix, threshold=threshold)
    if table is None:
        return agreement_of(frame, columns, **how)
    return agreement_of(frame, columns, table.scores, table.threshold, **how)
