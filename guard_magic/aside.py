"""Set errors aside, do the rest together, merge in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

__all__ = ["do_together"]

Kind = TypeVar("Kind")
Result = TypeVar("Result")


def do_together(kind: type[Kind], rows: Sequence[Any], do_all: Callable[[list[Kind]], Iterable[Result]]) -> list[Any]:
    """Do something for all rows of a kind at once; the others (errors, what is done already) stay where they are.

    Parameters
    ----------
    kind
        The class of the rows that it is done for.
    rows
        These and others, in any order.
    do_all
        Given those of the kind, in order, returns a result for each, in the same order.

    Returns
    -------
    list
        As long as `rows`: results, and what was not of the kind.
    """
    done = iter(do_all([row for row in rows if isinstance(row, kind)]))
    return [next(done) if isinstance(row, kind) else row for row in rows]
