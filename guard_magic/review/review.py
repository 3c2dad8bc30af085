"""A review in progress: rows, view and labels, and the answers to what the browser asks.

It knows no widget and no threads: `guard_magic.review.reviewer` calls it with a lock held. No guard is ever asked
here. Labels are kept in the label file first; what is shown follows from what was kept.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from guard_magic.errors import GuardError, LabelError, shorten
from guard_magic.labels import LABELS, Decision, LabelFile, Labelled
from guard_magic.review.records import Records
from guard_magic.review.requests import MAX_PAGE, LabelRequest, read_label, read_whole
from guard_magic.review.rows import BLIND_ORDERS, ORDERS
from guard_magic.review.views import View, read_view

__all__ = ["Review", "explain"]

Answer = tuple[dict[str, Any], bool]

_BETWEEN_WRITES = 1.0  # seconds; walking through the rows writes where the person is no more often


def explain(error: Exception) -> str:
    """Return what an error says, for people: guard_magic's with their hint, others with their kind."""
    if isinstance(error, GuardError):
        return f"{error} {error.hint}".strip()
    return f"{type(error).__name__}: {shorten(str(error), 200)}"


class Review:
    """One person going through one table.

    Parameters
    ----------
    records
        The rows.
    labels
        Where decisions are kept.
    view
        Where to begin; the row that the file remembers comes first.
    show_scores
        Whether the model's verdict is shown. Where not, no filter, order, count or blur depends on it.
    blur
        Codes of the hazards whose text is hidden until asked for.
    keys
        What the browser is told about keys.
    guard
        Who scored the rows that do not say it themselves.
    seed
        Of the random orders.
    """

    def __init__(
        self,
        records: Records,
        labels: LabelFile,
        view: View,
        *,
        show_scores: bool,
        blur: Collection[str],
        keys: Mapping[str, Any],
        guard: str | None,
        seed: int,
    ) -> None:
        self.records = records
        self.labels = labels
        self.rows = records.rows(seed)
        self.is_blind = not show_scores
        self.orders = BLIND_ORDERS if self.is_blind else ORDERS
        self.notice, self.error = "", ""
        self.mark = uuid.uuid4().hex
        self._blur, self._keys, self._guard = tuple(blur), dict(keys), guard
        self._histogram = self.rows.histogram()
        self._told: dict[str, Any] = {"rate": None, "can_undo": False, "can_redo": False}
        self._version, self._listed = 0, 0  # of the head, and when the list changed last
        self._step = -1
        self._current: Mapping[str, Labelled] = {}
        self._decided: npt.NDArray[np.int8] = np.full(len(records), -1, dtype=np.int8)
        self._catch_up()
        self._written_at = -_BETWEEN_WRITES
        self.view = self._allowed(view)
        self._found = self.rows.matching(self.view.query, self._decided)
        self._resume()

    def look(self, value: object) -> bool:
        """Take a view from the browser; return whether rows, order or counts changed with it."""
        before = self.view
        self.view = read_view(
            value,
            before,
            n_rows=len(self.records),
            codes=self.records.policy.codes,
            orders=self.orders,
            blind=self.is_blind,
        )
        is_new = self.view.query != before.query
        if is_new:
            self.notice = ""
            self._refresh()
        if self.view.selected != before.selected:
            self._keep_selected()
        return is_new

    def head(self) -> dict[str, Any]:
        """Return the trait `head`: counts and settings, as JSON types."""
        blind, threshold = self.is_blind, self.view.threshold
        counts = self.rows.count_labels(self._decided)
        n_hazards = {} if blind else self.rows.count_hazards(threshold)
        return {
            "mark": self.mark,
            "version": self._version,
            "n_rows": len(self.records),
            "n_matching": len(self._found),
            "counts": counts,
            "model": None if blind else self.rows.count_model(threshold),
            "hist": None if blind else self._histogram,
            "hazards": [{"code": c.code, "name": c.name, "count": n_hazards.get(c.code)} for c in self.records.policy],
            "threshold": threshold,
            "guard": self.records.guards() or self._guard,
            "annotator": self.labels.annotator,
            "show_scores": not blind,
            "sort": self.view.sort,
            "orders": list(self.orders),
            "blur": list(self._blur),
            "keys": self._keys,
            "done": len(self.records) - counts["unlabelled"],
            "total": int(self.rows.is_readable.sum()),
            **self._pace(),
            "label_file": str(self.labels.path),
            "notice": self.notice,
            "error": self.error or None,
        }

    def _pace(self) -> dict[str, Any]:
        """Return what the file tells of the way so far; while it cannot be read, what it told last."""
        with suppress(LabelError):
            rate = self.labels.rate()
            self._told = {
                "rate": None if rate is None else round(rate, 1),
                "can_undo": self.labels.can_undo,
                "can_redo": self.labels.can_redo,
            }
        return self._told

    def answer(self, message: Mapping[str, Any]) -> Answer:
        """Answer a message; say whether the head changed with it.

        Raises
        ------
        LabelError
            For a message that cannot be read. What cannot be kept is answered, with ``ok`` false.
        """
        kind = message.get("type")
        match kind:
            case "rows":
                return self._page(message), False
            case "detail":
                return self._detail(message), False
            case "next":
                return self._next(message), False
            case "label":
                request = read_label(message, n_rows=len(self.records), codes=self.records.policy.codes)
                return self._try(lambda: self._label(request))
            case "undo" | "redo":
                return self._try(lambda: self._move(kind))
            case _:
                raise LabelError(f"no message of the type {shorten(kind)} is known", hint="Run the cell again.")

    def first(self, n_rows: int) -> list[dict[str, Any]]:
        """Return the first records of the list."""
        return [self._line(row) for row in self._found[:n_rows].tolist()]

    def _page(self, message: Mapping[str, Any]) -> dict[str, Any]:
        start = read_whole(message, "start", 2**31)
        count = min(read_whole(message, "count", 2**31), MAX_PAGE)
        rows = [self._line(row) for row in self._found[start : start + count].tolist()]
        return {"type": "rows", "version": self._version, "start": start, "rows": rows}

    def _line(self, row: int) -> dict[str, Any]:
        category = self.rows.category(row, self.view.threshold)
        return self.records.line(row, category, self._decision(row), blur=self._blur, blind=self.is_blind)

    def _detail(self, message: Mapping[str, Any]) -> dict[str, Any]:
        row = read_whole(message, "row", len(self.records))
        generated = message.get("generate") is True
        category = self.rows.category(row, self.view.threshold)
        detail = self.records.detail(row, category, self._decision(row), generated=generated, blind=self.is_blind)
        return {"type": "detail", **detail}

    def _next(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the next row without a label, from the present position on and round; or the most uncertain one."""
        kind, here = message.get("kind"), self.view.selected
        if message.get("from") is not None:
            here = read_whole(message, "from", len(self.records))
        if kind not in ("unlabelled", "uncertain"):
            raise LabelError(f"no next {shorten(kind)}", hint="unlabelled or uncertain.")
        if kind == "uncertain" and self.is_blind:
            raise LabelError(
                "what is most uncertain is not told where scores are hidden", hint="Take the next unlabelled."
            )
        positions = self.rows.unlabelled(self._found, self._decided, here)
        if kind == "uncertain":
            positions = positions[self.rows.is_scored[self._found[positions]]]
        if not len(positions):
            return {"type": "next", "row": None, "position": None}
        if kind == "uncertain":
            away = np.abs(self.rows.scores[self._found[positions]] - self.view.threshold)
            position = int(positions[away.argmin()])
        else:
            present = None if here is None else self._position(here)
            after = positions[positions >= (self.view.position if present is None else present)]
            position = int(after[0] if len(after) else positions[0])
        return {"type": "next", "row": int(self._found[position]), "position": position}

    def _label(self, request: LabelRequest) -> Answer:
        rows = self._found.tolist() if request.rows is None else request.rows
        if request.rows is None and request.version is not None and request.version < self._listed:
            return self._refused("the list has changed since: look at it and ask again")
        readable = [row for row in rows if self.rows.keys[row] is not None]
        if request.rows is not None and len(readable) < len(rows):
            lost = next(row for row in rows if self.rows.keys[row] is None)
            return self._refused(f"row {lost} has no conversation to label: {self.records.error(lost)}")
        if not readable:
            return self._refused("no row of this filter can be labelled")
        decisions = {str(self.rows.keys[row]): self._decide(row, request) for row in reversed(readable)}
        key = next(iter(decisions)) if len(rows) == 1 else None
        step = self.labels.record(list(decisions.values()), request.action, place=key)
        self._take_over(decisions)
        n = len(readable)
        self._changed("" if n == 1 else f"{n:,} rows {request.changes.get('label') or 'changed'}")
        return {"type": "stored", "ok": True, "n": n, "step": step, "error": None}, True

    def _decide(self, row: int, request: LabelRequest) -> Decision:
        score = float(self.rows.scores[row])
        return Decision(
            key=str(self.rows.keys[row]),
            **request.settle(self._decision(row)),
            score_shown=not self.is_blind,
            unsafe_score=None if np.isnan(score) else score,
            model_category=self.rows.category(row, self.view.threshold),
            guard=self.records.guard(row) or self._guard,
            threshold=self.view.threshold,
            order=self.view.sort,
            seconds=request.seconds if request.rows is not None and len(request.rows) == 1 else None,
        )

    def _move(self, kind: str) -> Answer:
        keys = self.labels.undo() if kind == "undo" else self.labels.redo()
        if keys is None:
            return self._refused(f"nothing to {kind}")
        self._take_over(keys)
        rows = [row for key in keys for row in self.rows.of_key(key)]
        self._changed(
            f"{kind}ne: {len(rows):,} {'row' if len(rows) == 1 else 'rows'}" + ("" if rows else " of this table")
        )
        position = self._position(rows[0]) if rows else None
        if position is not None:
            self.view = replace(self.view, selected=rows[0], position=position)
        return {"type": "stored", "ok": True, "n": len(rows), "step": self._step, "error": None}, True

    def _try(self, act: Callable[[], Answer]) -> Answer:
        try:
            return act()
        except LabelError as error:
            self.error = explain(error)
            return self._refused(self.error)[0], True

    def _refused(self, reason: str) -> Answer:
        return {"type": "stored", "ok": False, "n": 0, "step": None, "error": reason}, False

    def _changed(self, notice: str) -> None:
        self.notice, self.error = notice, ""
        if self.view.needs_labels:
            self._refresh()
        else:
            self._version += 1

    def _refresh(self) -> None:
        self._found = self.rows.matching(self.view.query, self._decided)
        self._version += 1
        self._listed = self._version

    def _take_over(self, keys: Collection[str]) -> None:
        """Take over a step of our own. It is kept: where the file cannot be read now, it is read at the next one."""
        with suppress(LabelError):
            self._catch_up(keys)

    def _catch_up(self, keys: Collection[str] = ()) -> None:
        """Take over what the file holds; `keys` are all that changed if nobody else wrote since."""
        last = self.labels.last_step
        if last == self._step:
            return
        self._current = self.labels.current()
        if last != self._step + 1:
            self._decided[:] = -1
            keys = self._current.keys()
        for key in keys:
            decision = self._current.get(key)
            label = None if decision is None else decision.label
            self._decided[self.rows.of_key(key)] = -1 if label is None else LABELS.index(label)
        self._step = last

    def _allowed(self, view: View) -> View:
        """Return the view with an order that may be shown."""
        if view.sort in self.orders:
            return view
        self.notice = f"Scores are hidden: the order {view.sort} would show them, and is random instead."
        return replace(view, sort="random")

    def _resume(self) -> None:
        """Go to the row where the person stopped."""
        key = self.labels.place()
        rows = self.rows.of_key(key)
        position = self._position(rows[0]) if rows else None
        if position is not None:
            self.view = replace(self.view, selected=rows[0], position=position)

    def _keep_selected(self) -> None:
        """Keep where the person is, now and then: each writing waits for the disk."""
        key = None if self.view.selected is None else self.rows.keys[self.view.selected]
        if key is not None and time.monotonic() - self._written_at >= _BETWEEN_WRITES:
            self._written_at = time.monotonic()
            self.labels.place(key)

    def _position(self, row: int) -> int | None:
        positions = np.flatnonzero(self._found == row)
        return int(positions[0]) if len(positions) else None

    def _decision(self, row: int) -> Labelled | None:
        key = self.rows.keys[row]
        return None if key is None else self._current.get(key)
