"""What is shown of a row: its line in the list and its details, as JSON values.

Text is sent as it is, for the browser spells out what is hidden in it; only what no UTF-8 can carry is replaced.
With `blind` nothing of the model's verdict is in a record, and the blur does not follow it either.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from guard_magic.conversations.conversation import Conversation
from guard_magic.display.wording import one_line
from guard_magic.errors import ColumnError, shorten
from guard_magic.labels import Decision, conversation_key
from guard_magic.policy import Policy
from guard_magic.review.rows import Rows

__all__ = ["MAX_CONTENT", "MAX_TEXT", "Records"]

MAX_TEXT = 200
"""Characters of a row's text in the list."""

MAX_CONTENT = 200_000
"""Characters of one message in the details."""

_MAX_DETAIL = 1_000_000  # characters of all messages together; the last ones come first
_MAX_GUARDS = 3
_NEEDED = ("unsafe_score", "category")


class Records:
    """The scored rows and their conversations.

    Parameters
    ----------
    scored
        A frame with ``unsafe_score`` and ``category``, and what else a guard's columns are: ``guard_error``,
        ``score_S1`` …, ``log_odds``, ``generated_text``, ``guard``. Columns of other names are not read.
    conversations
        The rows' conversations, in order; None where a row has none that can be read.
    policy
        The hazards, in order.

    Raises
    ------
    ColumnError
        For a frame without scores, with scores that cannot be, or of another length than `conversations`.
    """

    def __init__(self, scored: pd.DataFrame, conversations: Sequence[Conversation | None], policy: Policy) -> None:
        _check(scored, conversations)
        self.conversations = list(conversations)
        self.policy = policy
        self.index = scored.index
        self._columns = {str(name): scored[name] for name in scored.columns if list(scored.columns).count(name) == 1}
        self.errors = self._texts("guard_error")
        self.scores = self._scores()
        self._judged = self._positions("category", policy.codes)
        self._code_scores = self._numbers([f"score_{code}" for code in policy.codes])

    def __len__(self) -> int:
        return len(self.conversations)

    def rows(self, seed: int) -> Rows:
        """Return the rows as arrays, for queries."""
        texts = ["" if c is None else "\n".join([m.content for m in c.messages]) for c in self.conversations]
        keys = [None if c is None else conversation_key(c) for c in self.conversations]
        return Rows(self.scores, self._hazards(), self.policy.codes, texts, keys, seed=seed)

    def guard(self, row: int) -> str | None:
        """Return the guard that scored the row; None where the frame does not say."""
        return self._text("guard", row)

    def guards(self) -> str:
        """Return the guards that the frame names, the first few of many; "" for none."""
        names = list(self._columns["guard"].dropna().astype(str).unique()) if self._has("guard") else []
        more = f" and {len(names) - _MAX_GUARDS} more" if len(names) > _MAX_GUARDS else ""
        return _sendable(", ".join(names[:_MAX_GUARDS])) + more

    def line(
        self, row: int, category: str | None, decision: Decision | None, *, blur: Collection[str], blind: bool
    ) -> dict[str, Any]:
        """Return the row's line in the list; `category` is the model's at the present threshold."""
        conversation = self.conversations[row]
        text = "" if conversation is None else one_line(conversation.assessed.content, MAX_TEXT)
        return {
            "row": row,
            "score": None if blind else self._score(row),
            "category": None if blind else category,
            **_decided(decision),
            "noted": bool(decision and decision.note),
            "text": _sendable(text),
            "n_turns": 0 if conversation is None else len(conversation),
            "blurred": bool(text) and self.is_blurred(row, category, blur=blur, blind=blind),
            "error": self.error(row, blind=blind),
        }

    def detail(
        self, row: int, category: str | None, decision: Decision | None, *, generated: bool, blind: bool
    ) -> dict[str, Any]:
        """Return all there is to read about the row."""
        return {
            "row": row,
            "messages": _messages(self.conversations[row]),
            "score": None if blind else self._score(row),
            "category": None if blind else category,
            "hazards": [] if blind else self._hazard_scores(row),
            "log_odds": None if blind else self._number("log_odds", row),
            "generated_text": self._text("generated_text", row) if generated and not blind else None,
            "error": self.error(row, blind=blind),
            **_decided(decision),
            "note": None if decision is None else decision.note,
        }

    def is_blurred(self, row: int, category: str | None, *, blur: Collection[str], blind: bool) -> bool:
        """Say whether the row's text is hidden until asked for.

        That is where the model named one of the hazards `blur`, now or when the frame was scored. With `blind`
        every text is: otherwise the blur would tell what the model said.
        """
        if blind:
            return bool(blur)
        judged = int(self._judged[row])
        return category in blur or (judged >= 0 and self.policy.codes[judged] in blur)

    def error(self, row: int, *, blind: bool = False) -> str | None:
        """Return why there is no score, or no conversation; None where there is nothing to say."""
        error = self.errors[row]
        if self.conversations[row] is None:
            return _sendable(error or "the conversation could not be read")
        if blind or not np.isnan(self.scores[row]):
            return None
        return _sendable(error or "no reason was given")

    def _has(self, name: str) -> bool:
        return name in self._columns

    def _texts(self, name: str) -> list[str | None]:
        if not self._has(name):
            return [None] * len(self)
        return [None if pd.isna(value) else str(value) for value in self._columns[name].tolist()]

    def _text(self, name: str, row: int) -> str | None:
        value: Any = self._columns[name].iat[row] if self._has(name) else None
        return None if value is None or pd.isna(value) else _sendable(str(value))

    def _number(self, name: str, row: int) -> float | None:
        value: Any = self._columns[name].iat[row] if self._has(name) else None
        return float(value) if isinstance(value, int | float | np.number) and math.isfinite(value) else None

    def _score(self, row: int) -> float | None:
        score = float(self.scores[row])
        return None if np.isnan(score) else score

    def _scores(self) -> npt.NDArray[np.float64]:
        scores = self._numbers_of("unsafe_score")
        wrong = np.flatnonzero((scores < 0) | (scores > 1))
        if len(wrong):
            raise ColumnError(
                f"unsafe_score is {scores[wrong[0]]:g} in row {wrong[0]}; a score is in [0, 1]", hint="Score again."
            )
        is_lost = np.array([error is not None for error in self.errors], dtype=bool)  # half a verdict is none
        return np.where(is_lost, np.nan, scores)

    def _positions(self, name: str, codes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where each value stands in `codes`, -1 where it does not."""
        position = {code: i for i, code in enumerate(codes)}
        values = self._columns[name].tolist()
        return np.fromiter((position.get(v, -1) if isinstance(v, str) else -1 for v in values), np.int64, len(values))

    def _numbers(self, names: Sequence[str]) -> npt.NDArray[np.float64] | None:
        """Return columns side by side, shape (n_rows, n_names), NaN for those that are not there; None for none."""
        if not any(map(self._has, names)):
            return None
        nothing = np.full(len(self), np.nan)
        return np.column_stack([self._numbers_of(name) if self._has(name) else nothing for name in names])

    def _numbers_of(self, name: str) -> npt.NDArray[np.float64]:
        try:
            return self._columns[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ColumnError(f"{name} holds what is not a number: {error}", hint="Score the frame again.") from None

    def _hazards(self) -> npt.NDArray[np.int64]:
        """Return each row's most probable hazard: by the hazards' scores, or else as the frame was scored."""
        if self._code_scores is None:
            return self._judged
        known = np.isfinite(self._code_scores)
        best = np.where(known, self._code_scores, -1.0).argmax(axis=1)
        return np.where(known.any(axis=1), best, self._judged)

    def _hazard_scores(self, row: int) -> list[dict[str, Any]]:
        if self._code_scores is None or np.isnan(self.scores[row]):
            return []
        scores = zip(self.policy, self._code_scores[row].tolist(), strict=True)
        known = [{"code": c.code, "name": c.name, "score": score} for c, score in scores if math.isfinite(score)]
        return sorted(known, key=lambda hazard: -hazard["score"])


def _check(scored: pd.DataFrame, conversations: Sequence[object]) -> None:
    for name in _NEEDED:
        if list(scored.columns).count(name) != 1:
            raise ColumnError(
                f"no scores to review: the table has {list(scored.columns).count(name)} columns {name!r}",
                hint="df.guard.score() makes them.",
            )
    if len(scored) != len(conversations):
        raise ColumnError(f"{len(scored)} scored rows and {len(conversations)} conversations", hint="One a row.")
    for row, conversation in enumerate(conversations):
        if conversation is not None and not isinstance(conversation, Conversation):
            raise ColumnError(
                f"row {row} is a {type(conversation).__name__}, not a Conversation: {shorten(conversation)}",
                hint="None stands for a row that cannot be read.",
            )


def _decided(decision: Decision | None) -> dict[str, Any]:
    return {
        "label": None if decision is None else decision.label,
        "label_category": None if decision is None else decision.category,
        "flag": bool(decision and decision.flag),
    }


def _messages(conversation: Conversation | None) -> list[dict[str, Any]]:
    """Return the messages, long ones cut, with a line that says so."""
    room = _MAX_DETAIL
    sent: list[dict[str, Any]] = []
    for message in reversed(conversation.messages if conversation else ()):
        kept = message.content[: min(room, MAX_CONTENT)]
        room -= len(kept)
        n_left_out = len(message.content) - len(kept)
        note = f"\n… {n_left_out:,} more characters are not shown here" if n_left_out else ""
        sent.append({"role": message.role, "content": _sendable(kept) + note, "assessed": not sent})
    return sent[::-1]


def _sendable(text: str) -> str:
    """Return `text` with what UTF-8 cannot carry replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
