"""Characters by what a reader sees of them, decided by Unicode's properties and not by a list of ours.

*Unseen* are separators, controls, format characters, combining marks and everything that Unicode calls ignorable
(fillers, variation selectors, tags), and the one pattern of Braille that has no dots. A text of nothing else is blank:
a guard that is shown it judges nothing. Properties are those of the `regex` package's Unicode version.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache

import regex

__all__ = ["first_seen", "is_blank", "strip_unseen", "unseen_characters", "without_unseen"]

_UNSEEN = r"\p{Z}\p{Cc}\p{Cf}\p{M}\p{Default_Ignorable_Code_Point}\u2800"
_SEEN = regex.compile(rf"[^{_UNSEEN}]")
_ENDS = regex.compile(rf"\A[{_UNSEEN}]+|[\p{{Z}}\p{{Cc}}\p{{Cf}}\p{{Default_Ignorable_Code_Point}}\u2800]+\Z")
_RUNS = regex.compile(rf"[{_UNSEEN}]+")


def is_blank(text: str) -> bool:
    """Say whether there is nothing in `text` that a reader sees."""
    return _SEEN.search(text) is None


def first_seen(text: str) -> int | None:
    """Return the index of the first character that a reader sees, or None where there is none."""
    found = _SEEN.search(text)
    return None if found is None else int(found.start())


def strip_unseen(text: str) -> str:
    """Return `text` without what is unseen at its ends; marks behind the last letter belong to it and stay."""
    return str(_ENDS.sub("", text))


def without_unseen(text: str) -> str:
    """Return only what a reader sees of `text`: no spaces, no marks, nothing ignorable."""
    return str(_RUNS.sub("", text))


@cache
def unseen_characters() -> frozenset[str]:
    """Return every character that a reader does not see, white space and line breaks among them."""
    codes = itertools.chain(range(0xD800), range(0xE000, sys.maxunicode + 1))
    return frozenset(itertools.chain.from_iterable(_RUNS.findall("".join(map(chr, codes)))))
