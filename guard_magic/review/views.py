"""What a person is looking at: the `view` trait, which comes from a browser and is read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from guard_magic.labels import LABELS
from guard_magic.review.rows import MODELS, UNLABELLED, Query

__all__ = ["MAX_SEARCH", "View", "read_view"]

MAX_SEARCH = 1_000
"""Characters of a search; the rest of a longer one is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Query):
    """A query, and where the person is in what it finds.

    Attributes
    ----------
    selected
        The row, by its 0-based position in the frame; None for none.
    position
        Its 0-based position in the list, or where it was while it matched.
    """

    selected: int | None = None
    position: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the trait's value: JSON types only."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def query(self) -> Query:
        """The part that decides which rows there are, and their order."""
        return Query(**{field.name: getattr(self, field.name) for field in fields(Query)})


def read_view(
    value: object, before: View, *, n_rows: int, codes: Collection[str], orders: Collection[str], blind: bool
) -> View:
    """Read what a browser sent; what cannot be stays as it was `before`.

    Parameters
    ----------
    value
        The trait's new value; anything JSON.
    before
        The view until now.
    n_rows, codes, orders
        What a row, a hazard and an order can be.
    blind
        Whether the model's verdict is hidden: then nothing can be filtered by it.
    """
    if not isinstance(value, Mapping):
        return before
    checks: dict[str, Callable[[Any], Any]] = {
        "threshold": _threshold,
        "search": lambda x: x[:MAX_SEARCH].encode("utf-8", "replace").decode() if isinstance(x, str) else _REFUSED,
        "hazards": lambda x: _chosen(x, () if blind else codes),
        "labels": lambda x: _chosen(x, (*LABELS, UNLABELLED)),
        "model": lambda x: x if x is None or (isinstance(x, str) and x in MODELS and not blind) else _REFUSED,
        "sort": lambda x: x if isinstance(x, str) and x in orders else _REFUSED,
        "descending": lambda x: x if isinstance(x, bool) else _REFUSED,
        "selected": lambda x: None if x is None else _count(x, n_rows),
        "position": lambda x: _count(x, max(n_rows, 1)),
    }
    read = {name: check(value[name]) for name, check in checks.items() if name in value}
    return replace(before, **{name: x for name, x in read.items() if x is not _REFUSED})


_REFUSED = object()


def _threshold(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return _REFUSED
    return float(value) if 0 <= value <= 1 else _REFUSED


def _chosen(value: object, allowed: Collection[str]) -> object:
    """Return a list of words as a tuple, each once; refuse it where one is not `allowed`."""
    if not isinstance(value, list | tuple) or not all(isinstance(x, str) and x in allowed for x in value):
        return _REFUSED
    return tuple(dict.fromkeys(value))


def _count(value: object, end: int) -> object:
    """Return a whole number in [0, end)."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < end else _REFUSED  # type: ignore[operator]
