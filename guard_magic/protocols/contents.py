"""Rendering messages by a tokenizer's chat template, in the form of content that the template reads.

Llama-Guard-3-8B's template wants a string; those of Llama-Guard-3-1B and -11B-Vision want a list of typed
parts, and render a *string* as an empty conversation without any error: the guard would then call
everything safe. Which form a template reads is found out by looking for the text in what it renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["Chat", "takes_parts", "typed"]

Chat = list[dict[str, Any]]
"""Messages as a chat template takes them."""

_PROBE = "zq00000form"


def typed(messages: Sequence[dict[str, str]], parts: bool) -> Chat:
    """Return messages whose contents are strings, or each one a list that holds one text part."""
    if not parts:
        return [dict(message) for message in messages]
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def takes_parts(tokenizer: Any) -> bool:
    """Say whether the chat template reads typed parts and nothing else.

    A template that shows a string takes strings; one that shows neither form is refused later, when its
    skeleton is built.
    """
    messages = [{"role": "user", "content": _PROBE}]
    for parts in (False, True):
        with suppress(Exception):  # whatever a template raises
            if _PROBE in str(tokenizer.apply_chat_template(typed(messages, parts), tokenize=False)):
                return parts
    return False
