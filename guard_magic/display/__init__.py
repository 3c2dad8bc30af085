"""Verdicts, resident guards and reports as escaped HTML and as terminal text.

Pure functions of values: nothing here asks a guard or reads a session. Every text that came from outside
(messages, roles, guard names, hazard names, errors, what the guard wrote) is untrusted: it is escaped, kept
apart from its surroundings' direction, and its control characters are spelled out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guard_magic.display.as_html import status_html, verdict_html, verdicts_html
from guard_magic.display.as_text import head_text, status_text, verdict_text, verdicts_text
from guard_magic.display.reports import choice_html, choice_text, report_html, report_text
from guard_magic.display.reports import printers as report_printers
from guard_magic.display.wording import visible
from guard_magic.verdict import Verdict, Verdicts

__all__ = [
    "choice_html",
    "choice_text",
    "register_formatters",
    "report_html",
    "report_text",
    "status_html",
    "status_text",
    "verdict_html",
    "verdict_text",
    "verdicts_html",
    "verdicts_text",
]


def register_formatters(shell: Any) -> Callable[[], None]:
    """Let an IPython shell show verdicts, reports and chosen thresholds as cards and tables.

    Parameters
    ----------
    shell
        An ``IPython.core.interactiveshell.InteractiveShell``.

    Returns
    -------
    callable
        Puts back the formatters that stood there before, or their absence.
    """
    formatters = shell.display_formatter.formatters
    rich, plain = formatters["text/html"], formatters["text/plain"]
    ours: list[tuple[Any, type, Any]] = [
        (rich, Verdict, verdict_html),
        (rich, Verdicts, verdicts_html),
        (plain, Verdict, _print_verdict),
        (plain, Verdicts, lambda obj, p, cycle: p.text(verdicts_text(obj))),
    ]
    for kind, as_html, as_text in report_printers():
        ours += [(rich, kind, as_html), (plain, kind, _printing(as_text))]
    saved = [(formatter, kind, _printer_of(formatter, kind)) for formatter, kind, _ in ours]
    for formatter, kind, printer in ours:
        formatter.for_type(kind, printer)

    def restore() -> None:
        for formatter, kind, original in saved:
            formatter.pop(kind, None)
            formatter.for_type(kind, original)  # None registers nothing

    return restore


def _printing(as_text: Callable[[Any], str]) -> Callable[[Any, Any, bool], None]:
    def show(value: Any, printer: Any, cycle: bool) -> None:
        is_alone = len(printer.stack) == 1
        printer.text(as_text(value) if is_alone else f"<{_first(value)}>")

    return show


def _first(value: object) -> str:
    return visible(str(value).splitlines()[0])


def _printer_of(formatter: Any, kind: type) -> Any:
    """Return the printer of that very class or None; for_type() would return a base class's, too."""
    return formatter.type_printers.get(kind) or formatter.deferred_printers.get((kind.__module__, kind.__name__))


def _print_verdict(verdict: Verdict, printer: Any, cycle: bool) -> None:
    is_alone = len(printer.stack) == 1  # else it stands in a list, say
    printer.text(verdict_text(verdict) if is_alone else f"<{visible(head_text(verdict)).strip()}>")
