r"""Where a text can be cut so that both sides tokenized apart always give what they give together.

A byte-level tokenizer splits text into pieces by a regular expression and encodes each piece by itself. The known
expressions read from left to right and never look back, and none of their alternatives matches a line break followed by
a letter: the letter begins a piece *whatever stands ahead of it*. One of them looks ahead, ``\s+(?!\S)``: where
``\s*[\r\n]+`` comes before it, white space that ends in a line break is one piece whatever follows, and the cut is
behind the break; where it does not, the last break ahead of a letter is a piece of its own, and the cut is ahead of it.

So what a conversation says cannot change how the template's text behind the cut is tokenized. A tokenizer with any part
that is not known here is not cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from tokenizers import Tokenizer

__all__ = ["find_cut"]

_LINE = re.compile(r"\n(?=[A-Za-z])")
_BREAKS = r"\s*[\r\n]+"
_AHEAD = r"\s+(?!\S)"
_LETTERS = frozenset(
    {
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r" ?\p{L}+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    }
)
_OTHERS = frozenset(
    {
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"'(?i:[sdmt]|ll|ve|re)",
        *(rf"'{ending}" for ending in ("s", "t", "re", "ve", "m", "ll", "d")),
        r"\p{N}",
        r"\p{N}{1,3}",
        r" ?\p{N}+",
        r" ?[^\s\p{L}\p{N}]+",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        _BREAKS,
        _AHEAD,
        r"\s+",
    }
)
"""Alternatives of the expressions of GPT-2, Llama 3 and 4, Qwen and their kin; `_LETTERS` match any run of letters."""
_GPT_2 = (r" ?\p{L}+", r" ?\p{N}+", r" ?[^\s\p{L}\p{N}]+", _AHEAD, r"\s+")

Side = Literal["ahead", "behind"]


def find_cut(tokenizer: Tokenizer, text: str) -> int | None:
    """Return where `text`, the end of a longer text, can be cut; None where that is not certain."""
    line = _LINE.search(text)
    side = _side_of(tokenizer) if line else None
    return None if line is None or side is None else line.end() - (side == "ahead")


def _side_of(tokenizer: Tokenizer) -> Side | None:
    """Return on which side of a line break ahead of a letter pieces always part."""
    if any(
        "\n" in token.content or token.lstrip
        for token in tokenizer.get_added_tokens_decoder().values()
        if not (token.special and tokenizer.encode_special_tokens)
    ):
        return None
    normalizer = _state(tokenizer.normalizer)
    if normalizer.get("type", "NFC") != "NFC":  # no ASCII character composes with what stands ahead of it
        return None
    step = _state(tokenizer.pre_tokenizer)
    steps = step["pretokenizers"] if step.get("type") == "Sequence" else [step]
    splitting = [step for step in steps if not _is_harmless(step)]
    return _side(_alternatives(splitting[0])) if len(splitting) == 1 else None


def _state(part: Any) -> Mapping[str, Any]:
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _is_harmless(step: Mapping[str, Any]) -> bool:
    """Whether a step parts text at digits alone, or writes bytes as characters without parting it."""
    if step.get("type") == "ByteLevel":
        return not step["add_prefix_space"] and not step["use_regex"]
    return step.get("type") == "Digits"


def _side(alternatives: tuple[str, ...]) -> Side | None:
    if not set(alternatives) <= _LETTERS | _OTHERS or not set(alternatives) & _LETTERS or _AHEAD not in alternatives:
        return None
    ordered = [alternative for alternative in alternatives if alternative in (_BREAKS, _AHEAD)]
    if ordered == [_AHEAD]:
        return "ahead" if not any(r"[\r\n" in other for other in set(alternatives) & _OTHERS) else None
    return "behind" if ordered == [_BREAKS, _AHEAD] else None


def _alternatives(step: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what stands between the bars of an expression, outside of its groups and classes; () for other steps."""
    if step.get("type") == "ByteLevel":
        return () if step["add_prefix_space"] else _GPT_2
    pattern = step["pattern"].get("Regex", "") if step.get("type") == "Split" else ""
    if step.get("behavior") != "Isolated" or step.get("invert"):
        return ()
    found, start, depth = [], 0, 0
    for i, character in enumerate(pattern):
        depth += (character in "([") - (character in ")]")
        if character == "|" and not depth:
            found.append(pattern[start:i])
            start = i + 1
    return (*found, pattern[start:])
