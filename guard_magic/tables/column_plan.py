"""Which columns of a table hold the conversations.

Columns are found by exact name, and nothing is guessed: two possible readings, or none, are a `ColumnError` that names
what was seen and what to pass. Two readings are also a reading beside which a column stands that the reading would
ignore: one that says who said each row, or one that holds the answers. A caller who names the columns has chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.tables.columns import is_same, may_hold_messages, places_of
from guard_magic.tables.passed_over import call_of, refuse_passed_over, remarks_on_columns
from guard_magic.tables.suggesting import calls_to_write, close_names

__all__ = ["MESSAGE_NAMES", "ColumnPlan", "MissingResponse", "plan_columns", "remarks_on"]

Kind = Literal["messages", "prompt", "text", "long"]
MissingResponse = Literal["na", "prompt"]

MESSAGE_NAMES = ("messages", "conversations", "conversation")
"""Names of columns and Series of message lists."""

_HINT = (
    "Name them: text=…, prompt=… (with response=…), or messages=…; found by themselves are 'messages', 'conversations' "
    "or 'conversation', 'prompt' with an optional 'response', and 'text'."
)
_LONG_HINT = "A table with one row a message is read with conversation_id=…, role=… and content=… together."


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which columns are read, and how.

    Attributes
    ----------
    kind
        ``"messages"``: lists of messages or their JSON. ``"prompt"``: a user message, and with a second
        column the assistant's response to it. ``"text"``: one user message, verbatim. ``"long"``: one
        message a row; the columns of conversation ids, roles and contents.
    columns
        The one to three columns read, in order; of ``"long"`` without ids, those of roles and contents.
    is_named
        Whether the caller named them.
    order
        Of ``"long"``: the column by which each conversation's messages are sorted; None for the table's order.
    parent
        Of ``"long"``: the column of the messages' parents, alone or behind that of the messages' own ids; empty where
        there is none.
    missing_response
        Of ``"prompt"`` with a second column: what is read where the response is missing.
    """

    kind: Kind
    columns: tuple[object, ...]
    is_named: bool = field(default=False, compare=False)
    order: object = None
    parent: tuple[object, ...] = ()
    missing_response: MissingResponse = "na"

    def __str__(self) -> str:
        return " + ".join(map(str, self.columns))


def plan_columns(
    table: pd.DataFrame | Iterable[object],
    *,
    text: object = None,
    prompt: object = None,
    response: object = None,
    messages: object = None,
    conversation_id: object = None,
    role: object = None,
    content: object = None,
    order: object = None,
    parent: object = None,
    missing_response: object = "na",
) -> ColumnPlan:
    """Decide which columns hold the conversations.

    Parameters
    ----------
    table
        The table, or its column names alone: then nothing is known of columns that the reading would ignore.
    text, prompt, response, messages
        What the caller named; all None to find the columns by name.
    conversation_id, role, content
        What the caller named of a table with one message a row: all three or none. They are never found by
        themselves.
    order, parent
        Of such a table: the column by which messages are sorted, and the column of the ids of the messages that they
        answer (or a pair: the messages' own ids, and these); with `parent`, `conversation_id` may be left out.
    missing_response
        ``"na"`` or ``"prompt"``.

    Raises
    ------
    ColumnError
        For no reading or several, a named column that is not there or there twice, a response without its
        prompt, or some of `conversation_id`, `role` and `content` without the others.
    """
    without = _checked_missing_response(missing_response)
    seen = _names_of(table)
    parents = _parent_pair(parent, seen)
    long = _long_columns(conversation_id, role, content, order, parents)
    named = {"text": text, "prompt": prompt, "messages": messages, "conversation_id": long}
    given = [kind for kind, name in named.items() if name is not None]
    if response is not None and prompt is None:
        raise ColumnError("response= needs the column of the prompts it answers", hint="Pass prompt=… too.")
    if len(given) > 1:
        raise ColumnError(f"{' and '.join(f'{kind}=' for kind in given)} are two readings", hint="Pass one of them.")
    if long is not None:
        plan = ColumnPlan("long", long, is_named=True, order=order, parent=parents)
    elif given:
        plan = _named(text, prompt, response, messages, without)
    else:
        plan = _discover(table, seen, without)
    _check_there(seen, [*plan.columns, *plan.parent, *([] if order is None else [order])])
    if isinstance(table, pd.DataFrame) and not plan.is_named:
        refuse_passed_over(table, plan.kind, plan.columns)
    return plan


def _checked_missing_response(value: object) -> MissingResponse:
    for known in get_args(MissingResponse):
        if isinstance(value, str) and value == known:
            return known  # type: ignore[no-any-return]
    raise ColumnError(
        f"missing_response={shorten(value)} is not known",
        hint='Use missing_response="na" (not scored) or missing_response="prompt" (the prompt alone is assessed).',
    )


def _names_of(table: pd.DataFrame | Iterable[object]) -> list[object]:
    names = table.columns if isinstance(table, pd.DataFrame) else table
    if isinstance(names, pd.MultiIndex):
        raise ColumnError(
            f"the table's columns have {names.nlevels} levels, such as {shorten(next(iter(names), ()))}",
            hint='Make their names flat first: df.columns = ["_".join(map(str, names)) for names in df.columns].',
        )
    return list(names)


def _long_columns(
    conversation_id: object, role: object, content: object, order: object, parent: tuple[object, ...]
) -> tuple[object, ...] | None:
    named = {"conversation_id": conversation_id, "role": role, "content": content}
    given = {argument: name for argument, name in named.items() if name is not None}
    extra = [argument for argument, name in {"order": order, "parent": parent or None}.items() if name is not None]
    if not given and not extra:
        return None
    lacking = [argument for argument in named if argument not in given]
    if parent:
        lacking = [argument for argument in lacking if argument != "conversation_id"]
    if lacking:
        have = " and ".join(f"{argument}=" for argument in [*given, *extra])
        raise ColumnError(f"{have} without {' and '.join(f'{one}=' for one in lacking)}", hint=_LONG_HINT)
    if any(is_same(one, other) for i, one in enumerate(given.values()) for other in list(given.values())[:i]):
        twice = ", ".join(f"{argument}={name!r}" for argument, name in given.items())
        raise ColumnError(f"one column is named twice: {twice}", hint=_LONG_HINT)
    return tuple(given.values())


def _parent_pair(parent: object, seen: list[object]) -> tuple[object, ...]:
    if parent is None:
        return ()
    if isinstance(parent, tuple | list) and len(parent) == 2 and not places_of(seen, parent):
        return tuple(parent)
    return (parent,)


def _named(
    text: object, prompt: object, response: object, messages: object, missing_response: MissingResponse
) -> ColumnPlan:
    if messages is not None:
        return ColumnPlan("messages", (messages,), is_named=True)
    if text is not None:
        return ColumnPlan("text", (text,), is_named=True)
    columns = tuple(name for name in (prompt, response) if name is not None)
    return ColumnPlan("prompt", columns, is_named=True, missing_response=missing_response)


def _discover(table: object, seen: list[object], missing_response: MissingResponse) -> ColumnPlan:
    there = [name for name in (*MESSAGE_NAMES, "prompt", "response", "text") if places_of(seen, name)]
    found = [ColumnPlan("messages", (name,)) for name in MESSAGE_NAMES if name in there and _may_be(table, seen, name)]
    if "prompt" in there:
        columns = ("prompt", "response") if "response" in there else ("prompt",)
        found.append(ColumnPlan("prompt", columns, missing_response=missing_response))
    if "text" in there:
        found.append(ColumnPlan("text", ("text",)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ColumnError(f"no column to score: the table has {_shown(seen)}", hint=_hint_for(table, seen))
    calls = " or ".join(call_of(plan.kind, plan.columns) for plan in found)
    raise ColumnError(
        f"several columns could be scored: {', '.join(f'{plan}' for plan in found)}",
        hint=f"Say which: {calls}. {_HINT}",
    )


def _may_be(table: object, seen: list[object], name: str) -> bool:
    places = places_of(seen, name)
    if not isinstance(table, pd.DataFrame) or len(places) != 1:
        return True
    return may_hold_messages(name, table.iloc[:, places[0]])


def _hint_for(table: object, seen: list[object]) -> str:
    calls = calls_to_write(table, seen)
    return " ".join([*calls, _HINT, *([] if calls else [_LONG_HINT])])


def _check_there(seen: list[object], names: Iterable[object]) -> None:
    for name in names:
        found = len(places_of(seen, name))
        if found != 1:
            what = "no column" if not found else f"{found} columns"
            near = close_names(name, seen)
            hint = f"Is {' or '.join(map(repr, near))} meant? {_HINT}" if near and not found else _HINT
            raise ColumnError(f"the table has {what} {shorten(name)}; it has {_shown(seen)}", hint=hint)


def _shown(seen: list[object]) -> str:
    shown = ", ".join(shorten(name, 30) for name in seen[:12])
    return f"{shown}, … ({len(seen)} columns)" if len(seen) > 12 else shown or "no columns"


def remarks_on(frame: pd.DataFrame, plan: ColumnPlan) -> list[str]:
    """Return what is to be said once of columns that this reading passes over, where that may be harmless."""
    return remarks_on_columns(frame, plan.kind, plan.columns, plan.is_named)
