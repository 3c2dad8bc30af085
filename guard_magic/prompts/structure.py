"""Structural text of a prompt that is no control token: block markers and turn labels.

A conversation that could write ``<END CONVERSATION>`` or a line ``Agent: …`` would end its block early or forge a
turn. Such text is made harmless: markers get round brackets, labels at a line start are quoted with ``>``.

It is looked for in what is left of a text without its disguises (its *skeleton*): what a reader does not see is left
out, white space too, and each character stands for what Unicode's compatibility forms and case folding make of it, or
for what it looks like. Only where the skeleton holds something is the text itself gone through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from guard_magic.characters import unseen_characters

__all__ = ["Structure", "skeleton_of", "structure_of"]

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # where str.splitlines begins a new line
_LOOK_ALIKES = {
    "a": "аɑαⱥᴀᎪ",
    "b": "ЬВβвʙᏴ",
    "c": "сϲⅽᴄᏟ",
    "d": "ԁⅾᴅᎠđ",
    "e": "еєҽεΕᴇᎬ",
    "f": "ꜰϝ",
    "g": "ɡԍɢᏀ",
    "h": "һнΗʜᎻħ",
    "j": "јϳᴊᎫ",
    "k": "кκΚᴋᏦ",
    "l": "iіıιɩӏⅰΙ1|ⅼʟᏞɪᎥłǀ∣",
    "m": "мΜⅿᴍᎷ",
    "n": "ոΝηɴ",
    "o": "оοσ0Οᴏօø",
    "p": "рρΡᴘᏢ",
    "q": "ԛ",
    "r": "гᴦʀᎡ",
    "s": "ѕꜱ$5Ꮪ",
    "t": "тτΤᴛᎢŧ",
    "u": "υսᴜцᏌ",
    "v": "νѵⅴᴠᏙ",
    "w": "ԝωᴡᎳ",
    "x": "хχΧⅹ",
    "y": "уүΥγʏᎩ",
    "z": "ᴢΖᏃ",
    "<": "‹〈《⟨❮˂≺",
    ">": "›〉》⟩❯˃≻",
    ":": "∶꞉։",
    "_": "‿",
    "=": "꞊═",
    "*": "∗",
}
"""What looks like a character of a label or marker and is not folded to it by Unicode; i, l, 1 and | are one."""
Find = Callable[[str], object]
_ENCLOSED = (0x1F150, 0x1F170, 0x1F1E6)
"""Where rows of A to Z in black circles, in black squares and as flags begin."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Structural text of a family's prompt that contents must not be able to forge.

    Attributes
    ----------
    patterns
        What to look for in skeletons: markers, and labels behind a newline.
    at_start
        Whether contents begin at a line start.
    needs, any_needs
        What an ASCII text, and any other one, must hold for a pattern to be found in its skeleton; looked for faster.
    """

    patterns: tuple[re.Pattern[str], ...]
    at_start: bool
    needs: tuple[Find, ...]
    any_needs: tuple[Find, ...]

    def neutralise(self, text: str) -> tuple[str, int]:
        """Return `text` without structural text, and how many pieces were rewritten."""
        if not any(find(text) for find in (self.needs if text.isascii() else self.any_needs)):
            return text, 0
        count = 0
        while (found := self._found(text)) is not None:
            text, n = self._rewritten(text, found)  # which may complete another piece
            count += n
        return text, count

    def _found(self, text: str) -> re.Pattern[str] | None:
        skeleton = "\n" * self.at_start + skeleton_of(text)
        return next((pattern for pattern in self.patterns if pattern.search(skeleton)), None)

    def _rewritten(self, text: str, pattern: re.Pattern[str]) -> tuple[str, int]:
        skeleton, origins = _traced(text)
        if self.at_start:
            skeleton, origins = "\n" + skeleton, [-1, *origins]
        parts, done, n = [], 0, 0
        for match in pattern.finditer(skeleton):
            first, last = origins[match.start()], origins[match.end() - 1]
            if "label" in pattern.groupindex:
                parts += [text[done : first + 1], "> ", text[first + 1 : last + 1].lstrip()]
            else:
                parts += [text[done:first], "(", text[first + 1 : last], ")"]
            done = last + 1
            n += 1
        return "".join((*parts, text[done:])), n


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
    patterns = []
    if found := [skeleton_of(marker) for marker in markers]:
        words = "|".join(r"\n*+".join(map(re.escape, f"{marker}>")) for marker in found)
        patterns.append(re.compile(rf"<\n*+(?:{words})"))
    if begun := [skeleton_of(label) for label in labels]:
        patterns.append(re.compile(rf"\n(?P<label>{'|'.join(map(re.escape, begun))})"))
    needs, any_needs = (_needs(bool(found), begun, at_start, folds) for folds in (_ascii_folds(), _folds()))
    return Structure(tuple(patterns), at_start, needs, any_needs)


def _needs(has_markers: bool, labels: Iterable[str], at_start: bool, folds: Mapping[int, str]) -> tuple[Find, ...]:
    """Return what finds places where structural text could begin: a bracket, or a label's first letters in their line.

    Each expression begins with a class, or is tried at one place only: both are fast.
    """
    needs: list[Find] = [re.compile(_class(_forms("<", folds))).search] if has_markers else []
    if pairs := sorted({label[:2] for label in labels}):
        unseen = _class(chr(code) for code, folded in folds.items() if not folded)
        begins = f"{unseen}*+(?:{'|'.join(_pair(pair, unseen, folds) for pair in pairs)})"
        needs.append(re.compile(f"{_class(_BREAKS)}{begins}").search)
        needs += [re.compile(begins).match] if at_start else []
    return tuple(needs)


def _pair(pair: str, unseen: str, folds: Mapping[int, str]) -> str:
    """Return an expression for two characters of a skeleton, which may come from one character of the text."""
    both = [chr(code) for code, folded in folds.items() if len(folded) > 1 and folded.startswith(pair[0])]
    apart = f"{_class(_forms(pair[0], folds))}{unseen}*+{_class(_forms(pair[1], folds))}"
    return f"{apart}|{_class(both)}" if both else apart


def _forms(character: str, folds: Mapping[int, str]) -> list[str]:
    """Return what a text may hold where its skeleton has `character`."""
    return [character, *(chr(code) for code, folded in folds.items() if folded.startswith(character))]


def _class(characters: Iterable[str]) -> str:
    """Return a class of a pattern, written as ranges."""
    ranges: list[list[int]] = []
    for code in sorted(set(map(ord, characters))):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return f"[{''.join(f'{re.escape(chr(first))}-{re.escape(chr(last))}' for first, last in ranges)}]"


def skeleton_of(text: str) -> str:
    """Return what is left of `text` without its disguises; each line break is a newline."""
    if text.isascii():
        return text.translate(_ascii_one_to_one()).replace(" ", "")
    return text.translate(_folds())


def _traced(text: str) -> tuple[str, list[int]]:
    """Return the skeleton of `text`, and for each of its characters where it comes from."""
    folds = _folds()
    parts, origins = [], []
    for i, character in enumerate(text):
        folded = folds.get(ord(character), character)
        parts.append(folded)
        origins += [i] * len(folded)
    return "".join(parts), origins


@cache
def _ascii_one_to_one() -> dict[int, str]:
    """Return the same for ASCII with a space for what is left out: ten times as fast as leaving it out."""
    return {code: folded or " " for code, folded in _ascii_folds().items()}


@cache
def _ascii_folds() -> dict[int, str]:
    return {code: folded for code, folded in _folds().items() if code < 128}


@cache
def _folds() -> dict[int, str]:
    """Return, by code point, what each character becomes in a skeleton where that is not itself."""
    alike = {form: letter for letter, forms in _LOOK_ALIKES.items() for form in forms}
    alike |= {chr(first + i): letter for first in _ENCLOSED for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    unseen = dict.fromkeys(unseen_characters(), "")
    unseen |= dict.fromkeys(_BREAKS, "\n")

    def fold(character: str) -> str:
        if character in unseen:
            return unseen[character]
        if character in alike:
            return alike[character]
        forms = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        kept = "".join(unseen.get(form, form) for form in forms)
        return "".join(alike.get(form, form) for form in kept)

    changing = (chr(code) for code in range(0x3_0000) if _may_change(chr(code)))
    pairs = ((character, fold(character)) for character in {*changing, *alike, *unseen})
    return {ord(character): folded for character, folded in pairs if folded != character}


def _may_change(character: str) -> bool:
    return bool(unicodedata.decomposition(character)) or character.casefold() != character
