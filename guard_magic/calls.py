"""Calls: arguments that have names, and functions that carry the signature and the words of another.

What a function does not take is an error that shows what it does take.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import ParamSpec, TypeVar

from guard_magic.errors import CallError, ColumnError, GuardError, shorten

__all__ = ["by_name", "carrying"]

Params = ParamSpec("Params")
Result = TypeVar("Result")

_COLUMNS = ("text", "prompt", "messages")
_MEANT = {
    "column": "text",
    "col": "text",
    "model": "guard",
    "conversation": "messages",
    "chat": "messages",
    "completion": "response",
    "answer": "response",
    "question": "prompt",
    "categories": "exclude",
    "taxonomy": "policy",
    "cutoff": "threshold",
    "file": "labels",
    "path": "labels",
    "sort": "order",
    "user": "annotator",
    "verbose": "progress",
    "conversation_ids": "conversation_id",
}
"""What other libraries call some of our options."""


def by_name(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Return the function; calls that it cannot take are errors of ours with a hint.

    Arguments by position beyond those it takes so are a `ColumnError`; options that it does not have, or lacks, a
    `CallError`, which is a `TypeError` too.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    n_places = sum(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    named = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(function)
    def call(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        if len(args) > n_places:
            raise _unnamed(function.__name__, args[n_places], named)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            wrong = _misnamed(function.__name__, list(signature.parameters), list(kwargs), str(error))
            raise wrong from None
        return function(*args, **kwargs)

    return call


def _unnamed(function: str, value: object, named: Sequence[str]) -> ColumnError:
    if set(_COLUMNS) <= set(named):
        shown = shorten(value) if isinstance(value, str) else "…"
        hint = f"{function}(text={shown}) reads that column as user messages, {function}(messages={shown}) as lists of "
        hint += (
            "messages; prompt= with response=, and conversation_id= with role= and content=, are the other readings."
        )
    else:
        hint = _options(named)
    return ColumnError(f"{function}() takes its arguments by name, not {shorten(value)} by position", hint=hint)


def _misnamed(function: str, names: list[str], given: Sequence[str], why: str) -> GuardError:
    """Return what is wrong with a call that does not fit the parameters `names`, of which "self" is not shown."""
    shown = [name for name in names if name != "self"]
    strange = [name for name in given if name not in names]
    if not strange:
        return CallError(f"{function}(): {why}", hint=_options(shown))
    near = [name for one in strange for name in _near(one, shown)]
    meant = f"Is {' or '.join(f'{name}=' for name in dict.fromkeys(near))} meant? " if near else ""
    listed = " and ".join(f"{shorten(name)[1:-1]}=" for name in strange[:3])
    return CallError(f"{function}() has no option {listed}", hint=meant + _options(shown))


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Return the one name that is most likely meant, or none."""
    if _MEANT.get(name.lower()) in names:
        return [_MEANT[name.lower()]]
    parts = [one for one in names if one in name.lower().split("_") or name.lower() in one.split("_")]
    return difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7) or parts[:1]


def _options(named: Sequence[str]) -> str:
    return f"Its options are {', '.join(f'{name}=' for name in named)}." if named else "It takes none."


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
