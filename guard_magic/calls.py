"""Calls: arguments that have names, and functions that carry the signature and the words of another.

One that is passed by position is an error that shows how to write it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

from guard_magic.errors import ColumnError, shorten

__all__ = ["by_name", "carrying"]

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


def carrying(
    source: Callable[..., object], *, without: Collection[str] = ()
) -> Callable[[Callable[Params, Result]], Callable[Params, Result]]:
    """Give a method the signature and the documentation of the function that it hands its arguments to.

    Parameters
    ----------
    source
        The function; its first parameter is the method's own object.
    without
        Parameters that the method does not take. Where it has words of its own, they stand in the place of the
        function's first ones, up to the parameters.
    """
    first, *others = inspect.signature(source).parameters.values()
    taken = [parameter for parameter in others if parameter.name not in without]

    def carry(method: Callable[Params, Result]) -> Callable[Params, Result]:
        own = inspect.signature(method)
        parameters = [next(iter(own.parameters.values())), *taken]
        method.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        method.__doc__ = _documentation(inspect.getdoc(source) or "", method.__doc__, {first.name, *without})
        return method

    return carry


def _documentation(source: str, own: str | None, without: Collection[str]) -> str:
    """Return a docstring (numpy style) less some parameters, under words of its own where there are any."""
    before, rest = source.split("\nParameters\n", 1)
    body, *sections = re.split(r"\n\n(?=\w+\n-+\n)", rest)
    entries = re.split(r"\n(?=\S)", body.split("\n", 1)[1])
    kept = []
    for entry in entries:
        names, _, text = entry.partition("\n")
        left = [name for name in names.split(", ") if name not in without]
        kept += [f"{', '.join(left)}\n{text}"] if left else []
    words = before.strip() if own is None else inspect.cleandoc(own)
    return "\n\n".join([words, "\n".join(["Parameters", "----------", *kept]), *sections])
