"""Structural text of a prompt that is no control token: block markers and turn labels.

A conversation that could write ``<END CONVERSATION>`` or a line ``Agent: …`` would end its block early or forge a
turn. Such text is made harmless: markers get round brackets, labels at a line start are quoted with ``>``. Both are
found behind disguises too: other case and spacing, invisible characters between letters, full-width, mathematical,
Cyrillic and Greek look-alikes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Structure", "structure_of"]

_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"  # where str.splitlines begins a new line
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff\u0300-\u036f\x00-\x08\x0e-\x1b\x7f"
)
_BLANK = rf"[^\S{_BREAKS}]"
_LOOK_ALIKES = {
    "a": "аɑαⱥ",
    "b": "ЬВβв",
    "c": "сϲⅽ",
    "d": "ԁⅾ",
    "e": "еєҽεΕ",
    "g": "ɡԍ",
    "h": "һнΗ",
    "i": "іıιӏⅰΙ",
    "j": "јϳ",
    "k": "кκΚ",
    "l": "ӏⅼ1|",
    "m": "мΜⅿ",
    "n": "ոΝη",
    "o": "оοσ0Ο",
    "p": "рρΡ",
    "q": "ԛ",
    "r": "гᴦ",
    "s": "ѕꜱ$5",
    "t": "тτΤ",
    "u": "υսᴜц",
    "v": "νѵⅴ",
    "w": "ԝω",
    "x": "хχΧⅹ",
    "y": "уүΥγ",
    "z": "ᴢΖ",
    "<": "＜‹〈《⟨❮˂﹤≺",
    ">": "＞›〉》⟩❯˃﹥≻",
    ":": "：﹕︓ː∶꞉։",
    "_": "＿﹍﹎﹏‿",
    "=": "＝﹦꞊═",
    "#": "＃﹟",
    "*": "＊﹡∗",
}
"""What may stand for a character of a label or marker; letters also match in either case."""


def _folded_forms() -> dict[str, str]:
    """Return, for each ASCII letter, the characters that Unicode itself folds to it."""
    ranges = (
        (0xFF21, 0xFF5B),
        (0x1D400, 0x1D6A4),
        (0x24B6, 0x24EA),
        (0x2100, 0x2150),
        (0x1D2C, 0x1D6B),
        (0x02B0, 0x02E5),
    )
    found: dict[str, list[str]] = {}
    for first, end in ranges:
        for code in range(first, end):
            folded = unicodedata.normalize("NFKC", chr(code)).lower()
            if len(folded) == 1 and "a" <= folded <= "z":
                found.setdefault(folded, []).append(chr(code))
    return {letter: "".join(forms) for letter, forms in found.items()}


_FOLDED = _folded_forms()


@dataclass(frozen=True, slots=True)
class Structure:
    """Structural text of a family's prompt that contents must not be able to forge.

    Attributes
    ----------
    pattern
        What to look for in contents.
    replace
        The harmless form of a match.
    need
        What a text must hold for `pattern` to be found in it, and is looked for faster; None where that is not known.
    """

    pattern: re.Pattern[str]
    replace: Callable[[re.Match[str]], str]
    need: re.Pattern[str] | None = None

    def neutralise(self, text: str) -> tuple[str, int]:
        """Return `text` without structural text, and how many pieces were rewritten."""
        if self.need is not None and not self.need.search(text):
            return text, 0
        text, count = found = self.pattern.subn(self.replace, text)
        while found[1]:  # a replacement may complete another piece
            text, _ = found = self.pattern.subn(self.replace, text)
            count += found[1]
        return text, count


def structure_of(*, markers: Iterable[str] = (), labels: Iterable[str] = (), at_start: bool = False) -> Structure:
    """Make the structural text of a prompt.

    Parameters
    ----------
    markers
        What stands in angle brackets, without them: ``"END CONVERSATION"``. Found anywhere.
    labels
        What a line begins with, such as ``"User:"``. Found at line starts.
    at_start
        Whether contents themselves begin at a line start of the prompt. If not, their first line is left alone: the
        prompt's own label stands ahead of it.
    """
    alternatives, needs = [], []
    if markers := list(markers):
        words = "|".join(_disguised(marker) for marker in markers)
        alternatives.append(rf"{_one('<')}(?P<marker>{_gap()}(?:{words}){_gap()}){_one('>')}")
        needs.append(_one("<"))
    if labels := list(labels):
        words = "|".join(_disguised(label, blanks=True) for label in labels)
        blank = rf"(?:{_BLANK}|[{_INVISIBLE}])*+"
        start = rf"(?:\A|(?<=[{_BREAKS}]))" if at_start else rf"(?<=[{_BREAKS}])"
        alternatives.append(rf"{start}(?P<label>{blank}(?:{words}))")
        needs.append(f"[{_BREAKS}]")
        if at_start:
            needs.append(rf"\A{blank}(?:{'|'.join(sorted({_one(label[0]) for label in labels}))})")
    found, needed = (re.compile("|".join(parts) or r"(?!)", re.I) for parts in (alternatives, needs))
    return Structure(found, _neutral, needed)


def _neutral(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if groups.get("marker") is not None:
        return f"({groups['marker']})"
    return f"> {groups['label'].lstrip()}"


def _gap() -> str:
    return rf"(?:\s|[{_INVISIBLE}])*+"


def _one(character: str) -> str:
    """Return a pattern for a character and what looks like it."""
    low = character.lower()
    return f"[{re.escape(low)}{re.escape(_LOOK_ALIKES.get(low, ''))}{re.escape(_FOLDED.get(low, ''))}]"


def _disguised(text: str, *, blanks: bool = False) -> str:
    """Return a pattern for `text` behind its disguises; quantifiers are possessive, so that no text is slow.

    Parameters
    ----------
    text
        Words, whose spaces match any white space.
    blanks
        Whether white space within the line may stand ahead of punctuation ("User :").
    """
    parts = []
    for character in text:
        if character == " ":
            parts.append(rf"(?:\s|[{_INVISIBLE}])++")
        elif blanks and not character.isalnum():
            parts.append(rf"(?:{_BLANK}|[{_INVISIBLE}])*+{_one(character)}")
        else:
            parts.append(rf"[{_INVISIBLE}]*+{_one(character)}")
    return "".join(parts)
