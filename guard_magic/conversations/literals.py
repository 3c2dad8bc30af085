"""Values written as text: JSON, Python literals, and the mere pictures of values that some programs write.

Nothing is evaluated: a Python literal is taken apart as a syntax tree and only its constants, lists and mappings are
rebuilt. A key that stands twice in one mapping is an error, for either of its values could be the one that was meant.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable
from typing import Any

from guard_magic.characters import is_blank
from guard_magic.errors import ConversationError, shorten

__all__ = ["begins_like_literal", "read_literal"]

_JSON_HINT = "Mend the JSON, or read it as plain text: text=… in df.guard.score()."
_PRINTED_HINT = (
    "Printing lost where one element ends and the next begins. Write the lists as JSON: "
    "df.assign(messages=[json.dumps(list(m)) for m in df.messages]).to_csv(…), or keep the table as Parquet."
)
_MOST_CHARACTERS = 2_000_000
"""Longest Python literal read: rebuilding it takes two seconds a million characters where it is all punctuation."""
_START = re.compile(r"[\ufeff\u200b\u2060\s]*([\[{(]?)")
_STRING = re.compile(r"""[uU]?(?:'(?:[^'\\\n]|\\.)*+'?|"(?:[^"\\\n]|\\.)*+"?)""", re.S)
"""A quoted text, closed or not: an open one that were no match would be looked for again at every quote in it."""
_PRINTED = re.compile(r"\barray\(|\bdtype=|\A\[.*?\}\s*\{|§\s*§", re.S)
_CONSTANTS = (str, int, float, bool, type(None))


def begins_like_literal(text: str) -> bool:
    """Say whether the first character that is no blank opens a list, a mapping or a tuple."""
    found = _START.match(text)
    return bool(found and found.group(1))


def read_literal(text: str) -> Any:
    """Return the value that a JSON text or a Python literal stands for.

    A byte order mark ahead of it is passed over.

    Raises
    ------
    ConversationError
        For what is neither, for a key twice in one mapping, for numbers with too many digits or a nesting that is too
        deep, and for what NumPy printed (naming what to do instead).
    """
    if is_blank(text):
        raise ConversationError(
            f"the messages are empty text ({shorten(text)})",
            hint='A message is {"role": "user", "content": "…"} or {"from": "human", "value": "…"}.',
        )
    bare = text.lstrip("\ufeff\u200b\u2060 \t\r\n")
    try:
        return json.loads(bare, object_pairs_hook=_mapping)
    except ConversationError:
        raise
    except json.JSONDecodeError as error:
        seen = f"broken JSON at line {error.lineno}, column {error.colno} ({error.msg})"
    except RecursionError:
        raise ConversationError(f"the JSON is nested too deeply: {shorten(text)}", hint=_JSON_HINT) from None
    except ValueError:
        raise ConversationError(
            f"the JSON has a number with too many digits: {shorten(text)}", hint=_JSON_HINT
        ) from None
    return _read_python(bare, seen)


def _read_python(text: str, seen: str) -> Any:
    """Return the value of a Python literal; what is none has the error that JSON saw."""
    if text[:1] in ("[", "{", "(") and len(text) <= _MOST_CHARACTERS:
        _check_printed(text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unknown escape such as "\d" stands for itself
                return _value(ast.parse(text.rstrip(), mode="eval").body)
        except ConversationError:
            raise
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            pass
    raise ConversationError(f"{seen}: {shorten(text)}", hint=_JSON_HINT)


def _check_printed(text: str) -> None:
    """Refuse what stands side by side with nothing between: whoever printed it had two, and Python joins texts."""
    first_quote = next((character for character in text if character in "'\""), "'")
    if first_quote == "'" and _PRINTED.search(_STRING.sub(_blotted, text.replace("§", ""))):
        raise ConversationError(
            f"this is what NumPy or pandas prints of an array, not its value: {shorten(text)}", hint=_PRINTED_HINT
        )


def _blotted(found: re.Match[str]) -> str:
    quoted = found.group().lstrip("uU")
    return "§" if len(quoted) > 1 and quoted[0] == quoted[-1] else ""


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=constant) if isinstance(constant, _CONSTANTS):
            return constant
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            found = [_value(key) for key in keys if key is not None]
            return _mapping(zip(found, map(_value, values), strict=True))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Name(id="nan" | "inf"):
            return float(node.id)
    raise ValueError("more than constants, lists and mappings")


def _mapping(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    listed = list(pairs)
    built = dict(listed)
    if len(built) < len(listed):
        keys = [key for key, _ in listed]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConversationError(
            f"the key {shorten(twice)} stands twice in one mapping", hint="Keep the one that was meant."
        )
    return built
