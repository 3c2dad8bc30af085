"""A table with labels and scores to a report: what was labelled, what was scored, and what can be said of it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.evaluation.confusion import confusion_of, hazard_groups
from guard_magic.evaluation.intervals import MOST_ROWS, bootstrapped, proportions
from guard_magic.evaluation.metrics import NAMES, measure
from guard_magic.evaluation.report import Metric, Report
from guard_magic.evaluation.samples import MIN_ROWS, Sample, flags
from guard_magic.evaluation.scored import Asked, Reading, ScoredTable, contents_of, labels_of, scored_table, with_draw
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.session import Session
from guard_magic.tables.columns import column_of, places_of

__all__ = ["EvaluateOptions", "evaluate_frame"]

Floats = npt.NDArray[np.float64]

N_WORST = 20
"""Rows of each kind of mistake that a report shows."""
_MOST_OF_GROUP = 600
_MOST_GROUPS = 100
_BY_GROUP = ("auroc", "average_precision", "precision", "recall", "f1", "fpr")


class EvaluateOptions(Reading, Asked, total=False):
    """How a table is evaluated; see `guard_magic.api.evaluate`."""

    label: object
    by: str | Sequence[str] | None
    hazard: str | None
    n_bootstrap: int
    confidence: float
    seed: int


@interruptible
def evaluate_frame(
    session: Session,
    frame: pd.DataFrame,
    names: Reading | None = None,
    *,
    label: object = "label",
    by: str | Sequence[str] | None = None,
    hazard: str | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    **options: Unpack[Asked],
) -> Report:
    """Evaluate a table; see `guard_magic.api.evaluate`."""
    how = checked_counts(n_bootstrap, confidence, seed)
    labels = labels_of(frame, label)
    hazards = _hazard_column(frame, label, hazard)
    groups = _checked_by(frame, by, hazards)
    table = scored_table(session, frame, names or {}, labels, **options)
    sample, weighing = _sample(table, frame, labels, names or {})
    metrics = () if weighing.refused else _metrics(sample, table.threshold, **how)
    remarks = [*weighing.remarks, *_remarks(sample, metrics, n_bootstrap)]
    return Report(
        title=table.title,
        flagged_from=table.threshold,
        confidence=confidence,
        n_bootstrap=n_bootstrap,
        n_rows=len(frame),
        n_labelled=len(sample),
        n_unscored=int((~sample.is_scored).sum()),
        metrics=tuple(metrics),
        groups=None if weighing.refused else _groups(frame, sample, groups, hazards, table.threshold, how),
        confusion=confusion_of(frame, sample, hazards, table),
        false_positives=_worst(table.frame, sample, table, unsafe=False),
        false_negatives=_worst(table.frame, sample, table, unsafe=True),
        remarks=tuple(remarks),
        refused=weighing.refused,
        sample=sample,
        column=table.column,
        scored_by=table.scored_by,
    )


def checked_counts(n_bootstrap: object, confidence: object, seed: object) -> dict[str, Any]:
    """Return the options of intervals."""
    if type(n_bootstrap) is not int or not (n_bootstrap == 0 or 100 <= n_bootstrap <= 100_000):
        raise EvaluationError(
            f"n_bootstrap={shorten(n_bootstrap)} is neither 0 nor a number from 100 to 100,000",
            hint="2000 is the default; 0 leaves these intervals out.",
        )
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0.5 <= confidence < 1:
        raise EvaluationError(f"confidence={shorten(confidence)} is not in [0.5, 1)", hint="0.95 is usual.")
    if type(seed) is not int or seed < 0:
        raise EvaluationError(f"seed={shorten(seed)} is not a number from 0 up", hint="0 is the default.")
    return {"n_bootstrap": n_bootstrap, "confidence": float(confidence), "seed": seed}


def _sample(table: ScoredTable, frame: pd.DataFrame, labels: Floats, names: Reading) -> tuple[Sample, Any]:
    from guard_magic.evaluation.sampling import weights

    weighing = weights(with_draw(frame, labels), table.scores)
    kept = np.flatnonzero(weighing.counts & ~np.isnan(labels))
    if len(kept) < MIN_ROWS:
        raise EvaluationError(
            f"{len(kept)} rows are labelled safe or unsafe; a report needs at least {MIN_ROWS}",
            hint='df.guard.review(order="random") is the way to more labels.',
        )
    contents = contents_of(frame, names)
    sample = Sample(
        unsafe=labels[kept],
        scores=table.scores[kept],
        weights=weighing.values[kept],
        rows=kept,
        contents=None if contents is None else contents[kept],
        hazards=None if table.hazards is None else table.hazards[kept],
    )
    return sample, weighing


def _metrics(
    sample: Sample, threshold: float, *, n_bootstrap: int, confidence: float, seed: int, most_rows: int = MOST_ROWS
) -> list[Metric]:
    values = measure(sample, threshold)
    shares = proportions(sample, threshold, confidence)
    drawn = bootstrapped(
        sample, threshold, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed, most_rows=most_rows
    )
    worst, best = values, values
    if not sample.is_scored.all():
        worst, best = (measure(sample.filled(worst=is_worst), threshold) for is_worst in (True, False))
    n_scored = int(sample.is_scored.sum())
    found = []
    for name in NAMES:
        (low, high), n = shares[name] if name in shares else (drawn[name], n_scored)
        found.append(Metric(name, values[name], low, high, n, worst[name], best[name]))
    return found


def _remarks(sample: Sample, metrics: Sequence[Metric], n_bootstrap: int) -> list[str]:
    said = []
    n_unscored = int((~sample.is_scored).sum())
    if n_unscored:
        said.append(
            f"{n_unscored:,} labelled rows were not scored: they are left out of the numbers and counted as neither "
            "safe nor unsafe; worst and best say what they could change."
        )
    one = sample.scored
    if len(one) and (one.unsafe.all() or not one.unsafe.any()):
        said.append(
            f"All scored rows are labelled {'unsafe' if one.unsafe.all() else 'safe'}: what needs both is left out."
        )
    if sample.contradicted.any():
        rows = sample.rows[sample.contradicted]
        said.append(
            f"{len(rows):,} rows hold conversations that are labelled both safe and unsafe (rows "
            f"{', '.join(map(str, rows[:6].tolist()))}{' …' if len(rows) > 6 else ''}, from 0): each counts as it is "
            "labelled, and no guard can be right on all of them."
        )
    if sample.n_repeated:
        said.append(f"{sample.n_repeated:,} rows repeat a conversation: intervals take each as a draw of its own.")
    if len(one) > MOST_ROWS and n_bootstrap:
        said.append(f"Bootstrap intervals draw from {MOST_ROWS:,} of the {len(one):,} rows, scaled to all of them.")
    turned = [metric for metric in metrics if metric.name == "auroc" and metric.high < 0.5]
    if turned:
        said.append(
            f"Rows labelled unsafe have the lower scores (AUROC {turned[0].value:.3f}): are the labels the right way "
            "round (1 and True stand for unsafe), and of these rows?"
        )
    lacking = [NAMES[m.name] for m in metrics if n_bootstrap and math.isnan(m.low) and not math.isnan(m.value)]
    if lacking:
        said.append(f"No interval can be had for {', '.join(lacking)}: no two resamples differ.")
    return said


def _hazard_column(frame: pd.DataFrame, label: object, hazard: object) -> str | None:
    if hazard is None:
        found = f"{label}_category" if isinstance(label, str) else "label_category"
        return found if len(places_of(frame.columns, found)) == 1 else None
    if len(places_of(frame.columns, hazard)) != 1:
        raise ColumnError(
            f"the table has no column {shorten(hazard)}", hint="hazard= names the column of the labelled hazards."
        )
    return str(hazard)


def _checked_by(frame: pd.DataFrame, by: object, hazards: str | None) -> list[str]:
    if by is None:
        return []
    names = list(by) if isinstance(by, list | tuple) else [by]
    for name in names:
        if name == "hazard" and hazards is not None:
            continue
        if not isinstance(name, str) or len(places_of(frame.columns, name)) != 1:
            hint = {
                "hazard": "Labels say the hazard in a column such as label_category; hazard= names another.",
                "role": 'Score with extras=["assessed_role"], then by="assessed_role".',
            }.get(str(name), "by= names columns of the table, or is 'hazard'.")
            raise ColumnError(f"the table has no column {shorten(name)} to group by", hint=hint)
    return [str(name) for name in names]


def _groups(
    frame: pd.DataFrame,
    sample: Sample,
    names: Sequence[str],
    hazards: str | None,
    threshold: float,
    how: dict[str, Any],
) -> pd.DataFrame | None:
    found: list[dict[Hashable, object]] = []
    for name in names:
        if name == "hazard" and hazards is not None:
            parts = hazard_groups(frame, sample, hazards)
        else:
            parts = _parts(column_of(frame, name), sample)
        if len(parts) > _MOST_GROUPS:
            raise EvaluationError(
                f"column {name!r} makes {len(parts):,} groups of the labelled rows; at most {_MOST_GROUPS} are shown",
                hint="Name a column with fewer values.",
            )
        found += [_group(name, value, part, threshold, how) for value, part in parts.items()]
    return pd.DataFrame(found) if names else None


def _parts(column: pd.Series, sample: Sample) -> dict[str, Sample]:
    values = column.iloc[sample.rows].reset_index(drop=True)
    words = values.astype("object").where(values.notna(), "missing").map(str).to_numpy()
    return {str(word): sample.only(words == word) for word in sorted(set(words.tolist()))}


def _group(name: str, value: str, part: Sample, threshold: float, how: dict[str, Any]) -> dict[Hashable, object]:
    """Return one group's numbers; of fewer than `MIN_ROWS` rows only how many there are."""
    row: dict[Hashable, object] = {"by": name, "group": value, "n": len(part), "n_unsafe": int(part.unsafe.sum())}
    row["n_unscored"] = int((~part.is_scored).sum())
    is_enough = len(part) >= MIN_ROWS
    found = {m.name: m for m in _metrics(part, threshold, most_rows=_MOST_OF_GROUP, **how)} if is_enough else {}
    for metric in _BY_GROUP:
        one = found.get(metric)
        if name == "hazard" and metric not in ("recall", "auroc"):
            one = None
        for what in ("value", "low", "high"):
            key = metric if what == "value" else f"{metric}_{what}"
            row[key] = math.nan if one is None else getattr(one, what)
    return row


def _worst(frame: pd.DataFrame, sample: Sample, table: ScoredTable, *, unsafe: bool) -> pd.DataFrame:
    """Return the rows that are wrong: flagged and safe by falling score, or not flagged and unsafe by rising score."""
    one = sample.scored
    flagged = flags(one.scores, table.threshold)
    wrong = (one.unsafe > 0) & ~flagged if unsafe else (one.unsafe == 0) & flagged
    found = one.only(wrong)
    order = np.argsort(found.scores if unsafe else -found.scores, kind="stable")
    return frame.iloc[found.rows[order][:N_WORST]]
