"""Calls whose arguments have names: one that is passed by position is an error that shows how to write it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from guard_magic.errors import ColumnError, shorten

__all__ = ["by_name"]

Params = ParamSpec("Params")
Result = TypeVar("Result")

_COLUMNS = ("text", "prompt", "messages")


def by_name(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Return the function; arguments by position beyond those it takes so are a `ColumnError` with a hint."""
    parameters = inspect.signature(function).parameters.values()
    n_places = sum(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    named = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(function)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        if len(args) > n_places:
            raise _unnamed(function.__name__, args[n_places], named)
        return function(*args, **kwargs)

    return call


def _unnamed(function: str, value: object, named: list[str]) -> ColumnError:
    if set(_COLUMNS) <= set(named):
        shown = shorten(value) if isinstance(value, str) else "…"
        hint = f"{function}(text={shown}) reads that column as user messages, {function}(messages={shown}) as lists of "
        hint += (
            "messages; prompt= with response=, and conversation_id= with role= and content=, are the other readings."
        )
    else:
        hint = f"Its options are {', '.join(f'{name}=' for name in named)}." if named else "It takes none."
    return ColumnError(f"{function}() takes its arguments by name, not {shorten(value)} by position", hint=hint)
