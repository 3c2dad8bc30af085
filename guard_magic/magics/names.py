"""What a name on a line of ours stands for: a variable, or a part of one by attributes and subscripts."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError

from guard_magic.errors import shorten

__all__ = ["value_of"]


def value_of(expression: str, names: Mapping[str, Any]) -> Any:
    """Return what ``chats[0]``, ``df.messages`` or ``row["text"]`` stands for; nothing is called and nothing computed.

    Raises
    ------
    UsageError
        Where a name is not there, something else than names, attributes and subscripts stands in it, or taking a part
        of a value fails.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"there is no variable {shorten(expression)}") from None
    return _value(tree, names, expression)


def _value(node: ast.expr, names: Mapping[str, Any], whole: str) -> Any:
    match node:
        case ast.Name(id=name):
            if name not in names:
                raise UsageError(f"there is no variable {shorten(name)}")
            return names[name]
        case ast.Attribute(value=inner, attr=attribute):
            owner = _value(inner, names, whole)
            return _part(lambda: getattr(owner, attribute), node)
        case ast.Subscript(value=inner, slice=key):
            owner, at = _value(inner, names, whole), _key(key, names, whole)
            return _part(lambda: owner[at], node)
    raise UsageError(
        f"{shorten(whole)} is more than names, attributes and subscripts: assign it to a variable first, "
        "then -i VARIABLE"
    )


def _part(take: Any, node: ast.expr) -> Any:
    try:
        return take()
    except Exception as error:
        raise UsageError(
            f"{shorten(ast.unparse(node))} cannot be taken: {type(error).__name__}: {shorten(str(error))}"
        ) from None


def _key(node: ast.expr, names: Mapping[str, Any], whole: str) -> Any:
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
        case ast.Slice(lower=lower, upper=upper, step=step):
            return slice(*(None if one is None else _key(one, names, whole) for one in (lower, upper, step)))
        case ast.Tuple(elts=items):
            return tuple(_key(item, names, whole) for item in items)
    return _value(node, names, whole)
