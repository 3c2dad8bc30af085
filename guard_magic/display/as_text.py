"""Verdicts and tables as lines of at most 80 columns, for the terminal and for text/plain."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate

from guard_magic.conversations.conversation import Message
from guard_magic.display.wording import (
    ASSESSED,
    CONTEXT,
    NO_GUARD,
    NOT_SCORED,
    bar_text,
    category_words,
    circumstances,
    count_hidden,
    cut_message,
    hazard_name,
    more_rows,
    number_text,
    one_line,
    other_hazards,
    rest_note,
    score_text,
    shown_hazards,
    summary,
    table_rows,
    unscored_reason,
    verdict_word,
    visible,
    what_was_read,
    what_was_written,
    whole_score,
)
from guard_magic.verdict import Verdict, Verdicts

WIDTH = 80


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict as lines of at most 80 columns, without control characters."""
    parts = [
        _wrap(head_text(verdict)),
        _wrap(unscored_reason(verdict), "  "),
        _hazards_text(verdict),
        _wrap(what_was_read(verdict)),
        _conversation_text(verdict),
        _wrap(what_was_written(verdict)),
        _wrap(circumstances(verdict)),
    ]
    return "\n".join(line for part in parts for line in part)


def verdicts_text(verdicts: Verdicts, limit: int = 20) -> str:
    """Return a table of the first `limit` verdicts as lines of at most 80 columns, with counts above it."""
    lines = [*_wrap(summary(verdicts)), *_table_text(table_rows(verdicts, limit)), *_wrap(more_rows(verdicts, limit))]
    return "\n".join(lines)


def status_text(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the resident guards as a table of at most 80 columns; `rows` as in `status_html`."""
    return "\n".join(_table_text(rows)) if rows else NO_GUARD


def head_text(verdict: Verdict) -> str:
    """Return the verdict's headline."""
    if whole_score(verdict) is None:
        return NOT_SCORED
    hazard = category_words(verdict) if verdict.flagged else ""
    return f"{verdict_word(verdict)}  score {score_text(verdict, 20)}  {hazard}"


def _hazards_text(verdict: Verdict) -> list[str]:
    shown, others = shown_hazards(verdict)
    names = [visible(hazard_name(code, verdict.policy)) for code, _ in shown]
    bars = [f"{number_text(score):<8} {bar_text(score, 20)}" for _, score in shown]
    lines = [f"  {_fit(name, 32)} {bar}" for name, bar in zip(names, bars, strict=True)]
    return [*lines, *_wrap(other_hazards(shown, others), "  ")] if shown else []


def _conversation_text(verdict: Verdict) -> list[str]:
    if verdict.conversation is None:
        return []
    *context, assessed = verdict.conversation.messages
    n_hidden = count_hidden(context)
    lines = [f"  … {n_hidden} earlier turns"] if n_hidden else []
    lines += [line for message in context[n_hidden:] for line in _message_text(message, CONTEXT, " ")]
    return lines + _message_text(assessed, ASSESSED, ">")


def _message_text(message: Message, limits: tuple[int, int], mark: str) -> list[str]:
    head, rest = cut_message(message.content, limits)
    role = f"{mark} {_fit(visible(one_line(message.role, 40)), 10)} "
    first, *others = _wrap(f"{head.rstrip()}\n{rest_note(rest)}".rstrip(), " " * len(role)) or [""]
    return [role + first[len(role) :], *others]


def _table_text(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return aligned columns within `WIDTH` cells; the widest ones give way."""
    table = [[visible(one_line(cell, WIDTH)) for cell in row] for row in [*rows[:1], *(row.values() for row in rows)]]
    widths = [max(map(_n_cells, column)) for column in zip(*table, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    return ["  ".join(map(_fit, row, widths)).rstrip() for row in table]


def _wrap(text: str, indent: str = "") -> list[str]:
    """Break `text`, made visible, into lines of at most `WIDTH` cells, indent included; at spaces if it can."""
    lines = []
    for line in visible(text).expandtabs(4).split("\n") if text else []:
        while (end := _n_fitting(line, WIDTH - len(indent))) < len(line):
            end = line.rfind(" ", 1, end + 1) + 1 or end
            lines.append(indent + line[:end].rstrip())
            line = line[end:].lstrip()
        lines.append((indent + line).rstrip())
    return lines


def _fit(text: str, width: int) -> str:
    if _n_cells(text) > width:
        text = f"{text[: _n_fitting(text, width - 1)]}…"
    return text + " " * (width - _n_cells(text))


def _n_fitting(text: str, width: int) -> int:
    return sum(1 for n_cells in accumulate(map(_n_cells, text)) if n_cells <= width)


def _n_cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
