"""A private copy of a tokenizer that reads every text as text.

A guard's prompt holds control tokens (``<|eot_id|>``) that close the user's turn and open the guard's. If
the text of a conversation could produce one, it could end the prompt early and answer in the guard's
place. The copy made here never produces one: what looks like a control token in its input becomes
ordinary characters. The model's own tokenizer is not touched (its ``split_special_tokens`` switch would
flip state that other threads share).
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

__all__ = ["Behind", "TextTokenizers", "control_tokens", "text_only_copies"]

Behind = Literal["start", "inside", "joined"]
"""What stands ahead of a stretch of text: nothing, a control token, or other text."""


def control_tokens(tokenizer: Any, template: str) -> dict[str, int]:
    """Return the tokens that only the template may write: text -> id.

    These are the tokenizer's special tokens, and its other added tokens that occur in `template`.
    """
    return {
        str(token.content): int(token_id)
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in template
    }


@dataclass(frozen=True, slots=True)
class TextTokenizers:
    """Copies of a backend tokenizer that never produce a control token; the same object where they would not differ.

    SentencePiece-like tokenizers put a mark ahead of the first word: of the whole text, or of each stretch between
    control tokens.

    Attributes
    ----------
    start
        For text that begins the prompt.
    inside
        For text behind a control token.
    joined
        For text that goes on from other text.
    """

    start: Tokenizer
    inside: Tokenizer
    joined: Tokenizer

    def encode(self, texts: Sequence[tuple[str, Behind]]) -> list[list[int]]:
        """Return the ids of texts, in order, given what stands ahead of each.

        They are tokenized together: on all processors, and other threads go on meanwhile.
        """
        found: list[list[int]] = [[]] * len(texts)
        for kind in dict.fromkeys(behind for _, behind in texts):
            positions = [i for i, (_, behind) in enumerate(texts) if behind == kind]
            tokenizer: Tokenizer = getattr(self, kind)
            encodings = tokenizer.encode_batch_fast([texts[i][0] for i in positions], add_special_tokens=False)
            for i, encoding in zip(positions, encodings, strict=True):
                found[i] = encoding.ids
        return found


def text_only_copies(tokenizer: Any, control: Iterable[str]) -> TextTokenizers:
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
    start = inside = joined = _built(description)
    if _unmark(description, {"first"}):
        inside = joined = _built(description)
    if _unmark(description, {"first", "always"}):
        joined = _built(description)
    return TextTokenizers(start, inside, joined)


def _built(description: dict[str, Any]) -> Tokenizer:
    copy = Tokenizer.from_str(json.dumps(description))
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def _unmark(description: dict[str, Any], schemes: Container[str]) -> bool:
    """Take out the mark that is put ahead of text; say whether there was one.

    A normalizer that prepends does so at every stretch, as the scheme ``"always"`` does.
    """
    found = False
    steps = [description.get("pre_tokenizer") or {}]
    while steps:
        step = steps.pop()
        steps += step.get("pretokenizers", [])
        if step.get("type") == "Metaspace" and step.get("prepend_scheme") in schemes:
            step["prepend_scheme"] = "never"
            found = True
    normalizers = [description.get("normalizer") or {}]
    while normalizers and "always" in schemes:
        step = normalizers.pop()
        normalizers += step.get("normalizers", [])
        if step.get("type") == "Prepend" and step.get("prepend"):
            step["prepend"] = ""
            found = True
    return found
