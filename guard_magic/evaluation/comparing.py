"""Two guards side by side, or a guard and another tool's scores: paired differences on the same labelled rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.errors import ColumnError, EvaluationError, shorten
from guard_magic.evaluation.evaluating import checked_counts
from guard_magic.evaluation.intervals import MOST_ROWS, bootstrap, subsampled
from guard_magic.evaluation.metrics import NAMES, RESAMPLED, Resampled, measure
from guard_magic.evaluation.report import markdown_table, number
from guard_magic.evaluation.samples import MIN_ROWS, Sample, flags
from guard_magic.evaluation.sampling import weights
from guard_magic.evaluation.scored import Reading, ScoredTable, labels_of, scored_table, with_draw
from guard_magic.scoring.askable import EMBEDDED_NAME
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.session import Session
from guard_magic.tables.columns import places_of
from guard_magic.verdict import COLUMNS

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["CompareOptions", "Comparison", "compare_frame", "mcnemar"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COMPARED = ("auroc", "average_precision", "precision", "recall", "f1", "fpr", "ece", "brier")
_RATES = ("precision", "recall", "fpr")


class CompareOptions(Reading, total=False):
    """How scores are compared; see `guard_magic.api.compare`."""

    label: object
    threshold: float | Mapping[str, float] | None
    policy: object
    exclude: Iterable[str] | None
    n_bootstrap: int
    confidence: float
    seed: int
    progress: bool


class _Asked(TypedDict, total=False):
    policy: object
    exclude: Iterable[str] | None
    progress: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """Guards side by side on the same rows.

    Attributes
    ----------
    names, thresholds
        What is compared, and from which score each flags.
    n_rows
        Labelled rows that all have scored.
    metrics
        One row a pair and metric: ``a``, ``b``, ``metric``, ``value_a``, ``value_b``, ``difference`` (b - a),
        ``low``, ``high``.
    tests
        McNemar's exact test: ``a``, ``b``, ``rows`` (all, unsafe, safe), ``only_a_right``, ``only_b_right``,
        ``p_value``.
    differ
        Rows of the table where not all flag alike, with the score and flag of each.
    remarks
        What is to be said beside the numbers.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    n_rows: int
    metrics: pd.DataFrame
    tests: pd.DataFrame
    differ: pd.DataFrame
    remarks: tuple[str, ...]
    columns: tuple[object, ...]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)} on {self.n_rows:,} rows>"

    def __str__(self) -> str:
        return "\n\n".join([self.head(), markdown_table(self.table()), *(f"- {note}" for note in self.notes())])

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers, a frame of one's own."""
        return self.metrics.copy()

    def review(self, **options: object) -> Any:
        """Review the rows where they differ; options as for ``df.guard.review``."""
        rows = self.differ.loc[:, list(self.columns)]  # without the scores put beside them
        return rows.guard.review(**options)

    def head(self) -> str:
        """Return what is compared, in a line."""
        shown = ", ".join(f"{name} (from {at:.4g} on)" for name, at in zip(self.names, self.thresholds, strict=True))
        differ = f"{len(self.differ):,} rows where they differ (.differ, .review())"
        return f"{shown} on {self.n_rows:,} labelled rows · {differ}"

    def table(self) -> list[dict[str, str]]:
        """Return the numbers in words, one a row."""
        rows = []
        for row in self.metrics.to_dict("records"):
            ends = "" if math.isnan(row["low"]) else f" ({row['low']:+.3f} to {row['high']:+.3f})"
            difference = "–" if math.isnan(row["difference"]) else f"{row['difference']:+.3f}{ends}"
            words = {"metric": NAMES[row["metric"]], row["a"]: number(row["value_a"]), row["b"]: number(row["value_b"])}
            rows.append({**words, f"{row['b']} less {row['a']}": difference})
        return rows if len(self.names) == 2 else [self._long(row) for row in self.metrics.to_dict("records")]

    def _long(self, row: Mapping[Any, Any]) -> dict[str, str]:
        ends = "" if math.isnan(row["low"]) else f" ({row['low']:+.3f} to {row['high']:+.3f})"
        said = {"a": row["a"], "b": row["b"], "metric": NAMES[row["metric"]]}
        values = {"of a": number(row["value_a"]), "of b": number(row["value_b"])}
        return {**said, **values, "b less a": f"{row['difference']:+.3f}{ends}"}

    def notes(self) -> list[str]:
        """Return McNemar's tests and the remarks, a sentence each."""
        said = []
        for row in self.tests[self.tests["rows"] == "all"].to_dict("records"):
            said.append(
                f"Decisions: only {row['a']} is right on {row['only_a_right']:,} rows, only {row['b']} on "
                f"{row['only_b_right']:,} (McNemar's exact test: p = {row['p_value']:.3g})."
            )
        return [*said, *self.remarks]


@interruptible
def compare_frame(
    session: Session,
    frame: pd.DataFrame,
    guards: Sequence[Guard | str],
    names: Reading | None = None,
    *,
    label: object = "label",
    threshold: float | Mapping[str, float] | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    **asked: Unpack[_Asked],
) -> Comparison:
    """Compare the scores of several guards or columns; see `guard_magic.api.compare`."""
    how = checked_counts(n_bootstrap, confidence, seed)
    called = _called(frame, session, guards)
    limits = _thresholds(threshold, list(called))
    labels = labels_of(frame, label)
    tables = [
        _scores(session, frame, name, guard, labels, limits[name], names or {}, **asked)
        for name, guard in called.items()
    ]
    weighing = weights(with_draw(frame, labels), tables[0].scores)
    if weighing.refused:
        raise EvaluationError(f"nothing can be compared: {weighing.refused}", hint="Or compare without column 'order'.")
    scores = np.stack([table.scores for table in tables])
    judged = weighing.counts & ~np.isnan(labels)
    kept = np.flatnonzero(judged & ~np.isnan(scores).any(axis=0))
    if len(kept) < MIN_ROWS:
        raise EvaluationError(
            f"{len(kept)} labelled rows are scored by all; a comparison needs at least {MIN_ROWS}", hint="Label more."
        )
    samples = [Sample(unsafe=labels[kept], scores=of[kept], weights=weighing.values[kept], rows=kept) for of in scores]
    pairs = list(combinations(range(len(tables)), 2))
    at, who = [table.threshold for table in tables], list(called)
    return Comparison(
        names=tuple(who),
        thresholds=tuple(at),
        n_rows=len(kept),
        metrics=pd.DataFrame([row for i, j in pairs for row in _differences(samples, at, who, (i, j), how)]),
        tests=pd.DataFrame([row for i, j in pairs for row in _tests(samples, at, who, (i, j))]),
        differ=_differing(frame, scores, at, who),
        remarks=(*weighing.remarks, *_remarks(scores[:, judged], who, len(kept), n_bootstrap)),
        columns=tuple(frame.columns),
    )


def _called(frame: pd.DataFrame, session: Session, guards: object) -> dict[str, object]:
    """Return name -> None for a column of scores, or the guard that is meant."""
    if not isinstance(guards, list | tuple) or len(guards) < 2:
        raise ColumnError(
            f"guards={shorten(guards)} are not two things to compare",
            hint='Name guards or columns of scores: df.guard.compare(["embedded", "other_score"], label="label").',
        )
    found: dict[str, object] = {}
    for one in guards:
        name = one if isinstance(one, str) else getattr(one, "name", None)
        if not isinstance(name, str) or name in found:
            raise ColumnError(f"{shorten(one)} is not a guard or column, or stands there twice", hint="Name each once.")
        is_column = isinstance(one, str) and len(places_of(frame.columns, name)) == 1
        is_guard = not isinstance(one, str) or name in session.guards or name == EMBEDDED_NAME
        if is_column == is_guard:
            what = "both a column and a guard" if is_column else "neither a column of the table nor a loaded guard"
            raise ColumnError(f"{shorten(name)} is {what}", hint="Rename the column, or load the guard: %guard load …")
        found[name] = one if is_guard else None
    return found


def _thresholds(threshold: object, names: Sequence[str]) -> dict[str, float | None]:
    if not isinstance(threshold, Mapping):
        return dict.fromkeys(names, threshold)  # type: ignore[arg-type]
    strange = [name for name in threshold if name not in names]
    if strange:
        raise ColumnError(f"threshold= names {shorten(strange[0])}, which is not compared", hint=f"Compared: {names}.")
    return {name: threshold.get(name) for name in names}


def _scores(
    session: Session,
    frame: pd.DataFrame,
    name: str,
    guard: Any,
    labels: Floats,
    threshold: float | None,
    names: Reading,
    **asked: Any,
) -> ScoredTable:
    """Return the scores of one column, or of a guard, which is asked about the labelled rows alone."""
    if guard is None:
        prefix = name.removesuffix(COLUMNS[0])
        is_ours = prefix != name and f"{prefix}{COLUMNS[1]}" in frame.columns
        how: dict[str, Any] = {"prefix": prefix} if is_ours else {"score": name}
        return scored_table(session, frame, names, labels, threshold=threshold, **how)
    rows = np.flatnonzero(~np.isnan(labels))
    found = scored_table(session, frame.iloc[rows], names, labels[rows], guard=guard, threshold=threshold, **asked)
    scores = np.full(len(frame), np.nan)
    scores[rows] = found.scores
    return ScoredTable(
        frame=frame,
        scores=scores,
        hazards=None,
        codes=(),
        column=name,
        title=found.title,
        threshold=found.threshold,
        scored_by=found.scored_by,
    )


def _differences(
    samples: Sequence[Sample], at: Sequence[float], who: Sequence[str], pair: tuple[int, int], how: Mapping[str, Any]
) -> list[dict[str, object]]:
    one, other = (samples[k] for k in pair)
    values = [measure(samples[k], at[k]) for k in pair]
    ends = _paired(one, other, (at[pair[0]], at[pair[1]]), **how)
    rows = []
    for name in COMPARED:
        a, b = (found[name] for found in values)
        low, high = ends.get(name, (math.nan, math.nan))
        row = {"a": who[pair[0]], "b": who[pair[1]], "metric": name, "value_a": a, "value_b": b}
        rows.append({**row, "difference": b - a, "low": low, "high": high})
    return rows


def _paired(
    one: Sample, other: Sample, at: tuple[float, float], *, n_bootstrap: int, confidence: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the BCa interval of each difference: the same rows are drawn for both, for AUROC within classes."""
    unsafe = one.unsafe > 0
    if not n_bootstrap or not unsafe.any() or unsafe.all():
        return {}
    rng = np.random.default_rng(seed)
    part, scale = subsampled(one, rng, MOST_ROWS)
    chosen = np.isin(one.rows, part.rows)
    second = Sample(unsafe=part.unsafe, scores=other.scores[chosen], weights=part.weights, rows=part.rows)
    first, then = Resampled(part, at[0]), Resampled(second, at[1])
    how: dict[str, Any] = {"n_resamples": n_bootstrap, "confidence": confidence, "rng": rng}
    rows = np.arange(len(part))
    classes = tuple(np.flatnonzero(part.unsafe == kind) for kind in (1, 0))

    def by_rows(drawn: Ints) -> Floats:
        return np.concatenate([then.metrics(drawn) - first.metrics(drawn), then.rates(drawn) - first.rates(drawn)])

    def by_class(*drawn: Ints) -> Floats:
        together = np.concatenate(drawn, axis=-1)
        return (then.auroc(together) - first.auroc(together))[None]

    found = np.concatenate([bootstrap((rows,), by_rows, **how), bootstrap(classes, by_class, **how)], axis=1)
    middle = np.concatenate([by_rows(rows), by_class(rows)])
    names = (*RESAMPLED, *_RATES, "auroc")
    whole = _whole(one, other, at, names)
    ends = {name: whole[name] + scale * (found[:, k] - middle[k]) for k, name in enumerate(names)}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _whole(one: Sample, other: Sample, at: tuple[float, float], names: Sequence[str]) -> dict[str, float]:
    first, then = measure(one, at[0]), measure(other, at[1])
    return {name: then[name] - first[name] for name in names}


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test: rows that only one of two has right, by a fair coin."""
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _tests(
    samples: Sequence[Sample], at: Sequence[float], who: Sequence[str], pair: tuple[int, int]
) -> list[dict[str, object]]:
    unsafe = samples[0].unsafe > 0
    right = [flags(samples[k].scores, at[k]) == unsafe for k in pair]
    rows = []
    for name, among in (("all", np.ones(len(unsafe), dtype=bool)), ("unsafe", unsafe), ("safe", ~unsafe)):
        a, b = int((right[0] & ~right[1] & among).sum()), int((~right[0] & right[1] & among).sum())
        row = {"a": who[pair[0]], "b": who[pair[1]], "rows": name, "only_a_right": a, "only_b_right": b}
        rows.append({**row, "p_value": mcnemar(a, b)})
    return rows


def _differing(frame: pd.DataFrame, scores: Floats, at: Sequence[float], who: Sequence[str]) -> pd.DataFrame:
    known = ~np.isnan(scores).any(axis=0)
    flagged = np.stack([flags(of, limit) for of, limit in zip(scores, at, strict=True)])
    rows = np.flatnonzero(known & flagged.any(axis=0) & ~flagged.all(axis=0))
    found = frame.iloc[rows].copy()
    for k, name in enumerate(who):
        for what, values in (("score", scores[k][rows]), ("flagged", flagged[k][rows])):
            free = f"{name}_{what}"
            while free in found.columns:
                free += "_"
            found[free] = values
    return found


def _remarks(scores: Floats, who: Sequence[str], n_kept: int, n_bootstrap: int) -> list[str]:
    lost = {name: int(np.isnan(of).sum()) for name, of in zip(who, scores, strict=True)}
    said = ", ".join(f"{name} {n:,}" for name, n in lost.items() if n)
    remarks = []
    if said:
        remarks.append(
            f"Labelled rows without a score ({said}) are left out for all, and count as neither safe nor unsafe."
        )
    if n_kept > MOST_ROWS and n_bootstrap:
        remarks.append(f"Bootstrap intervals draw from {MOST_ROWS:,} of the {n_kept:,} rows, scaled to all of them.")
    return remarks
