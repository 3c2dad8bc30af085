"""Reports, choices of thresholds, agreement and comparisons as escaped HTML and as text of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guard_magic.display.as_html import _card, _line, _small, _table_html, isolated
from guard_magic.display.as_text import _table_text, _wrap
from guard_magic.evaluation.agreement import Agreement
from guard_magic.evaluation.comparing import Comparison
from guard_magic.evaluation.report import Report, frame_rows
from guard_magic.evaluation.thresholds import Choice

__all__ = [
    "agreement_html",
    "agreement_text",
    "choice_html",
    "choice_text",
    "comparison_html",
    "comparison_text",
    "report_html",
    "report_text",
]

Rows = Sequence[Mapping[str, str]]


def report_html(report: Report) -> str:
    """Return a report as an HTML fragment: numbers, groups, confusion and mistakes, each under its name."""
    groups = _folded("by group", report.group_table()) if report.groups is not None else ""
    hazards = frame_rows(report.confusion.reset_index()) if report.confusion is not None else []
    parts = [
        _line(isolated(report.head)),
        _rows_html(report.table()),
        groups,
        _folded("labelled hazards (rows) by what the guard said (columns)", hazards),
        *(_line(_small(note)) for note in report.notes()),
        _line(_small(_next_steps(report))),
    ]
    return _card("report", *parts)


def report_text(report: Report) -> str:
    """Return a report as lines of at most 80 columns."""
    lines = [*_wrap(report.head), *_table_text(report.table())]
    lines += [line for note in report.notes() for line in _wrap(f"- {note}")]
    return "\n".join([*lines, *_wrap(_next_steps(report))])


def choice_html(choice: Choice) -> str:
    """Return a threshold's reasons as an HTML fragment."""
    first, *others = choice.lines()
    return _card("threshold", _line(f"<b>{isolated(first)}</b>"), *(_line(_small(line)) for line in others))


def choice_text(choice: Choice) -> str:
    """Return a threshold's reasons as lines of at most 80 columns."""
    return "\n".join(line for said in choice.lines() for line in _wrap(said))


def comparison_html(comparison: Comparison) -> str:
    """Return a comparison as an HTML fragment."""
    notes = (_line(_small(note)) for note in comparison.notes())
    return _card("comparison", _line(isolated(comparison.head())), _rows_html(comparison.table()), *notes)


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison as lines of at most 80 columns."""
    notes = [line for note in comparison.notes() for line in _wrap(f"- {note}")]
    return "\n".join([*_wrap(comparison.head()), *_table_text(comparison.table()), *notes])


def agreement_html(agreement: Agreement) -> str:
    """Return agreement as an HTML fragment."""
    return _card("agreement", _line(isolated(agreement.head())), _rows_html(agreement.table()))


def agreement_text(agreement: Agreement) -> str:
    """Return agreement as lines of at most 80 columns."""
    return "\n".join([*_wrap(agreement.head()), *_table_text(agreement.table())])


def _next_steps(report: Report) -> str:
    n_wrong = len(report.false_positives), len(report.false_negatives)
    return (
        f"report.threshold(fpr=0.05) chooses a threshold · report.plot() · .false_positives ({n_wrong[0]} worst) · "
        f".false_negatives ({n_wrong[1]} worst) · .groups · .confusion"
    )


def _rows_html(rows: Rows) -> str:
    return _table_html([{isolated(name): isolated(cell) for name, cell in row.items()} for row in rows])


def _folded(name: str, rows: Rows) -> str:
    return f"<details><summary>{isolated(name)}</summary>{_rows_html(rows)}</details>" if rows else ""


def printers() -> list[tuple[type, Any, Any]]:
    """Return each kind of value with what shows it as HTML and as text."""
    return [
        (Report, report_html, report_text),
        (Choice, choice_html, choice_text),
        (Comparison, comparison_html, comparison_text),
        (Agreement, agreement_html, agreement_text),
    ]
