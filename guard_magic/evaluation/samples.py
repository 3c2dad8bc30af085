"""What labels and scores are compared on: arrays, one entry a labelled row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["MIN_ROWS", "Sample", "flags"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MIN_ROWS = 10
"""Fewest labelled rows of which anything is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labelled rows.

    Attributes
    ----------
    unsafe
        1 for unsafe and 0 for safe, shape (n,).
    scores
        In [0, 1]; NaN where a row was not scored, shape (n,).
    weights
        Rows of the table that each stands for, above 0, shape (n,); all 1 where they were drawn alike.
    rows
        Where they stand in the table, 0-based, shape (n,).
    contents
        Equal numbers for equal conversations, shape (n,); None where the table holds none that can be read.
    hazards
        Code of each row's most probable hazard, also below the threshold, None where it is not known; shape (n,).
    """

    unsafe: Floats
    scores: Floats
    weights: Floats
    rows: Ints
    contents: Ints | None = None
    hazards: npt.NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.unsafe)

    def only(self, which: Mask | Ints) -> Sample:
        """Return some of the rows."""
        return Sample(
            unsafe=self.unsafe[which],
            scores=self.scores[which],
            weights=self.weights[which],
            rows=self.rows[which],
            contents=None if self.contents is None else self.contents[which],
            hazards=None if self.hazards is None else self.hazards[which],
        )

    @property
    def is_scored(self) -> Mask:
        """Which rows have a score, shape (n,)."""
        return ~np.isnan(self.scores)

    @property
    def scored(self) -> Sample:
        """The rows that have a score."""
        return self.only(self.is_scored)

    @property
    def is_weighted(self) -> bool:
        """Whether rows stand for different numbers of rows."""
        return bool(len(self) and np.ptp(self.weights) > 1e-9 * self.weights.max())

    @property
    def contradicted(self) -> Mask:
        """Which rows have an equal conversation that is labelled otherwise, shape (n,)."""
        if self.contents is None:
            return np.zeros(len(self), dtype=bool)
        _, of_row = np.unique(self.contents, return_inverse=True)
        n_rows, n_unsafe = np.bincount(of_row), np.bincount(of_row, weights=self.unsafe)
        return np.asarray(((n_unsafe > 0) & (n_unsafe < n_rows))[of_row])

    @property
    def n_repeated(self) -> int:
        """Rows whose conversation stands in an earlier row too."""
        return 0 if self.contents is None else len(self) - len(np.unique(self.contents))

    def distinct(self) -> Sample:
        """Return each conversation once; those whose labels contradict each other are left out."""
        if self.contents is None:
            return self
        settled = self.only(~self.contradicted)
        _, first = np.unique(np.asarray(settled.contents), return_index=True)
        return settled.only(np.sort(first))

    def filled(self, *, worst: bool) -> Sample:
        """Return the sample with rows that were not scored taken as decided wrongly (or rightly) for certain."""
        wrong = 1.0 - self.unsafe
        return replace(self, scores=np.where(self.is_scored, self.scores, wrong if worst else self.unsafe))


def flags(scores: Floats, threshold: float) -> Mask:
    """Return which scores are flagged, as verdicts are; NaN is not."""
    return np.asarray(scores >= threshold)
