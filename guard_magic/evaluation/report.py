"""The report on a guard: how good it is on somebody's labels, each number with how far it could be off."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.characters import spell_hidden
from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.choosing import choose, choose_by_hazard
from guard_magic.evaluation.metrics import NAMES
from guard_magic.evaluation.samples import Sample
from guard_magic.evaluation.thresholds import Choice, checked_goal
from guard_magic.scoring.scored_by import ScoredBy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Metric", "Report", "number"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number.

    Attributes
    ----------
    name
        As in `guard_magic.evaluation.metrics.NAMES`.
    value, low, high
        On the scored rows, with its interval; NaN where it cannot be had.
    n
        Rows that it rests on.
    worst, best
        What it would be were all rows that were not scored decided wrongly, or rightly.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    worst: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Report:
    """How good a guard is on labels; see `guard_magic.evaluate`.

    Attributes
    ----------
    title
        What was evaluated: guard and policy, or the column of scores.
    flagged_from
        The threshold of the numbers.
    confidence, n_bootstrap
        Of the intervals.
    n_rows, n_labelled, n_unscored
        Rows of the table, those labelled safe or unsafe, and those of the latter that were not scored.
    metrics
        The numbers, in order; empty where `refused`.
    groups
        The same by group, one a row; None unless asked for.
    confusion
        Labelled hazards (rows) by what the guard said (columns): codes, ``safe`` and ``not scored``; None where there
        are none.
    false_positives, false_negatives
        Rows of the table that are wrong at this threshold, the worst first.
    remarks
        What is to be said beside the numbers, a sentence each.
    refused
        Why nothing may be said of the table from these labels; None where it may.
    sample, column, scored_by
        What it rests on.
    """

    title: str
    flagged_from: float
    confidence: float
    n_bootstrap: int
    n_rows: int
    n_labelled: int
    n_unscored: int
    metrics: tuple[Metric, ...]
    groups: pd.DataFrame | None
    confusion: pd.DataFrame | None
    false_positives: pd.DataFrame
    false_negatives: pd.DataFrame
    remarks: tuple[str, ...]
    refused: str | None
    sample: Sample
    column: str
    scored_by: ScoredBy | None

    def __repr__(self) -> str:
        return f"<Report on {spell_hidden(self.title)}: {self.n_labelled:,} labelled rows>"

    def __str__(self) -> str:
        return self.to_markdown()

    def __getitem__(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise EvaluationError(
            self.refused or f"the report has no metric {shorten(name)}", hint=f"Metrics: {', '.join(NAMES)}."
        )

    @property
    def head(self) -> str:
        """What was evaluated on how many rows, in a line."""
        unsafe = int(self.sample.unsafe.sum())
        counts = f"{self.n_labelled:,} of {self.n_rows:,} rows labelled ({unsafe:,} unsafe)"
        counts += f", {self.n_unscored:,} of them not scored" if self.n_unscored else ""
        return f"{spell_hidden(self.title)} at threshold {self.flagged_from:.10g} · {counts}"

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers, one a row: ``value``, ``low``, ``high``, ``n``, ``worst``, ``best``.

        ``worst`` and ``best`` are what the number would be were all rows that were not scored decided wrongly, or
        rightly.
        """
        columns = ["value", "low", "high", "n", "worst", "best"]
        rows = [[getattr(metric, name) for name in columns] for metric in self.metrics]
        index = pd.Index([metric.name for metric in self.metrics], name="metric", dtype="str")
        return pd.DataFrame(rows, columns=columns, index=index)

    def table(self) -> list[dict[str, str]]:
        """Return the numbers in words, one a row."""
        percent = f"{100 * self.confidence:g}%"
        rows = []
        for metric in self.metrics:
            row = {
                "metric": NAMES[metric.name],
                "value": number(metric.value),
                f"{percent} interval": _interval(metric.low, metric.high),
                "rows": f"{metric.n:,}",
            }
            if self.n_unscored:
                row["if the rows not scored were wrong … right"] = f"{number(metric.worst)} … {number(metric.best)}"
            rows.append(row)
        return rows

    def group_table(self) -> list[dict[str, str]]:
        """Return the groups in words, one a row, without the numbers that no group has."""
        if self.groups is None:
            return []
        kept = [name for name in NAMES if name in self.groups.columns and self.groups[name].notna().any()]
        rows = []
        for row in self.groups.to_dict("records"):
            said = {"by": str(row["by"]), "group": str(row["group"]), "rows": f"{row['n']:,}"}
            said["unsafe"], said["not scored"] = f"{row['n_unsafe']:,}", f"{row['n_unscored']:,}"
            for name in kept:
                ends = _interval(row[f"{name}_low"], row[f"{name}_high"])
                said[NAMES[name]] = f"{number(row[name])} ({ends})" if ends != "–" else number(row[name])
            rows.append(said)
        return rows

    def notes(self) -> list[str]:
        """Return what is to be said beside the numbers, a sentence each."""
        return [*([f"No numbers of the whole table: {self.refused}"] if self.refused else []), *self.remarks]

    def to_markdown(self) -> str:
        """Return the report as Markdown; text that comes from outside is escaped."""
        parts = [_escaped(self.head), markdown_table(self.table())]
        if self.groups is not None:
            parts.append(markdown_table(self.group_table()))
        if self.confusion is not None:
            parts.append(markdown_table(frame_rows(self.confusion.reset_index())))
        parts += [f"- {_escaped(note)}" for note in self.notes()]
        return "\n\n".join(part for part in parts if part)

    def plot(self, *, dark: bool = False) -> Figure:
        """Draw precision and recall, reliability, and the scores by label, side by side.

        Parameters
        ----------
        dark
            Whether on a dark ground.

        Returns
        -------
        Figure
            Of matplotlib; shown at the end of a cell, ``.savefig(path)`` keeps it.
        """
        from guard_magic.evaluation.plots import report_figure

        return report_figure(self, dark=dark)

    def threshold(
        self,
        *,
        precision: float | None = None,
        recall: float | None = None,
        fpr: float | None = None,
        cost_fp: float | None = None,
        cost_fn: float | None = None,
        best: str | None = None,
        by: str | None = None,
        delta: float = 0.05,
        seed: int = 0,
    ) -> Choice:
        """Choose a threshold for one goal, with what can be promised of it.

        For `precision`, `recall` and `fpr` the threshold holds with probability 1 - `delta` for conversations that
        come as the labelled ones did: Learn Then Test (Angelopoulos et al. 2021) by exact binomial tests. Equal
        conversations count once, and what was not scored is not judged.

        Parameters
        ----------
        precision, recall, fpr
            The least share of flagged rows that are unsafe, or of unsafe rows that are flagged, or the most of safe
            rows that are flagged.
        cost_fp, cost_fn
            What a false positive and a miss cost: the threshold with the least cost on these labels. No promise.
        best
            ``"f1"``: the threshold with the best F1 on these labels. No promise.
        by
            ``"category"`` for one threshold for each of the guard's most probable hazards; all promises hold together,
            so each is tested at `delta` by the number of hazards.
        delta
            With which probability the promise may be broken.
        seed
            Of the draw that makes unequal chances equal, where labels were drawn so.

        Raises
        ------
        EvaluationError
            Where these labels do not carry it: it says about how many more are needed.
        """
        if self.refused:
            raise EvaluationError(f"no threshold can be chosen: {self.refused}", hint=_RANDOM)
        goal = checked_goal(
            precision=precision, recall=recall, fpr=fpr, cost_fp=cost_fp, cost_fn=cost_fn, best=best, delta=delta
        )
        if by not in (None, "category"):
            raise EvaluationError(f"by={shorten(by)} is not known", hint='Use by="category", or leave it out.')
        chosen = choose if by is None else choose_by_hazard
        return chosen(self.sample, goal, column=self.column, scored_by=self.scored_by, seed=seed)


_RANDOM = 'df.guard.review(order="random") shows rows in an order whose labels speak for the whole table.'


def number(value: float) -> str:
    """Write a number of a report; "–" for one that cannot be had."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) or math.isnan(high) else f"{low:.3f} to {high:.3f}"


def frame_rows(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Return a small table in words, one a row."""
    return [{str(name): _cell(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    plain = html.escape(spell_hidden(" ".join(text.split())), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~" else c for c in plain)


def markdown_table(rows: Sequence[dict[str, str]]) -> str:
    """Return rows as a table in Markdown; "" for none."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else _escaped(cell) for cell in line)} |" for line in lines)
