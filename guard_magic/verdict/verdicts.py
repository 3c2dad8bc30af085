"""Verdicts in order, and the table they become."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import overload

import pandas as pd

from guard_magic.characters import spell_hidden
from guard_magic.errors import ScoreError
from guard_magic.policy import Policy
from guard_magic.verdict.columns import SAFE, checked_extras, extra_names, floats, strings
from guard_magic.verdict.judging import Verdict

__all__ = ["Verdicts"]


class Verdicts(Sequence[Verdict]):
    """Verdicts in the order of what was scored; the only plural.

    Parameters
    ----------
    verdicts
        The verdicts, in order.
    policy
        The policy they were asked under: it fixes the levels of the `category` column.
    answer_names
        Names of the other answers that the guard gives; None for those that the verdicts carry.
    """

    def __init__(self, verdicts: Iterable[Verdict], policy: Policy, answer_names: Iterable[str] | None = None) -> None:
        self._verdicts = tuple(verdicts)
        self.policy = policy
        carried = (name for verdict in self._verdicts for name in verdict.answers)
        self.answer_names = tuple(dict.fromkeys(carried if answer_names is None else answer_names))

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> Verdicts: ...
    def __getitem__(self, index: int | slice) -> Verdict | Verdicts:
        if isinstance(index, slice):
            return Verdicts(self._verdicts[index], self.policy, self.answer_names)
        return self._verdicts[index]

    def __len__(self) -> int:
        return len(self._verdicts)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._verdicts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdicts) and self._verdicts == other._verdicts

    def __repr__(self) -> str:
        flagged = sum(1 for v in self if v.flagged)
        lost = sum(1 for v in self if v.error is not None)
        guard = spell_hidden(self[0].guard) if self else "no guard"
        return f"<Verdicts: {len(self)} by {guard}, {flagged} flagged, {lost} not scored>"

    def raise_errors(self, skip: Collection[int] = ()) -> None:
        """Raise `ScoreError` if any row but those of `skip` was not scored, naming the first and counting the rest."""
        lost = [(i, v.error) for i, v in enumerate(self) if v.error is not None and i not in skip]
        if lost:
            position, reason = lost[0]
            raise ScoreError(
                f"{len(lost)} of {len(self)} rows could not be scored; the first is row {position}: {reason}",
                hint='errors="coerce" keeps going and puts the reason in guard_error.',
            )

    def to_frame(self, extras: Iterable[str] = (), *, prefix: str = "", index: pd.Index | None = None) -> pd.DataFrame:
        """Return the verdicts as columns.

        Parameters
        ----------
        extras
            Any of ``"unsafe_probability"`` (of verdicts that a calibration went over), ``"cut"`` (the column
            ``guard_cut``), ``"log_odds"``, ``"category_scores"`` (one Float64 column a code: ``score_S1`` …),
            ``"answers"`` (one Float64 column each: ``answer_refusal`` …; none for guards that give none),
            ``"generated_text"``, ``"verdict_mass"``, ``"n_tokens"``, ``"n_neutralised"``, ``"assessed_role"``,
            ``"guard"``.
        prefix
            Put before every column name.
        index
            The frame's index, as long as the verdicts; by default 0, 1, 2 …

        Returns
        -------
        DataFrame
            One row a verdict, in order. ``unsafe_score`` (Float64), ``category`` (unordered categorical:
            ``safe`` and the policy's codes), ``guard_error`` (string), then the extras. Not scored is NA.
        """
        columns: dict[str, object] = {
            "unsafe_score": floats([v.unsafe_score for v in self]),
            "category": pd.Categorical([v.category for v in self], categories=[SAFE, *self.policy.codes]),
            "guard_error": strings([v.error for v in self]),
        }
        for extra in checked_extras(extras):
            columns.update(self._extra(extra))
        return pd.DataFrame({prefix + name: values for name, values in columns.items()}, index=index)

    def _extra(self, extra: str) -> dict[str, object]:
        names = extra_names(extra, self.policy, self.answer_names)
        if extra == "category_scores":
            scores = (floats([v.category_scores.get(code) for v in self]) for code in self.policy.codes)
            return dict(zip(names, scores, strict=True))
        if extra == "answers":
            answers = (floats([v.answers.get(answer) for v in self]) for answer in self.answer_names)
            return dict(zip(names, answers, strict=True))
        values = [getattr(v, extra) for v in self]
        if extra in ("log_odds", "verdict_mass", "unsafe_probability"):
            return {extra: floats(values)}
        if extra in ("n_tokens", "n_neutralised"):
            return {extra: pd.array(values, dtype="Int64")}
        return {names[0]: strings(values)}
