"""Values whose own code raises: what a row of a table may hold in the worst case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["HOSTILE", "USER", "hostile_column"]

USER = {"role": "user", "content": "hi"}


class Bomb(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


def boom(*_: object) -> Any:
    raise Bomb


class HostileMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise Bomb

    def __iter__(self) -> Iterator[str]:
        yield "role"

    def __len__(self) -> int:
        return 1


HOSTILE = [
    type(f"Hostile{name}", (), {"__repr__": boom, name: boom})()
    for name in ("__iter__", "__len__", "__getitem__", "__hash__", "__eq__", "__bool__", "__str__")
] + [
    type("HostileClass", (), {"__class__": property(boom)})(),
    type("HostileAttributes", (), {"__getattribute__": boom})(),
    type("HostileText", (str,), {"__repr__": boom, "strip": boom, "__len__": boom, "lower": boom, "__getitem__": boom})(
        "x"
    ),
    type("HostileNumber", (float,), {"__ne__": boom, "__eq__": boom, "__repr__": boom})(1.0),
    type("HostileDict", (dict,), {"get": boom, "items": boom, "__getitem__": boom, "__repr__": boom})(USER),
    type("HostileList", (list,), {"__iter__": boom, "__repr__": boom})([USER]),
    HostileMapping(),
    10**5_000,
    memoryview(b"x"),
]


def hostile_column(first: object) -> pd.Series:
    """Return a column of what is no text, between two rows that can be read."""
    things = [thing for thing in HOSTILE if not issubclass(type(thing), str)]
    values = np.empty(len(things) + 2, dtype=object)
    for i, thing in enumerate([first, *things, first]):
        values[i] = thing
    return pd.Series(values, dtype=object)
