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

__all__ = [
    "HIDDEN",
    "first_seen",
    "is_blank",
    "is_word",
    "spell",
    "spell_hidden",
    "strip_unseen",
    "unseen_characters",
    "without_ignorable",
    "without_unseen",
]

_UNSEEN = r"\p{Z}\p{Cc}\p{Cf}\p{M}\p{Default_Ignorable_Code_Point}\u2800"
_SEEN = regex.compile(rf"[^{_UNSEEN}]")
_SAYS = regex.compile(rf"[^{_UNSEEN}\ufffc\ufffd]")
"""What says something: neither unseen nor what stands in the place of a picture or of bytes that were no text."""
_ENDS = regex.compile(rf"\A[{_UNSEEN}]+|[\p{{Z}}\p{{Cc}}\p{{Cf}}\p{{Default_Ignorable_Code_Point}}\u2800]+\Z")
_IGNORABLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Cc}--\s]+", regex.VERSION1)
_RUNS = regex.compile(rf"[{_UNSEEN}]+")
_BREAKS = regex.compile(r"[\p{Z}\p{C}\p{Default_Ignorable_Code_Point}\u2800]")

_ORDINARY = "|".join(
    [
        r"(?<=\p{Extended_Pictographic})[\ufe0e\ufe0f]",  # text or picture
        r"(?<=[0-9#*])\ufe0f(?=\u20e3)",  # keys: 1️⃣
        r"(?<=\p{Extended_Pictographic}[\ufe0f\U0001f3fb-\U0001f3ff]?)\u200d(?=\p{Extended_Pictographic})",  # families
        r"(?<=(?=[\p{Arab}\p{Syrc}\p{Nkoo}\p{Mong}\p{Deva}\p{Beng}\p{Guru}\p{Gujr}\p{Orya}\p{Taml}\p{Telu}\p{Knda}"
        r"\p{Mlym}\p{Sinh}\p{Khmr}\p{Mymr}\p{Tibt}\p{Bali}\p{Java}])[\p{L}\p{M}])[\u200c\u200d]",  # می‌خواهم, क्‍ष
        r"(?<=(?=\p{Mong})\p{L})[\u180b-\u180d\u180f]",
        r"(?<=\p{Han})[\ufe00-\ufe02\U000e0100-\U000e01ef]",  # variants of ideographs, in names
    ]
)
HIDDEN = regex.compile(
    rf"(?:(?!{_ORDINARY}|\p{{Prepended_Concatenation_Mark}})"
    r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800--[\t\n]])+",
    regex.V1,
)
"""What a reader cannot see of a text and should know of.

One joiner or variation selector is ordinary where writing needs it: in emoji, in scripts whose letters join, behind
ideographs. Marks of direction and tags are always told.
"""


def is_blank(text: str) -> bool:
    """Say whether there is nothing in `text` that a reader sees, but for signs that stand for something else.

    These are the object replacement (a picture was here) and the replacement character (these bytes were no text).
    """
    return _SAYS.search(text) is None


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


def spell(match: regex.Match[str]) -> str:
    r"""Return hidden characters as escapes such as ``\u202e``."""
    return match[0].encode("unicode_escape").decode("ascii")


def spell_hidden(text: str) -> str:
    """Return `text` on one line, with what a reader cannot see of it spelled out."""
    return str(HIDDEN.sub(spell, text.replace("\n", "\\n").replace("\t", "\\t")))


def without_ignorable(text: str) -> str:
    """Return `text` without what takes no place: format characters, fillers, selectors and controls; spaces stay."""
    return str(_IGNORABLE.sub("", text))


def is_word(text: str) -> bool:
    """Say whether `text` is one word that a reader sees all of: no space, no control, nothing that has no shape."""
    return first_seen(text) == 0 and _BREAKS.search(text) is None
