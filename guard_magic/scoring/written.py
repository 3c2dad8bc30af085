"""Which values this session wrote into tables: what tells its columns from a user's own of the same name."""

from __future__ import annotations

from collections import deque

import numpy as np
import pandas as pd

from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.verdict import COLUMNS

__all__ = ["HAZARD", "NOTHING", "Written", "row_hashes"]


HAZARD = "score_"


class Written:
    """What a session wrote into tables, so that it knows its own columns in whatever is made of these tables.

    Of each column one hash a row is kept, of its value together with the row's score: enough to know the rows again
    after sorting, filtering and joining, and too little to know the values. The oldest calls are forgotten.

    Parameters
    ----------
    capacity
        Most hashes kept (8 bytes each), of the newest calls; of the newest call they are kept in any case.
    """

    def __init__(self, capacity: int = 4_000_000) -> None:
        self._capacity = capacity
        self._kept: deque[tuple[str, np.ndarray]] = deque()
        self._by: deque[tuple[ScoredBy, np.ndarray]] = deque()

    def add(self, columns: pd.DataFrame, by: ScoredBy | None = None) -> None:
        """Remember columns just written, and what scored them; their names are without prefix."""
        scores = columns[COLUMNS[0]]
        names = [name for name in columns.columns if not name.startswith(HAZARD)]
        kept = {name: np.unique(row_hashes(scores, columns[name])) for name in names}
        self._kept.extend(kept.items())
        if by is not None:
            self._by.append((by, kept[COLUMNS[0]]))
        while len(self._by) > 1 and sum(hashes.size for _, hashes in self._by) > self._capacity:
            self._by.popleft()
        while len(self._kept) > len(names) and sum(hashes.size for _, hashes in self._kept) > self._capacity:
            self._kept.popleft()

    def knows(self, name: str, scores: pd.Series, values: pd.Series) -> bool:
        """Say whether each of `values` was written beside that score under that name; of no rows, yes."""
        wanted = np.unique(row_hashes(scores, values))
        for kept, hashes in list(self._kept):
            if kept == name and wanted.size:
                wanted = wanted[~np.isin(wanted, hashes, assume_unique=True)]
        return wanted.size == 0

    def scored_by(self, scores: pd.Series) -> ScoredBy | None:
        """Return what gave all of these scores, as of the calls that are remembered; None where that is not one."""
        wanted = np.unique(row_hashes(scores, scores)[~scores.isna().to_numpy()])
        together: dict[str, tuple[ScoredBy, list[np.ndarray]]] = {}
        for by, hashes in list(self._by):
            known = together.setdefault(f"{by.guard}|{by.family}|{by.policy.categories}", (by, []))
            known[1].append(hashes)
        found = [
            by for by, hashes in together.values() if wanted.size and np.isin(wanted, np.concatenate(hashes)).all()
        ]
        return found[0] if len(found) == 1 else None

    def known_rows(self, name: str, scores: pd.Series, values: pd.Series) -> np.ndarray:
        """Say of each row whether its value was written beside its score under that name, (n_rows,), bool."""
        hashes = row_hashes(scores, values)
        known = np.zeros(hashes.size, dtype=bool)
        for kept, found in list(self._kept):
            if kept == name:
                known |= np.isin(hashes, found)
        return known


def row_hashes(scores: pd.Series, values: pd.Series) -> np.ndarray:
    """Return a hash of each row's score and value together, (n_rows,), uint64."""
    one, other = (pd.util.hash_array(series.array) for series in (scores, values))
    return one * np.uint64(0x9E3779B97F4A7C15) ^ other


NOTHING = Written()
