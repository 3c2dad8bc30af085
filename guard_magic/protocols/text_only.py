"""A private copy of a tokenizer that reads every text as text.

A guard's prompt holds control tokens (``<|eot_id|>``) that close the user's turn and open the guard's. If
the text of a conversation could produce one, it could end the prompt early and answer in the guard's
place. The copy made here never produces one: what looks like a control token in its input becomes
ordinary characters. The model's own tokenizer is not touched (its ``split_special_tokens`` switch would
flip state that other threads share).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

__all__ = ["control_tokens", "inner_copy", "text_only_copy"]


def control_tokens(tokenizer: Any, template: str) -> dict[str, int]:
    """Return the tokens that only the template may write: text -> id.

    These are the tokenizer's special tokens, and its other added tokens that occur in `template`.
    """
    return {
        str(token.content): int(token_id)
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in template
    }


def text_only_copy(tokenizer: Any, control: Iterable[str]) -> Tokenizer:
    """Copy the backend of a fast tokenizer so that it never produces a token of `control`.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer with a ``backend_tokenizer``; it is left as it is.
    control
        Texts of the tokens that must stay text.
    """
    names = frozenset(control)
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in description.get("added_tokens", []):
        token["special"] = bool(token["special"]) or token["content"] in names
    copy = Tokenizer.from_str(json.dumps(description))
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def inner_copy(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a backend tokenizer for text that does not begin a prompt.

    SentencePiece-like tokenizers with ``prepend_scheme="first"`` mark the first word of the whole text and no other.
    Other tokenizers are returned as they are.
    """
    text = tokenizer.to_str()
    description = json.loads(text)
    steps = [description.get("pre_tokenizer") or {}]
    found = False
    while steps:
        step = steps.pop()
        steps += step.get("pretokenizers", [])
        if step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "never"
            found = True
    if not found:
        return tokenizer
    copy = Tokenizer.from_str(json.dumps(description))
    copy.encode_special_tokens = True
    return copy
