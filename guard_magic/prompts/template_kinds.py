"""Kinds of expressions of a chat template: what each is made of; see `template_check`."""

from __future__ import annotations

from enum import Enum

from jinja2 import nodes

__all__ = [
    "CLEAN_CALLS",
    "CLEAN_FILTERS",
    "CLEAN_METHODS",
    "FIELDS",
    "ITEMS",
    "LOOP_FIELDS",
    "PRINTED",
    "TYPE_TESTS",
    "Kind",
    "UnknownKind",
    "is_number",
    "joined",
]


class Kind(Enum):
    """What an expression is made of."""

    CLEAN = "roles, positions, options and the template's own text"
    CONTENT = "one content, stripped or not"
    TEXT = "contents joined with other text"
    MESSAGE = "one message"
    MESSAGES = "messages"
    PART = "one typed part of a content"
    PARTS = "the typed parts of a content"
    LOOP = "the loop's own variable"


class UnknownKind(Exception):
    """The template does something that is not known to be harmless."""


PRINTED = (Kind.CLEAN, Kind.CONTENT, Kind.TEXT)
ITEMS = {Kind.MESSAGES: Kind.MESSAGE, Kind.PARTS: Kind.PART, Kind.CLEAN: Kind.CLEAN}
FIELDS = {
    Kind.MESSAGE: {"role": Kind.CLEAN, **dict.fromkeys(("name", "tool_calls", "tool_call_id"), Kind.CLEAN)},
    Kind.PART: {"type": Kind.CLEAN, "text": Kind.CONTENT},
}
LOOP_FIELDS = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})
CLEAN_FILTERS = frozenset(
    {"capitalize", "count", "default", "d", "first", "int", "items", "join", "last", "length", "list", "lower"}
    | {"reject", "rejectattr", "replace", "select", "selectattr", "string", "title", "trim", "upper"}
)
CLEAN_METHODS = frozenset(
    {"append", "capitalize", "endswith", "get", "items", "keys", "lower", "lstrip", "replace", "rstrip", "split"}
    | {"startswith", "strip", "title", "upper", "values"}
)
CLEAN_CALLS = frozenset({"dict", "namespace", "raise_exception", "range"})
TYPE_TESTS = frozenset({"defined", "iterable", "mapping", "none", "number", "sequence", "string", "undefined"})


def joined(one: Kind | None, other: Kind) -> Kind:
    """Return the kind of what is either of the two."""
    if one is None or one is other:
        return other
    if one in PRINTED and other in PRINTED:
        return PRINTED[max(PRINTED.index(one), PRINTED.index(other))]
    raise UnknownKind


def is_number(node: nodes.Node) -> bool:
    """Whether an index is surely a position: a number, or computed from the loop's position."""
    if isinstance(node, nodes.Const):
        return isinstance(node.value, int)
    if isinstance(node, nodes.Neg):
        return is_number(node.node)
    if isinstance(node, nodes.CondExpr):
        return node.expr2 is not None and is_number(node.expr1) and is_number(node.expr2)
    if isinstance(node, nodes.Add | nodes.Sub):
        return is_number(node.left) and is_number(node.right)
    if not isinstance(node, nodes.Getattr) or not isinstance(node.node, nodes.Name):
        return False
    return node.node.name == "loop" and node.attr in ("index", "index0")
