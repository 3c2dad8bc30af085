"""The review as it is without a kernel: a table of at most 20 rows, as escaped HTML without script, and as text.

nbconvert, GitHub and a dead kernel show it. The bars are characters: they stand where styles are stripped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guard_magic.display import status_text
from guard_magic.display.as_html import STYLE, isolated
from guard_magic.display.wording import bar_text, number_text, one_line

__all__ = ["MAX_ROWS", "StaticReview"]

MAX_ROWS = 20
_MAX_TEXT = 160
_BAR = 12


class StaticReview:
    """A picture of a review, for front ends that run no widgets; a live widget of the same review hides it.

    Parameters
    ----------
    head
        The review's head.
    lines
        The first rows, as the list shows them; at most `MAX_ROWS`, for their text is saved with the notebook.
    """

    def __init__(self, head: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
        self._rows = [_words(head, line) for line in lines]
        self._mark = str(head["mark"])
        self._blurred = [bool(line["blurred"]) for line in lines]
        n_more = head["n_matching"] - len(self._rows)
        self._summary = _summary(head)
        self._more = f"… and {n_more:,} more" if n_more > 0 else ""

    def __repr__(self) -> str:
        hidden = [
            {**row, "text": "(hidden)"} if is_blurred else row
            for row, is_blurred in zip(self._rows, self._blurred, strict=True)
        ]
        table = status_text(hidden) if hidden else ""
        return "\n".join(part for part in (self._summary, table, self._more) if part)

    def _repr_html_(self) -> str:
        head = " ".join(f"<th>{name}</th>" for name in self._rows[0]) if self._rows else ""
        body = "\n".join(map(_row_html, self._rows, self._blurred))
        table = f'<table class="gm-table"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
        return (
            f'<div class="gm-card gm-review" role="group" aria-label="review" data-guard-magic-review="{self._mark}">'
            f"{STYLE}"
            f'<p class="gm-line">{isolated(self._summary)}</p>\n{table if self._rows else ""}\n'
            f'<p class="gm-line"><small>{isolated(self._more)}</small></p></div>'
        )


def _summary(head: Mapping[str, Any]) -> str:
    counts = head["counts"]
    told = ", ".join(f"{count:,} {label}" for label, count in counts.items() if count)
    model = f" · {head['model']['flagged']:,} flagged at threshold {head['threshold']:.10g}" if head["model"] else ""
    guard = f" · guard {head['guard']}" if head["guard"] and head["show_scores"] else ""
    return f"{head['n_rows']:,} rows: {told or 'none'} · labels of {head['annotator']}{model}{guard}"


def _words(head: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a row; without scores where they are hidden."""
    score, threshold = line["score"], head["threshold"]
    bar = "" if score is None else f"{number_text(score, threshold)} {bar_text(score, _BAR, threshold)}"
    model = {"score": bar or "–", "category": line["category"] or ("not scored" if score is None else "unsafe")}
    label = " ".join(part for part in (line["label"], line["label_category"]) if part)
    text = " · ".join(part for part in (line["error"], one_line(line["text"], _MAX_TEXT)) if part)
    return {
        "row": str(line["row"]),
        **(model if head["show_scores"] else {}),
        "label": f"{label}{' ⚑' if line['flag'] else ''}{' ✎' if line['noted'] else ''}",
        "text": text,
    }


def _row_html(row: Mapping[str, str], is_blurred: bool) -> str:
    cells = {name: isolated(words) for name, words in row.items()}
    if "score" in cells:
        cells["score"] = f'<span class="gm-tight">{cells["score"]}</span>'
    if is_blurred:
        cells["text"] = f"<details><summary>hidden; show</summary>{cells['text']}</details>"
    return f"<tr>{' '.join(f'<td>{cell}</td>' for cell in cells.values())}</tr>"
