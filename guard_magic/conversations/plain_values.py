"""Values as notebooks and files hold them: what is missing, what is a list, what is text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from guard_magic.checks import is_missing
from guard_magic.errors import ConversationError, shorten

__all__ = ["MAX_MESSAGES", "MESSAGE_HINT", "from_pairs", "is_missing", "is_pair", "listed", "plain"]

MAX_MESSAGES = 100_000
"""Most messages of a conversation, and most parts of a message: what yields more has no end."""
MESSAGE_HINT = 'A message is {"role": "user", "content": "…"} or {"from": "human", "value": "…"}.'


def plain(text: str) -> str:
    """Return a string of the plain type, whatever class of strings it is of."""
    return text if type(text) is str else str.__str__(text)


def listed(value: Any) -> list[object] | None:
    """Return the elements of a list, array or the like; None for text, mappings and what has none.

    Raises
    ------
    ConversationError
        For more than `MAX_MESSAGES`.
    """
    if isinstance(value, str | bytes | Mapping):
        return None
    try:
        elements = iter(value)
    except TypeError:
        return None
    found = list(itertools.islice(elements, MAX_MESSAGES + 1))
    if len(found) > MAX_MESSAGES:
        raise ConversationError(
            f"a {type(value).__name__} with more than {MAX_MESSAGES:,} elements", hint="Score a part of it."
        )
    return found


def is_pair(item: object) -> bool:
    """Say whether this is a key with its value, as Arrow's maps give them."""
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def from_pairs(pairs: Sequence[Any]) -> dict[str, object]:
    """Return the mapping that Arrow's map type gives as a list of pairs."""
    if not all(is_pair(pair) for pair in pairs):
        raise ConversationError(f"a list of pairs and of other things: {shorten(list(pairs))}", hint=MESSAGE_HINT)
    built = dict(pairs)
    if len(built) < len(pairs):
        raise ConversationError(f"a key stands twice in {shorten(list(pairs))}", hint="Keep the one that was meant.")
    return built
