"""Chat templates that print contents and do nothing else with them.

A template that tests, cuts or replaces contents may hide from the guard what it is to judge, so what it renders has to
be compared row by row. Most templates only print them. For these one rendering with placeholders tells what every other
one will be: `prints_only` proves it from the template's syntax tree. It names a kind for every expression, by what it
is made of, and knows few things that may be done with contents: join them with other text, strip them, print them. A
template with anything it does not know is not proved, whatever it does.

Variables have one kind in the whole template, the sum of all that is assigned to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from jinja2 import TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guard_magic.prompts.template_kinds import (
    CLEAN_CALLS,
    CLEAN_FILTERS,
    CLEAN_METHODS,
    FIELDS,
    ITEMS,
    LOOP_FIELDS,
    PRINTED,
    TYPE_TESTS,
    Kind,
    UnknownKind,
    is_number,
    joined,
)

__all__ = ["Printed", "prints_only"]

Printed = Literal["as they are", "stripped", "unknown"]
"""What becomes of contents: printed as they are, by some or all places stripped, or not known."""

_OPAQUE = frozenset({"caller", "kwargs", "self", "varargs"})


@lru_cache(maxsize=64)
def prints_only(template: str, parts: bool) -> Printed:
    """Say what a template surely does with contents.

    Parameters
    ----------
    template
        Its Jinja text.
    parts
        Whether contents are given as typed parts, not as strings.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        return _Reader(Kind.PARTS if parts else Kind.CONTENT).read(environment.parse(template))
    except (TemplateError, UnknownKind, RecursionError):
        return "unknown"


class _Reader:
    """Reads one template until no variable's kind changes any more."""

    def __init__(self, content: Kind) -> None:
        self._content = content
        self._names: dict[str, Kind] = {"messages": Kind.MESSAGES, "loop": Kind.LOOP}
        self._strips = False

    def read(self, template: nodes.Template) -> Printed:
        before: dict[str, Kind] = {}
        while before != self._names:  # kinds only ever grow
            before = dict(self._names)
            self._body(template.body)
        return "stripped" if self._strips else "as they are"

    # Statements

    def _body(self, body: Sequence[nodes.Node]) -> None:
        for node in body:
            self._statement(node)

    def _statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                self._need(part, *PRINTED)
        elif isinstance(node, nodes.If):
            self._branch(node)
        elif isinstance(node, nodes.For):
            self._loop(node)
        elif isinstance(node, nodes.Assign):
            self._assign(node.target, self._kind(node.node))
        elif isinstance(node, nodes.ExprStmt):
            self._clean(node.node)
        elif not isinstance(node, nodes.TemplateData | nodes.Break | nodes.Continue):
            raise UnknownKind

    def _branch(self, node: nodes.If) -> None:
        taken = self._decided(node.test)
        if taken is None:
            self._truth(node.test)
        if taken is not False:
            self._body(node.body)
        if taken is not True:
            self._body(node.elif_)
            self._body(node.else_)

    def _loop(self, node: nodes.For) -> None:
        if node.recursive:
            raise UnknownKind
        self._assign(node.target, ITEMS[self._need(node.iter, *ITEMS)])
        if node.test is not None:
            self._truth(node.test)
        self._body(node.body)
        self._body(node.else_)

    def _assign(self, target: nodes.Node, kind: Kind) -> None:
        if isinstance(target, nodes.Name):
            self._names[target.name] = joined(self._names.get(target.name), kind)
        elif kind is not Kind.CLEAN or not isinstance(target, nodes.NSRef | nodes.Tuple):
            raise UnknownKind
        elif isinstance(target, nodes.Tuple):
            for item in target.items:
                self._assign(item, kind)

    # Expressions

    def _need(self, node: nodes.Node, *kinds: Kind) -> Kind:
        kind = self._kind(node)
        if kind not in kinds:
            raise UnknownKind
        return kind

    def _clean(self, *parts: nodes.Node) -> Kind:
        for part in parts:
            self._need(part, Kind.CLEAN)
        return Kind.CLEAN

    def _truth(self, node: nodes.Node) -> Kind:
        """Whether there are messages is no secret of theirs; whether a content is empty would be."""
        self._need(node, Kind.CLEAN, Kind.MESSAGES, Kind.MESSAGE)
        return Kind.CLEAN

    def _kind(self, node: nodes.Node) -> Kind:
        if isinstance(node, nodes.Name) and node.name not in _OPAQUE:
            return self._names.get(node.name, Kind.CLEAN)
        if isinstance(node, nodes.Const | nodes.TemplateData):
            return Kind.CLEAN
        if isinstance(node, nodes.Add | nodes.Concat):
            return self._joining([node.left, node.right] if isinstance(node, nodes.Add) else node.nodes)
        if isinstance(node, nodes.CondExpr):
            return self._choice(node)
        if isinstance(node, nodes.And | nodes.Or | nodes.Not):
            return self._logic(node)
        if isinstance(node, nodes.Getattr | nodes.Getitem):
            return self._field(node)
        if isinstance(node, nodes.Filter | nodes.Test):
            return self._filter(node) if isinstance(node, nodes.Filter) else self._test(node)
        if isinstance(node, nodes.Call):
            return self._call(node)
        return self._compound(node)

    def _choice(self, node: nodes.CondExpr) -> Kind:
        taken = self._decided(node.test)
        if taken is None:
            self._truth(node.test)
        one = None if taken is False else self._kind(node.expr1)
        if taken is True and one is not None:
            return one
        return joined(one, Kind.CLEAN if node.expr2 is None else self._kind(node.expr2))

    def _decided(self, node: nodes.Node) -> bool | None:
        """Return what a test of the type of a message's content always says; None for any other expression."""
        if isinstance(node, nodes.Not):
            inner = self._decided(node.node)
            return None if inner is None else not inner
        if not isinstance(node, nodes.Test) or not isinstance(node.node, nodes.Getattr | nodes.Getitem):
            return None
        if self._kind(node.node) is not self._content:
            return None
        answers = {"string": self._content is Kind.CONTENT, "mapping": False, "none": False, "defined": True}
        return answers.get(node.name)

    def _joining(self, parts: Sequence[nodes.Node]) -> Kind:
        kinds = [self._need(part, *PRINTED) for part in parts]
        return Kind.CLEAN if set(kinds) == {Kind.CLEAN} else Kind.TEXT

    def _logic(self, node: nodes.And | nodes.Or | nodes.Not) -> Kind:
        if isinstance(node, nodes.Not):
            return self._truth(node.node)
        return self._clean(node.left, node.right)

    def _field(self, node: nodes.Getattr | nodes.Getitem) -> Kind:
        kind = self._kind(node.node)
        if isinstance(node, nodes.Getitem):
            index = node.arg
            if isinstance(index, nodes.Slice):
                self._clean(*(part for part in (index.start, index.stop, index.step) if part is not None))
                return self._need(node.node, Kind.CLEAN, Kind.MESSAGES, Kind.PARTS)
            self._clean(index)
            if kind in ITEMS and (kind is Kind.CLEAN or is_number(index)):
                return ITEMS[kind]
            name = index.value if isinstance(index, nodes.Const) else None
        else:
            name = node.attr
        return self._named_field(kind, name)

    def _named_field(self, kind: Kind, name: object) -> Kind:
        if kind is Kind.CLEAN or (kind is Kind.LOOP and name in LOOP_FIELDS):
            return Kind.CLEAN
        if kind is Kind.MESSAGE and name == "content":
            return self._content
        found = FIELDS.get(kind, {}).get(str(name))
        if found is None:
            raise UnknownKind
        return found

    def _filter(self, node: nodes.Filter) -> Kind:
        if node.node is None or node.dyn_args is not None or node.dyn_kwargs is not None:
            raise UnknownKind
        kind = self._kind(node.node)
        self._clean(*node.args, *(pair.value for pair in node.kwargs))
        if kind is Kind.CLEAN and node.name in CLEAN_FILTERS:
            return kind
        if kind is Kind.CONTENT and node.name == "trim" and not node.args and not node.kwargs:
            return self._stripped()
        if kind in (Kind.MESSAGES, Kind.PARTS):
            item = ITEMS[kind]
            found = {"length": Kind.CLEAN, "count": Kind.CLEAN, "list": kind, "first": item, "last": item}
            if node.name in found:
                return found[node.name]
            if node.name in ("selectattr", "rejectattr") and self._selects_by(node) in FIELDS[ITEMS[kind]]:
                return kind
        raise UnknownKind

    def _selects_by(self, node: nodes.Filter) -> str | None:
        first = node.args[0] if node.args else None
        name = first.value if isinstance(first, nodes.Const) else None
        return None if name == "text" else name

    def _test(self, node: nodes.Test) -> Kind:
        kind = self._kind(node.node)
        is_plain = node.dyn_args is None and node.dyn_kwargs is None
        if not is_plain or kind is Kind.LOOP or (kind is not Kind.CLEAN and node.name not in TYPE_TESTS):
            raise UnknownKind
        return self._clean(*node.args, *(pair.value for pair in node.kwargs))

    def _call(self, node: nodes.Call) -> Kind:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return self._spread(node)
        parts = [*node.args, *(pair.value for pair in node.kwargs)]
        called = node.node
        if isinstance(called, nodes.Name) and called.name in CLEAN_CALLS and called.name not in self._names:
            return self._clean(*parts)
        if isinstance(called, nodes.Getattr):
            kind = self._kind(called.node)
            if kind is Kind.CONTENT and called.attr == "strip" and not parts:
                return self._stripped()
            if kind is Kind.CLEAN and called.attr in CLEAN_METHODS:
                return self._clean(*parts)
        raise UnknownKind

    def _spread(self, node: nodes.Call) -> Kind:
        """``dict(known, **more)`` of the template's own."""
        if not isinstance(node.node, nodes.Name) or node.node.name != "dict" or "dict" in self._names:
            raise UnknownKind
        spread = [part for part in (node.dyn_args, node.dyn_kwargs) if part is not None]
        return self._clean(*node.args, *(pair.value for pair in node.kwargs), *spread)

    def _stripped(self) -> Kind:
        self._strips = True
        return Kind.CONTENT

    def _compound(self, node: nodes.Node) -> Kind:
        if isinstance(node, nodes.Compare):
            return self._compare(node)
        if isinstance(node, nodes.List | nodes.Tuple):
            return self._clean(*node.items)
        if isinstance(node, nodes.Dict):
            return self._clean(*(part for pair in node.items for part in (pair.key, pair.value)))
        if isinstance(node, nodes.Sub | nodes.Mul | nodes.Div | nodes.FloorDiv | nodes.Mod | nodes.Pow):
            return self._clean(node.left, node.right)
        if isinstance(node, nodes.Neg | nodes.Pos):
            return self._clean(node.node)
        raise UnknownKind

    def _compare(self, node: nodes.Compare) -> Kind:
        """Compare what is clean; or ask whether a message has a field: all have the same ones."""
        self._clean(node.expr)
        for operand in node.ops:
            kinds = (Kind.CLEAN, Kind.MESSAGE, Kind.PART) if operand.op in ("in", "notin") else (Kind.CLEAN,)
            self._need(operand.expr, *kinds)
        return Kind.CLEAN
