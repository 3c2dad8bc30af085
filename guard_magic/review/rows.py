"""The rows under review as arrays: which match, in which order, and how many there are of each kind.

Pure numpy: nothing here knows widgets, label files or threads. A row is its 0-based position in the frame. Decided
labels come in as an array (position in `LABELS`, -1 for none), because they change while the rows do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard_magic.evaluation.sampling import N_STRATA, strata_of
from guard_magic.labels import LABELS

__all__ = ["BLIND_ORDERS", "MODELS", "N_BINS", "ORDERS", "UNLABELLED", "Query", "Rows"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Decided = npt.NDArray[np.int8]
Model = Literal["flagged", "safe", "unscored"]

ORDERS = ("uncertainty", "random", "stratified", "score", "hazard", "length", "label", "row")
"""Orders to go through the rows in."""

BLIND_ORDERS = ("random", "stratified", "length", "label", "row")
"""The orders that show nothing of the model's verdict."""

MODELS = ("flagged", "safe", "unscored")
"""What the model can have said about a row."""

UNLABELLED = "unlabelled"
N_BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows, and in which order.

    Attributes
    ----------
    threshold
        Where flagged begins, in [0, 1]. It moves the uncertainty order, and what is safe or has a hazard.
    search
        Text to find in the conversation, whatever its case; "" finds all.
    hazards
        Codes; the row is flagged and its most probable hazard is one of them. Empty for all rows.
    labels
        Labels, ``"unlabelled"`` among them. Empty for all rows.
    model
        ``"flagged"``, ``"safe"`` or ``"unscored"``; None for all rows.
    sort
        One of `ORDERS`. ``"uncertainty"``: least |score - threshold| first. ``"random"``: by content and seed.
        ``"stratified"``: a row of each tenth of the score in turn, at random within it. ``"score"``, ``"length"``:
        least first. ``"hazard"``: flagged rows in the policy's order, highest score first within a hazard; then
        the others. ``"label"``: in the order of `LABELS`.
    descending
        The other way round. Rows without what is sorted by (no score, no label) come last either way.
    """

    threshold: float = 0.5
    search: str = ""
    hazards: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    model: Model | None = None
    sort: str = "row"
    descending: bool = False

    @property
    def needs_labels(self) -> bool:
        """Whether another label can change which rows match, or their order."""
        return bool(self.labels) or self.sort == "label"


class Rows:
    """What is known of the rows before anybody labels them.

    Parameters
    ----------
    scores
        ``unsafe_score`` of each row, shape (n_rows,); NaN where not scored.
    hazards
        Position of each row's most probable hazard in `codes`, shape (n_rows,); -1 where not known.
    codes
        The hazards' codes, in the policy's order.
    texts
        The whole text of each conversation; "" where there is none.
    keys
        Content hash of each conversation, in hex; None where there is none.
    seed
        Of the random orders. They go by content: a frame sorted anew or enlarged keeps its order.
    """

    def __init__(
        self,
        scores: npt.ArrayLike,
        hazards: npt.ArrayLike,
        codes: Sequence[str],
        texts: Sequence[str],
        keys: Sequence[str | None],
        *,
        seed: int = 0,
    ) -> None:
        self.scores: Floats = np.asarray(scores, dtype=np.float64)
        self.hazards: Ints = np.asarray(hazards, dtype=np.int64)
        self.codes = tuple(codes)
        self.keys = list(keys)
        self.n_chars: Ints = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        self.is_scored: Mask = ~np.isnan(self.scores)
        self.is_readable: Mask = np.array([key is not None for key in self.keys], dtype=bool)
        self._first: dict[str, int] = {}  # key -> its first row
        self._others: dict[str, list[int]] = {}  # key -> more rows of the same content
        for row, key in enumerate(self.keys):
            if key is not None and self._first.setdefault(key, row) != row:
                self._others.setdefault(key, []).append(row)
        self._folded = [text.casefold() for text in texts]
        self._rank = _ranks(_scatter(self.keys, seed))
        self._strata = _ranks(_take_turns(self.scores, self._rank, _ranks(_scatter(self.keys, seed + 1))))
        self._found: tuple[str, Mask] = ("", np.ones(len(self), dtype=bool))

    def __len__(self) -> int:
        return len(self.scores)

    def flagged(self, threshold: float) -> Mask:
        """Return which rows are flagged at `threshold`, shape (n_rows,); rows without a score are not."""
        return self.is_scored & ~(self.scores < threshold)

    def of_key(self, key: str | None) -> list[int]:
        """Return the rows of this content, in order; none for None or content that is not in the frame."""
        first = None if key is None else self._first.get(key)
        return [] if first is None or key is None else [first, *self._others.get(key, ())]

    def matching(self, query: Query, decided: Decided) -> Ints:
        """Return the rows that match, in order."""
        rows = np.flatnonzero(self._mask(query, decided))
        first, *others = self._sort_keys(query, decided, rows)
        if query.descending:
            first = -first  # NaN stays NaN, and is sorted to the end
        found = rows[np.lexsort((*reversed(others), first))] if others else rows[np.argsort(first, kind="stable")]
        return found.astype(np.int64, copy=False)

    def unlabelled(self, found: Ints, decided: Decided, but: int | None = None) -> Ints:
        """Return the positions in `found` of rows that can be labelled and are not, the row `but` left out."""
        is_open = (decided[found] < 0) & self.is_readable[found]
        return np.flatnonzero(is_open if but is None else is_open & (found != but))

    def count_labels(self, decided: Decided) -> dict[str, int]:
        """Return how many rows have each label, and how many have none."""
        counts = np.bincount(decided.astype(np.int64) + 1, minlength=len(LABELS) + 1).tolist()
        return {**dict(zip(LABELS, counts[1:], strict=True)), UNLABELLED: counts[0]}

    def count_model(self, threshold: float) -> dict[str, int]:
        """Return how many rows are flagged, safe and not scored at `threshold`."""
        n_flagged, n_scored = int(self.flagged(threshold).sum()), int(self.is_scored.sum())
        return {"flagged": n_flagged, "safe": n_scored - n_flagged, "unscored": len(self) - n_scored}

    def count_hazards(self, threshold: float) -> dict[str, int]:
        """Return how many rows are flagged with each hazard at `threshold`, in the policy's order."""
        counts = np.bincount(self.hazards[self.flagged(threshold)] + 1, minlength=len(self.codes) + 1)
        return dict(zip(self.codes, counts[1:].tolist(), strict=True))

    def histogram(self) -> list[int]:
        """Return how many scores fall into each of `N_BINS` equal bins of [0, 1]."""
        counts, _ = np.histogram(self.scores[self.is_scored], bins=N_BINS, range=(0.0, 1.0))
        return [int(count) for count in counts]

    def category(self, row: int, threshold: float) -> str | None:
        """Return ``"safe"`` or the hazard at `threshold`; None where not scored, or flagged with no hazard known."""
        if not self.is_scored[row]:
            return None
        if self.scores[row] < threshold:
            return "safe"
        hazard = int(self.hazards[row])
        return self.codes[hazard] if hazard >= 0 else None

    def _mask(self, query: Query, decided: Decided) -> Mask:
        mask = self._search(query.search)
        flagged = self.flagged(query.threshold)
        if query.hazards:
            mask = mask & flagged & np.isin(self.hazards, [self.codes.index(code) for code in query.hazards])
        if query.labels:
            wanted = [-1 if label == UNLABELLED else LABELS.index(label) for label in query.labels]
            mask = mask & np.isin(decided, wanted)
        if query.model == "flagged":
            mask = mask & flagged
        elif query.model is not None:
            mask = mask & ((self.is_scored & ~flagged) if query.model == "safe" else ~self.is_scored)
        return mask

    def _search(self, search: str) -> Mask:
        """Return which rows hold `search`. What is found only shrinks while it is typed on: no text is read twice."""
        needle = search.casefold()
        before, found = self._found
        if needle == before:
            return found
        mask = np.zeros(len(self), dtype=bool)
        if needle and before in needle:
            rows = np.flatnonzero(found)
            texts = [self._folded[row] for row in rows.tolist()] if len(rows) < len(self) else self._folded
            mask[rows] = [needle in text for text in texts]
        else:
            mask[:] = [needle in text for text in self._folded] if needle else True
        self._found = (needle, mask)
        return mask

    def _sort_keys(self, query: Query, decided: Decided, rows: Ints) -> list[npt.NDArray[Any]]:
        """Return what to sort by, most important first, each of shape (n_matching,)."""
        scores, flagged = self.scores[rows], self.flagged(query.threshold)[rows]
        match query.sort:
            case "uncertainty":
                return [np.abs(scores - query.threshold)]
            case "score":
                return [scores]
            case "random":
                return [self._rank[rows]]
            case "stratified":
                return [self._strata[rows]]
            case "hazard":
                hazards = self.hazards[rows]
                return [np.where(flagged & (hazards >= 0), hazards, np.nan), -scores]
            case "length":
                return [self.n_chars[rows]]
            case "label":
                return [np.where(decided[rows] < 0, np.nan, decided[rows])]
            case _:
                return [rows]


def _ranks(order_by: npt.NDArray[Any]) -> Ints:
    """Return the rank of each element when they are sorted; ties in their own order."""
    ranks = np.empty(len(order_by), dtype=np.int64)
    ranks[np.argsort(order_by, kind="stable")] = np.arange(len(order_by))
    return ranks


def _scatter(keys: Sequence[str | None], seed: int) -> npt.NDArray[np.uint64]:
    """Return a number for each key that looks random and depends on key and seed alone (SplitMix64)."""
    heads = b"".join(bytes.fromhex(key[:16]) if key else row.to_bytes(8, "big") for row, key in enumerate(keys))
    mixed = np.frombuffer(heads, dtype=">u8").astype(np.uint64)
    mixed += np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _take_turns(scores: Floats, rank: Ints, turn: Ints) -> npt.NDArray[np.int64]:
    """Return a number to sort by, such that each tenth of the score gives one row in turn; no score comes last.

    `rank` chooses within a tenth, `turn` within a round. They must be independent: by one and the same number the
    fullest tenth would come first in every round, and the position in it would tell the score.
    """
    is_scored = ~np.isnan(scores)
    strata = strata_of(scores)
    order = np.lexsort((rank, strata))
    sorted_strata = strata[order]
    starts = np.searchsorted(sorted_strata, np.arange(N_STRATA + 1))
    rounds = np.empty(len(scores), dtype=np.int64)
    rounds[order] = np.arange(len(scores)) - starts[sorted_strata]
    rounds[~is_scored] = len(scores)
    return rounds * np.int64(len(scores)) + turn
